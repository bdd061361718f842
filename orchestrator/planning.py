"""What a planner is asked and what it gives: the port between the orchestrator's task and whoever makes plans."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from orchestrator.config import OrchestratorConfig
from orchestrator.plans.plan import Plan
from orchestrator.plans.plan_estimate import PlanEstimate
from orchestrator.plans.roster import RosterAgent
from workspace.events import Usage
from workspace.history import PastMessage
from workspace.interruptible import Watch
from workspace.names import WorkspaceKey
from workspace.plans.view import PlanSource


@dataclass(frozen=True, kw_only=True)
class TeamMember:
    """An agent of the project, as it is now."""

    agent_id: UUID
    version: int
    model: str
    """The one that it uses."""
    roster: RosterAgent
    """What the planner is told of it: its name, capabilities and tools."""


@dataclass(frozen=True, kw_only=True)
class PlanningRequest:
    """A message to be planned."""

    key: WorkspaceKey
    run_id: UUID
    config: OrchestratorConfig
    config_version: int
    team: Sequence[TeamMember]
    conversation: Sequence[PastMessage]
    """What of the session fits, oldest first; the message is the last."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A valid plan."""

    plan: Plan
    source: PlanSource
    usage: Usage
    """Of the model calls that it took."""


class Planner(Protocol):
    """Makes plans."""

    def plan(self, request: PlanningRequest, watch: Watch) -> Planned:
        """Return a plan for any message, at the latest when planning may take no longer.

        Raises:
            Interrupted: the run has to end.
            ValueError: the team is empty.
        """


class Team(Protocol):
    """Knows a project's agents and configuration."""

    def of(self, key: WorkspaceKey) -> Sequence[TeamMember]:
        """Return the agents of a project, by name."""

    def with_config(self, key: WorkspaceKey) -> tuple[Sequence[TeamMember], OrchestratorConfig, int]:
        """Return both, and the version of the config."""

    def config(self, key: WorkspaceKey) -> tuple[OrchestratorConfig, int]:
        """Return how the project plans, and the version of that; 0 for the defaults."""


class Estimator(Protocol):
    """Says what a plan may take."""

    def estimate(self, key: WorkspaceKey, plan: Plan, team: Sequence[TeamMember]) -> PlanEstimate:
        """Return the estimate of a plan, from its agents' histories."""
