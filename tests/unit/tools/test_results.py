"""What came of a call: its status follows from its error, and the ledger may move there."""

import json

import pytest

from models.statuses import ToolCallStatus
from workspace.tools.errors import ToolError, ToolErrorCode
from workspace.tools.results import ToolResult, as_answer

REQUESTED, AWAITING, RUNNING = ToolCallStatus.active()


def test_a_success_has_its_output() -> None:
    result = ToolResult.success({"size": 7})
    assert result == ToolResult(ToolCallStatus.SUCCEEDED, {"ok": True, "output": {"size": 7}})
    assert (result.error_code, result.detail) == (None, None)


def test_a_failure_has_its_code_and_its_reason() -> None:
    result = ToolResult.of_error(ToolError(ToolErrorCode.NOT_FOUND, "There is no such file."))
    assert result.status is ToolCallStatus.FAILED
    assert result.body == {"ok": False, "error": {"code": "not_found", "detail": "There is no such file."}}
    assert (result.error_code, result.detail) == ("not_found", "There is no such file.")


OTHERS = {
    ToolErrorCode.REJECTED: ToolCallStatus.REJECTED,
    ToolErrorCode.ASKED_TOO_OFTEN: ToolCallStatus.REJECTED,
    ToolErrorCode.APPROVAL_EXPIRED: ToolCallStatus.EXPIRED,
    ToolErrorCode.CLIENT_TIMEOUT: ToolCallStatus.EXPIRED,
    ToolErrorCode.OUTCOME_UNKNOWN: ToolCallStatus.UNKNOWN,
}
BEFORE = {
    ToolErrorCode.REJECTED: AWAITING,
    ToolErrorCode.APPROVAL_EXPIRED: AWAITING,
    ToolErrorCode.ASKED_TOO_OFTEN: REQUESTED,
    ToolErrorCode.ARGUMENTS_CHANGED: REQUESTED,
}
"""Where a call is when it gets this result; with any other code it is running."""


@pytest.mark.parametrize("code", ToolErrorCode)
def test_each_error_ends_a_call_with_one_status(code: ToolErrorCode) -> None:
    result = ToolResult.failure(code, "why")
    assert result.status is OTHERS.get(code, ToolCallStatus.FAILED)
    assert result.status.is_final


@pytest.mark.parametrize("code", ToolErrorCode)
def test_each_result_may_follow_where_its_call_is_by_then(code: ToolErrorCode) -> None:
    BEFORE.get(code, RUNNING).check_move(ToolResult.failure(code, "why").status)


@pytest.mark.parametrize("status", ToolCallStatus.active())
def test_whatever_is_open_may_be_given_up_when_its_task_ends(status: ToolCallStatus) -> None:
    status.check_move(ToolResult.failure(ToolErrorCode.CANCELLED, "The task ended.").status)


def test_the_model_is_told_json_on_one_line_with_letters_as_they_are() -> None:
    body = {"ok": True, "output": {"text": 'ä"\n\U0001f600', "deep": [None, 1.5]}}
    answer = as_answer(body)
    assert json.loads(answer) == body
    assert "\n" not in answer
    assert "ä" in answer
    assert ": " not in answer
