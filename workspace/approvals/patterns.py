"""Grants: an owner's yes to a class of calls, said once.

A grant names a tool, a pattern for each argument that matters, and the highest risk it is good for. Patterns are JSON:

    "docs/*.md"                 text, by a glob; for `path`, of the path in its shortest spelling
    ["run", "test", "**"]       a list, element by element; a last `**` is any further ones
    12, true, null              themselves
    {"equals": "a*b"}           any value, exactly: where a star means a star

Wildcards do not lead out of what a person sees in them: none stands for an option (`-x`) or a path that leads elsewhere
(`/etc`, `~`, `a/../b`), unless the pattern itself begins, or goes up, like that.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from workspace.approvals.globs import has_wildcard, matches
from workspace.errors import InvalidInput
from workspace.tools.digest import canonical
from workspace.tools.plain_paths import plain_path
from workspace.tools.risk import RiskLevel
from workspace.tools.showing import shown

Patterns = Mapping[str, Any]
"""A pattern for each argument, by its name."""

MAX_GLOB = 1_024
"""Characters of a pattern with wildcards."""

MAX_SIZE = 16_384
"""Characters of all patterns of a grant, as JSON."""

HARMLESS = {"write_file": ("content",), "execute_command": ("timeout",)}
"""Arguments that a grant need not name. `mode` is none of them: to create a file is less than to write over one."""

LITERAL = {"execute_command": ("command",)}
"""Arguments that every grant has to name, and without a wildcard."""

PATH = "path"
EQUALS = "equals"


def default_patterns(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the narrowest class that a call is in: the same arguments again, harmless ones aside."""
    harmless = HARMLESS.get(tool, ())
    return {name: _exactly(name, value) for name, value in arguments.items() if name not in harmless}


def validate(tool: str, patterns: Patterns, arguments: Mapping[str, Any]) -> None:
    """Check the patterns of a grant that is made while a call is approved.

    Raises:
        InvalidInput: they are malformed or too long, or do not match the very call that is approved.
    """
    problem = malformed(tool, patterns) or _mismatch(tool, patterns, arguments)
    if problem is not None:
        raise InvalidInput(problem)


def covers(
    grant_tool: str,
    patterns: Patterns,
    grant_risk: RiskLevel,
    tool: str,
    arguments: Mapping[str, Any],
    risk: RiskLevel,
) -> bool:
    """Return whether a grant is a yes to a call. Never raises; a grant that is malformed covers nothing."""
    return (
        grant_tool == tool
        and risk <= grant_risk
        and malformed(tool, patterns) is None
        and _mismatch(tool, patterns, arguments) is None
    )


# -- the narrowest patterns -------------------------------------------------------------------------------------------


def _exactly(name: str, value: Any) -> Any:
    match value:
        case str():
            text = plain_path(value) if name == PATH else value
            return value if text is None else {EQUALS: text} if has_wildcard(text) else text
        case list() | tuple():
            return [{EQUALS: each} if isinstance(each, list | tuple) else _exactly("", each) for each in value]
        case Mapping():
            return {EQUALS: value}
        case _:
            return value


# -- the form of patterns ---------------------------------------------------------------------------------------------

_UNSTORABLE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000|[\ud800-\udfff]")


def malformed(tool: str, patterns: object) -> str | None:
    """Return what is wrong with patterns, whatever the call."""
    if not isinstance(patterns, Mapping):
        return "The patterns are no object."
    try:
        text = canonical(patterns)
    except ValueError:
        return "The patterns are no JSON."
    if len(text) > MAX_SIZE:
        return f"The patterns are longer than {MAX_SIZE} characters."
    if _UNSTORABLE.search(text):
        return "The patterns have a character that cannot be stored."
    for name in LITERAL.get(tool, ()):
        if name not in patterns or not _is_exact(patterns[name]):
            return f"`{name}` has to be named, without a wildcard."
    problems = ((name, _malformed_pattern(name, pattern)) for name, pattern in patterns.items())
    return next((f"`{shown(name)}`: {problem}." for name, problem in problems if problem), None)


def _is_exact(pattern: Any) -> bool:
    return not has_wildcard(pattern) if isinstance(pattern, str) else isinstance(pattern, Mapping)


def _malformed_pattern(name: str, pattern: Any) -> str | None:
    match pattern:
        case str() if len(pattern) > MAX_GLOB and has_wildcard(pattern):
            return f"a pattern with wildcards has at most {MAX_GLOB} characters"
        case list() | tuple():
            return _malformed_list(pattern)
        case Mapping() if pattern.keys() != {EQUALS}:
            return f'an object has to be {{"{EQUALS}": ...}}'
    if name == PATH and _path(pattern) is None:
        return "it is no path, or pattern of paths, of the workspace"
    return None


def _malformed_list(patterns: Sequence[Any]) -> str | None:
    if "**" in patterns[:-1]:
        return "`**` stands for all that follows and can only be last"
    if any(isinstance(each, list | tuple) for each in patterns):
        return f'a list in a list has to be {{"{EQUALS}": [...]}}'
    return next(filter(None, (_malformed_pattern("", each) for each in patterns)), None)


def _path(pattern: Any) -> str | None:
    """Return a path, or a pattern of paths, in its shortest spelling."""
    text = pattern.get(EQUALS) if isinstance(pattern, Mapping) else pattern
    return plain_path(text) if isinstance(text, str) else None


# -- matching ---------------------------------------------------------------------------------------------------------


def _mismatch(tool: str, patterns: Patterns, arguments: object) -> str | None:
    """Return why well-formed patterns do not match a call."""
    if not isinstance(arguments, Mapping):
        return "The arguments are no object."
    for name, pattern in patterns.items():
        if name not in arguments:
            return f"`{shown(name)}`: the call has no such argument."
        if not _matches(name, pattern, arguments[name]):
            return f"`{shown(name)}`: the pattern does not match {shown(arguments[name])}."
    for name in arguments:
        if name not in patterns and name not in HARMLESS.get(tool, ()):
            return f"`{shown(name)}` has to be named."
    return None


def _matches(name: str, pattern: Any, value: Any) -> bool:
    if name == PATH:
        return _matches_path(pattern, value)
    match pattern:
        case str():
            return isinstance(value, str) and _matches_text(pattern, value, crossing=False)
        case list() | tuple():
            return isinstance(value, list | tuple) and _matches_list(pattern, value)
        case Mapping():
            return _same(pattern[EQUALS], value)
        case _:
            return _same(pattern, value)


def _matches_path(pattern: Any, value: Any) -> bool:
    expected, path = _path(pattern), _path(value)
    if expected is None or path is None or not isinstance(value, str):
        return False
    return matches(expected, path) if isinstance(pattern, str) else expected == path


def _matches_list(patterns: Sequence[Any], values: Sequence[Any]) -> bool:
    if patterns and patterns[-1] == "**":
        patterns = [*patterns[:-1], *["**"] * (len(values) - len(patterns) + 1)]
    return len(patterns) == len(values) and all(map(_matches_element, patterns, values))


def _matches_element(pattern: Any, value: Any) -> bool:
    if isinstance(pattern, str):
        return isinstance(value, str) and _matches_text(pattern, value, crossing=True)
    return _matches("", pattern, value)


_BEGINS_ELSEWHERE = frozenset("-/~\\")
_GOES_UP = re.compile(r"(?<![\w.])\.\.(?![\w.])")


def _matches_text(pattern: str, text: str, *, crossing: bool) -> bool:
    if pattern == text:
        return True
    if text[:1] in _BEGINS_ELSEWHERE and pattern[:1] != text[:1]:
        return False
    if _GOES_UP.search(text) and not _GOES_UP.search(pattern):
        return False
    return matches(pattern, text, crossing=crossing)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same as JSON: `1`, `1.0` and `true` are not."""
    try:
        return canonical(one) == canonical(other)
    except ValueError:
        return False
