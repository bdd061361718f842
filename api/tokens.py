"""Verifies the bearer token of a request; every failure is one exception, so the client sees one and the same 401.

flask-jwt-extended decodes and verifies the signature, times, audience and issuer. On its own it would also accept a
missing `exp`, any `sub`, times spelt as strings, and answer 422 with reasons. The rules here close that: what the
header may look like before anything is decoded, which key may verify it, and what the claims must be afterwards.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flask import Flask, Request
from flask_jwt_extended import JWTManager, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWK, get_algorithm_by_name
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

from settings import JwtAlgorithm, Settings
from workspace.strict_json import InvalidJson, loads

Key: TypeAlias = str | RSAPublicKey | EllipticCurvePublicKey
Claims: TypeAlias = Mapping[str, Any]
Reason = Literal[
    "missing",
    "malformed",
    "algorithm",
    "key",
    "signature",
    "expired",
    "not_yet_valid",
    "lifetime",
    "audience",
    "issuer",
    "subject",
    "token_type",
    "unexpected",
]

MAX_HEADER_CHARS = 8_192
MAX_EMAIL_CHARS = 254
"""RFC 5321, 4.5.3.1.3, as corrected by erratum 1690."""
MAX_TOKEN_ID_CHARS = 128
MIN_RSA_BITS = 2_048
"""RFC 7518, 3.3."""
KEY_FILE_CHECK_INTERVAL = 5.0
"""Seconds between two looks at the key file: one stat each, and how late a rotation may be noticed."""
CACHE_SIZE = 8_192
"""Verified tokens remembered, about 0.7 KB each."""

_LAST_TIMESTAMP = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:-]{0,127}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+")
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


class Unauthorized(Exception):
    """The request carries no token that this deployment accepts."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
        """A static code for the log; the client must not see it."""


class InvalidKeys(Exception):
    """The key that verifies tokens cannot be used."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a verified token speaks for, and until when."""

    subject: str
    email: str | None
    is_admin: bool
    expires_at: datetime
    token_id: str | None


@dataclass(frozen=True, slots=True)
class _Remembered:
    identity: Identity
    refused_from: float


@dataclass(frozen=True, slots=True)
class _KeySet:
    """The keys of one moment, and the tokens they verified: replacing the keys forgets those tokens with them."""

    by_id: Mapping[str, Key]
    unnamed: Key | None
    """The key of a token without `kid`; None where that would be a guess among several."""
    ids_matter: bool = True
    verified: dict[bytes, _Remembered] = field(default_factory=dict)

    @classmethod
    def of_one(cls, key: Key) -> "_KeySet":
        """Return a set of the one key there is, whatever name a token gives it."""
        return cls(by_id={}, unnamed=key, ids_matter=False)

    def select(self, key_id: str | None) -> Key:
        """Return the key a token names."""
        key = self.by_id.get(key_id) if self.ids_matter and key_id is not None else self.unnamed
        if key is None:
            raise Unauthorized("key")
        return key

    def remember(self, digest: bytes, entry: _Remembered) -> None:
        """Keep a verified token; a full memory starts anew, which needs no lock and costs one check per token."""
        if len(self.verified) >= CACHE_SIZE:
            self.verified.clear()
        self.verified[digest] = entry


class _Keys:
    """The current keys; a key file that changed is read again, and a broken one leaves the keys as they are."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float]) -> None:
        self._algorithm = settings.jwt_algorithm
        self._secret = settings.jwt_secret.get_secret_value()
        self._pem, self._jwks = settings.jwt_public_key_file, settings.jwt_jwks_file
        self._path = None if self._algorithm is JwtAlgorithm.HS256 else self._pem or self._jwks
        self._monotonic = monotonic
        self._next_check = monotonic() + KEY_FILE_CHECK_INTERVAL
        self._stamp, self._current = self._load()

    def current(self) -> _KeySet:
        """Return the keys, at most `KEY_FILE_CHECK_INTERVAL` seconds behind the file."""
        now = self._monotonic()
        if self._path is not None and now >= self._next_check:
            self._next_check = now + KEY_FILE_CHECK_INTERVAL
            self._reload(self._path)
        return self._current

    def _reload(self, path: Path) -> None:
        try:
            if _stamp(path) != self._stamp:
                self._stamp, self._current = self._load()
                _log.info("token_keys_reloaded", path=str(path))
        except (InvalidKeys, OSError) as error:
            _log.error("token_keys_not_reloaded", path=str(path), error=str(error))

    def _load(self) -> tuple[tuple[int, ...], _KeySet]:
        """Return the keys with the stamp their file had just before, so that a change in between is seen later."""
        if self._path is None:
            return (), _secret_key(self._secret)
        try:
            stamp, content = _stamp(self._path), self._path.read_bytes()
        except OSError as error:
            raise InvalidKeys(f"{self._path}: {error.strerror}") from error
        try:
            return stamp, (_pem_key if self._pem else _jwks_keys)(content, self._algorithm)
        except InvalidKeys as error:
            raise InvalidKeys(f"{self._path}: {error}") from error


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written, replaced, or a link on its way is turned."""
    state = path.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev


def _secret_key(secret: str) -> _KeySet:
    try:
        get_algorithm_by_name(JwtAlgorithm.HS256).prepare_key(secret)
    except InvalidKeyError as error:
        raise InvalidKeys(f"JWT_SECRET: {error}") from error
    return _KeySet.of_one(secret)


def _pem_key(content: bytes, algorithm: JwtAlgorithm) -> _KeySet:
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKeys("not a public key in PEM form (-----BEGIN PUBLIC KEY-----)") from error
    usable = _fitting(key, algorithm)
    if usable is None:
        raise InvalidKeys(f"not a key for {algorithm}")
    return _KeySet.of_one(usable)


def _jwks_keys(content: bytes, algorithm: JwtAlgorithm) -> _KeySet:
    """Read a JWK Set; keys of other types, uses and algorithms are skipped, as RFC 7517, 5 wants it."""
    usable = [(entry.get("kid"), key) for entry in _jwks_entries(content) if (key := _jwk(entry, algorithm))]
    if not usable:
        raise InvalidKeys(f"no usable key for {algorithm}")
    names = [name for name, _ in usable if isinstance(name, str)]
    if len(set(names)) != len(names):
        raise InvalidKeys("two usable keys have the same kid")
    by_id = {name: key for name, key in usable if isinstance(name, str)}
    return _KeySet(by_id=by_id, unnamed=usable[0][1] if len(usable) == 1 else None)


def _jwks_entries(content: bytes) -> list[dict[str, Any]]:
    try:
        document = loads(content)
    except InvalidJson as error:
        raise InvalidKeys(f"not JSON: {error.detail}") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise InvalidKeys("not a JWK Set: an object with a list `keys` is needed")
    return [entry for entry in keys if isinstance(entry, dict)]


def _jwk(entry: dict[str, Any], algorithm: JwtAlgorithm) -> Key | None:
    """Return the key, or None where it is of another type or not meant for this use."""
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    if "d" in entry:
        raise InvalidKeys("holds a private key; verification needs the public half only")
    try:
        return _fitting(PyJWK(entry, algorithm).key, algorithm)
    except PyJWTError:
        return None


def _fitting(key: object, algorithm: JwtAlgorithm) -> Key | None:
    """Return `key` if it is of the type and strength that `algorithm` asks for."""
    if algorithm is JwtAlgorithm.RS256:
        return key if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS else None
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None


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
        self._keys = _Keys(settings, monotonic)

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

    def _check(self, token: str) -> _Remembered:
        identity = _identity(_decode(token), self._settings.jwt_max_lifetime)
        return _Remembered(identity, refused_from=identity.expires_at.timestamp() + self._settings.jwt_leeway)

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


def _identity(claims: Claims, max_lifetime: int) -> Identity:
    """Apply the rules that flask-jwt-extended does not have."""
    issued_at, expires_at = _timestamp(claims, "iat"), _timestamp(claims, "exp")
    if "nbf" in claims:
        _timestamp(claims, "nbf")
    if expires_at - issued_at > max_lifetime:
        raise Unauthorized("lifetime")
    if claims.get("type") == "refresh":
        raise Unauthorized("token_type")
    return Identity(
        subject=_subject(claims),
        email=_plausible(claims.get("email"), MAX_EMAIL_CHARS, _EMAIL),
        is_admin=claims.get("role") == "admin",
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        token_id=_plausible(claims.get("jti"), MAX_TOKEN_ID_CHARS),
    )


def _timestamp(claims: Claims, name: str) -> int:
    """Return a time in whole seconds; strings, booleans, NaN and years beyond 9999 are no times."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_TIMESTAMP:
        raise Unauthorized("malformed")
    return int(value)


def _subject(claims: Claims) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or _SUBJECT.fullmatch(subject) is None:
        raise Unauthorized("subject")
    return subject


def _plausible(value: object, max_chars: int, pattern: re.Pattern[str] | None = None) -> str | None:
    """Return `value` if it is printable text that a column and a log line can hold; these claims are optional."""
    if not isinstance(value, str) or not 0 < len(value) <= max_chars or not value.isprintable():
        return None
    return value if pattern is None or pattern.fullmatch(value) else None
