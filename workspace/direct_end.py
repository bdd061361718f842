"""The end of a direct run: reply, task and run in one transaction, and the events that tell of it."""

from collections.abc import Callable
from uuid import UUID

from models.statuses import MessageRole, RunMode
from workspace.agent_bus import AgentBus
from workspace.announcements import Announcements
from workspace.errors import Cancelled
from workspace.events import (
    Failure,
    MessageCreated,
    Payload,
    RunCancelled,
    RunCompleted,
    RunFailed,
    TaskCompleted,
    TaskFailed,
)
from workspace.ledger import Ledger, Settled, StartedTask
from workspace.patience import patiently
from workspace.runner import Failed, Final
from workspace.task_end import Written, seconds_of


class DirectEnd:
    """Ends direct runs. Implements `workspace.task_end.TaskEnd`."""

    def __init__(self, ledger: Ledger, bus: AgentBus, announcements: Announcements) -> None:
        self._ledger = ledger
        self._bus = bus
        self._announcements = announcements

    def write(self, task: StartedTask, outcome: Final | Failed) -> Written | None:
        """Write the end of a task and of its run."""
        match outcome:
            case Final(text=text, usage=usage):
                return _written(
                    lambda: self._ledger.complete(task, text, usage), lambda it: _success(task, outcome, it)
                )
            case Failed(failure=Cancelled() as failure, text=text, usage=usage):
                told = Failure.of(failure)
                return _written(
                    lambda: self._ledger.cancel(task, told, usage, text=text),
                    lambda it: _cancellation(task, text, told, it),
                )
            case Failed(failure=failure, usage=usage):
                told = Failure.of(failure)
                return _written(lambda: self._ledger.fail(task, told, usage), lambda _: _failure(task, told))

    def after(self, task: StartedTask, written: Written, *, told: bool) -> None:
        """Send what the end released."""
        if told:
            self._announcements.add(task.run_id)
        # After its own end was told, so that a stream never shows the next run of a session before that.
        if written.next_task:
            next_task = written.next_task
            self._bus.send_task_to_agent(next_task.key, next_task.agent_name, next_task.id)


def _written(write: Callable[[], Settled | None], tell: Callable[[Settled], list[Payload]]) -> Written | None:
    settled = patiently(write)
    if settled is None:
        return None
    return Written(events=tell(settled), crowded=settled.crowded, closed=settled.closed, next_task=settled.next_task)


def _success(task: StartedTask, outcome: Final, settled: Settled) -> list[Payload]:
    if settled.message_id is None:
        return []
    unsent = [outcome.unsent] if outcome.unsent else []
    return [
        *unsent,
        TaskCompleted(
            agent_id=task.agent_id,
            agent_name=task.agent_name,
            usage=outcome.usage,
            duration_seconds=seconds_of(task),
        ),
        _message(task, settled.message_id, outcome.text),
        RunCompleted(mode=RunMode.DIRECT, message_id=settled.message_id, usage=outcome.usage),
    ]


def _cancellation(task: StartedTask, text: str, told: Failure, settled: Settled) -> list[Payload]:
    kept = [_message(task, settled.message_id, text)] if settled.message_id else []
    return [*kept, RunCancelled(mode=RunMode.DIRECT, error=told)]


def _failure(task: StartedTask, told: Failure) -> list[Payload]:
    return [
        TaskFailed(agent_id=task.agent_id, agent_name=task.agent_name, error=told),
        RunFailed(mode=RunMode.DIRECT, error=told),
    ]


def _message(task: StartedTask, message_id: UUID, text: str) -> MessageCreated:
    return MessageCreated(
        message_id=message_id,
        role=MessageRole.ASSISTANT,
        content=text,
        agent_id=task.agent_id,
        agent_name=task.agent_name,
    )
