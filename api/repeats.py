"""The `Idempotency-Key` header of requests that must not be carried out twice."""

import re
from typing import Final

from flask import request

from workspace.errors import InvalidInput
from workspace.idempotency import MOST_CHARACTERS, Repeat

HEADER: Final = "Idempotency-Key"
_KEY = re.compile(rf"[\x21-\x7e]{{1,{MOST_CHARACTERS}}}")


def named_repeat(*parts: str) -> Repeat | None:
    """Return the client's name for this request, if it gave one.

    Args:
        parts: what the request is; the same name for other parts is a conflict.

    Raises:
        InvalidInput: the name is too long, empty, or not of printable ASCII.
    """
    given = request.headers.get(HEADER)
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise InvalidInput(f"{HEADER} must be 1 to {MOST_CHARACTERS} printable ASCII characters without spaces.")
    return Repeat.of(given, *parts)
