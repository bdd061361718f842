"""Verifies the bearer token of a request; every failure is one exception, so the client sees one and the same 401.

flask-jwt-extended decodes and verifies the signature, times, audience and issuer. On its own it would also accept a
missing `exp`, any `sub`, times spelt as strings, and answer 422 with reasons. The rules here close that: what the
header may look like before anything is decoded, which key may verify it, and what the claims must be afterwards.
"""

import hashlib
import re
import time
from collections.abc import Callable

import structlog
from flask import Flask, Request
from flask_jwt_extended import JWTManager, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidKeyError,
    InvalidSignatureError,
    InvalidSubjectError,
    MissingRequiredClaimError,
    PyJWTError,
)

from api.token_claims import Claims, Identity, identity_of
from api.token_keys import Key, Remembered, TokenKeys
from api.unauthorized import Reason, Unauthorized
from settings import JwtAlgorithm, Settings

MAX_HEADER_CHARS = 8_192

_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")
_REASONS: tuple[tuple[type[PyJWTError], Reason], ...] = (
    (ExpiredSignatureError, "expired"),
    (ImmatureSignatureError, "not_yet_valid"),
    (InvalidSignatureError, "signature"),
    (InvalidAlgorithmError, "algorithm"),
    (InvalidAudienceError, "audience"),
    (InvalidIssuerError, "issuer"),
    (InvalidSubjectError, "subject"),
    (InvalidKeyError, "key"),
)
_CLAIM_REASONS: dict[str, Reason] = {"aud": "audience", "iss": "issuer"}

_log = structlog.get_logger(__name__)


class TokenVerifier:
    """Tells who sends a request.

    A verified token is remembered by its SHA-256 until it expires or the keys change: most requests of a client
    carry the same token.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load the keys.

        Raises:
            InvalidKeys: the secret or the key file cannot be used; the message names it.
        """
        self._settings = settings
        self._clock = clock
        self._keys = TokenKeys(settings, monotonic)

    def init_app(self, app: Flask) -> None:
        """Give flask-jwt-extended the rules of this deployment; `verify` needs the context of such an app."""
        settings = self._settings
        app.config.update(
            JWT_TOKEN_LOCATION=["headers"],
            JWT_HEADER_NAME="Authorization",
            JWT_HEADER_TYPE="Bearer",
            JWT_IDENTITY_CLAIM="sub",
            JWT_ALGORITHM=str(settings.jwt_algorithm),
            JWT_DECODE_ALGORITHMS=[str(settings.jwt_algorithm)],
            JWT_DECODE_AUDIENCE=settings.jwt_audience,
            JWT_DECODE_ISSUER=settings.jwt_issuer,
            JWT_DECODE_LEEWAY=settings.jwt_leeway,
        )
        if settings.jwt_algorithm is JwtAlgorithm.HS256:
            app.config["JWT_SECRET_KEY"] = settings.jwt_secret.get_secret_value()
        JWTManager(app).decode_key_loader(self._select_key)

    def verify(self, request: Request) -> Identity:
        """Return the sender of `request`.

        Raises:
            Unauthorized: for every other outcome, whatever the header holds.
        """
        token = _bearer_token(request)
        digest = hashlib.sha256(token.encode()).digest()
        keys = self._keys.current()
        entry = keys.verified.get(digest)
        if entry is None:
            entry = self._check(token)
            keys.remember(digest, entry)
        elif self._clock() >= entry.refused_from:
            keys.verified.pop(digest, None)
            raise Unauthorized("expired")
        return entry.identity

    def _check(self, token: str) -> Remembered:
        identity = identity_of(_decode(token), self._settings.jwt_max_lifetime)
        return Remembered(identity, refused_from=identity.expires_at.timestamp() + self._settings.jwt_leeway)

    def _select_key(self, header: Claims, _claims: Claims) -> Key:
        """Choose the key from the header, which nobody has verified yet: flask-jwt-extended calls this."""
        if "crit" in header:
            raise Unauthorized("malformed")
        return self._keys.current().select(header.get("kid"))


def _bearer_token(request: Request) -> str:
    """Return the token of the only Authorization header; servers join several with a comma, which cannot match."""
    header = request.headers.get("Authorization")
    if header is None:
        raise Unauthorized("missing")
    match = _BEARER.fullmatch(header) if len(header) <= MAX_HEADER_CHARS else None
    if match is None:
        raise Unauthorized("malformed")
    return match[1]


def _decode(token: str) -> Claims:
    """Let flask-jwt-extended verify `token`, and turn each of its many errors into ours."""
    try:
        return decode_token(token)
    except Unauthorized:
        raise
    except PyJWTError as error:
        raise Unauthorized(_reason(error)) from error
    except JWTExtendedException as error:
        raise Unauthorized("malformed") from error
    except Exception as error:
        # Strangers choose what is parsed here: an error nobody foresaw must be a 401 and a line in the log, not a 500.
        # No traceback in that line: renderers that print local variables would print the token and the key.
        _log.error("token_check_failed", error=type(error).__name__)
        raise Unauthorized("unexpected") from error


def _reason(error: PyJWTError) -> Reason:
    if isinstance(error, MissingRequiredClaimError):
        return _CLAIM_REASONS.get(error.claim, "malformed")
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "malformed")
