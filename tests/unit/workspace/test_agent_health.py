"""An agent's status follows its model's answers, and only a change of it is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from models.statuses import AgentStatus
from workspace.agent_health import AgentHealth
from workspace.errors import (
    AgentDeleted,
    Cancelled,
    DeadlineExceeded,
    InternalFailure,
    ModelFailure,
    ModelUnavailable,
    RunFailure,
    WorkerShutdown,
)
from workspace.events import Usage
from workspace.llm import Probe
from workspace.names import WorkspaceKey
from workspace.runner import Failed, Final

KEY = WorkspaceKey(uuid4(), uuid4())
AGENT = uuid4()
WELL = Final(text="done", unsent=None, usage=Usage())


class Written:
    """A database that keeps what is written of agents."""

    def __init__(self) -> None:
        self.rows: list[tuple[UUID, dict[str, Any]]] = []
        self.commits = 0

    @contextmanager
    def tenant_session(self, user_id: UUID) -> Iterator["Written"]:
        self.user_id = user_id
        yield self

    def execute(self, statement: Any) -> "Written":
        self.rows.append((self.user_id, statement.compile().params))
        return self

    def first(self) -> tuple[UUID]:
        return (AGENT,)

    def commit(self) -> None:
        self.commits += 1


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def health(written: Written) -> AgentHealth:
    database: Any = written
    return AgentHealth(database, probe=lambda _: Probe.UNKNOWN, interval=60.0)


def unwell(failure: RunFailure) -> Failed:
    return Failed(failure=failure, usage=Usage())


def test_an_agent_is_well_until_its_model_refuses(health: AgentHealth, written: Written) -> None:
    assert health.status(AGENT) == (AgentStatus.READY, None)
    assert health.record(KEY, AGENT, WELL) is False
    assert written.rows == []


@pytest.mark.parametrize("failure", [ModelFailure("no such model"), ModelUnavailable("silent")])
def test_a_failure_of_the_model_is_written_once_with_its_reason(
    health: AgentHealth, written: Written, failure: ModelFailure
) -> None:
    assert [health.record(KEY, AGENT, unwell(failure)) for _ in range(3)] == [True, False, False]
    assert health.status(AGENT) == (AgentStatus.ERROR, failure.detail)
    ((user_id, values),) = written.rows
    assert user_id == KEY.user_id
    assert (values["status"], values["status_reason"]) == (AgentStatus.ERROR, failure.detail)
    assert values["id_1"] == AGENT
    assert written.commits == 1


def test_the_next_success_makes_it_well(health: AgentHealth, written: Written) -> None:
    health.record(KEY, AGENT, unwell(ModelFailure("no such model")))
    assert [health.record(KEY, AGENT, WELL) for _ in range(2)] == [True, False]
    assert health.status(AGENT) == (AgentStatus.READY, None)
    assert [values["status"] for _, values in written.rows] == [AgentStatus.ERROR, AgentStatus.READY]
    assert written.rows[-1][1]["status_reason"] is None


@pytest.mark.parametrize(
    "failure", [Cancelled(), DeadlineExceeded(), WorkerShutdown(), AgentDeleted(), InternalFailure()]
)
def test_what_is_not_the_models_fault_says_nothing_of_the_agent(
    health: AgentHealth, written: Written, failure: RunFailure
) -> None:
    assert health.record(KEY, AGENT, unwell(failure)) is False
    health.record(KEY, AGENT, unwell(ModelFailure("no such model")))
    assert health.record(KEY, AGENT, unwell(failure)) is False
    assert health.status(AGENT) == (AgentStatus.ERROR, "no such model")
    assert len(written.rows) == 1


def test_a_node_learns_what_the_row_says(health: AgentHealth, written: Written) -> None:
    health.learn(AGENT, AgentStatus.ERROR, "since yesterday")
    assert health.status(AGENT) == (AgentStatus.ERROR, "since yesterday")
    assert health.record(KEY, AGENT, WELL) is True
    health.learn(AGENT, AgentStatus.ERROR, None)
    assert health.status(AGENT) == (AgentStatus.ERROR, "unknown")
    health.learn(AGENT, AgentStatus.READY, None)
    assert health.status(AGENT) == (AgentStatus.READY, None)
    assert len(written.rows) == 1


def test_agents_are_well_each_for_itself(health: AgentHealth) -> None:
    health.record(KEY, AGENT, unwell(ModelFailure("no such model")))
    assert health.status(uuid4()) == (AgentStatus.READY, None)
