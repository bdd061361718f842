"""The end of a task of a plan: its outcome and what follows in one transaction, then the events, then the edges."""

from typing import assert_never

from workspace.errors import Cancelled
from workspace.events import Failure, Payload, TaskCancelled, TaskCompleted, TaskFailed
from workspace.ledger import StartedTask
from workspace.patience import patiently
from workspace.plans.afterwards import PlanAfterwards
from workspace.plans.ledger import PlanLedger, SettledTask
from workspace.runner import Failed, Final
from workspace.task_end import Written, seconds_of


class PlanEnd:
    """Ends tasks of plans. Implements `workspace.task_end.TaskEnd`."""

    def __init__(self, ledger: PlanLedger, afterwards: PlanAfterwards) -> None:
        self._ledger = ledger
        self._afterwards = afterwards

    def write(self, task: StartedTask, outcome: Final | Failed) -> Written | None:
        """Write the end of a task, and what follows in its plan."""
        match outcome:
            case Final(text=text, usage=usage):
                settled = patiently(lambda: self._ledger.complete(task, text, usage))
            case Failed(failure=Cancelled() as failure, text=text, usage=usage):
                told = Failure.of(failure)
                settled = patiently(lambda: self._ledger.cancel(task, told, usage, text=text))
            case Failed(failure=failure, usage=usage):
                told = Failure.of(failure)
                settled = patiently(lambda: self._ledger.fail(task, told, usage))
            case _:
                assert_never(outcome)
        return _written(task, outcome, settled) if settled else None

    def after(self, task: StartedTask, written: Written, *, told: bool) -> None:  # noqa: ARG002  # the run's end is told apart
        """Tell and send what follows."""
        over = [written.ended_plan] if written.ended_plan else []
        self._afterwards.carry_out(task.key, written.follow_ups, over)


def _written(task: StartedTask, outcome: Final | Failed, settled: SettledTask) -> Written:
    return Written(
        events=_events(task, outcome),
        crowded=settled.crowded,
        closed=settled.closed,
        follow_ups=settled.follow_ups,
        ended_plan=settled.ended,
    )


def _events(task: StartedTask, outcome: Final | Failed) -> list[Payload]:
    match outcome:
        case Final(unsent=unsent, usage=usage):
            completed = TaskCompleted(
                agent_id=task.agent_id, agent_name=task.agent_name, usage=usage, duration_seconds=seconds_of(task)
            )
            return [unsent, completed] if unsent else [completed]
        case Failed(failure=Cancelled() as failure):
            told = Failure.of(failure)
            return [
                TaskCancelled(
                    agent_id=task.agent_id,
                    agent_name=task.agent_name,
                    plan_task_id=task.plan_task_id or "",
                    error=told,
                )
            ]
        case Failed(failure=failure):
            return [TaskFailed(agent_id=task.agent_id, agent_name=task.agent_name, error=Failure.of(failure))]
        case _:
            assert_never(outcome)
