"""Scripts from the directives in a message, and from the keys of a rule.

A directive stands in square brackets anywhere in the last user message, for example
`Count for me [tokens=20] [gap=0.02]`. Text in brackets that names no directive is left alone; a directive whose value
makes no sense is an error, because a test that is not doing what it says is worse than one that fails.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from devstack.standin.calls import read_calls
from devstack.standin.script import Limited, Script, ScriptError

ERROR_STATUSES = range(400, 600)
NEXT_TURN = "then"
PLAN = "plan"
STEPS = "steps"


def parse_message(text: str, *, plans: bool = True) -> tuple[Script, str]:
    """The script in a message's directives, and the message without them.

    Args:
        text: the message.
        plans: whether a plan is read. An agent of a plan is shown the request that the plan was made for as a line of
            JSON, in which its directive is none any more; it is left out then.

    Raises:
        ScriptError: a directive's value makes no sense.
    """
    if "[" not in text:
        return Script(), text
    turns: list[dict[str, Any]] = [{}]
    kept = []
    position = 0
    for start, name, value, end in _directives(text):
        kept.append(text[position:start])
        position = end
        if name == NEXT_TURN:
            turns.append({})
        elif name != PLAN or plans:
            _set(turns[-1], name, value)
    if not position:
        return Script(), text
    kept.append(text[position:])
    first, *then = (Script(**values) for values in turns)
    return replace(first, then=tuple(then)), re.sub(r"[ \t]{2,}", " ", "".join(kept)).strip()


def parse_rule(rule: Mapping[str, Any]) -> Script:
    """The script in a rule: the same keys as the directives; `tool` may be a list, and `steps` lists the turns.

    Raises:
        ScriptError: a key is unknown or its value makes no sense.
    """
    keys = dict(rule)
    steps = keys.pop(STEPS, None)
    if steps is None:
        return _parse_turn(keys)
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise ScriptError(f"a rule's {STEPS!r} must be a list of objects, one for each turn")
    common = _parse_turn(keys)
    first, *then = (_parse_turn(step).over(common) for step in steps)
    # A rule of one step says what its turn is, too: what it says stands beside its calls.
    return replace(first, then=tuple(then) or (Script(),))


def _parse_turn(keys: Mapping[str, Any]) -> Script:
    values: dict[str, Any] = {}
    for name, value in keys.items():
        if name not in _READERS:
            known = ", ".join(sorted((*_READERS, STEPS)))
            raise ScriptError(f"unknown key {name!r} in a rule; known are {known}")
        for part in value if isinstance(value, list) else [value]:
            _set(values, name, part if isinstance(part, str) else json.dumps(part))
    return Script(**values)


def _set(values: dict[str, Any], name: str, text: str) -> None:
    field, read = _READERS[name]
    try:
        value = read(text)
    except ValueError as error:
        raise ScriptError(f"[{name}={text}] makes no sense: {error}") from None
    values[field] = (*values.get(field, ()), *value) if isinstance(value, tuple) else value


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


def _size(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("it must be a number from 1 on")
    return value


def _limited(text: str) -> Limited:
    value, separator, times = text.partition("x")
    return Limited(_number(value), _count(times) if separator else None)


def _status(text: str) -> Limited:
    limited = _limited(text)
    if not limited.value.is_integer() or int(limited.value) not in ERROR_STATUSES:
        raise ValueError("it must be an HTTP status from 400 to 599")
    return limited


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"it is no regular expression: {error}") from None
    return text


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("it must be true or false")
    return text == "true"


def _plans(text: str) -> tuple[Script, ...]:
    """The attempts at a plan: each the plan itself, or an object with the keys of a rule."""
    value = json.loads(text)
    attempts = value if isinstance(value, list) else [value]
    if not attempts or not all(isinstance(each, dict) for each in attempts):
        raise ValueError("it must be a plan as an object, an object with the keys of a rule, or a list of these")
    return tuple(map(_attempt, attempts))


def _attempt(value: dict[str, Any]) -> Script:
    if not value or not set(value) <= set(_READERS):
        return Script(exact=json.dumps(value))
    plan = value.get(PLAN)
    script = _parse_turn({name: each for name, each in value.items() if name != PLAN})
    return script if plan is None else replace(script, exact=json.dumps(plan))


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "delay": ("delay", _number),
    "first": ("first", _number),
    "gap": ("gap", _number),
    "tokens": ("tokens", _count),
    "say": ("say", str),
    "find": ("find", _pattern),
    "on_error": ("on_error", str),
    "fail": ("fail", _status),
    "retry_after": ("retry_after", _number),
    "break": ("break_after", _limited),
    "silent": ("silent", _limited),
    "tool": ("tools", read_calls),
    "insist": ("insist", _flag),
    "piece": ("piece", _size),
    "interleave": ("interleave", _flag),
    "finish": ("finish", str),
    PLAN: ("plans", _plans),
}
_FLAGS = tuple(name for name, (_, read) in _READERS.items() if read is _flag)
_OPENING = re.compile(rf"\[(?:({'|'.join(_READERS)})=|({'|'.join((*_FLAGS, NEXT_TURN))})\])")


def _directives(text: str) -> Iterator[tuple[int, str, str, int]]:
    """Start, name, value and end of each directive. One without a value is a flag, or separates two turns."""
    position = 0
    while found := _OPENING.search(text, position):
        name, value, position = found[1] or found[2], "true", found.end()
        if found[1]:
            value, position = _closed(text, position, quotes=name in {"tool", PLAN})
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
