"""How often a user may ask: flask-limiter, counted in Redis, told in `RateLimit-*` headers."""

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter

from api import rate_storage
from settings import Settings

View = TypeVar("View", bound=Callable[..., Any])

STREAMS: Final = "rate_limit_streams"
_MAKES_WORK: Final = (".post_message", ".retry_run")


def _user() -> str:
    return str(g.account.user_id)


def _cost() -> int:
    """Return how many requests this one counts as: a message makes others work, and so does answering it once more."""
    settings: Settings = current_app.extensions["codelab"].settings
    return settings.rate_limit_message_cost if (request.endpoint or "").endswith(_MAKES_WORK) else 1


def _has_limits_of_its_own() -> bool:
    """Return whether the request is no user's (health checks, metrics), or opens a stream."""
    return "account" not in g or (request.endpoint or "").endswith(".stream_events")


limiter = Limiter(
    _user,
    application_limits=[lambda: _setting("rate_limit")],
    # One counter and a cost, not a second limit: each limit is a round trip to Redis.
    application_limits_cost=_cost,
    application_limits_exempt_when=_has_limits_of_its_own,
    strategy="fixed-window",
    key_prefix="limit",
)


def _setting(name: str) -> str:
    settings: Settings = current_app.extensions["codelab"].settings
    return str(getattr(settings, name))


def limited(name: str) -> Callable[[View], View]:
    """Give a view a limit of its own, by the name of its setting."""

    def decorate(view: View) -> View:
        return cast(View, limiter.shared_limit(lambda: _setting(name), scope=name)(view))

    return decorate


def init_limits(app: Flask, settings: Settings) -> None:
    """Count in this deployment's Redis. To be called after the caller is known."""
    # Its import registers the storage's scheme.
    app.config["RATELIMIT_STORAGE_URI"] = f"{rate_storage.SCHEME}+{settings.cache}"
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {
        "socket_timeout": settings.redis_timeout,
        "socket_connect_timeout": settings.redis_timeout,
    }
    limiter.init_app(app)
    app.after_request(_tell)


def _tell(response: Response) -> Response:
    """Say how much is left. flask-limiter's own headers give an absolute time and `Retry-After` with every answer."""
    limit = limiter.current_limit
    if limit is not None:
        seconds = min(max(0, limit.reset_at - int(time.time())), limit.limit.get_expiry())
        response.headers["RateLimit-Limit"] = str(limit.limit.amount)
        response.headers["RateLimit-Remaining"] = str(limit.remaining)
        response.headers["RateLimit-Reset"] = str(seconds)
        if limit.breached:
            response.headers["Retry-After"] = str(max(1, seconds))
    return response
