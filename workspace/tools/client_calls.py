"""Tools that the owner's client carries out: it is asked by an event, answers by HTTP, and the task goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select

from models import Json, ToolCall, utc_now
from models.statuses import ToolCallStatus, ToolExecution
from models.tenancy import Database
from workspace.errors import IdempotencyConflict, InvalidInput, NotFound, ToolCallNotPending
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, ToolRequest
from workspace.events import ToolResult as ToolResultEvent
from workspace.metrics import CLIENT_CALLS
from workspace.names import WorkspaceKey
from workspace.paging import Page, PageRequest, fetch_page
from workspace.resuming import Resumption, lock_task, resume_if_ready
from workspace.tools.errors import ToolErrorCode
from workspace.tools.excerpts import excerpt
from workspace.tools.results import ToolResult, as_answer, as_stored

log = structlog.get_logger("audit.tools")

_SILENCE = ToolResult.failure(
    ToolErrorCode.CLIENT_TIMEOUT, "Your user's program did not answer in time. Whether it did anything is not known."
)


@dataclass(frozen=True, kw_only=True)
class CallFilter:
    """Which tool calls are wanted; `None`: any."""

    status: ToolCallStatus | None = None
    execution: ToolExecution | None = None
    tool: str | None = None
    session_id: UUID | None = None
    run_id: UUID | None = None
    task_id: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class ClientAnswer:
    """What a client says of a call."""

    result: ToolResult
    digest: str | None
    """Of the call that it carried out, if it says so."""


class ToolCalls:
    """The ledger as its owner reads it, and the answers of the owner's client."""

    def __init__(
        self, database: Database, publisher: EventPublisher, resumption: Resumption, *, output_limit: int
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._resumption = resumption
        self._output_limit = output_limit

    def get(self, key: WorkspaceKey, call_id: UUID) -> ToolCall:
        """Return one tool call.

        Raises:
            NotFound: no such call in the project.
        """
        with self._database.tenant_session(key.user_id) as session:
            call = session.scalars(
                select(ToolCall).where(ToolCall.id == call_id, ToolCall.project_id == key.project_id)
            ).one_or_none()
        if call is None:
            raise NotFound
        return call

    def page(self, key: WorkspaceKey, request: PageRequest, wanted: CallFilter) -> Page[ToolCall]:
        """Return a page of a project's tool calls."""
        query = select(ToolCall).where(ToolCall.project_id == key.project_id)
        columns: Sequence[tuple[Any, Any]] = (
            (ToolCall.status, wanted.status),
            (ToolCall.execution, wanted.execution),
            (ToolCall.tool, wanted.tool),
            (ToolCall.session_id, wanted.session_id),
            (ToolCall.run_id, wanted.run_id),
            (ToolCall.task_id, wanted.task_id),
        )
        for column, value in columns:
            if value is not None:
                query = query.where(column == value)
        with self._database.tenant_session(key.user_id) as session:
            return fetch_page(session, query, ToolCall, request)

    def answer(self, key: WorkspaceKey, call_id: UUID, answer: ClientAnswer) -> ToolCall:
        """Take a client's answer; the same once more changes nothing.

        Raises:
            NotFound: no such call in the project.
            ToolCallNotPending: the call does not wait for a client.
            IdempotencyConflict: it was answered, and differently.
            InvalidInput: the answer is of another call, or too long.
        """
        size = len(as_answer(answer.result.body).encode())
        if size > self._output_limit:
            raise InvalidInput(f"The result has {size} bytes; at most {self._output_limit} are taken.")
        with self._database.tenant_session(key.user_id) as session:
            task_id = session.scalar(
                select(ToolCall.task_id).where(ToolCall.id == call_id, ToolCall.project_id == key.project_id)
            )
            task = lock_task(session, task_id) if task_id is not None else None
            call = session.scalars(select(ToolCall).where(ToolCall.id == call_id)).one_or_none()
            if task is None or call is None:
                raise NotFound
            if answer.digest is not None and answer.digest != call.digest:
                raise InvalidInput("The digest is that of another call.")
            if call.execution is not ToolExecution.CLIENT:
                raise ToolCallNotPending("This tool is not carried out by clients.")
            if call.status.is_final and call.result == as_stored(answer.result.body):
                return call
            if _was_answered(call):
                raise IdempotencyConflict("The call was answered differently before.")
            if call.status is not ToolCallStatus.RUNNING or _is_late(call):
                raise ToolCallNotPending(f"The call is {_late_status(call)}.")
            _end(call, answer.result)
            session.flush()
            resumed = resume_if_ready(session, task)
            session.commit()
        self._tell(call)
        self._resumption.send(resumed)
        return call

    def expire(self, key: WorkspaceKey, call_id: UUID) -> bool:
        """End a call that no client answered in time; returns whether this call did."""
        with self._database.tenant_session(key.user_id) as session:
            task_id = session.scalar(select(ToolCall.task_id).where(ToolCall.id == call_id))
            task = lock_task(session, task_id) if task_id is not None else None
            call = session.scalars(select(ToolCall).where(ToolCall.id == call_id)).one_or_none()
            if call is None or call.status is not ToolCallStatus.RUNNING or not _is_late(call):
                return False
            _end(call, _SILENCE)
            session.flush()
            resumed = resume_if_ready(session, task)
            session.commit()
        self._tell(call)
        self._resumption.send(resumed)
        return True

    def _tell(self, call: ToolCall) -> None:
        event = result_event(call)
        CLIENT_CALLS.labels(event.error_code or "ok").inc()
        log.info("tool_answered", tool_call_id=str(call.id), tool=call.tool, outcome=event.error_code or "ok")
        self._publisher.publish(scope_of(call), event)


def _end(call: ToolCall, result: ToolResult) -> None:
    call.status.check_move(result.status)
    call.status, call.result, call.finished_at = result.status, result.body, utc_now()


def _was_answered(call: ToolCall) -> bool:
    error = (call.result or {}).get("error") or {}
    return call.status is ToolCallStatus.SUCCEEDED or error.get("code") == ToolErrorCode.CLIENT_ERROR


def _is_late(call: ToolCall) -> bool:
    return call.expires_at is not None and call.expires_at <= utc_now()


def _late_status(call: ToolCall) -> str:
    late = call.status is ToolCallStatus.RUNNING and _is_late(call)
    return (ToolCallStatus.EXPIRED if late else call.status).value


def client_result(output: Json | None, error: tuple[str, str] | None) -> ToolResult:
    """Return the result that a client's answer stands for: an output, or an error's code and text."""
    if error is not None:
        code, detail = error
        return ToolResult.failure(ToolErrorCode.CLIENT_ERROR, f"{code}: {detail}")
    return ToolResult.success(output or {})


def scope_of(call: ToolCall) -> EventScope:
    """Return whose stream a call's events go to."""
    key = WorkspaceKey(call.user_id, call.project_id)
    return EventScope(key=key, session_id=call.session_id, run_id=call.run_id, task_id=call.task_id)


def request_event(call: ToolCall) -> ToolRequest:
    """Return the event that asks the owner's client."""
    arguments, complete = excerpt(call.arguments)
    assert call.expires_at is not None
    return ToolRequest(
        tool_call_id=call.id,
        call_id=call.call_id,
        tool=call.tool,
        arguments=arguments,
        arguments_complete=complete,
        digest=call.digest,
        agent_id=call.agent_id,
        agent_name=call.agent_name,
        expires_at=call.expires_at,
    )


def result_event(call: ToolCall) -> ToolResultEvent:
    """Return the event that tells of a call's end."""
    error = (call.result or {}).get("error") or {}
    seconds = None
    if call.started_at is not None and call.finished_at is not None:
        seconds = round((call.finished_at - call.started_at).total_seconds(), 4)
    return ToolResultEvent(
        tool_call_id=call.id,
        call_id=call.call_id,
        tool=call.tool,
        status=call.status,
        execution=call.execution,
        error_code=error.get("code"),
        detail=error.get("detail"),
        duration_seconds=seconds,
    )
