"""The one JSON loader: it refuses everything that a store or a later layer would choke on.

Postgres rejects NUL, UTF-8 encoders reject lone surrogates, `bigint` ends at 63 bits, NaN is no JSON, and of two
equal keys two readers see different ones. All of it is refused here, as the sender's mistake, before any of it can
become a server error. The C scanner of the standard library does the work; checks that need a walk in Python run
only when a cheap look at the bytes says that they could find something.
"""

import json
import math
import re
from itertools import accumulate
from typing import Never, TypeAlias, cast

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"

MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1
MIN_INTEGER = -(2**63)
_LONGEST_INTEGER = len(str(MIN_INTEGER))

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_BRACKET_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_DOUBTFUL_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class InvalidJson(ValueError):
    """The text is not acceptable JSON."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
        """What is wrong, in words that never quote the input: safe to show to the sender."""


def loads(data: bytes, *, max_depth: int = MAX_DEPTH) -> JsonValue:
    """Parse one JSON text.

    Raises:
        InvalidJson: `data` is not UTF-8 JSON within the limits of this module.
    """
    text = _decode(data)
    if data.count(b"[") + data.count(b"{") > max_depth and _is_deeper(data, max_depth):
        raise InvalidJson(f"nested deeper than {max_depth} levels")
    value = _parse(text)
    if _DOUBTFUL_ESCAPE.search(data):
        _refuse_unstorable_strings(value)
    return value


def _decode(data: bytes) -> str:
    """Return the text of `data`; UTF-16, byte order marks and encoded surrogates do not pass."""
    if not data:
        raise InvalidJson("the body is empty")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8 (byte {error.start})") from None
    if text.startswith("\ufeff"):
        raise InvalidJson("starts with a byte order mark")
    return text


def _is_deeper(data: bytes, max_depth: int) -> bool:
    """Say whether brackets outside strings nest deeper than `max_depth`; linear, and it stops at the first that do.

    It reads strings as the scanner does, so up to the scanner's first error both see the same depth.
    """
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = b"".join(data.split(b'"')[::2])
    steps = memoryview(outside_strings.translate(_BRACKET_STEPS, _NOT_BRACKETS)).cast("b")
    return any(map(max_depth.__lt__, accumulate(steps)))


def _parse(text: str) -> JsonValue:
    try:
        return cast(JsonValue, _DECODER.decode(text))
    except json.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise InvalidJson("nested too deep") from None


def _refuse_unstorable_strings(value: JsonValue) -> None:
    """Look at every string of `value`: an escape can spell characters that raw UTF-8 cannot bring in."""
    waiting: list[JsonValue] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            _refuse_unstorable(item)
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())


def _refuse_unstorable(text: str) -> None:
    if "\0" in text:
        raise InvalidJson("a string holds the NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidJson("a string holds a lone surrogate") from None


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidJson("an object holds the same key twice")
    return fields


def _integer(digits: str) -> int:
    """Convert `digits`, but only a length that can fit: long conversions are slow, then refused by Python."""
    if len(digits) <= _LONGEST_INTEGER:
        number = int(digits)
        if MIN_INTEGER <= number <= MAX_INTEGER:
            return number
    raise InvalidJson("an integer is beyond 63 bits")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise InvalidJson("a number is too large")
    return number


def _constant(_name: str) -> Never:
    raise InvalidJson("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
