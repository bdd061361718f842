"""How an orchestrated run stands by its tasks, and its end where the closing task does not come to it.

The run is locked after the tasks that moved, so that of two which move at the same moment the second sees what became
of the first.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Json, Run, Task, utc_now
from models.statuses import CancelReason, RunStatus, TaskStatus
from workspace.cancellation import end_status, failure_of
from workspace.errors import CodelabError
from workspace.events import Failure
from workspace.ledger import release_next
from workspace.names import ORCHESTRATOR, WorkspaceKey
from workspace.plans.ended import EndedPlan
from workspace.plans.outcome import WITHOUT_RESULT, ended_as, is_planned, outcome_of, usage_of
from workspace.plans.rows import tasks_of

_MOVING = frozenset({TaskStatus.HELD, TaskStatus.QUEUED, TaskStatus.RUNNING})
"""Statuses of tasks that go on without anybody's answer."""


def stand(session: Session, key: WorkspaceKey, run_id: UUID) -> EndedPlan | None:
    """Write how an orchestrated run stands by its tasks; if none of them can go on, it ends here.

    To be called with each task that moves, at last: the lock of the run makes that of two tasks which move at the same
    moment the second sees what became of the first.

    Returns:
        The run, if it ended here.
    """
    run = session.scalars(
        select(Run)
        .where(Run.id == run_id, Run.finished_at.is_(None))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if run is None:
        return None
    tasks = tasks_of(session, run_id)
    if all(task.status.is_final for task in tasks):
        return _end(session, key, run, tasks)
    status = _standing(tasks)
    # A run is `planning` until its plan is launched, unless it waits for the answer of its owner.
    if run.status is not status and (run.status is not RunStatus.PLANNING or status is RunStatus.WAITING):
        run.status.check_move(status)
        run.status = status
        session.flush()
    return None


def _standing(tasks: Sequence[Task]) -> RunStatus:
    ended = {task.id for task in tasks if task.status.is_final}
    moves = any(
        task.status in _MOVING or (task.status is TaskStatus.PENDING and ended.issuperset(task.depends_on))
        for task in tasks
    )
    waits = any(task.status is TaskStatus.WAITING for task in tasks)
    return RunStatus.WAITING if waits and not moves else RunStatus.RUNNING


def _end(session: Session, key: WorkspaceKey, run: Run, tasks: Sequence[Task]) -> EndedPlan:
    status, error = ending(run.cancel_reason, tasks)
    usage = usage_of(tasks)
    outcome = outcome_of(run, tasks)
    run.status, run.finished_at = status, utc_now()
    run.error, run.usage = error, usage.model_dump(mode="json")
    run.outcome = outcome.model_dump(mode="json") if outcome else None
    session.flush()
    return EndedPlan(
        run_id=run.id,
        session_id=run.session_id,
        status=status,
        usage=usage,
        error=Failure.model_validate(error) if error else None,
        outcome=outcome,
        next_task=release_next(session, key, run.session_id),
    )


def ending(reason: CancelReason | None, tasks: Sequence[Task]) -> tuple[RunStatus, Json | None]:
    """Return how a run ends whose closing task did not end it, and why.

    One whose end was asked for has what was asked for. Without a plan, or without its closing task, it has no answer,
    and failed. Else it is what came of the tasks that agents did.
    """
    errors = [task.error for task in tasks if task.status in WITHOUT_RESULT and task.error]
    own = [task.error for task in tasks if task.agent_name == ORCHESTRATOR and task.status is TaskStatus.FAILED]
    if reason is not None:
        return end_status(reason)[1], Failure.of(failure_of(reason)).model_dump(mode="json")
    if own:
        return RunStatus.FAILED, _first(own)
    status = ended_as({task.status for task in tasks if is_planned(task)})
    return status, None if status in {RunStatus.COMPLETED, RunStatus.PARTIAL} else _first(errors)


def _first(errors: Sequence[Mapping[str, object] | None]) -> Json:
    for error in errors:
        if error:
            return dict(error)
    return Failure(error_code=CodelabError.code, detail="The plan ended without an answer.").model_dump(mode="json")
