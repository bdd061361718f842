"""The wall in front of `/my`: no request below it gets past here without its user, whatever view it is for."""

import re
from typing import Final

import structlog
from flask import Flask, Response, g, request
from uuid_utils.compat import uuid7

from api.errors import unauthorized
from api.http import web
from api.tokens import TokenVerifier, Unauthorized
from workspace.metrics import AUTHENTICATIONS

log = structlog.get_logger(__name__)

PUBLIC: Final = frozenset({"/my/docs", "/my/docs/", "/my/openapi.json"})
"""All that is public below `/my`: static, without tenant data. A guard test holds the routes to this list."""
PUBLIC_ASSETS: Final = "/my/docs/assets/"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def init_isolation(app: Flask, verifier: TokenVerifier) -> None:
    """Check every request before anything else runs."""
    verifier.init_app(app)

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid7().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.before_request
    def isolate() -> Response | None:
        if not _is_guarded(request.path) or _is_preflight():
            return None
        try:
            identity = verifier.verify(request)
        except Unauthorized as refusal:
            AUTHENTICATIONS.labels("refused").inc()
            log.warning("authentication_refused", reason=refusal.reason, path=request.path, peer=request.remote_addr)
            return unauthorized()
        AUTHENTICATIONS.labels("accepted").inc()
        g.identity = identity
        g.account = web().accounts.of(identity.subject, identity.email)
        structlog.contextvars.bind_contextvars(user_id=str(g.account.user_id))
        log.debug("authentication_accepted")
        return None


def _is_guarded(path: str) -> bool:
    """Whether a path needs a token. What is not known to be public does."""
    below_my = path == "/my" or path.startswith("/my/")
    return below_my and path not in PUBLIC and not path.startswith(PUBLIC_ASSETS)


def _is_preflight() -> bool:
    """Whether a browser asks for permission, which it does without a token: answered by flask-cors, not by a view."""
    return request.method == "OPTIONS" and bool(web().settings.cors_origins)
