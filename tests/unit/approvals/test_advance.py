"""Grants that are given in advance: nothing is kept that no call could ever match."""

from typing import Any

import pytest

from workspace.approvals.advance import WantedGrant, mistakes
from workspace.approvals.patterns import covers
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.registry import ToolRegistry
from workspace.tools.risk import RiskLevel

REGISTRY = ToolRegistry(CATALOGUE)
ALL = frozenset(REGISTRY.names)


def wrong(tool: str, patterns: dict[str, Any], *, risk: RiskLevel | None = None, usable: Any = ALL) -> list[str]:
    return list(mistakes(WantedGrant(tool, patterns, risk), REGISTRY, usable))


@pytest.mark.parametrize(
    ("tool", "patterns", "arguments"),
    [
        ("write_file", {"path": "src/**"}, {"path": "src/a.py", "content": "x"}),
        ("write_file", {"path": {"equals": "a*b"}, "mode": "*"}, {"path": "a*b", "content": "x", "mode": "append"}),
        ("execute_command", {"command": "ls"}, {"command": "ls", "timeout": 3}),
        ("execute_command", {"command": "ls", "args": ["**"]}, {"command": "ls", "args": ["a", "b"]}),
        ("execute_command", {"command": "ls", "args": {"equals": ["a"]}}, {"command": "ls", "args": ["a"]}),
    ],
)
def test_what_some_call_can_match_is_taken(tool: str, patterns: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert wrong(tool, patterns) == []
    assert covers(tool, patterns, RiskLevel.HIGH, tool, arguments, RiskLevel.HIGH)


@pytest.mark.parametrize(
    ("tool", "patterns", "told"),
    [
        ("write_file", {}, "`path` has to be named."),
        ("write_file", {"path": "a", "size": 1}, "`size`: the tool has no such argument."),
        ("write_file", {"path": "/etc/passwd"}, "`path`: it is no path, or pattern of paths, of the workspace."),
        ("write_file", {"path": "a", "mode": ["append"]}, "`mode`: it takes a value of another type."),
        ("execute_command", {"args": ["x"]}, "`command` has to be named, without a wildcard."),
        ("execute_command", {"command": "*"}, "`command` has to be named, without a wildcard."),
        ("execute_command", {"command": "ls", "args": "x"}, "`args`: it takes a value of another type."),
        ("execute_command", {"command": "ls", "args": ["**", "x"]}, "`args`: `**` stands for all that follows"),
        ("execute_command", {"command": "ls", "timeout": True}, "`timeout`: it takes a value of another type."),
    ],
)
def test_what_no_call_can_match_is_refused(tool: str, patterns: dict[str, Any], told: str) -> None:
    (mistake,) = wrong(tool, patterns)

    assert mistake.startswith(told)


def test_all_arguments_that_are_wrong_are_named() -> None:
    assert len(wrong("write_file", {"size": 1, "mode": 2})) == 3


@pytest.mark.parametrize("tool", ["read_file", "list_directory", "search_context", "remember"])
def test_what_nobody_is_asked_for_needs_no_grant(tool: str) -> None:
    (mistake,) = wrong(tool, {"path": "a"})

    assert tool in mistake


def test_a_grant_for_what_is_harmless_covers_nothing() -> None:
    assert wrong("write_file", {"path": "a"}, risk=RiskLevel.MEDIUM) == []
    assert len(wrong("write_file", {"path": "a"}, risk=RiskLevel.LOW)) == 1


def test_a_tool_that_no_agent_of_the_plan_has_gets_no_grant() -> None:
    assert wrong("write_file", {"path": "a"}, usable={"execute_command"}) == [
        "No agent of the plan has a tool `write_file`."
    ]
    assert wrong("no_tool", {}) == ["No agent of the plan has a tool `no_tool`."]


def test_a_grant_is_good_for_the_most_that_its_tool_can_unless_said_otherwise() -> None:
    assert WantedGrant("write_file", {}).most is RiskLevel.HIGH
    assert WantedGrant("write_file", {}, RiskLevel.MEDIUM).most is RiskLevel.MEDIUM
