"""The end of a run is told as what it is, in both modes."""

from uuid import uuid4

import pytest

from models.statuses import RunMode, RunStatus
from workspace.errors import ErrorCode
from workspace.events import Failure, RunCancelled, RunCompleted, RunFailed, Usage
from workspace.terminal_event import terminal_event

USED = Usage(prompt_tokens=2, completion_tokens=1, total_tokens=3)
ERROR = Failure(error_code=ErrorCode.MODEL_ERROR, detail="It refused.")


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.PARTIAL])
def test_a_run_with_an_answer_is_told_with_it(status: RunStatus) -> None:
    answer = uuid4()

    event = terminal_event(RunMode.ORCHESTRATED, status, error=None, usage=USED, outcome=None, message_id=answer)

    assert event == RunCompleted(mode=RunMode.ORCHESTRATED, message_id=answer, usage=USED, status=status, outcome=None)


@pytest.mark.parametrize(("status", "kind"), [(RunStatus.FAILED, RunFailed), (RunStatus.CANCELLED, RunCancelled)])
def test_a_run_without_an_answer_is_told_with_its_reason(
    status: RunStatus, kind: type[RunFailed | RunCancelled]
) -> None:
    event = terminal_event(RunMode.DIRECT, status, error=ERROR, usage=USED, outcome=None)

    assert event == kind(mode=RunMode.DIRECT, error=ERROR, outcome=None)


def test_a_run_whose_row_has_no_reason_is_told_all_the_same() -> None:
    event = terminal_event(RunMode.DIRECT, RunStatus.FAILED, error=None, usage=USED, outcome=None)

    assert isinstance(event, RunFailed)
    assert event.error.error_code is ErrorCode.INTERNAL_ERROR
