"""The tools of one task: what its model asks for becomes rows, is carried out or waits, and comes back as answers.

Those calls of a turn that may run do, in the order in which the model asked; the others wait for a person or a client.
With something open and nothing to do the task is parked: it holds no slot, and the answer brings it back. The model
gets the answers of a turn together.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import ApprovalRequest, Json, Project, TaskTurn, ToolCall, new_id, utc_now
from models.statuses import ToolCallStatus, ToolExecution
from settings import Settings
from workspace.agent_config import AgentConfig
from workspace.approvals.grants import Grants
from workspace.approvals.requests import ApprovalRequests, AskedTool, Free, TooOften, Verdict, required
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, Payload, Usage
from workspace.ledger import StartedTask
from workspace.metrics import TASKS_PARKED
from workspace.patience import patiently
from workspace.runner import CallTools
from workspace.tools.arguments import ParsedCall, parse_calls
from workspace.tools.client_calls import request_event, result_event
from workspace.tools.context import CallMark, Clock, WorkspaceContext
from workspace.tools.digest import digest
from workspace.tools.errors import ToolError, ToolErrorCode
from workspace.tools.executor import ToolExecutor
from workspace.tools.ledger import ToolLedger, TurnRows, approved, used_ids
from workspace.tools.memory import MEMORY_TOOLS
from workspace.tools.results import ToolResult, as_answer
from workspace.tools.risk import Risk, RiskLevel, assess
from workspace.tools.transcript import AnsweredCall, ToolTurn, Waits
from workspace.usage import NO_USAGE, total

MOST_ANSWERED = 16_777_216
"""Bytes that the tools of a task answer, one last answer more: the node holds all of them while the task runs, and
sends all of them to the model in each turn. It is more than any model reads."""

_SPENT = ToolResult.failure(
    ToolErrorCode.TOO_LARGE,
    f"The tools of this run answered {MOST_ANSWERED} bytes, which is all they may. Go on with what you have.",
)


class ToolServices(NamedTuple):
    """What the toolboxes of a node share."""

    executor: ToolExecutor
    ledger: ToolLedger
    requests: ApprovalRequests
    grants: Grants
    publisher: EventPublisher
    settings: Settings


class _Planned(NamedTuple):
    """A call that is written into the ledger."""

    row: ToolCall
    risk: Risk


class TaskTools:
    """What one task does with tools. The runner's only way to anything outside of the model."""

    def __init__(
        self, task: StartedTask, config: AgentConfig, services: ToolServices, *, recalled: Json | None = None
    ) -> None:
        """Take what it needs.

        Args:
            recalled: what the model is shown of the agent's memory, kept with the first turn.
        """
        self._task = task
        self._recalled = recalled
        allowed = frozenset(config.tools)
        self._allowed: Collection[str] = allowed if config.memory.enabled else allowed - MEMORY_TOOLS
        self._services = services
        self._usage = NO_USAGE
        self._used: frozenset[str] = frozenset()
        self._answered = 0
        self.at_work = False
        self.definitions: Sequence[Json] = services.executor.offered(self._allowed) if self._allowed else ()
        self._context = WorkspaceContext(
            user_id=task.key.user_id,
            project_id=task.key.project_id,
            session_id=task.session_id,
            run_id=task.run_id,
            task_id=task.id,
            agent_id=task.agent_id,
            agent_name=task.agent_name,
        )

    def past(self, clock: Clock) -> list[ToolTurn] | Waits:
        """Return the task's turns before this start, the last one finished, if that does not have to wait on.

        Raises:
            Interrupted: the task was stopped, or is not this node's any more.
        """
        if self._task.attempt == 1:
            return []
        past = patiently(lambda: self._services.ledger.past(self._task))
        self._used = used_ids(past.calls)
        self._answered = sum(_size(call.result) for call in past.calls if call.result is not None)
        turns = []
        for turn in past.turns:
            usage = Usage.model_validate(turn.usage)
            self._usage = total(self._usage, usage)
            calls = self._work(turn.number, clock)
            if isinstance(calls, Waits):
                return calls
            turns.append(ToolTurn(number=turn.number, said=turn.said, calls=_answered(calls), usage=usage))
        return turns

    def carry_out(self, number: int, turn: CallTools, clock: Clock) -> ToolTurn | Waits:
        """Carry out a turn's calls; where one has to wait, the task is parked.

        Raises:
            Interrupted: the task was stopped, or is not this node's any more.
        """
        self._usage = total(self._usage, turn.usage)
        parsed = parse_calls(turn.calls, number, self._used)
        self._used |= {call.call_id for call in parsed}
        self._write(number, turn, parsed)
        calls = self._work(number, clock)
        if isinstance(calls, Waits):
            return calls
        return ToolTurn(number=number, said=turn.text, calls=_answered(calls), usage=turn.usage)

    # -- intent ----------------------------------------------------------------------------------------------

    def _write(self, number: int, turn: CallTools, parsed: Sequence[ParsedCall]) -> None:
        turn_id = new_id()
        done: list[ToolCall] = []
        asked: list[ApprovalRequest] = []

        def rows(session: Session) -> TurnRows:
            planned = self._plan(session, number, parsed)
            asked[:] = self._ask(session, [each for each in planned if not each.row.status.is_final])
            calls = [each.row for each in planned]
            done[:] = [call for call in calls if call.status.is_final]
            said = TaskTurn(
                id=turn_id,
                task_id=self._task.id,
                number=number,
                said=turn.text,
                usage=turn.usage.model_dump(mode="json"),
            )
            return TurnRows(said, calls, asked)

        recalled = self._recalled if number == 1 else None
        patiently(lambda: self._services.ledger.open_turn(self._task, turn_id, rows, recalled=recalled))
        self._tell(*(result_event(call) for call in done), *(required(approval) for approval in asked))

    def _plan(self, session: Session, number: int, parsed: Sequence[ParsedCall]) -> list[_Planned]:
        at_client = session.scalar(select(Project.tool_execution).where(Project.id == self._task.key.project_id))
        planned = []
        for position, call in enumerate(parsed):
            risk = assess(call.tool, call.arguments)
            row = self._row(number, position, call, risk)
            try:
                if call.error is not None:
                    raise call.error
                tool, _ = self._services.executor.check(call.tool, call.arguments, self._allowed)
            except ToolError as error:
                result = ToolResult.of_error(error)
                row.status, row.result, row.finished_at = result.status, result.body, row.created_at
            else:
                if at_client is ToolExecution.CLIENT and tool.client:
                    row.execution = ToolExecution.CLIENT
            planned.append(_Planned(row, risk))
        return planned

    def _row(self, number: int, position: int, call: ParsedCall, risk: Risk) -> ToolCall:
        task = self._task
        return ToolCall(
            id=new_id(),
            project_id=task.key.project_id,
            session_id=task.session_id,
            run_id=task.run_id,
            task_id=task.id,
            agent_id=task.agent_id,
            agent_name=task.agent_name,
            call_id=call.call_id,
            turn=number,
            position=position,
            tool=call.tool,
            arguments=call.arguments,
            digest=digest(call.tool, call.arguments),
            risk=risk.level.value,
            execution=ToolExecution.SERVER,
            status=ToolCallStatus.REQUESTED,
            created_at=utc_now(),
        )

    def _ask(self, session: Session, planned: Sequence[_Planned]) -> list[ApprovalRequest]:
        asked = [
            AskedTool(each.row.id, each.row.tool, each.row.arguments, each.row.digest, each.risk) for each in planned
        ]
        verdicts = self._services.requests.request_tool_approvals(session, self._task, asked)
        for each, verdict in zip(planned, verdicts, strict=True):
            _apply(each.row, verdict)
        return [verdict for verdict in verdicts if isinstance(verdict, ApprovalRequest)]

    # -- carrying out ----------------------------------------------------------------------------------------

    def _work(self, number: int, clock: Clock) -> list[ToolCall] | Waits:
        """Carry out what may run of a turn, until all of it has an answer or the rest has to wait."""
        ledger = self._services.ledger
        while True:
            calls = patiently(lambda: ledger.turn(self._task, number))
            if all(call.status.is_final for call in calls):
                return calls
            for call in calls:
                if call.status is ToolCallStatus.REQUESTED:
                    self._carry_out(call, clock)
            waits = patiently(lambda: ledger.park(self._task, number, self._usage))
            if waits is not None:
                TASKS_PARKED.labels(waits.reason.value).inc()
                return waits

    def _carry_out(self, call: ToolCall, clock: Clock) -> None:
        clock.check()
        services = self._services
        asked = itertools.count()
        begun = patiently(
            lambda: services.ledger.begin(
                self._task,
                call.id,
                again=next(asked) > 0,
                permitted=self._is_permitted,
                client_timeout=services.settings.client_tool_timeout,
            )
        )
        if begun is None:
            return
        if begun.status is not ToolCallStatus.RUNNING:
            self._tell(result_event(begun))
        elif begun.execution is ToolExecution.CLIENT:
            self._tell(request_event(begun))
        else:
            result = self._used_tool(begun, clock)
            self._answered += _size(result.body)
            self._tell(result_event(patiently(lambda: services.ledger.finish(self._task, call.id, result))))

    def _used_tool(self, call: ToolCall, clock: Clock) -> ToolResult:
        if self._answered >= MOST_ANSWERED:
            return _SPENT
        self.at_work = True
        result = self._services.executor.execute(
            self._context,
            call.tool,
            call.arguments,
            allowed=self._allowed,
            clock=clock,
            call=CallMark(call.call_id, call.created_at),
        )
        self.at_work = False
        return result

    def _is_permitted(self, session: Session, call: ToolCall) -> bool:
        """Whether a call may run as it stands in the ledger at this moment, whatever was decided of it before."""
        if call.execution is ToolExecution.CLIENT and call.tool not in self._allowed:
            return False  # its agent lost the tool while its owner was asked; of its own tools the executor knows that
        level = assess(call.tool, call.arguments).level
        if level is RiskLevel.LOW or approved(session, call):
            return True
        grants = self._services.grants.of_task(session, self._task, {call.tool})
        return any(grant.covers(call.tool, call.arguments, level) for grant in grants)

    def _tell(self, *events: Payload) -> None:
        if events:
            task = self._task
            scope = EventScope(key=task.key, session_id=task.session_id, run_id=task.run_id, task_id=task.id)
            self._services.publisher.publish(scope, *events)


def _apply(call: ToolCall, verdict: Verdict) -> None:
    match verdict:
        case Free(grant_id=grant_id):
            call.grant_id = grant_id
        case TooOften(why=why):
            result = ToolResult.failure(ToolErrorCode.ASKED_TOO_OFTEN, f"{why} Do not ask again; go on without it.")
            call.status, call.result, call.finished_at = result.status, result.body, utc_now()
        case ApprovalRequest():
            call.status = ToolCallStatus.AWAITING_APPROVAL


def _size(result: Json) -> int:
    return len(as_answer(result).encode("utf-8", "replace"))


def _answered(calls: Sequence[ToolCall]) -> tuple[AnsweredCall, ...]:
    return tuple(
        AnsweredCall(call.call_id, call.tool, as_answer(call.arguments), as_answer(call.result or {})) for call in calls
    )
