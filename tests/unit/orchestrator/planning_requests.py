"""Requests for plans, and plans as models write them."""

import json
from typing import Any
from uuid import UUID, uuid4

from models.statuses import MessageRole
from orchestrator.config import OrchestratorConfig
from orchestrator.planning import PlanningRequest, TeamMember
from orchestrator.plans.roster import RosterAgent
from tests.unit.orchestrator.graphs import AGENTS, task
from workspace.history import PastMessage
from workspace.names import WorkspaceKey

MESSAGE = "Research the market and write a report."


def member(name: str, *capabilities: str, version: int = 1, agent_id: UUID | None = None) -> TeamMember:
    """An agent."""
    return TeamMember(
        agent_id=agent_id or uuid4(),
        version=version,
        model="some-model",
        roster=RosterAgent(name, capabilities or (f"{name} work",), ("read_file",)),
    )


TEAM = tuple(member(name) for name in AGENTS)


def said(role: MessageRole, content: str) -> PastMessage:
    """A message of a conversation."""
    return PastMessage(role, content, uuid4())


def planning_request(message: str = MESSAGE, *before: PastMessage, **changes: Any) -> PlanningRequest:
    """A request; the keywords are fields of it, or of its config."""
    fields = {name: changes.pop(name) for name in list(changes) if name in PlanningRequest.__dataclass_fields__}
    values: dict[str, Any] = {
        "key": WorkspaceKey(uuid4(), uuid4()),
        "run_id": uuid4(),
        "config": OrchestratorConfig(**changes),
        "config_version": 1,
        "team": TEAM,
        "conversation": (*before, said(MessageRole.USER, message)),
        **fields,
    }
    return PlanningRequest(**values)


def written(*tasks: dict[str, Any], rationale: str = "So it goes.") -> str:
    """A plan as a model writes it."""
    return json.dumps({"rationale": rationale, "tasks": list(tasks)})


def in_a_row(count: int) -> str:
    """A plan of so many tasks that do not wait for one another, as a model writes it."""
    return written(*(task(f"t{number}") for number in range(count)))
