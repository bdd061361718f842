"""Every error becomes one body, whatever it was; what is inside of the system stays there."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs
from werkzeug.exceptions import HTTPException, default_exceptions

from api.errors import STATUS, init_errors, respond, unauthorized
from api.strict_json import UnsupportedContentType
from api.unauthorized import Unauthorized
from tests.support.answers import ERROR_FIELDS
from workspace import errors
from workspace.errors import (
    AgentQueueFull,
    CodelabError,
    DimensionsChanged,
    ErrorCode,
    InputMistake,
    InvalidInput,
    InvalidLine,
    InvalidParts,
    NotFound,
    RequestError,
    RunFailure,
    TooManyStreams,
    Unavailable,
)
from workspace.strict_json import InvalidJson

SECRET = "postgresql://user:password@host/db"


def _all(kind: type[CodelabError]) -> Iterator[type[CodelabError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _all(each)


KINDS = sorted(
    {kind for kind in _all(CodelabError) if kind.__module__ == errors.__name__}, key=lambda kind: kind.__name__
)
"""Those that leave the core; some modules have others, which they catch by themselves."""


@pytest.fixture
def client() -> FlaskClient:
    """A client of an app whose one view raises what it is told to."""
    app = Flask("errors")
    init_errors(app)

    @app.get("/")
    def fail() -> str:
        raise app.config["ERROR"]

    return app.test_client()


def answered(client: FlaskClient, error: BaseException) -> Any:
    client.application.config["ERROR"] = error
    return client.get("/")


def test_every_code_has_a_status_and_no_status_is_left_over() -> None:
    assert set(STATUS) == set(ErrorCode)
    assert all(400 <= status <= 599 for status in STATUS.values())


def test_codes_on_the_wire_stay() -> None:
    """Contract 21; further ones may come, none may change."""
    assert {
        "not_found", "unauthorized", "forbidden", "validation_error", "payload_too_large", "rate_limited",
        "agent_queue_full", "session_busy", "too_many_streams", "default_project", "overloaded", "worker_lost",
        "worker_shutdown", "agent_deleted", "deadline_exceeded", "model_error", "method_not_allowed",
        "agent_name_taken", "internal_error", "cancelled",
    } <= {code.value for code in ErrorCode}  # fmt: skip


ARGUMENTS: dict[type[CodelabError], dict[str, Any]] = {
    AgentQueueFull: {"queued": 7, "limit": 7, "retry_after": 2.4},
    DimensionsChanged: {"expected": "a-model (8 dimensions)", "got": "a-model (16 dimensions)"},
    InvalidParts: {"mistakes": [InputMistake(("edits", "one"), "unknown_task", "The plan has no task `one`.")]},
    InvalidLine: {"detail": "There is no text.", "line": 3, "stored": 2},
}
"""Of the errors that need some."""


def _sample(kind: type[CodelabError]) -> CodelabError:
    return kind(**ARGUMENTS.get(kind, {}))


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_the_core_is_answered_with_its_code_and_status(
    client: FlaskClient, kind: type[CodelabError]
) -> None:
    error = _sample(kind)
    answer = answered(client, error)
    assert answer.status_code == STATUS[kind.code]
    assert answer.content_type == "application/json"
    assert set(answer.json) >= ERROR_FIELDS
    assert answer.json["error_code"] == kind.code.value
    assert answer.json["detail"] == error.detail


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_in_one_sentence_what_is_wrong(kind: type[CodelabError]) -> None:
    assert kind.__doc__
    detail = _sample(kind).detail
    assert detail.endswith(".")
    assert "\n" not in detail
    assert detail[0].isupper()


def test_every_error_says_who_is_to_blame() -> None:
    branches = {RequestError, Unavailable, RunFailure}
    for kind in KINDS:
        assert kind in branches or issubclass(kind, tuple(branches)), kind
    assert {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CodelabError)} == {
        CodelabError,
        *KINDS,
    }


def test_a_detail_of_its_own_wins_over_the_docstring(client: FlaskClient) -> None:
    assert answered(client, InvalidInput("The cursor is none.")).json["detail"] == "The cursor is none."


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (NotFound(), None),
        (TooManyStreams(), None),
        (Unavailable(), "1"),
        (Unavailable(retry_after=7), "7"),
        (Unavailable(retry_after=0.2), "1"),
        (AgentQueueFull(queued=1, limit=1, retry_after=2.4), "2"),
        (NotFound(retry_after=3), "3"),
    ],
    ids=repr,
)
def test_what_may_work_later_says_when(client: FlaskClient, error: CodelabError, seconds: str | None) -> None:
    assert answered(client, error).headers.get("Retry-After") == seconds


def test_a_full_queue_tells_its_length(client: FlaskClient) -> None:
    answer = answered(client, AgentQueueFull(queued=100, limit=100, retry_after=2))
    assert answer.json["queue_position"] == 100
    assert set(answer.json) == ERROR_FIELDS | {"queue_position"}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        KeyError(SECRET),
        IntegrityError(SECRET, {}, Exception(SECRET)),
        DBAPIError(SECRET, {}, Exception(SECRET)),
        MemoryError(SECRET),
        RecursionError(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_nobody_foresaw_is_a_500_that_tells_nothing_and_a_line_in_the_log(
    client: FlaskClient, error: Exception
) -> None:
    with capture_logs() as logs:
        answer = answered(client, error)
    assert answer.status_code == 500
    assert set(answer.json) == ERROR_FIELDS
    assert answer.json["error_code"] == "internal_error"
    assert SECRET not in answer.text
    assert [line["event"] for line in logs] == ["request_crashed"]


@pytest.mark.parametrize(
    "error",
    [
        PoolTimeout(SECRET),
        OperationalError(SECRET, {}, Exception(SECRET)),
        DBAPIError(SECRET, {}, Exception(SECRET), connection_invalidated=True),
    ],
    ids=["no connection free", "operational", "connection lost"],
)
def test_a_database_that_is_away_is_a_503_that_tells_nothing(client: FlaskClient, error: Exception) -> None:
    answer = answered(client, error)
    assert (answer.status_code, answer.json["error_code"]) == (503, "overloaded")
    assert answer.headers["Retry-After"] == "1"
    assert SECRET not in answer.text


@pytest.mark.parametrize("kind", default_exceptions.values(), ids=lambda kind: kind.__name__)
def test_every_error_of_http_has_the_same_body(client: FlaskClient, kind: type[HTTPException]) -> None:
    answer = answered(client, kind())
    assert answer.status_code == kind.code
    assert set(answer.json) == ERROR_FIELDS
    assert answer.json["error_code"] in {code.value for code in ErrorCode}
    assert (answer.json["error_code"] == "internal_error") == (kind.code is not None and kind.code >= 500)


def test_the_framework_s_404_is_the_cores_404(client: FlaskClient) -> None:
    def alike(answer: Any) -> tuple[int, str, str]:
        return answer.status_code, answer.json["detail"], answer.json["error_code"]

    assert alike(client.get("/nowhere")) == alike(answered(client, NotFound()))


def test_a_405_says_what_is_allowed(client: FlaskClient) -> None:
    answer = client.post("/")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_an_abort_with_a_response_of_its_own_is_left_alone(client: FlaskClient) -> None:
    app = client.application

    @app.get("/own")
    def own() -> None:
        abort(app.response_class("mine", 418))

    assert client.get("/own").text == "mine"


def test_refused_json_is_a_400_and_another_type_a_415(client: FlaskClient) -> None:
    answer = answered(client, InvalidJson("nested deeper than 64 levels"))
    assert (answer.status_code, answer.json["error_code"]) == (400, "validation_error")
    assert answer.json["detail"] == "nested deeper than 64 levels"
    answer = answered(client, UnsupportedContentType())
    assert (answer.status_code, answer.json["error_code"]) == (415, "validation_error")


def test_every_reason_of_a_401_gives_the_same_answer(client: FlaskClient) -> None:
    bodies = []
    for reason in ("missing", "malformed", "expired", "signature", "subject"):
        answer = answered(client, Unauthorized(reason))  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        bodies.append({name: value for name, value in answer.json.items() if name != "timestamp"})
    assert all(body == bodies[0] for body in bodies)
    with client.application.app_context():
        assert unauthorized().status_code == 401


def test_a_body_is_made_outside_of_a_request_as_well() -> None:
    """Errors of before a request has its id must have a body, too."""
    with Flask("bare").app_context():
        assert respond(ErrorCode.NOT_FOUND, "Not found.").json["request_id"] == ""
