"""Every error as one body: `{detail, error_code, timestamp, request_id}`. One table maps codes to HTTP statuses."""

from typing import Final

import structlog
from flask import Flask, Response, g, jsonify
from flask_limiter import RateLimitExceeded
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from api.http import InputRefused
from api.strict_json import UnsupportedContentType
from api.unauthorized import Unauthorized
from models import utc_now
from models.base import Json
from workspace.errors import AgentQueueFull, CodelabError, ErrorCode, InvalidLine, InvalidParts, RunFailure, Unavailable
from workspace.strict_json import InvalidJson

log = structlog.get_logger(__name__)

STATUS: Final[dict[ErrorCode, int]] = {
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.VALIDATION_ERROR: 422,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.AGENT_NAME_TAKEN: 409,
    ErrorCode.AGENT_QUEUE_FULL: 429,
    ErrorCode.SESSION_BUSY: 409,
    ErrorCode.IDEMPOTENCY_CONFLICT: 409,
    ErrorCode.TOO_MANY_STREAMS: 429,
    ErrorCode.DEFAULT_PROJECT: 409,
    ErrorCode.APPROVAL_ALREADY_DECIDED: 409,
    ErrorCode.APPROVAL_EXPIRED: 409,
    ErrorCode.TOOL_CALL_NOT_PENDING: 409,
    ErrorCode.RUN_NOT_RETRYABLE: 409,
    ErrorCode.MEMORY_UNAVAILABLE: 503,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.INTERNAL_ERROR: 500,
    # The next ones end a run, not a request; they have a status so that none is ever without.
    ErrorCode.WORKER_LOST: 500,
    ErrorCode.WORKER_SHUTDOWN: 503,
    ErrorCode.AGENT_DELETED: 409,
    ErrorCode.CANCELLED: 409,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.MODEL_ERROR: 502,
    ErrorCode.BUDGET_EXCEEDED: 429,
    ErrorCode.PLAN_REJECTED: 409,
    # What follows is told to a model and stands in the ledger of its tool calls.
    ErrorCode.SANDBOX_UNAVAILABLE: 503,
}

_BY_STATUS: Final[dict[int, ErrorCode]] = {
    400: ErrorCode.VALIDATION_ERROR,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    413: ErrorCode.PAYLOAD_TOO_LARGE,
    414: ErrorCode.VALIDATION_ERROR,
    415: ErrorCode.VALIDATION_ERROR,
    429: ErrorCode.RATE_LIMITED,
}

SHOWN_ERRORS = 20
"""Of a body with more mistakes, the first ones are told."""
RETRY_SOON = 1
"""Seconds, for what may work at the next call."""


def respond(code: ErrorCode, detail: str, *, status: int | None = None, extra: Json | None = None) -> Response:
    """Return the body of an error."""
    body = {
        "detail": detail,
        "error_code": code.value,
        "timestamp": utc_now().isoformat(),
        "request_id": g.get("request_id", ""),
        **(extra or {}),
    }
    response = jsonify(body)
    response.status_code = status or STATUS[code]
    return response


def unauthorized() -> Response:
    """Return the one 401: it tells nothing of the reason."""
    response = respond(ErrorCode.UNAUTHORIZED, "A valid token is needed.")
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def forbidden() -> Response:
    """Return the one 403, for whoever is no admin."""
    return respond(ErrorCode.FORBIDDEN, "An administrator's token is needed.")


def init_errors(app: Flask) -> None:
    """Register a handler for each kind of error."""
    app.register_error_handler(CodelabError, _known)
    app.register_error_handler(RunFailure, _known)
    app.register_error_handler(InputRefused, _refused)
    app.register_error_handler(InvalidJson, lambda error: respond(ErrorCode.VALIDATION_ERROR, error.detail, status=400))
    app.register_error_handler(
        UnsupportedContentType, lambda error: respond(ErrorCode.VALIDATION_ERROR, str(error), status=415)
    )
    app.register_error_handler(Unauthorized, lambda _: unauthorized())
    app.register_error_handler(RateLimitExceeded, _rate_limited)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(PoolTimeout, _database_away)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(Exception, _unknown)


def _known(error: CodelabError) -> Response:
    extra: Json = {}
    if isinstance(error, AgentQueueFull):
        extra["queue_position"] = error.queued
    if isinstance(error, InvalidParts):
        extra["errors"] = [mistake._asdict() for mistake in error.mistakes]
    if isinstance(error, InvalidLine):
        extra |= {"line": error.line, "stored": error.stored}
    response = respond(error.code, error.detail, extra=extra)
    retry_after = error.retry_after
    if retry_after is None and isinstance(error, Unavailable):
        retry_after = RETRY_SOON
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after)))
    return response


def _refused(error: InputRefused) -> Response:
    mistakes = [
        {"loc": list(mistake["loc"]), "type": mistake["type"], "msg": mistake["msg"]}
        for mistake in error.error.errors(include_url=False, include_context=False, include_input=False)[:SHOWN_ERRORS]
    ]
    return respond(ErrorCode.VALIDATION_ERROR, "The input does not fit its schema.", extra={"errors": mistakes})


def _rate_limited(error: RateLimitExceeded) -> Response:
    return respond(ErrorCode.RATE_LIMITED, f"At most {error.description} requests.")


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    code = _BY_STATUS.get(status, ErrorCode.VALIDATION_ERROR if status < 500 else ErrorCode.INTERNAL_ERROR)
    detail = "Not found." if status == 404 else error.name + "."
    response = respond(code, detail, status=status)
    for name, value in error.get_headers():
        if name in {"Allow", "Retry-After"}:
            response.headers[name] = value
    return response


def _database_away(error: Exception) -> Response:
    log.warning("database_overloaded", error=repr(error))
    return _known(Unavailable())


def _database(error: DBAPIError) -> Response:
    """A lost connection, a restart or a deadlock may pass; anything else is a mistake of ours."""
    if error.connection_invalidated or isinstance(error, OperationalError):
        return _database_away(error)
    return _unknown(error)


def _unknown(error: Exception) -> Response:
    log.error("request_crashed", exc_info=error)
    return respond(ErrorCode.INTERNAL_ERROR, "Something went wrong here; the log has it under the request_id.")
