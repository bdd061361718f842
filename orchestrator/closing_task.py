"""The closing task of a run: one answer out of what the tasks of its plan came to.

It never loses finished work: where the model that puts results together fails, they are given one after the other.
"""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, assert_never

import structlog
from sqlalchemy import select

from models import Run, Task
from models.statuses import CancelReason, TaskStatus
from models.tenancy import Database
from orchestrator.personal import PersonalOrchestrator
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.outcome import NoAnswer, SynthesisOf, TheTextOf, answer_from
from orchestrator.run_end import RunEnd
from orchestrator.synthesis import Result, plain_answer, synthesis_prompt, what_went_wrong
from orchestrator.viewing import plan_of
from settings import Settings
from workspace.cancellation import end_status, failure_of
from workspace.errors import BudgetExceeded, Cancelled, InternalFailure, ModelFailure, RunFailure
from workspace.event_publisher import EventPublisher
from workspace.events import Failure, TaskProgress, Usage
from workspace.history import fit
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.ledger import StartedTask
from workspace.llm import ModelClient, ModelRequest
from workspace.metrics import ANSWER_FAILURES
from workspace.patience import patiently
from workspace.plans.outcome import ended_as, is_planned, outcome_of, usage_of
from workspace.plans.rows import tasks_of
from workspace.plans.view import PlanOutcome, PlanView
from workspace.progress import Backoff, Progress
from workspace.task_end import scope_of
from workspace.task_waits import TaskWaits
from workspace.usage import NO_USAGE, over_budget

log = structlog.get_logger(__name__)


class _Results(NamedTuple):
    """What a plan came to."""

    view: PlanView
    tasks: Mapping[str, Task]
    """Those of agents, by their ids in the plan."""
    outcome: PlanOutcome
    cancel_reason: CancelReason | None
    spent: Usage
    """By the run until now."""

    @property
    def statuses(self) -> dict[str, TaskStatus]:
        return {name: task.status for name, task in self.tasks.items()}

    def of(self, names: Sequence[str]) -> list[Result]:
        """Return the results of these tasks."""
        found = (self.tasks[name] for name in names)
        return [
            Result(task=name, agent=task.agent_name, instruction=task.instruction or "", text=task.result or "")
            for name, task in zip(names, found, strict=True)
        ]


class ClosingTask:
    """Carries out closing tasks."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        orchestrator: PersonalOrchestrator,
        model: ModelClient,
        publisher: EventPublisher,
        waits: TaskWaits,
    ) -> None:
        self._settings = settings
        self._database = database
        self._orchestrator = orchestrator
        self._model = model
        self._publisher = publisher
        self._waits = waits

    def run(self, task: StartedTask, stop: StopSignal) -> RunEnd:
        """Return the end of a run, all tasks of whose plan have ended.

        Raises:
            Interrupted: it has to stop.
        """
        results = patiently(lambda: self._read(task))
        answer = answer_from(PlanGraph.of(plan_of(results.view)), results.statuses)
        match answer:
            case TheTextOf(task_id=name):
                return _answered(results, results.of([name])[0].text, NO_USAGE)
            case SynthesisOf(task_ids=names):
                return self._put_together(task, stop, results, results.of(names))
            case NoAnswer():
                return _without_answer(results)
            case _:
                assert_never(answer)

    def _read(self, task: StartedTask) -> _Results:
        with self._database.tenant_session(task.key.user_id) as session:
            run = session.scalars(select(Run).where(Run.id == task.run_id)).one()
            tasks = tasks_of(session, task.run_id, texts=True)
            outcome = outcome_of(run, tasks)
            view = PlanView.model_validate(run.plan)
        assert outcome is not None
        planned = {each.plan_task_id or "": each for each in tasks if is_planned(each)}
        return _Results(view, planned, outcome, run.cancel_reason, usage_of(tasks))

    def _put_together(self, task: StartedTask, stop: StopSignal, results: _Results, parts: Sequence[Result]) -> RunEnd:
        if results.cancel_reason is not None:
            raise Interrupted(failure_of(results.cancel_reason))
        plain = _answered(results, plain_answer(parts, results.outcome.tasks), NO_USAGE)
        tokens, cost = self._settings.run_token_budget, self._settings.run_cost_budget
        exceeded = over_budget(results.spent, tokens=tokens, cost=cost)
        if exceeded:
            _note_failure(BudgetExceeded(exceeded))
            return plain
        progress = self._progress(task)
        try:
            return self._synthesis(task, stop, results, parts, progress) or plain
        except Interrupted as interrupt:
            progress.flush()
            if isinstance(interrupt.failure, Cancelled):
                end = RunEnd.of_failure(interrupt.failure)
                return RunEnd(task=end.task, run=end.run, failure=end.failure, text=progress.said or None)
            if stop.reason is not None:
                raise
            _note_failure(interrupt.failure)
        except ModelFailure as failure:
            _note_failure(failure)
        except Exception:  # what the agents have done is not lost for it
            log.exception("synthesis_crashed")
            ANSWER_FAILURES.labels(InternalFailure.code).inc()
        return plain

    def _synthesis(
        self, task: StartedTask, stop: StopSignal, results: _Results, parts: Sequence[Result], progress: Progress
    ) -> RunEnd | None:
        """Let the model write the answer; `None`: it wrote none."""
        config = patiently(lambda: self._orchestrator.config(task.key))
        conversation = fit(
            task.newest_messages, messages=self._settings.history_messages, tokens=self._settings.history_tokens
        )
        request = ModelRequest(
            model=config.model or self._settings.default_model,
            messages=synthesis_prompt(parts, results.outcome.tasks, conversation),
            agent=str(task.key.project_id),  # what stands for the orchestrator where agents have ids
            temperature=config.temperature,
        )
        deadline = time.monotonic() + self._settings.task_deadline - task.ran_seconds
        turn = self._model.turn(request, progress, Watch(stop, deadline=deadline, on_wait=progress.before_wait))
        if not turn.text.strip():
            log.warning("synthesis_empty")
            ANSWER_FAILURES.labels("empty").inc()
            return None
        end = _answered(results, turn.text, turn.usage)
        return RunEnd(task=end.task, run=end.run, text=end.text, usage=end.usage, unsent=progress.take())

    def _progress(self, task: StartedTask) -> Progress:
        scope = scope_of(task)

        def send(piece: TaskProgress) -> None:
            self._publisher.publish(scope, piece)

        def tell_backoff(backoff: Backoff) -> None:
            self._waits.tell(task.key, task.id, reason=backoff.reason, attempt=backoff.attempt, seconds=backoff.seconds)

        return Progress(
            send,
            tell_backoff,
            interval=self._settings.progress_interval,
            turn=1,
            first_attempt=1 + (task.attempt - 1) * self._settings.model_max_attempts,
        )


def _note_failure(failure: RunFailure) -> None:
    log.warning("synthesis_failed", reason=failure.code, detail=failure.detail)
    ANSWER_FAILURES.labels(failure.code).inc()


def _answered(results: _Results, text: str, usage: Usage) -> RunEnd:
    status = ended_as(results.statuses.values())
    return RunEnd(task=TaskStatus.COMPLETED, run=status, text=text, usage=usage)


def _without_answer(results: _Results) -> RunEnd:
    """Return the end of a run no task of which has a result: the first failure's, which tells of all."""
    if results.cancel_reason is not None:
        asked_for = Failure.of(failure_of(results.cancel_reason))
        return RunEnd(
            task=TaskStatus.COMPLETED, run=end_status(results.cancel_reason)[1], failure=asked_for, usage=NO_USAGE
        )
    errors = [Failure.model_validate(task.error) for task in results.tasks.values() if task.error]
    wrong = what_went_wrong(results.outcome.tasks)
    first = errors[0] if errors else Failure.of(InternalFailure())
    told = first.model_copy(update={"detail": f"No task of the plan has a result. {' '.join(wrong)}"})
    return RunEnd(task=TaskStatus.COMPLETED, run=ended_as(results.statuses.values()), failure=told, usage=NO_USAGE)
