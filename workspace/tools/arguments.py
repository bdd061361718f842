"""A call as the model wrote it, made into something that rows can hold; what cannot be is the model's mistake."""

import itertools
import re
from typing import Any, NamedTuple

from models import Json
from workspace.model_stream import AskedCall
from workspace.strict_json import MAX_INTEGER, InvalidJson, loads
from workspace.tools.errors import ToolError, ToolErrorCode

LONGEST_ID = 128
LONGEST_NAME = 64
LARGE = 1e16
"""From here on a float has no decimal point in JSON, and PostgreSQL stores a whole number."""
UNNAMED = "unnamed"
"""Stands for a name that cannot be one."""

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}")
"""The form that model servers ask for: one refuses a whole conversation with a call of any other name in it."""


class ParsedCall(NamedTuple):
    """A call with arguments that are JSON, or with the reason why they are not."""

    call_id: str
    tool: str
    arguments: Json
    error: ToolError | None


def parse_calls(calls: tuple[AskedCall, ...], turn: int, used: frozenset[str]) -> list[ParsedCall]:
    """Return the calls of a turn, each with an id that the task has not used yet.

    Args:
        calls: as the model asked for them.
        turn: the turn's number.
        used: ids of the task's earlier calls; some models begin anew in each turn.
    """
    taken = set(used)
    parsed = []
    for position, call in enumerate(calls):
        call_id = call.id
        if not (0 < len(call_id) <= LONGEST_ID and call_id.isascii() and call_id.isprintable()) or call_id in taken:
            own = f"call_{turn}_{position}"
            names = itertools.chain((own,), (f"{own}_{number}" for number in itertools.count(1)))
            call_id = next(name for name in names if name not in taken)
        taken.add(call_id)
        parsed.append(_parse(call, call_id))
    return parsed


def _parse(call: AskedCall, call_id: str) -> ParsedCall:
    name = call.name if _NAME.fullmatch(call.name) else UNNAMED
    try:
        arguments = loads(call.arguments.encode("utf-8", "surrogatepass")) if call.arguments.strip() else {}
        if not isinstance(arguments, dict):
            raise InvalidJson("not an object")
        arguments = _as_stored(arguments)
    except InvalidJson as error:
        detail = f"The arguments are no JSON object that can be used: {error.detail}."
        return ParsedCall(call_id, name, {}, ToolError(ToolErrorCode.INVALID_ARGUMENTS, detail))
    return ParsedCall(call_id, name, arguments, None)


def _as_stored(value: Any) -> Any:
    """Return arguments as a row gives them back: PostgreSQL knows no negative nought, and no large number as a float.

    So the digest of what was asked is that of what is in the row.

    Raises:
        InvalidJson: a number is beyond those that are taken as whole ones.
    """
    match value:
        case dict():
            return {name: _as_stored(each) for name, each in value.items()}
        case list():
            return [_as_stored(each) for each in value]
        case float() if value == 0:
            return 0.0
        case float() if abs(value) > MAX_INTEGER:
            raise InvalidJson("a number is too large")
        case float() if abs(value) >= LARGE:
            return int(value)
        case _:
            return value
