"""Looking at answers: the body of every error, and what may differ between two that must be the same."""

import re
from datetime import datetime
from typing import Any

import httpx

ERROR_FIELDS = {"detail", "error_code", "timestamp", "request_id"}

_OF_ITS_OWN = re.compile(r'("(?:timestamp|request_id)":\s?")[^"]*(")')
_HEADERS_OF_ITS_OWN = {"date", "x-request-id", "ratelimit-remaining", "ratelimit-reset", "content-length"}


def error(response: httpx.Response, status: int, code: str, *, more: set[str] | None = None) -> dict[str, Any]:
    """Hold an answer to the shape of every error and return its body.

    Args:
        more: fields that this error has besides those of all.
    """
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    assert response.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert set(body) == ERROR_FIELDS | (more or set())
    assert body["error_code"] == code
    assert body["detail"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    return body


def refused(response: httpx.Response) -> list[dict[str, Any]]:
    """Hold an answer to a schema's refusal and return what is told of the mistakes."""
    errors: list[dict[str, Any]] = error(response, 422, "validation_error", more={"errors"})["errors"]
    assert errors
    for mistake in errors:
        assert set(mistake) == {"loc", "type", "msg"}
    return errors


def likeness(response: httpx.Response) -> tuple[int, str, dict[str, str]]:
    """Return all of an answer but what belongs to the one request: two alike answers tell nothing apart."""
    headers = {name: value for name, value in response.headers.items() if name not in _HEADERS_OF_ITS_OWN}
    return response.status_code, _OF_ITS_OWN.sub(r"\1\2", response.text), headers
