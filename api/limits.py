"""How often a user may ask: flask-limiter, counted in Redis, told in `RateLimit-*` headers."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from flask import Flask, current_app, g, request
from flask_limiter import HeaderNames, Limiter

from settings import Settings

View = TypeVar("View", bound=Callable[..., Any])

MESSAGES: Final = "rate_limit_messages"
STREAMS: Final = "rate_limit_streams"


def _user() -> str:
    return str(g.account.user_id)


def _has_limits_of_its_own() -> bool:
    """Return whether the request is no user's (health checks, metrics), or opens a stream."""
    return "account" not in g or (request.endpoint or "").endswith(".stream_events")


limiter = Limiter(
    _user,
    application_limits=[lambda: _setting("rate_limit")],
    application_limits_exempt_when=_has_limits_of_its_own,
    strategy="fixed-window",
    headers_enabled=True,
    header_name_mapping={
        HeaderNames.LIMIT: "RateLimit-Limit",
        HeaderNames.REMAINING: "RateLimit-Remaining",
        HeaderNames.RESET: "RateLimit-Reset",
    },
    retry_after="delta-seconds",
    key_prefix="limit",
    # Without Redis each web process counts by itself: a limit may be missed, a request is not.
    in_memory_fallback_enabled=True,
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
    app.config["RATELIMIT_STORAGE_URI"] = settings.cache
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {
        "socket_timeout": settings.redis_timeout,
        "socket_connect_timeout": settings.redis_timeout,
    }
    limiter.init_app(app)
