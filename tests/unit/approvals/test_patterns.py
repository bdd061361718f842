"""Grants: what they cover, what they never cover, and what is told of those that cannot be made."""

import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from workspace.approvals.patterns import HARMLESS, MAX_GLOB, MAX_SIZE, covers, default_patterns, validate
from workspace.errors import InvalidInput
from workspace.tools.plain_paths import plain_path
from workspace.tools.risk import RiskLevel

LOW, MEDIUM, HIGH = RiskLevel


def grants(tool: str, patterns: Any, arguments: Any, *, tool_called: str | None = None) -> bool:
    """Whether a grant for HIGH covers a call that is HIGH."""
    return covers(tool, patterns, HIGH, tool_called or tool, arguments, HIGH)


def writing(pattern: Any, path: str) -> bool:
    return grants("write_file", {"path": pattern}, {"path": path, "content": "x"})


def running(args: Any, given_args: Any, command: str = "grep") -> bool:
    return grants("execute_command", {"command": "grep", "args": args}, {"command": command, "args": given_args})


def refusal(tool: str, patterns: Any, arguments: Any) -> str:
    assert not grants(tool, patterns, arguments)
    with pytest.raises(InvalidInput) as caught:
        validate(tool, patterns, arguments)
    return caught.value.detail


# -- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("docs/a.md", "docs/a.md"),
        ("docs/a.md", "./docs//a.md"),
        ("./docs//a.md", "docs/a.md"),
        ("docs/*.md", "docs/b.md"),
        ("docs/**", "docs/a/b.md"),
        ("**", "a"),
        ("**", "-a"),
        ({"equals": "docs/*.md"}, "docs/*.md"),
        ({"equals": "./docs//*.md"}, "docs/*.md"),
    ],
)
def test_a_path_is_covered_in_any_spelling(pattern: Any, path: str) -> None:
    assert writing(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("docs/a.md", "docs/A.md"),
        ("docs/a.md", "docs/a.md.txt"),
        ("docs/*.md", "docs/a/b.md"),
        ("docs/*", "docs/a/b"),
        ("*", "docs/a.md"),
        ("docs/**", "src/a.md"),
        ("docs/**", "docs/../src/a.md"),
        ("docs/**", "docs/./../src/a.md"),
        ("docs/**", "/docs/a.md"),
        ("docs/**", "docs/a\\..\\..\\b"),
        ("docs/**", "docs/a\nb"),
        ("docs/**", "docs/a\u202eb"),
        ("docs/**", "docs/\uff0e\uff0e/b"),
        ("**", ".."),
        ("**", "../a"),
        ("**", "/etc/passwd"),
        ({"equals": "docs/*.md"}, "docs/a.md"),
    ],
)
def test_another_path_is_not_covered(pattern: Any, path: str) -> None:
    assert not writing(pattern, path)


@pytest.mark.parametrize(
    "pattern", ["../a", "/a", "a/../b", "a\\b", "a\nb", 7, None, {"equals": 7}, {"equals": "../a"}]
)
def test_what_is_no_path_is_no_pattern_of_paths(pattern: Any) -> None:
    call = {"path": "a", "content": "x"}

    assert "`path`: it is no path, or pattern of paths" in refusal("write_file", {"path": pattern}, call)


@given(st.text("ab/*?.", max_size=8), st.text("ab/.-", max_size=8))
def test_without_two_stars_no_deeper_path_is_covered(pattern: str, path: str) -> None:
    if "**" not in pattern and writing(pattern, path):
        expected, found = plain_path(pattern), plain_path(path)
        assert expected is not None
        assert found is not None
        assert expected.count("/") == found.count("/")


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "given_args"),
    [
        ([], []),
        (["-rn", "TODO", "src"], ["-rn", "TODO", "src"]),
        (["-rn", "*", "src"], ["-rn", "anything at all", "src"]),
        (["-rn", "*", "src/*"], ["-rn", "x", "src/a/b.py"]),
        (["-?", "x"], ["-n", "x"]),
        (["--include=*.py", "x"], ["--include=a.py", "x"]),
        (["-*", "x"], ["--exec", "x"]),
        (["x", "**"], ["x"]),
        (["x", "**"], ["x", "a", "b/c"]),
        (["**"], []),
        (["/api/*", "src"], ["/api/v1", "src"]),
        (["../*"], ["../x"]),
        (["../*"], ["../../x"]),
        (["*"], ["main..dev"]),
        (["*"], ["..."]),
        ([{"equals": "a*b"}], ["a*b"]),
        ([1, True, None, {"equals": [1]}], [1, True, None, [1]]),
    ],
)
def test_arguments_are_covered_one_by_one(args: list[Any], given_args: list[Any]) -> None:
    assert running(args, given_args)


@pytest.mark.parametrize(
    ("args", "given_args"),
    [
        ([], ["x"]),
        (["x"], []),
        (["x", "*"], ["x"]),
        (["x", "*"], ["x", "a", "b"]),
        (["*", "*"], ["--exec", "x"]),
        (["*", "*"], ["x", "-r"]),
        (["?x"], ["-x"]),
        (["**"], ["-r"]),
        (["x", "**"], ["x", "a", "--exec=y"]),
        (["x", "**"], ["x", "a", "-"]),
        (["*"], ["/etc/passwd"]),
        (["**"], ["a", "/etc/passwd"]),
        (["*"], ["~/.ssh/id_rsa"]),
        (["*"], ["\\\\host\\x"]),
        (["src/*"], ["src/../secret"]),
        (["src/*"], ["src/.."]),
        (["*"], [".."]),
        (["--out=*"], ["--out=../x"]),
        (["**"], ["a/../b"]),
        ([{"equals": "a*b"}], ["axb"]),
        ([1], [1.0]),
        ([1], [True]),
        (["1"], [1]),
        (["*"], [1]),
        (["*"], [None]),
        (["*"], [["a"]]),
        (["a"], "a"),
        (["*"], {"0": "a"}),
        ("**", ["a"]),
    ],
)
def test_other_arguments_are_not_covered(args: Any, given_args: Any) -> None:
    assert not running(args, given_args)


@given(st.lists(st.text("a*?-/.", max_size=4), max_size=4), st.lists(st.text("ab-/.", max_size=4), max_size=4))
def test_no_wildcard_stands_for_an_option(patterns: list[str], args: list[str]) -> None:
    if running(patterns, args):
        named = [*patterns, *["**"] * len(args)]
        for pattern, argument in zip(named, args, strict=False):
            assert pattern.startswith("-") or not argument.startswith("-")


def test_a_grant_names_its_command() -> None:
    call = {"command": "npm", "args": ["test"]}

    for patterns in ({"args": ["test"]}, {"command": "*", "args": ["test"]}, {"command": "np?", "args": ["test"]}):
        assert refusal("execute_command", patterns, call) == "`command` has to be named, without a wildcard."
    for command in (["npm"], None, {"equals": "npm", "or": "rm"}):
        assert "`command`" in refusal("execute_command", {"command": command, "args": ["test"]}, call)
    assert not running([], [], command="grep2")
    assert not running([], [], command="Grep")


# -- arguments that are not named -------------------------------------------------------------------------------------


def test_what_is_harmless_need_not_be_named() -> None:
    run = {"command": "npm", "args": ["test"]}

    assert writing("a", "a")
    assert grants("execute_command", run, run | {"timeout": 300})
    assert not grants("execute_command", run | {"timeout": 10}, run | {"timeout": 300})
    assert not grants("write_file", {"path": "a", "content": "x"}, {"path": "a", "content": "y"})


@pytest.mark.parametrize(
    ("tool", "patterns", "arguments", "name"),
    [
        ("write_file", {}, {"path": "a", "content": "x"}, "path"),
        ("write_file", {"path": "a"}, {"path": "a", "content": "x", "mode": "overwrite"}, "mode"),
        ("write_file", {"path": "a"}, {"path": "a", "timeout": 1}, "timeout"),
        ("execute_command", {"command": "ls"}, {"command": "ls", "args": ["x"]}, "args"),
        ("execute_command", {"command": "ls"}, {"command": "ls", "env": {}}, "env"),
        ("another", {}, {"content": "x"}, "content"),
    ],
)
def test_anything_else_has_to_be_named(tool: str, patterns: Any, arguments: Any, name: str) -> None:
    assert refusal(tool, patterns, arguments) == f"`{name}` has to be named."


def test_who_may_create_a_file_may_not_write_over_it() -> None:
    patterns = {"path": "docs/**", "mode": "create"}
    call = {"path": "docs/a.md", "content": "x"}

    assert grants("write_file", patterns, call | {"mode": "create"})
    assert not grants("write_file", patterns, call | {"mode": "overwrite"})
    assert not grants("write_file", patterns, call)
    assert grants("write_file", patterns | {"mode": "*"}, call | {"mode": "overwrite"})


def test_what_is_named_has_to_be_there() -> None:
    assert refusal("another", {"a": None}, {}) == "`a`: the call has no such argument."


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (None, None, True),
        (None, False, False),
        (None, "", False),
        (0.1, 0.1, True),
        ("1", 1, False),
        ({"equals": {"b": 1, "a": [2]}}, {"a": [2], "b": 1}, True),
        ({"equals": {"a": 1}}, {"a": True}, False),
        ("a*", "ab", True),
        ("a*", "a/b", False),
        ("a**", "a/b", True),
        ("**", "a/../b", False),
        ("*", "-x", False),
    ],
)
def test_other_values_are_equal_by_their_types_too(pattern: Any, value: Any, expected: bool) -> None:
    assert grants("another", {"x": pattern}, {"x": value}) is expected


# -- risk and tool ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grant_risk", RiskLevel)
@pytest.mark.parametrize("risk", RiskLevel)
def test_a_grant_is_good_for_its_risk_and_what_is_less(grant_risk: RiskLevel, risk: RiskLevel) -> None:
    """A grant for text anywhere must not be one for CI files."""
    order = [LOW, MEDIUM, HIGH]

    covered = covers("write_file", {"path": "**"}, grant_risk, "write_file", {"path": "a", "content": ""}, risk)

    assert covered == (order.index(risk) <= order.index(grant_risk))


# -- any JSON ---------------------------------------------------------------------------------------------------------

a_text = st.text(max_size=8) | st.sampled_from(["a/b", "**", "*", "a*b", "..", "-x", "equals", "./a"])
a_leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | a_text
a_json = st.recursive(
    a_leaf,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(a_text, inner, max_size=3)
        | st.fixed_dictionaries({"equals": inner})
    ),
    max_leaves=8,
)
a_name = st.sampled_from(["path", "content", "mode", "command", "args", "timeout", "x"])
some_arguments = st.dictionaries(a_name, a_json, max_size=4)
a_tool = st.sampled_from(["write_file", "execute_command", "another"])
a_risk = st.sampled_from(RiskLevel)


@given(a_tool, a_json | some_arguments, a_risk, a_tool, a_json | some_arguments, a_risk)
def test_whatever_is_compared_gets_an_answer(
    grant_tool: str, patterns: Any, grant_risk: RiskLevel, tool: str, arguments: Any, risk: RiskLevel
) -> None:
    assert covers(grant_tool, patterns, grant_risk, tool, arguments, risk) in {True, False}


@given(a_tool, some_arguments, a_tool, some_arguments)
def test_a_grant_of_one_tool_never_covers_another(
    tool: str, patterns: dict[str, Any], other: str, arguments: dict[str, Any]
) -> None:
    assume(tool != other)

    assert not grants(tool, default_patterns(tool, arguments), arguments, tool_called=other)
    assert not grants(tool, patterns, arguments, tool_called=other)


def may_be_remembered(tool: str, arguments: dict[str, Any]) -> bool:
    if "path" in arguments and (not isinstance(arguments["path"], str) or plain_path(arguments["path"]) is None):
        return False
    if tool == "execute_command" and not isinstance(arguments.get("command"), str):
        return False
    return "\0" not in str(json.dumps(arguments)).replace("\\u0000", "\0")


@given(a_tool, some_arguments)
@example("write_file", {"path": "docs/*.md", "content": "x", "mode": "create"})
@example("execute_command", {"command": "a*", "args": ["*", "**", "-x", "/etc", "..", 1, None, ["a"], {"equals": 1}]})
@example("another", {"x": {"equals": "**"}})
def test_the_narrowest_patterns_cover_their_own_call(tool: str, arguments: dict[str, Any]) -> None:
    assume(may_be_remembered(tool, arguments))

    patterns = default_patterns(tool, arguments)
    stored = json.loads(json.dumps(patterns))

    validate(tool, stored, arguments)
    assert grants(tool, stored, arguments)


@given(a_tool, some_arguments, some_arguments)
@example("execute_command", {"command": "ls", "args": ["*"]}, {"command": "ls", "args": ["a"]})
@example("execute_command", {"command": "ls", "args": ["**"]}, {"command": "ls", "args": ["a", "b"]})
@example("write_file", {"path": "**"}, {"path": "a"})
@example("another", {"x": 1}, {"x": True})
@example("another", {"x": [1]}, {"x": [1.0]})
@example("another", {"x": {"equals": 1}}, {"x": 1})
@example("another", {"x": ["a"]}, {"x": "a"})
@example("another", {"x": None}, {})
@example("another", {}, {"x": None})
def test_the_narrowest_patterns_cover_no_other_call(
    tool: str, arguments: dict[str, Any], others: dict[str, Any]
) -> None:
    if grants(tool, default_patterns(tool, arguments), others):
        assert essence(tool, arguments) == essence(tool, others)


def essence(tool: str, arguments: dict[str, Any]) -> str:
    """What of a call matters, as text in which types can be told apart."""
    kept = {name: value for name, value in arguments.items() if name not in HARMLESS.get(tool, ())}
    if isinstance(kept.get("path"), str):
        kept["path"] = plain_path(kept["path"])
    return json.dumps(kept, sort_keys=True)


def test_the_narrowest_patterns_can_be_read() -> None:
    call = {"path": "./docs//a.md", "content": "x", "mode": "create"}
    run = {"command": "grep", "args": ["-rn", "a.*b", "src"], "timeout": 9}

    assert default_patterns("write_file", call) == {"path": "docs/a.md", "mode": "create"}
    assert default_patterns("execute_command", run) == {
        "command": "grep",
        "args": ["-rn", {"equals": "a.*b"}, "src"],
    }


@pytest.mark.parametrize(
    ("args", "covered"),
    [(["x", "src"], True), (["x", "a", "b"], True), (["x", "-r", "src"], False), (["x", "/a"], False)],
)
def test_the_example_of_the_documents_holds(args: list[str], covered: bool) -> None:
    assert running(["*", "**"], args) is covered


# -- patterns that cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        ([], "The patterns are no object."),
        ("**", "The patterns are no object."),
        (None, "The patterns are no object."),
        ({"x": float("nan")}, "The patterns are no JSON."),
        ({1: "x"}, "The patterns are no JSON."),
        ({"x": "a" * MAX_SIZE}, f"The patterns are longer than {MAX_SIZE} characters."),
        ({"x": "a\0"}, "The patterns have a character that cannot be stored."),
        ({"x": "\\\0"}, "The patterns have a character that cannot be stored."),
        ({"x": "\ud800"}, "The patterns have a character that cannot be stored."),
        ({"x": "*" * (MAX_GLOB + 1)}, f"`x`: a pattern with wildcards has at most {MAX_GLOB} characters."),
        ({"x": ["*" * (MAX_GLOB + 1)]}, f"`x`: a pattern with wildcards has at most {MAX_GLOB} characters."),
        ({"x": ["**", "a"]}, "`x`: `**` stands for all that follows and can only be last."),
        ({"x": ["a", ["b"]]}, '`x`: a list in a list has to be {"equals": [...]}.'),
        ({"x": {"b": 1}}, '`x`: an object has to be {"equals": ...}.'),
        ({"x": {"equals": 1, "b": 1}}, '`x`: an object has to be {"equals": ...}.'),
        ({"x": {}}, '`x`: an object has to be {"equals": ...}.'),
        ({"x": [{"b": 1}]}, '`x`: an object has to be {"equals": ...}.'),
    ],
)
def test_patterns_that_are_malformed_are_told_so_and_cover_nothing(patterns: Any, told: str) -> None:
    value = patterns["x"] if isinstance(patterns, dict) and "x" in patterns else "a"

    assert refusal("another", patterns, {"x": value}) == told


def test_a_backslash_before_a_u_is_no_character_that_cannot_be_stored() -> None:
    assert grants("another", {"x": "\\u0000"}, {"x": "\\u0000"})


def test_patterns_have_to_match_the_call_that_is_approved() -> None:
    assert (
        refusal("write_file", {"path": "docs/*.md"}, {"path": "src/a.py", "content": "x"})
        == "`path`: the pattern does not match src/a.py."
    )
    assert refusal("another", {}, None) == "The arguments are no object."


def test_patterns_within_the_limits_are_taken() -> None:
    assert grants("another", {"x": "a" * (MAX_SIZE - 8)}, {"x": "a" * (MAX_SIZE - 8)})
    assert grants("another", {"x": "*" * MAX_GLOB}, {"x": "a"})


def test_what_is_nested_without_end_is_not_covered() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    assert not grants("another", {"x": {"equals": 1}}, {"x": deep})
    assert not grants("another", {"x": deep}, {"x": 1})
    assert refusal("another", {"x": {"equals": deep}}, {"x": deep}) == "The patterns are no JSON."
