"""How dangerous a use of a tool is, by its parameters too. What is not known to be harmless counts as dangerous.

Levels are policy: they decide who is asked, not what can be reached. The walls are the workspace's directory and the
sandbox, and they hold whatever is answered. `docs/tools.md` tells the rules with examples, which a test holds to them.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import NoneType
from typing import Any, NamedTuple

from workspace.tools.plain_paths import plain_path
from workspace.tools.pure_readers import is_reader, objection
from workspace.tools.showing import shown
from workspace.tools.trusted_names import why_trusted


class RiskLevel(StrEnum):
    """How much an act can do; it decides whether, and for how long, its owner is asked. Levels are ordered by it."""

    LOW = "low"  # reads; nobody is asked
    MEDIUM = "medium"
    HIGH = "high"

    # Left to `str`, HIGH would come before LOW.
    def __lt__(self, other: str) -> bool:
        return _RANK[self] < _RANK[RiskLevel(other)]

    def __le__(self, other: str) -> bool:
        return _RANK[self] <= _RANK[RiskLevel(other)]

    def __gt__(self, other: str) -> bool:
        return _RANK[self] > _RANK[RiskLevel(other)]

    def __ge__(self, other: str) -> bool:
        return _RANK[self] >= _RANK[RiskLevel(other)]


_RANK = {level: rank for rank, level in enumerate(RiskLevel)}


class Risk(NamedTuple):
    """A level, and what a person is told of why."""

    level: RiskLevel
    reasons: tuple[str, ...]


def get_risk_level(tool_name: str, params: Mapping[str, Any]) -> RiskLevel:
    """Return how dangerous a use of a tool is. Never raises."""
    return assess(tool_name, params).level


def highest_risk(tool_name: str) -> RiskLevel:
    """Return the highest level of what a tool can carry out; of one that is not known, HIGH."""
    rule = _RULES.get(tool_name)
    return RiskLevel.HIGH if rule is None else rule.most


def assess(tool_name: str, params: Mapping[str, Any]) -> Risk:
    """Return how dangerous a use of a tool is, and why. Never raises; what it cannot read is HIGH."""
    rule = _RULES.get(tool_name) if isinstance(tool_name, str) else None
    if rule is None:
        return _high(f"uses {shown(tool_name)}, a tool that the rules do not know")
    problem = rule.problem(params)
    return _high(f"uses {tool_name} in a way that cannot be judged: {problem}") if problem else rule.assess(params)


class _Rule(NamedTuple):
    """What a tool's parameters must be to be judged, and how they are."""

    assess: Callable[[Mapping[str, Any]], Risk]
    required: Mapping[str, type]
    optional: Mapping[str, tuple[type, ...]]
    knows_all: bool
    """Whether a parameter that is not listed makes it HIGH; what only reads may have more of them."""
    most: RiskLevel
    """The highest level of what it can carry out: what cannot be judged, such as a path out of the workspace, is HIGH
    with every tool, and is refused."""

    def problem(self, params: object) -> str | None:
        """Return why these parameters cannot be judged, if they cannot."""
        if not isinstance(params, Mapping):
            return "the parameters are no object"
        for name in self.required:
            if name not in params:
                return f"`{name}` is missing"
        for name, value in params.items():
            kinds = (self.required[name],) if name in self.required else self.optional.get(name)
            if kinds is None and self.knows_all:
                return f"there is no parameter `{shown(name)}`"
            if kinds is not None and type(value) not in kinds:  # exactly: `True` is an `int` as well
                return f"`{name}` is of the wrong type"
        return None


_NO_PATH = "which is no plain path of a file in the workspace"


def _reading(params: Mapping[str, Any]) -> Risk:
    path = plain_path(params.get("path", ""))
    if path is None:
        return _high(f"reads {shown(params['path'])}, {_NO_PATH}")
    return Risk(RiskLevel.LOW, (f"reads {shown(path) or 'the workspace'}",))


_WRITES = {"create": "creates", "append": "appends to", "overwrite": "writes"}


def _writing(params: Mapping[str, Any]) -> Risk:
    path, writes = plain_path(params["path"]), _WRITES.get(params.get("mode", "overwrite"))
    if writes is None:
        return _high(f"writes in a way that cannot be judged: there is no mode {shown(params['mode'])}")
    if not path:
        return _high(f"{writes} {shown(params['path'])}, {_NO_PATH}")
    act = f"{writes} {shown(path)}"
    if why := why_trusted(path):
        return _high(f"{act}, {why}")
    if params["content"].startswith("#!"):
        return _high(f"{act}, which begins with #! and so can be executed")
    return Risk(RiskLevel.MEDIUM, (act,))


INTERPRETERS = (
    *("awk", "bash", "dash", "env", "make", "node", "npm", "npx", "perl", "php", "pip", "python", "python3", "ruby"),
    *("sh", "xargs", "zsh"),
)
"""Programs that run what their arguments, or files of the workspace, tell them to."""


def _running(params: Mapping[str, Any]) -> Risk:
    command, args = params["command"], params.get("args", [])
    act = f"runs {shown(command)}"
    if not all(type(each) is str for each in args):
        return _high(f"{act} in a way that cannot be judged: an argument is no text")
    if command == "git":
        return _high(f"{act}, which executes what the repository's own settings say")
    if command in INTERPRETERS:
        return _high(f"{act}, which executes whatever it is given")
    if not is_reader(command):
        return _high(f"{act}, which is not known to only read")
    if found := objection(command, args):
        return _high(f"{act} {found}")
    return Risk(RiskLevel.MEDIUM, (f"{act}, which only reads",))


def _searching(_: Mapping[str, Any]) -> Risk:
    return Risk(RiskLevel.LOW, ("searches the agent's own memory",))


def _remembering(_: Mapping[str, Any]) -> Risk:
    return Risk(RiskLevel.LOW, ("writes to the agent's own memory and nowhere else",))


def _high(reason: str) -> Risk:
    return Risk(RiskLevel.HIGH, (reason,))


_RULES = {
    "read_file": _Rule(_reading, {"path": str}, {}, knows_all=False, most=RiskLevel.LOW),
    "list_directory": _Rule(
        _reading,
        {},
        {"path": (str,), "recursive": (bool,), "pattern": (str, NoneType)},
        knows_all=False,
        most=RiskLevel.LOW,
    ),
    "search_context": _Rule(_searching, {"query": str}, {}, knows_all=False, most=RiskLevel.LOW),
    "remember": _Rule(_remembering, {}, {}, knows_all=False, most=RiskLevel.LOW),
    "write_file": _Rule(_writing, {"path": str, "content": str}, {"mode": (str,)}, knows_all=True, most=RiskLevel.HIGH),
    "execute_command": _Rule(
        _running,
        {"command": str},
        {"args": (list, tuple), "timeout": (int, float, NoneType)},
        knows_all=True,
        most=RiskLevel.HIGH,
    ),
}
"""The tools that are known."""
