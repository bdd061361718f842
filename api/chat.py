"""`chat/`: sessions, their messages, and the runs that answer them."""

from uuid import UUID

from flask import Response

from api.http import Resource, key, no_content, project_url, web, workspace
from api.repeats import named_repeat
from api.schemas.chat import (
    AcceptedResponse,
    AnsweredResponse,
    MessageQuery,
    MessageRequest,
    MessageResponse,
    RunQuery,
    RunResponse,
    RunSummary,
    SessionRequest,
    SessionResponse,
)
from api.schemas.common import Listing, PageQuery
from api.waiting import answer_or_accept
from workspace.intake import NewMessage
from workspace.receipt import Receipt

chat = Resource("chat")


class SessionListing(Listing[SessionResponse]):
    """A part of a project's sessions."""


class MessageListing(Listing[MessageResponse]):
    """A part of a session's messages."""


class RunListing(Listing[RunSummary]):
    """A part of a session's runs."""


@chat.on("GET", "/chat/sessions/", answers=SessionListing)
def list_sessions(query: PageQuery) -> SessionListing:
    """List the sessions of a project."""
    page = web().chats.page(workspace().key, query.page())
    items = [SessionResponse.of(view) for view in page.items]
    return SessionListing(items=items, total=page.total, next_cursor=page.next_cursor)


@chat.on("POST", "/chat/sessions/", answers=SessionResponse, status=201)
def create_session(json: SessionRequest) -> tuple[SessionResponse, int]:
    """Begin a session."""
    return SessionResponse.of(web().chats.create(workspace().key, json.title)), 201


@chat.on("GET", "/chat/sessions/<uuid:session_id>/", answers=SessionResponse)
def get_session(session_id: UUID) -> SessionResponse:
    """Read a session."""
    return SessionResponse.of(web().chats.get(key(), session_id))


@chat.on("DELETE", "/chat/sessions/<uuid:session_id>/", answers=None, status=204)
def delete_session(session_id: UUID) -> Response:
    """Delete a session with everything in it; its streams end."""
    workspace().close_session(session_id)
    return no_content()


@chat.on(
    "POST", "/chat/<uuid:session_id>/message/", answers=AcceptedResponse, status=202, or_answers={200: AnsweredResponse}
)
def post_message(session_id: UUID, json: MessageRequest) -> Response:
    """Send a message to one agent, or to the orchestrator. The answer comes as events, and is stored as a message.

    With an `Idempotency-Key` header, sending it again returns the first answer and makes no second run.
    With `Prefer: wait=N` the response is held until the run has ended, 200, or N seconds have passed, 202.
    """
    # The one statement that accepts it checks project, session and agent, so the project is not looked up before.
    space = web().manager.get_or_create(key())
    receipt = space.handle_message(
        NewMessage(
            session_id=session_id,
            content=json.content,
            agent_name=json.target_agent,
            on_busy=json.on_busy,
            repeat=named_repeat(str(key().project_id), str(session_id), json.model_dump_json()),
        )
    )
    return _accepted(receipt, session_id)


@chat.on("GET", "/chat/<uuid:session_id>/messages/", answers=MessageListing)
def list_messages(session_id: UUID, query: MessageQuery) -> MessageListing:
    """List a session's messages in the order of the conversation."""
    page = web().chats.messages(key(), session_id, query.page(), role=query.role)
    items = [MessageResponse.of(message) for message in page.items]
    return MessageListing(items=items, total=page.total, next_cursor=page.next_cursor)


@chat.on("GET", "/chat/<uuid:session_id>/runs/", answers=RunListing)
def list_runs(session_id: UUID, query: RunQuery) -> RunListing:
    """List a session's runs."""
    page = web().chats.runs(key(), session_id, query.page(), status=query.status)
    items = [RunSummary.of(run) for run in page.items]
    return RunListing(items=items, total=page.total, next_cursor=page.next_cursor)


@chat.on("GET", "/runs/<uuid:run_id>/", answers=RunResponse)
def get_run(run_id: UUID) -> RunResponse:
    """Read a run with its tasks, plan, error and usage, and why it is not finished."""
    return _run(run_id)


@chat.on("POST", "/runs/<uuid:run_id>/cancel/", answers=RunResponse)
def cancel_run(run_id: UUID) -> RunResponse:
    """End a run. What a node works on stops within a second and keeps what was written; a run that ended stays so."""
    workspace().cancel_run(run_id)
    return _run(run_id)


@chat.on("POST", "/runs/<uuid:run_id>/retry/", answers=AcceptedResponse, status=202, or_answers={200: AnsweredResponse})
def retry_run(run_id: UUID) -> Response:
    """Do again what a run has no result of, as a new run of its session that answers the same message.

    Tasks of its plan that have a result keep it. `Idempotency-Key` and `Prefer: wait=N` count as with a message.
    """
    run = web().chats.run(key(), run_id).run
    receipt = workspace().retry_run(run_id, named_repeat(str(key().project_id), "retry", str(run_id)))
    return _accepted(receipt, run.session_id)


def _accepted(receipt: Receipt, session_id: UUID) -> Response:
    answer = AcceptedResponse(
        message_id=receipt.message_id,
        run_id=receipt.run_id,
        task_id=receipt.task_id,
        mode=receipt.mode,
        status=receipt.status,
        queue_position=receipt.queue_position,
        events_url=f"{project_url()}/chat/{session_id}/events/?last_event_id={receipt.cursor}",
    )
    response = answer_or_accept(answer, session_id)
    if receipt.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _run(run_id: UUID) -> RunResponse:
    view = web().chats.run(key(), run_id)
    return RunResponse.of_view(view, web().explanations.why(key(), view.run, view.tasks))
