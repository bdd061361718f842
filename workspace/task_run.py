"""An agent's task on its node: start, context, agent, end, and the events that tell of each.

Three commits a message (the accept was the first), and no session is held open while the model is waited for. How a
task ends depends on what it is a part of: `workspace.direct_end`, `workspace.plans.end`.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol
from uuid import UUID

import structlog

from models.statuses import AgentStatus
from settings import Settings
from workspace.agent_bus import AgentBus
from workspace.agent_config import AgentConfig
from workspace.agent_health import AgentHealth
from workspace.cancellation import failure_of
from workspace.errors import AgentDeleted, Cancelled, InternalFailure, WorkerShutdown
from workspace.event_publisher import EventPublisher
from workspace.events import AgentStatusChanged, EventScope, Payload, TaskProgress, TaskStarted, TaskWaiting, Usage
from workspace.history import fit, prompt
from workspace.interruptible import LONGEST_SLICE, Interrupted, StopSignal, Watch
from workspace.ledger import HeldBack, Host, Ledger, QueuedTask, StartedTask
from workspace.metrics import TASK_SECONDS, TASKS_SETTLED
from workspace.names import WorkspaceKey
from workspace.patience import patiently
from workspace.plans.briefs import asked_of, conversation_of
from workspace.progress import Backoff
from workspace.recall import Recall
from workspace.recollection import to_row, with_memories
from workspace.run_spending import RunSpending
from workspace.runner import AgentRunner, Assignment, Failed, Final, Pause
from workspace.task_end import TaskEnd, publish, scope_of, seconds_of
from workspace.task_waits import TaskWaits
from workspace.tools.toolbox import TaskTools, ToolServices
from workspace.usage import NO_USAGE
from workspace.user_cap import UserCap, waits_for_cap

log = structlog.get_logger(__name__)

ConfigLoader = Callable[[WorkspaceKey, UUID, int], AgentConfig | None]
"""Returns an agent's config of at least the given version, or `None` if the agent is gone."""


class Slot(Protocol):
    """One of the agent's slots on this node, held by one task."""

    stop: StopSignal

    def is_alone(self) -> bool:
        """Whether the agent has no other task running."""


class TaskRun:
    """Carries out the tasks of agents."""

    def __init__(
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        publisher: EventPublisher,
        runner: AgentRunner,
        bus: AgentBus,
        health: AgentHealth,
        direct_end: TaskEnd,
        plan_end: TaskEnd,
        load_config: ConfigLoader,
        user_cap: UserCap,
        waits: TaskWaits,
        tools: ToolServices,
        recall: Recall,
        spending: RunSpending,
        remember: Callable[[], None],
    ) -> None:
        """Take what it needs.

        Args:
            remember: told of each task that ended, after everybody else was; it must not wait for anything.
        """
        self._settings = settings
        self._ledger = ledger
        self._publisher = publisher
        self._runner = runner
        self._bus = bus
        self._health = health
        self._direct_end = direct_end
        self._plan_end = plan_end
        self._load_config = load_config
        self._user_cap = user_cap
        self._waits = waits
        self._tools = tools
        self._recall = recall
        self._spending = spending
        self._remember = remember

    def execute(self, task_id: UUID, key: WorkspaceKey, agent_id: UUID, host: Host, slot: Slot) -> bool:
        """Run one task to its end, in the slot that it holds.

        Returns:
            Whether there was anything to do.
        """
        asked = itertools.count()
        task = patiently(lambda: self._ledger.start(task_id, key, agent_id, host, again=next(asked) > 0))
        if task is None:
            return False
        if isinstance(task, HeldBack):
            self._hold_back(task_id, key, agent_id, task)
            return True
        with structlog.contextvars.bound_contextvars(run_id=str(task.run_id), session_id=str(task.session_id)):
            self._announce_start(task, was_idle=slot.is_alone())
            try:
                outcome = self._answer(task, slot.stop)
            except Exception:  # the border of a task: whatever else goes wrong becomes an honest failure
                log.exception("task_crashed")
                outcome = Failed(failure=InternalFailure(), usage=Usage())
            if isinstance(outcome, Pause):
                self._after_park(task, outcome, slot)
                return True
            try:
                self._settle(task, outcome, slot)
            except Exception:  # the outcome itself cannot be written: say so, where that can be
                log.exception("outcome_not_written")
                self._settle(task, Failed(failure=InternalFailure(), usage=Usage()), slot)
        return True

    def _hold_back(self, task_id: UUID, key: WorkspaceKey, agent_id: UUID, held: HeldBack) -> None:
        """Tell that the task waits for the user's other work; should that have ended meanwhile, let it go at once."""
        scope = EventScope(key=key, session_id=held.session_id, run_id=held.run_id, task_id=task_id)
        self._publisher.publish(scope, waits_for_cap(agent_id, held.agent_name, self._user_cap.cap))
        self._let_go(key.user_id)

    def _let_go(self, user_id: UUID) -> None:
        """Send what waited for the user-wide cap and may go now."""
        for task in patiently(lambda: self._user_cap.release(user_id)):
            self._send(task)

    def _send(self, task: QueuedTask) -> None:
        self._bus.send_task_to_agent(task.key, task.agent_name, task.id)

    def _announce_start(self, task: StartedTask, *, was_idle: bool) -> None:
        events: list[Payload] = []
        if was_idle:
            events.append(_status(task, AgentStatus.BUSY))
        events.append(
            TaskStarted(
                agent_id=task.agent_id,
                agent_name=task.agent_name,
                attempt=task.attempt,
                plan_task_id=task.plan_task_id,
            )
        )
        self._publisher.publish(scope_of(task), *events)

    def _answer(self, task: StartedTask, stop: StopSignal) -> Final | Pause | Failed:
        config = patiently(lambda: self._load_config(task.key, task.agent_id, task.agent_version))
        if config is None:
            return Failed(failure=AgentDeleted(), usage=Usage())
        seconds = config.limits.timeout_seconds or self._settings.task_deadline
        conversation = fit(
            task.newest_messages,
            messages=self._settings.history_messages,
            tokens=self._settings.history_tokens,
        )
        deadline = time.monotonic() + min(seconds, self._settings.task_deadline) - task.ran_seconds
        try:
            watch = Watch(stop, deadline=deadline, on_wait=lambda: LONGEST_SLICE)
            memories = self._recall.of(task, config, asked_of(task, conversation), watch)
        except Interrupted as interrupt:
            return Failed(failure=interrupt.failure, usage=Usage())
        assignment = Assignment(
            agent=str(task.agent_id),
            config=config,
            model=config.model or self._settings.default_model,
            messages=prompt(
                with_memories(config.system_prompt, memories),
                conversation_of(task, conversation, tokens=self._settings.plan_context_tokens),
            ),
            tools=TaskTools(task, config, self._tools, recalled=to_row(memories)),
            deadline=deadline,
            first_attempt=1 + (task.attempt - 1) * self._settings.model_max_attempts,
            spent_elsewhere=self._spent_elsewhere(task),
        )
        scope = scope_of(task)

        def send(piece: TaskProgress) -> None:
            self._publisher.publish(scope, piece)

        def tell_backoff(backoff: Backoff) -> None:
            self._waits.tell(task.key, task.id, reason=backoff.reason, attempt=backoff.attempt, seconds=backoff.seconds)

        return self._runner.run(assignment, send, stop, tell_backoff)

    def _spent_elsewhere(self, task: StartedTask) -> Callable[[], Usage]:
        """Return who says what other tasks of the run used; a direct run has none."""
        if task.plan_task_id is None:
            return lambda: NO_USAGE
        return lambda: patiently(lambda: self._spending.elsewhere(task))

    def _after_park(self, task: StartedTask, pause: Pause, slot: Slot) -> None:
        """Tell that the task waits; it is another's as soon as its answer comes, so nothing of it is touched here."""
        status = [_status(task, *self._health.status(task.agent_id))] if slot.is_alone() else []
        waits = TaskWaiting(
            agent_id=task.agent_id,
            agent_name=task.agent_name,
            reason=pause.waits.reason.value,
            detail=pause.waits.detail,
        )
        self._publisher.publish(scope_of(task), waits, *status)
        self._let_go(task.key.user_id)

    def _settle(self, task: StartedTask, outcome: Final | Failed, slot: Slot) -> None:
        if isinstance(outcome, Failed) and outcome.in_tool:
            # The rows have all of its turns: those before this start, and the one whose tool was cut off.
            so_far = patiently(lambda: self._tools.ledger.so_far(task))
            outcome = replace(outcome, text=so_far.text, usage=so_far.usage)
        if isinstance(outcome, Failed) and isinstance(outcome.failure, WorkerShutdown) and not outcome.in_tool:
            if patiently(lambda: self._ledger.requeue(task)):
                log.info("task_requeued", task_id=str(task.id))
                # Its row is as if it was never sent, so the sweeper sees to it, too; this is sooner.
                self._bus.send_task_to_agent(task.key, task.agent_name, task.id)
                self._let_go(task.key.user_id)
                return
            reason = patiently(lambda: self._ledger.cancel_reason(task))
            if reason is not None:
                outcome = replace(outcome, failure=failure_of(reason))
        self._write(task, outcome, slot)

    def _write(self, task: StartedTask, outcome: Final | Failed, slot: Slot) -> None:
        end = self._direct_end if task.plan_task_id is None else self._plan_end
        written = end.write(task, outcome)
        if written is None:
            log.warning("result_refused", task_id=str(task.id), reason="the task is no longer this node's")
            return
        TASKS_SETTLED.labels(_label(outcome)).inc()
        TASK_SECONDS.observe(seconds_of(task))
        changed = patiently(lambda: self._health.record(task.key, task.agent_id, outcome))
        status = [_status(task, *self._health.status(task.agent_id))] if changed or slot.is_alone() else []
        told = publish(self._publisher, task, written, *status)
        end.after(task, written, told=told)
        if written.crowded:
            self._let_go(task.key.user_id)
        self._remember()


def _label(outcome: Final | Failed) -> str:
    match outcome:
        case Final():
            return "completed"
        case Failed(failure=Cancelled()):
            return "cancelled"
        case _:
            return "failed"


def _status(task: StartedTask, status: AgentStatus, reason: str | None = None) -> AgentStatusChanged:
    return AgentStatusChanged(agent_id=task.agent_id, agent_name=task.agent_name, status=status, reason=reason)
