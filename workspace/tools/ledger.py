"""The ledger of a task's tool calls: each moves `requested -> running -> result` once, by the node that has the task.

Every write here locks the task first and checks that it is still this node's: a node that lost the workspace changes
nothing, and hears so by `Interrupted`.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import ApprovalRequest, Json, Run, Task, TaskTurn, ToolCall, utc_now
from models.statuses import ApprovalStatus, RunStatus, TaskStatus, ToolCallStatus, ToolExecution
from models.tenancy import Database
from workspace.cancellation import failure_of
from workspace.errors import WorkerLost
from workspace.events import Usage
from workspace.interruptible import Interrupted
from workspace.ledger import StartedTask
from workspace.ledger_statements import CANCEL_REASON
from workspace.own_task import is_own
from workspace.plans.standing import stand
from workspace.tools.digest import digest
from workspace.tools.errors import ToolErrorCode
from workspace.tools.results import ToolResult
from workspace.tools.transcript import WaitReason, Waits
from workspace.usage import NO_USAGE, total

_BEGINS = (ToolCallStatus.REQUESTED, ToolCallStatus.RUNNING)
_LOST = ToolResult.failure(
    ToolErrorCode.OUTCOME_UNKNOWN, "The node was lost in the middle of this. Look before you do it again."
)
_CHANGED = ToolResult.failure(
    ToolErrorCode.ARGUMENTS_CHANGED, "This is not what was approved, so it was not carried out."
)


class Past(NamedTuple):
    """What the rows have of a task's turns, oldest first."""

    turns: Sequence[TaskTurn]
    calls: Sequence[ToolCall]
    """In the order of their turns, and of the calls in each."""


class SoFar(NamedTuple):
    """What a task said and used in its turns until now."""

    text: str
    usage: Usage


class TurnRows(NamedTuple):
    """A new turn."""

    turn: TaskTurn
    calls: Sequence[ToolCall]
    approvals: Sequence[ApprovalRequest]


class ToolLedger:
    """Moves the tool calls of tasks that this node works on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def past(self, task: StartedTask) -> Past:
        """Return the turns before this start; what was in the middle of running then has an unknown outcome."""
        with self._database.tenant_session(task.key.user_id) as session:
            _lock_own(session, task)
            turns = session.scalars(select(TaskTurn).where(TaskTurn.task_id == task.id).order_by(TaskTurn.number)).all()
            calls = session.scalars(
                select(ToolCall).where(ToolCall.task_id == task.id).order_by(ToolCall.turn, ToolCall.position)
            ).all()
            for call in calls:
                if call.status is ToolCallStatus.RUNNING and call.execution is ToolExecution.SERVER:
                    _end(call, _LOST)
            session.commit()
        return Past(turns, calls)

    def so_far(self, task: StartedTask) -> SoFar:
        """Return what a task said and used in its turns with tools, those of earlier starts included."""
        with self._database.tenant_session(task.key.user_id) as session:
            turns = session.scalars(select(TaskTurn).where(TaskTurn.task_id == task.id).order_by(TaskTurn.number)).all()
        usage = NO_USAGE
        for turn in turns:
            usage = total(usage, Usage.model_validate(turn.usage))
        return SoFar("\n\n".join(turn.said for turn in turns if turn.said), usage)

    def open_turn(
        self,
        task: StartedTask,
        turn_id: UUID,
        make: Callable[[Session], TurnRows],
        *,
        recalled: Json | None = None,
    ) -> None:
        """Write a turn with its calls and what is asked of the owner, all or nothing; once, however often it is tried.

        Args:
            turn_id: of the turn.
            make: makes the rows, within the transaction.
            recalled: what the model was shown of the agent's memory: with the first turn it has to be kept.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            _lock_own(session, task)
            if session.scalar(select(TaskTurn.id).where(TaskTurn.id == turn_id)) is not None:
                return  # the answer to the commit before was lost
            rows = make(session)
            session.add(rows.turn)
            session.add_all(rows.calls)
            session.flush()
            session.add_all(rows.approvals)
            if recalled is not None:
                session.execute(
                    update(Task)
                    .where(Task.id == task.id)
                    .values(recalled=recalled)
                    .execution_options(synchronize_session=False)
                )
            session.commit()

    def turn(self, task: StartedTask, number: int) -> list[ToolCall]:
        """Return the calls of a turn in their order."""
        with self._database.tenant_session(task.key.user_id) as session:
            return _calls(session, task, number)

    def begin(
        self,
        task: StartedTask,
        call_id: UUID,
        *,
        again: bool,
        permitted: Callable[[Session, ToolCall], bool],
        client_timeout: float,
    ) -> ToolCall | None:
        """Move a call `requested -> running`, if it is still what was allowed.

        Args:
            again: whether the answer to a try before this one was lost: it may have gone through.
            permitted: whether the call, as the row has it now, needs no yes or has it.
            client_timeout: seconds that the owner's client gets, where it carries the tool out.

        Returns:
            The call: running, or ended because it may not run; `None` if it is not `requested` any more.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            _lock_own(session, task)
            call = session.scalars(
                select(ToolCall).where(
                    ToolCall.id == call_id, ToolCall.task_id == task.id, ToolCall.status.in_(_BEGINS)
                )
            ).one_or_none()
            if call is None or (call.status is ToolCallStatus.RUNNING and not again):
                return None
            if call.status is ToolCallStatus.RUNNING:
                return call
            _check_wanted(session, task)
            now = utc_now()
            if digest(call.tool, call.arguments) != call.digest or not permitted(session, call):
                _end(call, _CHANGED)
            else:
                call.status, call.started_at = ToolCallStatus.RUNNING, now
                if call.execution is ToolExecution.CLIENT:
                    call.expires_at = now + timedelta(seconds=client_timeout)
            session.commit()
        return call

    def finish(self, task: StartedTask, call_id: UUID, result: ToolResult) -> ToolCall:
        """Write the result of a call that this node carried out."""
        with self._database.tenant_session(task.key.user_id) as session:
            _lock_own(session, task)
            call = session.scalars(select(ToolCall).where(ToolCall.id == call_id, ToolCall.task_id == task.id)).one()
            if call.status is ToolCallStatus.RUNNING:
                _end(call, result)
            session.commit()
        return call

    def park(self, task: StartedTask, number: int, usage: Usage) -> Waits | None:
        """Let the task wait, if a call of its turn is open and none may run.

        An answer that came before this is seen here; one that comes after it finds the task parked. So it is with a
        request to end its run, which nobody would tell a node of that holds nothing of it.

        Returns:
            What it waits for now; `None`: there is something to do, or nothing is open any more.

        Raises:
            Interrupted: the end of its run was asked for.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            _lock_own(session, task)
            _check_wanted(session, task)
            open_calls = [call for call in _calls(session, task, number) if not call.status.is_final]
            if not open_calls or any(call.status is ToolCallStatus.REQUESTED for call in open_calls):
                return None
            session.execute(
                update(Task)
                .where(Task.id == task.id)
                .values(
                    status=TaskStatus.WAITING,
                    node_id=None,
                    epoch=None,
                    ran_seconds=task.running_seconds(),
                    usage=usage.model_dump(mode="json"),
                )
                .execution_options(synchronize_session=False)
            )
            if task.plan_task_id is not None:
                stand(session, task.key, task.run_id)
            else:
                session.execute(
                    update(Run)
                    .where(Run.id == task.run_id, Run.status == RunStatus.RUNNING)
                    .values(status=RunStatus.WAITING)
                    .execution_options(synchronize_session=False)
                )
            session.commit()
        return _waits(open_calls)


def _waits(calls: Sequence[ToolCall]) -> Waits:
    asked = [call for call in calls if call.status is ToolCallStatus.AWAITING_APPROVAL]
    if asked:
        return Waits(WaitReason.APPROVAL, f"Waits for its owner's answer to {_named(asked)}.")
    return Waits(WaitReason.CLIENT_TOOL, f"Waits for its owner's client to carry out {_named(calls)}.")


def _named(calls: Sequence[ToolCall]) -> str:
    return ", ".join(sorted({call.tool for call in calls}))


def approved(session: Session, call: ToolCall) -> bool:
    """Return whether the owner said yes to exactly this call."""
    found = session.scalar(
        select(ApprovalRequest.id).where(
            ApprovalRequest.tool_call_id == call.id,
            ApprovalRequest.status == ApprovalStatus.APPROVED,
            ApprovalRequest.digest == digest(call.tool, call.arguments),
        )
    )
    return found is not None


def used_ids(calls: Collection[ToolCall]) -> frozenset[str]:
    """Return the call ids that a task has used."""
    return frozenset(call.call_id for call in calls)


def _lock_own(session: Session, task: StartedTask) -> None:
    """Lock a task that this node works on.

    Raises:
        Interrupted: it is not this node's any more.
    """
    found = session.scalar(select(Task.id).where(Task.id == task.id, is_own(task)).with_for_update(key_share=True))
    if found is None:
        raise Interrupted(WorkerLost())


def _check_wanted(session: Session, task: StartedTask) -> None:
    """Stop at a run whose end was asked for, whether this node has heard of that or not.

    No tool begins then, and the task does not wait, where nobody would end it. To be asked under the task's lock:
    whoever asks for the end later finds what was done here.

    Raises:
        Interrupted: its end was asked for.
    """
    reason = CANCEL_REASON.execute(session, {"run": task.run_id}).scalar_one_or_none()
    if reason is not None:
        raise Interrupted(failure_of(reason))


def _calls(session: Session, task: StartedTask, number: int) -> list[ToolCall]:
    query = select(ToolCall).where(ToolCall.task_id == task.id, ToolCall.turn == number).order_by(ToolCall.position)
    return list(session.scalars(query))


def _end(call: ToolCall, result: ToolResult) -> None:
    call.status.check_move(result.status)
    call.status, call.result, call.finished_at = result.status, result.body, utc_now()
