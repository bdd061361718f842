"""The end of an orchestrated run by one of the orchestrator's own tasks, in one transaction."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import Json, Message, Run, Task, new_id, utc_now
from models.statuses import MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from workspace.approvals.closing import ClosedApproval, close_tasks
from workspace.errors import Cancelled, RunFailure
from workspace.events import (
    Failure,
    MessageCreated,
    Payload,
    TaskCompleted,
    TaskFailed,
    TaskProgress,
    Usage,
)
from workspace.ledger import QueuedTask, StartedTask, release_next
from workspace.names import ORCHESTRATOR
from workspace.own_task import is_own
from workspace.plans.outcome import outcome_of, usage_of
from workspace.plans.rows import tasks_of
from workspace.plans.view import PlanOutcome, PlanView
from workspace.terminal_event import terminal_event


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How a task of the orchestrator ends its run."""

    task: TaskStatus
    run: RunStatus
    text: str | None = None
    """The reply; `None`: there is none."""
    failure: Failure | None = None
    usage: Usage | None = None
    """Of the task; `None`: its row has it already."""
    unsent: TaskProgress | None = None
    """The last piece of a text that was streamed, which was not due before the end."""

    @classmethod
    def of_failure(cls, failure: RunFailure, *, cancelled: bool = False) -> "RunEnd":
        """Return the end of a run that has no answer.

        Args:
            failure: why.
            cancelled: whether it is no failure but somebody's will.
        """
        if cancelled or isinstance(failure, Cancelled):
            return cls(task=TaskStatus.CANCELLED, run=RunStatus.CANCELLED, failure=Failure.of(failure))
        return cls(task=TaskStatus.FAILED, run=RunStatus.FAILED, failure=Failure.of(failure))


class Ended(NamedTuple):
    """What was written."""

    end: RunEnd
    message_id: UUID | None
    usage: Usage
    """Of the run."""
    plan: PlanView | None
    outcome: PlanOutcome | None
    """What became of the plan, if it was launched."""
    closed: tuple[ClosedApproval, ...]
    next_task: QueuedTask | None

    def events(self, task: StartedTask) -> list[Payload]:
        """Return what the session is told, in its order."""
        told: list[Payload] = [approval.event() for approval in self.closed]
        if self.end.unsent:
            told.append(self.end.unsent)
        told += self._of_task(task)
        if self.message_id is not None and self.end.text is not None:
            told.append(
                MessageCreated(
                    message_id=self.message_id,
                    role=MessageRole.ASSISTANT,
                    content=self.end.text,
                    agent_id=None,
                    agent_name=ORCHESTRATOR,
                )
            )
        return [*told, self._of_run()]

    def _of_task(self, task: StartedTask) -> list[Payload]:
        if self.end.task is TaskStatus.COMPLETED:
            return [completed(task, self.end.usage or Usage())]
        if self.end.task is TaskStatus.FAILED and self.end.failure is not None:
            return [TaskFailed(agent_id=None, agent_name=ORCHESTRATOR, error=self.end.failure)]
        return []

    def _of_run(self) -> Payload:
        return terminal_event(
            RunMode.ORCHESTRATED,
            self.end.run,
            error=self.end.failure,
            usage=self.usage,
            outcome=self.outcome,
            message_id=self.message_id,
        )


def completed(task: StartedTask, usage: Usage) -> TaskCompleted:
    """Return the event that tells that a task of the orchestrator is done."""
    seconds = (utc_now() - task.started_at).total_seconds()
    return TaskCompleted(agent_id=None, agent_name=ORCHESTRATOR, usage=usage, duration_seconds=seconds)


class RunEnds:
    """Writes ends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, task: StartedTask, end: RunEnd) -> Ended | None:
        """Write the task's and the run's end with its answer and what became of its plan; release the session's next.

        Returns:
            What was written, or `None` if the task is no longer this node's: then nothing was.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            if not _end_task(session, task, end):
                return None
            closed = tuple(close_tasks(session, [task.id])) if end.failure else ()
            # Everything of the plan has ended, so what is read here does not move any more.
            run = session.scalars(
                select(Run).where(Run.id == task.run_id, Run.finished_at.is_(None)).with_for_update(key_share=True)
            ).one_or_none()
            if run is None:
                return None
            usage, outcome = _end_run(session, run, end)
            plan = PlanView.model_validate(run.plan) if run.plan is not None else None
            message_id = _reply(session, task, end.text) if end.text is not None else None
            session.flush()
            next_task = release_next(session, task.key, task.session_id)
            session.commit()
        return Ended(end, message_id, usage, plan, outcome, closed, next_task)


def _end_task(session: Session, task: StartedTask, end: RunEnd) -> bool:
    now = utc_now()
    values: Json = {
        "status": end.task,
        "finished_at": now,
        # Agents remember what they did themselves.
        "remembered_at": now,
        "error": _json(end.failure),
    }
    if end.usage is not None:
        values["usage"] = end.usage.model_dump(mode="json")
    ended = session.scalar(
        update(Task)
        .where(Task.id == task.id, is_own(task))
        .values(**values)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return ended is not None


def _end_run(session: Session, run: Run, end: RunEnd) -> tuple[Usage, PlanOutcome | None]:
    tasks = tasks_of(session, run.id)
    usage, outcome = usage_of(tasks), outcome_of(run, tasks)
    run.status.check_move(end.run)
    run.status, run.finished_at = end.run, utc_now()
    run.usage, run.error = usage.model_dump(mode="json"), _json(end.failure)
    # Of a plan that was never launched nothing became.
    launched = outcome if outcome is not None and outcome.tasks else None
    run.outcome = launched.model_dump(mode="json") if launched else None
    return usage, launched


def _reply(session: Session, task: StartedTask, text: str) -> UUID:
    message = Message(
        id=new_id(),
        project_id=task.key.project_id,
        session_id=task.session_id,
        run_id=task.run_id,
        role=MessageRole.ASSISTANT,
        content=text,
        agent_id=None,
        agent_name=ORCHESTRATOR,
    )
    session.add(message)
    return message.id


def _json(failure: Failure | None) -> Json | None:
    return failure.model_dump(mode="json") if failure else None
