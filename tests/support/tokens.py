"""Tokens for any user of the stack."""

import time
from typing import Any

import jwt

LIFETIME = 3_600


def claims(subject: str, **changes: Any) -> dict[str, Any]:
    """Return the claims of a good token, changed; a change to `...` removes a claim."""
    now = int(time.time())
    good = {"sub": subject, "iat": now, "exp": now + LIFETIME}
    return {name: value for name, value in (good | changes).items() if value is not ...}


def mint(secret: str, subject: str, **changes: Any) -> str:
    """Return a token that the stack accepts, unless `changes` make it bad."""
    return jwt.encode(claims(subject, **changes), secret, algorithm="HS256")
