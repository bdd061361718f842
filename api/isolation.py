"""The walls in front of `/my` and `/admin`: no request below gets past here without its user, whatever view it is for.

They go by the path alone and stand before any view: none can forget them, and who is refused learns nothing of the
routes behind them.
"""

import re
from typing import Final

import structlog
from flask import Flask, Response, g, request
from uuid_utils.compat import uuid7

from api.errors import forbidden, unauthorized
from api.http import web
from api.tokens import TokenVerifier
from api.unauthorized import Unauthorized
from workspace.metrics import AUTHENTICATIONS

log = structlog.get_logger(__name__)

PUBLIC: Final = frozenset({"/my/docs", "/my/docs/", "/my/openapi.json"})
"""All that is public below `/my`: static, without tenant data. A guard test holds the routes to this list."""
PUBLIC_ASSETS: Final = "/my/docs/assets/"

ADMIN: Final = "/admin"
"""What is below it needs a token whose `role` is `admin`; nothing there is public."""

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
        if _is_below(request.path, ADMIN) and not identity.is_admin:
            log.warning("admin_refused", path=request.path, peer=request.remote_addr)
            # Before the rate limit, whose headers come with known routes only.
            return forbidden()
        return None

    @app.after_request
    def audit(response: Response) -> Response:
        if _is_below(request.path, ADMIN) and "account" in g:
            user, status = str(g.account.user_id), response.status_code
            log.info("admin_request", user=user, method=request.method, path=request.path, status=status)
        return response


def _is_guarded(path: str) -> bool:
    """Whether a path needs a token. What is not known to be public does."""
    is_public = path in PUBLIC or path.startswith(PUBLIC_ASSETS)
    return _is_below(path, ADMIN) or (_is_below(path, "/my") and not is_public)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def _is_preflight() -> bool:
    """Whether a browser asks for permission, which it does without a token: answered by flask-cors, not by a view.

    Never below `/admin`: its answer would tell which routes exist, and pages of other origins have no business there.
    """
    return request.method == "OPTIONS" and bool(web().settings.cors_origins) and not _is_below(request.path, ADMIN)
