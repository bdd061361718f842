"""What a task's run is given: its messages, its tools, and the time that is left to it."""

import time
from typing import Any
from uuid import uuid4

import pytest

from models import utc_now
from models.statuses import MessageRole
from settings import Settings, load_settings
from tests.support.offline import offline_environment
from workspace.agent_config import AgentConfig, AgentLimits
from workspace.errors import AgentDeleted
from workspace.events import Usage
from workspace.history import PastMessage
from workspace.interruptible import StopSignal
from workspace.ledger import Host, StartedTask
from workspace.names import WorkspaceKey
from workspace.runner import Assignment, Failed, Final
from workspace.task_run import TaskRun
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.executor import ToolExecutor
from workspace.tools.registry import ToolRegistry
from workspace.tools.toolbox import ToolServices


def a_task(**changes: Any) -> StartedTask:
    values: dict[str, Any] = {
        "id": uuid4(),
        "key": WorkspaceKey(uuid4(), uuid4()),
        "session_id": uuid4(),
        "run_id": uuid4(),
        "agent_id": uuid4(),
        "agent_name": "helper",
        "agent_version": 1,
        "host": Host("node", 1),
        "attempt": 1,
        "started_at": utc_now(),
        "ran_seconds": 0.0,
        "recalled": None,
        "newest_messages": [PastMessage(MessageRole.USER, "hello")],
    }
    return StartedTask(**values | changes)


def a_config(**changes: Any) -> AgentConfig:
    return AgentConfig(name="helper", **changes)


class NoMemory:
    """Remembers nothing."""

    def of(self, *_: Any) -> tuple[()]:
        return ()


class Runner:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.given: Assignment | None = None

    def run(self, assignment: Assignment, *_: Any) -> Final:
        self.given = assignment
        return Final(text="", unsent=None, usage=Usage())


@pytest.fixture(scope="module")
def settings() -> Settings:
    with offline_environment():
        return load_settings().model_copy(update={"task_deadline": 600.0, "model_max_attempts": 5})


def assigned(settings: Settings, task: StartedTask, config: AgentConfig | None) -> Assignment | Failed:
    """Return what the runner is given for a task."""
    runner = Runner()
    executor = ToolExecutor(ToolRegistry(CATALOGUE), None, output_limit=1)  # type: ignore[arg-type]
    parts: dict[str, Any] = dict.fromkeys(
        ("ledger", "publisher", "bus", "health", "direct_end", "plan_end", "user_cap", "waits", "spending")
    )
    run = TaskRun(
        settings=settings,
        runner=runner,  # type: ignore[arg-type]
        load_config=lambda *_: config,
        tools=ToolServices(executor, *[None] * 5),  # type: ignore[arg-type]
        recall=NoMemory(),  # type: ignore[arg-type]
        remember=lambda: None,
        **parts,
    )
    outcome = run._answer(task, StopSignal())
    if runner.given is None:
        assert isinstance(outcome, Failed)
        return outcome
    return runner.given


def seconds_left(settings: Settings, task: StartedTask, config: AgentConfig) -> float:
    given = assigned(settings, task, config)
    assert isinstance(given, Assignment)
    return given.deadline - time.monotonic()


@pytest.mark.parametrize(
    ("limit", "ran", "left"), [(None, 0.0, 600), (None, 450.0, 150), (60, 0.0, 60), (60, 59.0, 1), (3_600, 100.0, 500)]
)
def test_the_deadline_counts_what_the_task_ran_before(
    settings: Settings, limit: int | None, ran: float, left: float
) -> None:
    config = a_config(limits=AgentLimits(timeout_seconds=limit))
    assert seconds_left(settings, a_task(ran_seconds=ran), config) == pytest.approx(left, abs=0.5)


def test_a_task_that_ran_for_longer_than_it_may_has_no_time_left(settings: Settings) -> None:
    assert seconds_left(settings, a_task(ran_seconds=1_000.0), a_config()) < 0


def test_the_time_that_a_task_ran_is_that_of_all_its_starts() -> None:
    from datetime import timedelta

    task = a_task(ran_seconds=100.0, started_at=utc_now() - timedelta(seconds=20))
    assert task.running_seconds() == pytest.approx(120, abs=0.5)


@pytest.mark.parametrize(("attempt", "first"), [(1, 1), (2, 6), (3, 11)])
def test_no_two_starts_of_a_task_number_their_texts_alike(settings: Settings, attempt: int, first: int) -> None:
    given = assigned(settings, a_task(attempt=attempt), a_config())
    assert isinstance(given, Assignment)
    assert given.first_attempt == first


def test_the_model_is_offered_the_tools_of_the_agents_config(settings: Settings) -> None:
    given = assigned(settings, a_task(), a_config(tools=("read_file", "a_tool_of_long_ago")))
    assert isinstance(given, Assignment)
    assert [each["function"]["name"] for each in given.tools.definitions] == ["read_file"]
    without = assigned(settings, a_task(), a_config())
    assert isinstance(without, Assignment)
    assert not without.tools.definitions


def test_a_task_whose_agent_is_gone_fails_without_a_turn(settings: Settings) -> None:
    outcome = assigned(settings, a_task(), None)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.failure, AgentDeleted)
