"""Tokens for a development stack, signed with its own secret."""

import time
from dataclasses import asdict

import jwt

from devstack.directory import holder, standing
from devstack.environment import Signing
from devstack.errors import StackError

LIFETIME = 12 * 3600
"""Seconds; a working day, and below JWT_MAX_LIFETIME."""


def sign(signing: Signing, subject: str, *, admin: bool = False) -> str:
    """A token of the user `subject`."""
    now = int(time.time())
    claims: dict[str, object] = {"sub": subject, "iat": now, "exp": now + LIFETIME}
    if admin:
        claims["role"] = "admin"
    if signing.audience:
        claims["aud"] = signing.audience
    if signing.issuer:
        claims["iss"] = signing.issuer
    return jwt.encode(claims, signing.secret, algorithm="HS256")


def for_running_stack(subject: str, *, admin: bool) -> str:
    """A token for the stack that `up` runs in this checkout.

    Raises:
        StackError: none runs.
    """
    directory = standing()
    signing = directory.read_state().get("signing")
    if holder(directory) is None or not signing:
        raise StackError("no stack is running in this checkout; start one with `make up`")
    return sign(Signing(**signing), subject, admin=admin)


def as_state(signing: Signing) -> dict[str, str | None]:
    """What the stack records so that `for_running_stack` can sign."""
    return asdict(signing)
