"""The one door to tools: who may pass, what is checked, and that whatever goes wrong behind it is a result."""

from collections.abc import Collection
from typing import Any
from uuid import uuid4

import pytest
import structlog
from pydantic import Field

from models import Json, utc_now
from models.statuses import ToolCallStatus
from workspace.errors import Cancelled, DeadlineExceeded, NotFound
from workspace.interruptible import Interrupted
from workspace.metrics import TOOL_CALLS
from workspace.tools.context import CallMark, Clock, WorkspaceContext
from workspace.tools.errors import ToolError, ToolErrorCode
from workspace.tools.executor import SHOWN_MISTAKES, ToolExecutor
from workspace.tools.registry import Resources, ToolParams, ToolRegistry, ToolUse, tool
from workspace.tools.results import ToolResult, as_answer

LIMIT = 200


class Echo(ToolParams):
    text: str
    times: int = Field(1, ge=1, le=1_000)
    mode: str | None = None


@tool(client=False)
def echo(use: ToolUse, params: Echo) -> Json:
    """Say it again."""
    return {"said": params.text * params.times, "task": str(use.context.task_id), "in": use.context.key.slug}


class Nothing(ToolParams):
    pass


@tool(client=False)
def refuse(use: ToolUse, params: Nothing) -> Json:
    """Cannot do it."""
    raise ToolError(ToolErrorCode.QUOTA_EXCEEDED, "There is no room.")


@tool(client=False)
def crash(use: ToolUse, params: Nothing) -> Json:
    """Breaks."""
    raise ZeroDivisionError("/etc/a/path/of/the/host")


@tool(client=False)
def misbehave(use: ToolUse, params: Nothing) -> Json:
    """Raises what is no tool's to raise."""
    raise NotFound


@tool(client=False)
def answer_oddly(use: ToolUse, params: Nothing) -> Json:
    """Answers what is no JSON."""
    return {"x": object()}


@tool(client=False)
def watch(use: ToolUse, params: Nothing) -> Json:
    """Looks at the clock."""
    use.clock.check()
    return {"left": use.clock.seconds_left()}


CONTEXT = WorkspaceContext(
    user_id=uuid4(),
    project_id=uuid4(),
    session_id=uuid4(),
    run_id=uuid4(),
    task_id=uuid4(),
    agent_id=uuid4(),
    agent_name="helper",
)
CALL = CallMark("call-1", utc_now())
REGISTRY = ToolRegistry([echo, refuse, crash, misbehave, answer_oddly, watch])
RESOURCES = Resources(None, None, None)  # type: ignore[arg-type]  # no tool here reaches for one


@pytest.fixture
def executor() -> ToolExecutor:
    return ToolExecutor(REGISTRY, RESOURCES, output_limit=LIMIT)


def at_ease() -> None:
    """Nobody wants the task to stop."""


def use(
    executor: ToolExecutor,
    name: str,
    params: Any = None,
    *,
    allowed: Collection[str] = frozenset(REGISTRY.names),
    check: Any = at_ease,
) -> ToolResult:
    clock = Clock(check=check, seconds_left=lambda: 7.0)
    return executor.execute(CONTEXT, name, params or {}, allowed=allowed, clock=clock, call=CALL)


def failure(result: ToolResult) -> tuple[str | None, str]:
    assert result.status is ToolCallStatus.FAILED
    assert result.detail is not None
    return result.error_code, result.detail


# -- what is offered and who may use it --------------------------------------------------------------------------


def test_an_agent_is_offered_what_it_may_use_and_nothing_else(executor: ToolExecutor) -> None:
    assert [each["function"]["name"] for each in executor.offered({"echo", "watch", "no_tool"})] == ["echo", "watch"]
    assert executor.offered(()) == []


def test_a_tool_is_used_in_the_name_of_its_task(executor: ToolExecutor) -> None:
    result = use(executor, "echo", {"text": "a", "times": 3})
    assert result.status is ToolCallStatus.SUCCEEDED
    assert result.body["output"] == {"said": "aaa", "task": str(CONTEXT.task_id), "in": CONTEXT.key.slug}


@pytest.mark.parametrize("name", ["no_such_tool", "", "Echo", "echo ", "__class__", "\ud800"])
def test_an_unknown_tool_is_told_with_those_that_there_are(executor: ToolExecutor, name: str) -> None:
    code, detail = failure(use(executor, name, allowed={"echo", "watch"}))
    assert (code, detail) == ("unknown_tool", "There is no such tool; there are: echo, watch.")


def test_a_tool_that_the_agent_may_not_use_is_told_like_one_that_there_is_not(executor: ToolExecutor) -> None:
    forbidden = use(executor, "crash", allowed={"echo"})
    assert forbidden == use(executor, "no_such_tool", allowed={"echo"})
    assert failure(use(executor, "echo", {"text": "a"}, allowed=()))[1] == "There is no such tool; there are: none."


def test_a_name_that_an_agents_config_has_and_nobody_knows_is_no_tool(executor: ToolExecutor) -> None:
    """A tool may be taken out of a deployment while agents still name it."""
    assert failure(use(executor, "old_tool", allowed={"old_tool", "echo"}))[1].endswith("there are: echo.")


# -- parameters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, "text: Field required"),
        ({"text": 7}, "text: Input should be a valid string"),
        ({"text": None}, "text: Input should be a valid string"),
        ({"text": "a", "times": "3"}, "times: Input should be a valid integer"),
        ({"text": "a", "times": True}, "times: Input should be a valid integer"),
        ({"text": "a", "times": 1.0}, "times: Input should be a valid integer"),
        ({"text": "a", "times": 0}, "times: Input should be greater than or equal to 1"),
        ({"text": "a", "more": 1}, "more: Extra inputs are not permitted"),
        ({"text": {"deep": [1]}}, "text: Input should be a valid string"),
    ],
)
def test_parameters_that_do_not_fit_are_told(executor: ToolExecutor, params: Any, told: str) -> None:
    code, detail = failure(use(executor, "echo", params))
    assert code == "invalid_arguments"
    assert told in detail


def test_a_mistake_does_not_repeat_the_input(executor: ToolExecutor) -> None:
    _, detail = failure(use(executor, "echo", {"text": ["a secret"], "times": "another"}))
    assert "secret" not in detail
    assert "another" not in detail


def test_of_many_mistakes_the_first_ones_are_told(executor: ToolExecutor) -> None:
    _, detail = failure(use(executor, "echo", {f"field{number}": 1 for number in range(100)}))
    assert len(detail.split(";")) == SHOWN_MISTAKES


def test_a_check_uses_nothing(executor: ToolExecutor) -> None:
    found, checked = executor.check("crash", {}, {"crash"})
    assert (found, checked) == (crash, Nothing())
    with pytest.raises(ToolError) as caught:
        executor.check("crash", {"x": 1}, {"crash"})
    assert caught.value.code is ToolErrorCode.INVALID_ARGUMENTS


# -- what goes wrong behind the door -----------------------------------------------------------------------------


def test_a_tools_own_error_is_told_as_it_is(executor: ToolExecutor) -> None:
    assert failure(use(executor, "refuse")) == ("quota_exceeded", "There is no room.")


@pytest.mark.parametrize("name", ["crash", "misbehave", "answer_oddly"])
def test_a_crash_is_told_without_its_reason_which_the_log_has(executor: ToolExecutor, name: str) -> None:
    with structlog.testing.capture_logs() as logs:
        code, detail = failure(use(executor, name))
    assert (code, detail) == ("internal_error", "The tool failed unexpectedly.")
    (crashed,) = [each for each in logs if each["event"] == "tool_crashed"]
    assert (crashed["tool"], crashed["task_id"], crashed["exc_info"]) == (name, str(CONTEXT.task_id), True)


@pytest.mark.parametrize("reason", [Cancelled(), DeadlineExceeded()])
def test_a_stop_passes_through_and_is_in_the_log(executor: ToolExecutor, reason: Any) -> None:
    def stop() -> None:
        raise Interrupted(reason)

    with structlog.testing.capture_logs() as logs, pytest.raises(Interrupted) as caught:
        use(executor, "watch", check=stop)
    assert caught.value.failure is reason
    assert [(each["event"], each["outcome"]) for each in logs] == [("tool_used", "cancelled")]


def test_an_output_up_to_the_limit_is_given_and_a_longer_one_is_not(executor: ToolExecutor) -> None:
    room = LIMIT - len(as_answer(use(executor, "echo", {"text": ""}).body["output"]).encode())
    fits = use(executor, "echo", {"text": "x", "times": room})
    assert len(as_answer(fits.body["output"])) == LIMIT
    code, detail = failure(use(executor, "echo", {"text": "x", "times": room + 1}))
    assert code == "too_large"
    assert detail == f"The result has {LIMIT + 1} bytes, at most {LIMIT} are returned: ask for less at once."


def test_an_output_is_counted_in_bytes(executor: ToolExecutor) -> None:
    room = LIMIT - len(as_answer(use(executor, "echo", {"text": ""}).body["output"]).encode())
    assert use(executor, "echo", {"text": "ä", "times": room // 2}).error_code is None
    assert use(executor, "echo", {"text": "ä", "times": room // 2 + 1}).error_code == "too_large"


# -- what is written down ----------------------------------------------------------------------------------------


def test_every_use_is_in_the_audit_log_without_what_was_said(executor: ToolExecutor) -> None:
    with structlog.testing.capture_logs() as logs:
        use(executor, "echo", {"text": "a secret"})
        use(executor, "refuse")
        use(executor, "no_such_tool")
    assert [(each["event"], each["tool"], each["outcome"]) for each in logs] == [
        ("tool_used", "echo", "ok"),
        ("tool_used", "refuse", "quota_exceeded"),
        ("tool_used", "no_such_tool", "unknown_tool"),
    ]
    for each in logs:
        assert {name: each[name] for name in ("user_id", "project_id", "run_id", "task_id", "agent_id")} == {
            name: str(getattr(CONTEXT, name)) for name in ("user_id", "project_id", "run_id", "task_id", "agent_id")
        }
        assert "secret" not in str(each)


def test_a_name_that_a_model_made_up_is_no_label_of_a_metric(executor: ToolExecutor) -> None:
    before = TOOL_CALLS.labels("unknown", "unknown_tool")._value.get()
    for number in range(3):
        use(executor, f"made_up_{number}")
    assert TOOL_CALLS.labels("unknown", "unknown_tool")._value.get() == before + 3
    labels = {sample.labels["tool"] for metric in TOOL_CALLS.collect() for sample in metric.samples}
    assert not any(label.startswith("made_up") for label in labels)
