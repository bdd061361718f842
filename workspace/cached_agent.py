"""What both levels of the agent cache keep: a config and its version."""

from typing import NamedTuple

from workspace.agent_config import AgentConfig


class CachedAgent(NamedTuple):
    """A config and the version it has."""

    version: int
    config: AgentConfig
