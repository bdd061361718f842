"""How dangerous a call is: whatever a model calls gets an answer, and what is not understood is HIGH."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import combinations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workspace.tools.risk import INTERPRETERS, RiskLevel, assess, get_risk_level
from workspace.tools.showing import MAX_SHOWN

TOOLS = ["read_file", "list_directory", "search_context", "remember", "write_file", "execute_command"]

a_text = st.text(st.characters(exclude_categories=[]), max_size=10)
a_leaf = st.none() | st.booleans() | st.integers() | st.floats() | a_text
a_json = st.recursive(
    a_leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(a_text, inner, max_size=3), max_leaves=8
)
a_name = st.sampled_from(["path", "content", "mode", "command", "args", "timeout", "recursive", "pattern", "query"])
a_command = st.sampled_from(["ls", "grep", "find", "sort", "git", "python", "echo"])
some_params = st.dictionaries(
    a_name | a_text, a_json | a_command | st.lists(a_text | st.sampled_from(["-o", "--", "-name", "/etc"])), max_size=4
)

WRITE = {"path": "src/app.py", "content": "x"}
RUN = {"command": "ls", "args": ["-l"]}


def level(tool: str, params: Any) -> RiskLevel:
    return get_risk_level(tool, params)


@given(st.sampled_from(TOOLS) | a_text, some_params)
def test_whatever_is_called_gets_a_level_and_a_reason_that_can_be_shown(tool: str, params: dict[str, Any]) -> None:
    risk = assess(tool, params)

    assert risk.level is get_risk_level(tool, params)
    assert risk.reasons
    for reason in risk.reasons:
        assert reason.isprintable()
        assert len(reason) <= 6 * MAX_SHOWN + 200


@given(st.sampled_from(TOOLS) | a_json, a_json)
@example(["write_file"], WRITE)
@example("write_file", [["path", "a"], ["content", "x"]])
@example("read_file", None)
@example("execute_command", "ls")
def test_what_is_no_call_at_all_is_high(tool: Any, params: Any) -> None:
    if tool not in TOOLS or not isinstance(params, Mapping):
        assert level(tool, params) is RiskLevel.HIGH


@given(a_text)
def test_a_tool_that_is_not_known_is_high(tool: str) -> None:
    assert level(tool + "_", {}) is RiskLevel.HIGH


@pytest.mark.parametrize("tool", ["read_file", "list_directory"])
@pytest.mark.parametrize("path", ["src/app.py", ".env", ".git/config", "Makefile", "./a//b"])
def test_reading_in_the_workspace_is_low(tool: str, path: str) -> None:
    assert level(tool, {"path": path}) is RiskLevel.LOW


def test_reading_with_more_parameters_is_low_as_well() -> None:
    assert level("read_file", {"path": "a", "max_bytes": 10}) is RiskLevel.LOW
    assert level("list_directory", {"path": ".", "recursive": True, "pattern": None}) is RiskLevel.LOW
    assert level("search_context", {"query": "x", "limit": 3}) is RiskLevel.LOW
    assert level("remember", {"text": "x"}) is RiskLevel.LOW


@pytest.mark.parametrize(
    ("tool", "params"),
    [
        ("read_file", {}),
        ("read_file", {"path": 1}),
        ("read_file", {"path": None}),
        ("read_file", {"path": ["a"]}),
        ("read_file", {"path": "/etc/passwd"}),
        ("read_file", {"path": "../a"}),
        ("list_directory", {"path": None}),
        ("list_directory", {"path": "a", "recursive": "yes"}),
        ("list_directory", {"path": "a", "pattern": ["*"]}),
        ("list_directory", {"path": "a\0"}),
        ("search_context", {}),
        ("search_context", {"query": {"$ne": 1}}),
        ("write_file", {}),
        ("write_file", {"path": "a"}),
        ("write_file", {"content": "x"}),
        ("write_file", WRITE | {"path": 1}),
        ("write_file", WRITE | {"path": ""}),
        ("write_file", WRITE | {"path": "."}),
        ("write_file", WRITE | {"path": "/a"}),
        ("write_file", WRITE | {"path": "a/../b"}),
        ("write_file", WRITE | {"path": "a\u202eb"}),
        ("write_file", WRITE | {"path": "Makefile"}),
        ("write_file", WRITE | {"path": "./a//../Makefile"}),
        ("write_file", WRITE | {"path": ".//.git///config"}),
        ("write_file", WRITE | {"path": "Makefile/."}),
        ("write_file", WRITE | {"content": None}),
        ("write_file", WRITE | {"content": b"x"}),
        ("write_file", WRITE | {"content": "#!/bin/sh\nrm -rf ."}),
        ("write_file", WRITE | {"mode": "a"}),
        ("write_file", WRITE | {"mode": None}),
        ("write_file", WRITE | {"mode": "Overwrite"}),
        ("write_file", WRITE | {"executable": True}),
        ("execute_command", {}),
        ("execute_command", {"args": ["-l"]}),
        ("execute_command", RUN | {"command": ["ls"]}),
        ("execute_command", RUN | {"command": "rm"}),
        ("execute_command", RUN | {"command": "LS"}),
        ("execute_command", RUN | {"command": "ls; rm -rf ."}),
        ("execute_command", RUN | {"args": "-l"}),
        ("execute_command", RUN | {"args": None}),
        ("execute_command", RUN | {"args": [1]}),
        ("execute_command", RUN | {"args": [["-l"]]}),
        ("execute_command", RUN | {"args": {"0": "-l"}}),
        ("execute_command", RUN | {"args": ["--unknown"]}),
        ("execute_command", RUN | {"args": [".."]}),
        ("execute_command", RUN | {"timeout": "10"}),
        ("execute_command", RUN | {"timeout": True}),
        ("execute_command", RUN | {"environment": {"LD_PRELOAD": "x"}}),
        ("execute_command", RUN | {"shell": True}),
        ("execute_command", {"command": "git", "args": ["status"]}),
        ("execute_command", {"command": "git", "args": []}),
        *(("execute_command", {"command": each, "args": []}) for each in INTERPRETERS),
    ],
)
def test_what_is_dangerous_or_cannot_be_read_is_high(tool: str, params: dict[str, Any]) -> None:
    assert level(tool, params) is RiskLevel.HIGH


@pytest.mark.parametrize("mode", [{}, {"mode": "overwrite"}, {"mode": "append"}, {"mode": "create"}])
@pytest.mark.parametrize("path", ["src/app.py", "./docs//a.md", "notes"])
def test_writing_text_is_medium(path: str, mode: dict[str, str]) -> None:
    assert level("write_file", {"path": path, "content": "text, and #!"} | mode) is RiskLevel.MEDIUM


@pytest.mark.parametrize("timeout", [{}, {"timeout": 10}, {"timeout": 0.5}, {"timeout": None}])
@pytest.mark.parametrize("args", [{}, {"args": []}, {"args": ["-la", "src"]}, {"args": ("a.txt",)}])
def test_running_what_only_reads_is_medium(args: dict[str, Any], timeout: dict[str, Any]) -> None:
    assert level("execute_command", {"command": "ls"} | args | timeout) is RiskLevel.MEDIUM


def test_a_text_of_another_class_is_not_taken_for_text() -> None:
    class Command(StrEnum):
        LS = "ls"

    assert level("execute_command", {"command": Command.LS}) is RiskLevel.HIGH


def test_the_reason_shows_what_is_hidden_and_where_text_was_cut() -> None:
    hidden = assess("write_file", {"path": "a\u202e\n\x1b[2J", "content": ""}).reasons[0]
    long = assess("execute_command", {"command": "begin" + "x" * 10_000 + "end"}).reasons[0]

    assert r"writes a\u202e\n\x1b[2J, which is no plain path" in hidden
    assert "runs begin" in long
    assert "xxx ... xxx" in long
    assert "xend, which is not known to only read" in long
    assert len(long) < MAX_SHOWN + 100


def test_levels_are_ordered_by_what_can_happen_and_not_by_their_names() -> None:
    ordered = [RiskLevel.LOW, RiskLevel.MEDIUM, RiskLevel.HIGH]

    assert sorted([RiskLevel.HIGH, RiskLevel.LOW, RiskLevel.MEDIUM]) == ordered
    for lower, higher in combinations(ordered, 2):
        assert lower < higher
        assert lower <= higher
        assert higher > lower
        assert higher >= lower
        assert not higher <= lower
        assert not lower >= higher
        assert lower <= str(higher.value)
        assert str(lower.value) <= higher
        assert not str(higher.value) <= lower
    for each in ordered:
        assert each <= each  # noqa: PLR0124
        assert not each < each  # noqa: PLR0124
