"""The answer to a commit is lost, at each commit of a tool's way: what went through is done once, and the run ends."""

import json

import pytest

from models.statuses import ApprovalStatus, RunStatus, TaskStatus, ToolCallStatus, ToolExecution
from tests.integration.core.tool_calls.lone_node import LoneNode
from tests.support.lost_answers import LostAnswers
from workspace.intake import Accepted

pytestmark = pytest.mark.stack


def writing(name: str = "log.txt", text: str = "once\\n") -> str:
    """A call of which a file tells how often it was carried out."""
    return f'[tool=write_file {{"path": "{name}", "content": "{text}", "mode": "append"}}]'


def completed(node: LoneNode, accepted: Accepted, text: str = "done") -> None:
    assert node.world.run(accepted.run_id).status is RunStatus.COMPLETED
    assert node.task().status is TaskStatus.COMPLETED
    assert [message.content for message in node.world.messages()][1:] == [text]


STATEMENTS = {
    "the turn is written": b"INSERT INTO task_turns",
    "the call begins": b"UPDATE tool_calls SET status='running'",
    "the call ends": b"UPDATE tool_calls SET status='succeeded'",
    "the task is parked": b"UPDATE tasks SET status='waiting'",
    "the past is read": b"FROM task_turns",
}


@pytest.mark.parametrize("when", STATEMENTS)
def test_nothing_is_doubled_and_the_run_completes(lossy_node: LoneNode, lossy: LostAnswers, when: str) -> None:
    node = lossy_node
    lossy.lose_commit_of(STATEMENTS[when])
    accepted = node.answered(f"{writing()}[tool=list_directory][then][say=done]")
    assert node.task().status is TaskStatus.WAITING
    (approval,) = node.approvals()
    node.decide(approval.id)
    node.work()
    assert lossy.lost.is_set(), "no such commit went by"
    completed(node, accepted)
    assert node.written("log.txt") == "once\n"
    assert [(call.tool, call.status) for call in node.calls()] == [
        ("write_file", ToolCallStatus.SUCCEEDED),
        ("list_directory", ToolCallStatus.SUCCEEDED),
    ]
    assert [turn.number for turn in node.turns()] == [1]
    assert [each.status for each in node.approvals()] == [ApprovalStatus.APPROVED]
    assert len(node.told("approval_required")) == 1
    results = [event["payload"]["tool_call_id"] for event in node.told("tool_result")]
    assert sorted(results) == sorted(str(call.id) for call in node.calls())
    assert len(node.told("run_completed")) == 1


CLIENT_STATEMENTS = {
    "the turn is written": b"INSERT INTO task_turns",
    "the client is asked": b"UPDATE tool_calls SET status='running'",
    "the task is parked": b"UPDATE tasks SET status='waiting'",
}


@pytest.mark.parametrize("when", CLIENT_STATEMENTS)
def test_the_client_is_asked_once_and_its_answer_counts(lossy_node: LoneNode, lossy: LostAnswers, when: str) -> None:
    node = lossy_node
    node.use_client()
    lossy.lose_commit_of(CLIENT_STATEMENTS[when])
    accepted = node.answered('[tool=read_file {"path": "a"}][then][say=it says {result.output.content}]')
    assert lossy.lost.is_set()
    assert node.task().status is TaskStatus.WAITING
    call = node.call()
    assert (call.status, call.execution) == (ToolCallStatus.RUNNING, ToolExecution.CLIENT)
    assert [event["payload"]["tool_call_id"] for event in node.told("tool_request")] == [str(call.id)]
    node.answer(call.id, {"content": "hello"})
    node.work()
    completed(node, accepted, "it says hello")


def test_a_call_that_may_not_run_any_more_is_told_so_once(lossy_node: LoneNode, lossy: LostAnswers) -> None:
    """What it is was changed between the approval and its start, and the answer to its end is lost."""
    node = lossy_node
    accepted = node.answered(f"{writing()}[then][say={{result.error.code}}]")
    (approval,) = node.approvals()
    node.decide(approval.id)
    changed = {"path": "another.txt", "content": "x"}
    with node.world.database.system_session("a test forges") as session:
        call = session.get_one(type(node.call()), node.call().id)
        call.arguments = changed
        session.commit()
    lossy.lose_commit_of(b"UPDATE tool_calls SET status='failed'")
    node.work()
    assert lossy.lost.is_set()
    completed(node, accepted, "arguments_changed")
    assert node.written("another.txt") is None
    assert json.loads(json.dumps(node.call().result))["error"]["code"] == "arguments_changed"
