"""What the claims of a verified token must be, beyond what flask-jwt-extended asks, and whom they speak for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from api.unauthorized import Unauthorized

Claims: TypeAlias = Mapping[str, Any]

MAX_EMAIL_CHARS = 254
"""RFC 5321, 4.5.3.1.3, as corrected by erratum 1690."""
MAX_TOKEN_ID_CHARS = 128

_LAST_TIMESTAMP = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:-]{0,127}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a verified token speaks for, and until when."""

    subject: str
    email: str | None
    is_admin: bool
    expires_at: datetime
    token_id: str | None


def identity_of(claims: Claims, max_lifetime: int) -> Identity:
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
