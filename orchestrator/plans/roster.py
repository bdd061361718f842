"""The agents that a plan may give tasks to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RosterAgent:
    """What a planner is told of an agent."""

    name: str
    capabilities: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
