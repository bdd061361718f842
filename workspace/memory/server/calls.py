"""Calls of the client, whose errors are many, and what they mean."""

import json
import math
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import structlog
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from workspace.errors import MemoryUnavailable

log = structlog.get_logger(__name__)


class Missing(MemoryUnavailable):
    """The memory was removed at this moment."""


class Exists(MemoryUnavailable):
    """The memory was made at this moment."""


def client_of(url: str, api_key: str, *, timeout: float) -> QdrantClient:
    """Return a client of the server at `url`; nothing connects before it is needed."""
    with warnings.catch_warnings():
        # In a private network, as that of docker-compose.yml, a key without TLS is meant.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(
            url=url,
            api_key=api_key or None,
            timeout=whole(timeout),
            check_compatibility=False,  # a request when it is made, and a warning
            trust_env=False,  # a proxy has no business between a system and its database
        )


def called(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call the client, whose errors are many.

    Raises:
        MemoryUnavailable: the server is out of reach, refuses, or does not understand.
        Missing: there is no such collection.
        Exists: there is one.
    """
    try:
        return method(*arguments, **options)
    except UnexpectedResponse as error:
        _explain(error)
    except (ApiException, QdrantException) as error:
        log.warning("memory_server_away", error=repr(error), cause=repr(getattr(error, "source", None)))
        raise MemoryUnavailable from error
    except (json.JSONDecodeError, UnicodeDecodeError, AssertionError) as error:
        log.warning("memory_server_is_none", error=repr(error))
        raise MemoryUnavailable("What is at QDRANT_URL does not answer like a Qdrant server.") from error
    except ValueError as error:  # of the client's local mode, which has no statuses
        if str(error).endswith(" not found"):
            raise Missing from error
        if str(error).endswith(" already exists"):
            raise Exists from error
        raise


def _explain(error: UnexpectedResponse) -> NoReturn:
    """Raise what an HTTP status of the server means. Its words go to the log only."""
    match error.status_code:
        case 404 if _is_of_qdrant(error):
            raise Missing from error
        case 409 if _is_of_qdrant(error):
            raise Exists from error
        case status:
            log.warning("memory_server_refuses", status=status, body=error.content[:300].decode(errors="replace"))
            hint = ": check QDRANT_API_KEY" if status in (401, 403) else ""
            raise MemoryUnavailable(f"The memory's server answered {status}{hint}.") from error


def _is_of_qdrant(error: UnexpectedResponse) -> bool:
    """Whether a Qdrant server said this, and not whatever else is at its address."""
    try:
        return bool(error.structured()["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return False


def whole(seconds: float) -> int:
    """Return whole seconds: the client takes no others."""
    return max(1, math.ceil(seconds))
