"""That a request carries no token which this deployment accepts, and why, for the log alone."""

from typing import Literal

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


class Unauthorized(Exception):
    """The request carries no token that this deployment accepts."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
        """A static code for the log; the client must not see it."""
