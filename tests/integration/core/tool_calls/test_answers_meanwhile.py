"""An answer that comes while the task still works on its turn is seen before it begins to wait."""

import pytest

from models.statuses import ApprovalStatus, Decision, RunStatus, TaskStatus, ToolCallStatus
from tests.integration.core.tool_calls.lone_node import LoneNode
from tests.integration.core.tool_calls.notes import Notes, remember
from workspace.intake import Accepted

pytestmark = pytest.mark.stack

WRITE = '[tool=write_file {"path": "log.txt", "content": "once\\n", "mode": "append"}]'
READ = '[tool=read_file {"path": "a"}]'


@pytest.fixture
def notes(lone: LoneNode) -> Notes:
    notes = Notes()
    lone.use_tools(notes.tool())
    return notes


def answered_at_once(lone: LoneNode, accepted: Accepted) -> None:
    """The run went through without a wait."""
    assert lone.world.run(accepted.run_id).status is RunStatus.COMPLETED
    assert (lone.task().status, lone.task().attempts) == (TaskStatus.COMPLETED, 1)
    assert lone.told("task_waiting") == []
    assert lone.outgoing.tasks == [], "nobody sends what never waited"


@pytest.mark.parametrize("decision", Decision)
def test_a_decision_in_the_middle_of_the_turn_counts_in_it(lone: LoneNode, notes: Notes, decision: Decision) -> None:
    notes.at["one"] = lambda _: lone.decide(lone.approvals(ApprovalStatus.PENDING)[0].id, decision)
    accepted = lone.answered(f"{remember('one')}{WRITE}[then][say=done]")
    answered_at_once(lone, accepted)
    approved = decision is Decision.APPROVE
    assert lone.calls()[1].status is (ToolCallStatus.SUCCEEDED if approved else ToolCallStatus.REJECTED)
    assert lone.written("log.txt") == ("once\n" if approved else None)


def test_an_answer_of_the_client_in_the_middle_of_the_turn_counts_in_it(lone: LoneNode, notes: Notes) -> None:
    lone.use_client()
    notes.at["one"] = lambda _: lone.answer(lone.calls()[0].id, {"x": "hello"}) and None
    accepted = lone.answered(f"{READ}{remember('one')}[then][say=done]")
    answered_at_once(lone, accepted)
    assert [call.status for call in lone.calls()] == [ToolCallStatus.SUCCEEDED] * 2
    assert len(lone.told("tool_request")) == 1


def test_silence_in_the_middle_of_the_turn_counts_in_it(lone: LoneNode, notes: Notes) -> None:
    """The sweeper declines the question while another tool of the turn works."""

    def be_late() -> None:
        lone.expire_approvals()
        lone.sweep()

    notes.at["one"] = lambda _: be_late()
    accepted = lone.answered(f"{remember('one')}{WRITE}[then][say={{result.error.code}}]")
    answered_at_once(lone, accepted)
    assert lone.calls()[1].status is ToolCallStatus.EXPIRED
    assert lone.world.messages()[-1].content == "approval_expired"


def test_a_call_that_its_owner_allowed_runs_although_another_one_still_waits(lone: LoneNode) -> None:
    """The task goes on for the one, and waits again for the other; the model hears of both together."""
    other = WRITE.replace("log.txt", "other.txt")
    accepted = lone.answered(f"{WRITE}{other}[then][say=done]")
    first, second = lone.approvals()
    lone.decide(first.id)
    assert lone.work() == 1
    assert (lone.written("log.txt"), lone.written("other.txt")) == ("once\n", None)
    assert lone.task().status is TaskStatus.WAITING
    assert [call.status for call in lone.calls()] == [ToolCallStatus.SUCCEEDED, ToolCallStatus.AWAITING_APPROVAL]
    lone.decide(second.id)
    lone.work()
    assert lone.world.run(accepted.run_id).status is RunStatus.COMPLETED
    assert lone.written("log.txt") == lone.written("other.txt") == "once\n"
    assert len(lone.turns()) == 1
