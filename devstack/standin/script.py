"""What one request is to be answered with: directives in the message, or the keys of a rule, as a `Script`.

A directive stands in square brackets anywhere in the last user message, for example
`Count for me [tokens=20] [gap=0.02]`. Text in brackets that names no directive is left alone; a directive whose value
makes no sense is an error, because a test that is not doing what it says is worse than one that fails.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

ERROR_STATUSES = range(400, 600)


class ScriptError(ValueError):
    """A directive or rule that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A disturbance, for the first `times` requests only or (None) for all."""

    value: float
    times: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool: its name and its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How to answer. None: not said, so a rule or a default may say it."""

    delay: float | None = None
    """Seconds of the whole answer: one half before its first token, the other spread over the rest."""
    first: float | None = None
    """Seconds before the first token."""
    gap: float | None = None
    """Seconds between two tokens."""
    tokens: int | None = None
    """Answer with exactly this many tokens."""
    say: str | None = None
    """Answer with this text."""
    fail: Limited | None = None
    """Answer with this HTTP status."""
    retry_after: float | None = None
    """Seconds in the `Retry-After` header of a failure."""
    break_after: Limited | None = None
    """Drop the connection after this many tokens."""
    silent: Limited | None = None
    """Accept the request and send nothing for this many seconds."""
    tools: tuple[ToolCall, ...] = ()
    """Call these tools before anything is said."""

    def over(self, base: "Script") -> "Script":
        """This script, completed by what `base` says and this one does not."""
        chosen = {}
        for field in fields(self):
            mine = getattr(self, field.name)
            chosen[field.name] = mine if mine not in (None, ()) else getattr(base, field.name)
        return Script(**chosen)


def parse_message(text: str) -> tuple[Script, str]:
    """The script in a message's directives, and the message without them.

    Raises:
        ScriptError: a directive's value makes no sense.
    """
    if "[" not in text:
        return Script(), text
    values: dict[str, Any] = {}
    kept = []
    position = 0
    for start, name, value, end in _directives(text):
        kept.append(text[position:start])
        position = end
        _set(values, name, value)
    kept.append(text[position:])
    plain = "".join(kept)
    return Script(**values), plain if not values else re.sub(r"[ \t]{2,}", " ", plain).strip()


def parse_rule(rule: Mapping[str, Any]) -> Script:
    """The script in a rule: the same keys as the directives; `tool` may be a list.

    Raises:
        ScriptError: a key is unknown or its value makes no sense.
    """
    values: dict[str, Any] = {}
    for name, value in rule.items():
        if name not in _READERS:
            raise ScriptError(f"unknown key {name!r} in a rule; known are {', '.join(sorted(_READERS))}")
        for part in value if isinstance(value, list) else [value]:
            _set(values, name, _rule_text(part))
    return Script(**values)


def _rule_text(value: Any) -> str:
    """A rule's value in the form that a directive has."""
    if isinstance(value, dict):
        return f"{value.get('name', '')} {json.dumps(value.get('arguments', {}))}"
    return value if isinstance(value, str) else json.dumps(value)


def _set(values: dict[str, Any], name: str, text: str) -> None:
    field, read = _READERS[name]
    try:
        value = read(text)
    except ValueError as error:
        raise ScriptError(f"[{name}={text}] makes no sense: {error}") from None
    values[field] = (*values.get(field, ()), value) if field == "tools" else value


def _number(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError("it must be a number from 0 on")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("it must be a number from 0 on")
    return value


def _limited(text: str) -> Limited:
    value, separator, times = text.partition("x")
    return Limited(_number(value), _count(times) if separator else None)


def _status(text: str) -> Limited:
    limited = _limited(text)
    if not limited.value.is_integer() or int(limited.value) not in ERROR_STATUSES:
        raise ValueError("it must be an HTTP status from 400 to 599")
    return limited


def _tool(text: str) -> ToolCall:
    name, _, arguments = text.strip().partition(" ")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError("it must be a name, a space and JSON arguments")
    arguments = arguments.strip() or "{}"
    json.loads(arguments)
    return ToolCall(name, arguments)


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "delay": ("delay", _number),
    "first": ("first", _number),
    "gap": ("gap", _number),
    "tokens": ("tokens", _count),
    "say": ("say", str),
    "fail": ("fail", _status),
    "retry_after": ("retry_after", _number),
    "break": ("break_after", _limited),
    "silent": ("silent", _limited),
    "tool": ("tools", _tool),
}

_OPENING = re.compile(rf"\[({'|'.join(_READERS)})=")


def _directives(text: str) -> Iterator[tuple[int, str, str, int]]:
    """Start, name, value and end of each directive."""
    position = 0
    while found := _OPENING.search(text, position):
        name = found[1]
        value, position = _closed(text, found.end(), quotes=name == "tool")
        yield found.start(), name, value, position


def _closed(text: str, start: int, *, quotes: bool) -> tuple[str, int]:
    """The value that ends with the bracket matching the opening one, and the position behind that.

    A backslash takes the meaning from a bracket; with `quotes`, so does a JSON string around it.
    """
    depth, in_string, value = 1, False, []
    characters = iter(enumerate(text[start:], start))
    for position, character in characters:
        if character == "\\":
            _, following = next(characters, (0, ""))
            value.append(character + following if quotes or following not in "[]" else following)
            continue
        if character == '"' and quotes:
            in_string = not in_string
        elif not in_string:
            depth += (character == "[") - (character == "]")
            if depth == 0:
                return "".join(value), position + 1
        value.append(character)
    raise ScriptError(f"the directive [{text[start - 10 : start + 20]}... has no closing bracket")
