"""A task that is stopped among its tools: what was done stays done, what was cut off is unknown, the rest goes on."""

import time
from collections.abc import Callable

import pytest

from models.statuses import CancelReason, RunStatus, TaskStatus, ToolCallStatus
from tests.integration.core.tool_calls.lone_node import LoneNode, Slot
from tests.integration.core.tool_calls.notes import Notes, remember
from tests.integration.core.world import HOST
from workspace.errors import Cancelled, RunFailure, WorkerShutdown
from workspace.ledger import Host
from workspace.tools.registry import ToolUse

pytestmark = pytest.mark.stack


@pytest.fixture
def notes(lone: LoneNode) -> Notes:
    notes = Notes()
    lone.use_tools(notes.tool())
    return notes


THREE = "".join(map(remember, ("one", "two", "three"))) + "[then][say=done]"


def stop(slot: Slot, reason: RunFailure) -> Callable[[ToolUse], None]:
    """Stop the slot's task in the middle of a tool that looks at the clock."""

    def look(use: ToolUse) -> None:
        slot.stop.stop(reason)
        use.clock.check()

    return look


def statuses(node: LoneNode) -> list[ToolCallStatus]:
    return [call.status for call in node.calls()]


def codes(node: LoneNode) -> list[str | None]:
    return [call.result["error"]["code"] if call.result and not call.result["ok"] else None for call in node.calls()]


REQUESTED, SUCCEEDED = ToolCallStatus.REQUESTED, ToolCallStatus.SUCCEEDED
FAILED, UNKNOWN = ToolCallStatus.FAILED, ToolCallStatus.UNKNOWN


def test_a_shutdown_between_two_tools_hands_the_task_over(lone: LoneNode, notes: Notes) -> None:
    slot = Slot()
    notes.at["one"] = lambda _: slot.stop.stop(WorkerShutdown())  # a tool that is quick does not look
    accepted = lone.say(THREE)
    lone.deliver(lone.outgoing.tasks.pop(), slot)
    assert (lone.task().status, lone.world.run(accepted.run_id).status) == (TaskStatus.QUEUED, RunStatus.QUEUED)
    assert statuses(lone) == [SUCCEEDED, REQUESTED, REQUESTED]
    assert lone.outgoing.tasks == [accepted.task_id], "it is sent again"
    lone.start_anew()
    lone.use_tools(notes.tool())
    lone.work()
    assert notes.kept == ["one", "two", "three"]
    assert lone.world.run(accepted.run_id).status is RunStatus.COMPLETED
    assert lone.world.messages()[-1].content == "done"
    assert len(lone.turns()) == 1
    assert lone.task().attempts == 2


def test_a_shutdown_as_a_parked_task_comes_back_hands_it_over_again(lone: LoneNode) -> None:
    accepted = lone.answered('[tool=write_file {"path": "a.txt", "content": "x"}][then][say=done]')
    (approval,) = lone.approvals()
    lone.decide(approval.id)
    slot = Slot()
    slot.stop.stop(WorkerShutdown())
    lone.deliver(lone.outgoing.tasks.pop(), slot)
    assert lone.task().status is TaskStatus.QUEUED
    lone.work()
    assert lone.world.run(accepted.run_id).status is RunStatus.COMPLETED
    assert lone.written("a.txt") == "x"


def test_a_shutdown_inside_a_tool_fails_the_task_and_nobody_knows_what_became_of_it(
    lone: LoneNode, notes: Notes
) -> None:
    slot = Slot()
    notes.at["two"] = stop(slot, WorkerShutdown())
    accepted = lone.say(THREE)
    lone.deliver(lone.outgoing.tasks.pop(), slot)
    run = lone.world.run(accepted.run_id)
    assert (run.status, lone.task().status) == (RunStatus.FAILED, TaskStatus.FAILED)
    assert run.error is not None
    assert run.error["error_code"] == "worker_shutdown"
    assert statuses(lone) == [SUCCEEDED, UNKNOWN, FAILED]
    assert codes(lone) == [None, "outcome_unknown", "cancelled"]
    assert lone.outgoing.tasks == []
    assert notes.kept == ["one", "two"]


def test_a_cancel_inside_a_tool_ends_the_run_and_keeps_what_was_said(lone: LoneNode, notes: Notes) -> None:
    slot = Slot()
    notes.at["two"] = stop(slot, Cancelled())
    accepted = lone.say(f"[say=first this]{remember('one')}[then][say=then that]{remember('two')}")
    lone.deliver(lone.outgoing.tasks.pop(), slot)
    assert lone.world.run(accepted.run_id).status is RunStatus.CANCELLED
    assert statuses(lone) == [SUCCEEDED, UNKNOWN]
    assert lone.world.messages()[-1].content == "first this\n\nthen that"


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (CancelReason.REQUESTED, RunStatus.CANCELLED, "cancelled"),
        (CancelReason.INTERRUPTED, RunStatus.CANCELLED, "cancelled"),
        (CancelReason.TOO_OLD, RunStatus.FAILED, "deadline_exceeded"),
    ],
)
def test_a_task_whose_end_was_asked_for_does_not_begin_to_wait(
    lone: LoneNode, notes: Notes, reason: CancelReason, status: RunStatus, code: str
) -> None:
    """Nobody would look at it again before its question is answered."""
    accepted = lone.say(remember("one") + '[tool=write_file {"path": "a", "content": "x"}]')
    notes.at["one"] = lambda _: lone.cancel(accepted.run_id, reason)
    lone.work()
    run = lone.world.run(accepted.run_id)
    assert run.status is status
    assert run.error is not None
    assert run.error["error_code"] == code
    assert statuses(lone) == [SUCCEEDED, FAILED]
    assert [each.status.value for each in lone.approvals()] == ["cancelled"]


def test_a_tool_that_works_beyond_the_deadline_is_stopped(lone: LoneNode, notes: Notes) -> None:
    def work(use: ToolUse) -> None:
        while True:
            use.clock.check()
            time.sleep(0.01)

    lone.world.change_agent(
        config={"name": "helper", "tools": ["remember"], "limits": {"timeout_seconds": 1}}, version=2
    )
    notes.at["one"] = work
    accepted = lone.answered(THREE)
    run = lone.world.run(accepted.run_id)
    assert run.error is not None
    assert (run.status, run.error["error_code"]) == (RunStatus.FAILED, "deadline_exceeded")
    assert statuses(lone) == [UNKNOWN, FAILED, FAILED]


def test_what_was_running_when_its_node_was_lost_is_told_as_unknown_and_not_done_again(
    lone: LoneNode, notes: Notes
) -> None:
    slot = Slot()
    notes.at["two"] = lambda _: slot.stop.stop(WorkerShutdown())
    accepted = lone.say(f"{THREE.removesuffix('done]')}{{result}}]")
    lone.deliver(lone.outgoing.tasks.pop(), slot)
    lone.change_call(lone.calls()[2].id, status=ToolCallStatus.RUNNING)
    lone.work()
    assert notes.kept == ["one", "two"]
    assert codes(lone) == [None, None, "outcome_unknown"]
    answer = lone.world.messages()[-1].content
    assert '"kept":1' in answer
    assert '"kept":2' in answer
    assert "Look before you do it again." in answer
    assert lone.world.run(accepted.run_id).status is RunStatus.COMPLETED


@pytest.mark.parametrize("what", ["the workspace", "the task"])
def test_a_node_that_lost_its_task_while_a_tool_worked_writes_nothing_more(
    lone: LoneNode, notes: Notes, what: str
) -> None:
    def lose(_: ToolUse) -> None:
        if what == "the workspace":
            lone.world.change_workspace(node_id="another", epoch=2)
        else:
            lone.world.change_task(lone.task().id, epoch=2)

    notes.at["two"] = lose
    accepted = lone.answered(THREE)
    assert statuses(lone) == [SUCCEEDED, ToolCallStatus.RUNNING, REQUESTED]
    assert notes.kept == ["one", "two"], "it takes up nothing else"
    assert lone.world.run(accepted.run_id).status is RunStatus.RUNNING
    assert len(lone.told("tool_result")) == 1


def test_a_message_that_is_delivered_twice_uses_each_tool_once(lone: LoneNode, notes: Notes) -> None:
    accepted = lone.say(THREE)
    assert lone.deliver(accepted.task_id)
    assert not lone.deliver(accepted.task_id)
    assert notes.kept == ["one", "two", "three"]
    assert not lone.deliver(accepted.task_id, host=Host(HOST.node_id, HOST.epoch + 1))


def test_what_a_stop_found_open_is_told_with_the_end(lone: LoneNode, notes: Notes) -> None:
    """An approval of the same turn is closed, and its owner hears so."""
    lone.world.change_agent(config={"name": "helper", "tools": ["remember", "write_file"]}, version=2)
    slot = Slot()
    notes.at["one"] = stop(slot, Cancelled())
    lone.say('[tool=write_file {"path": "a", "content": "x"}]' + remember("one"))
    lone.deliver(lone.outgoing.tasks.pop(), slot)
    (approval,) = lone.approvals()
    assert approval.status.value == "cancelled"
    (told,) = lone.told("approval_resolved")
    assert told["payload"]["approval_id"] == str(approval.id)
    assert told["payload"]["status"] == "cancelled"
    assert [event["event_type"] for event in lone.told()][-1] in {"run_cancelled", "agent_status_changed"}
