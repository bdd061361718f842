"""The end of a run is asked for while its node works on it and has not heard of that yet."""

import pytest
from sqlalchemy import update

from models import Run, utc_now
from models.statuses import ApprovalStatus, CancelReason, RunStatus, TaskStatus, ToolCallStatus
from tests.integration.core.tool_calls.lone_node import LoneNode
from tests.integration.core.tool_calls.test_lost_commits import writing
from workspace.intake import Accepted

pytestmark = pytest.mark.stack


def worked_on_unheard(node: LoneNode, content: str, reason: CancelReason) -> Accepted:
    """Have a message worked on whose end is asked for in the rows alone: the notice to the node is on its way."""
    accepted = node.say(content)
    node.world._change(
        update(Run).where(Run.id == accepted.run_id).values(cancel_requested_at=utc_now(), cancel_reason=reason)
    )
    node.work()
    return accepted


ENDS = {
    CancelReason.REQUESTED: (TaskStatus.CANCELLED, RunStatus.CANCELLED),
    CancelReason.TOO_OLD: (TaskStatus.FAILED, RunStatus.FAILED),
}


@pytest.mark.parametrize("reason", ENDS)
def test_it_does_not_wait_for_its_owner(lone: LoneNode, reason: CancelReason) -> None:
    accepted = worked_on_unheard(lone, f"[say=I ask.]{writing()}[then][say=never]", reason)
    assert (lone.task().status, lone.world.run(accepted.run_id).status) == ENDS[reason]
    assert [each.status for each in lone.approvals()] == [ApprovalStatus.CANCELLED]
    assert lone.call().status is ToolCallStatus.FAILED


def test_it_does_not_wait_for_its_owners_client(lone: LoneNode) -> None:
    lone.use_client()
    accepted = worked_on_unheard(lone, '[tool=read_file {"path": "a"}][then][say=never]', CancelReason.REQUESTED)
    assert lone.world.run(accepted.run_id).status is RunStatus.CANCELLED
    assert lone.told("tool_request") == []


def test_it_begins_no_tool(lone: LoneNode) -> None:
    accepted = worked_on_unheard(lone, "[tool=list_directory][then][say=never]", CancelReason.REQUESTED)
    assert lone.world.run(accepted.run_id).status is RunStatus.CANCELLED
    call = lone.call()
    assert (call.status, call.started_at) == (ToolCallStatus.FAILED, None)
