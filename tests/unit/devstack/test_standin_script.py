"""Directives and rules of the stand-in model become scripts."""

import pytest

from devstack.standin.pace import due_times
from devstack.standin.script import Limited, Script, ScriptError, ToolCall, parse_message, parse_rule


def test_a_message_without_directives_says_nothing() -> None:
    assert parse_message("Use a[0] and [this] [unknown=1]") == (Script(), "Use a[0] and [this] [unknown=1]")


def test_directives_are_read_and_taken_out_of_the_message() -> None:
    script, plain = parse_message("Hello [delay=1.5] you [tokens=20] [gap=0.02][first=0.5] there")
    assert script == Script(delay=1.5, tokens=20, gap=0.02, first=0.5)
    assert plain == "Hello you there"


def test_disturbances_may_have_a_count() -> None:
    script, _ = parse_message("[fail=503x2] [break=5] [silent=30x1] [retry_after=2]")
    assert script.fail == Limited(503, 2)
    assert script.break_after == Limited(5)
    assert script.silent == Limited(30, 1)
    assert script.retry_after == 2


def test_a_text_to_say_may_hold_brackets() -> None:
    assert parse_message("[say=see [1] and [2]] ok")[0].say == "see [1] and [2]"
    assert parse_message(r"[say=one \] two \n]")[0].say == r"one ] two \n"
    assert parse_message("[say=]")[0].say == ""


def test_tool_calls_keep_their_order_and_their_json() -> None:
    script, plain = parse_message('go [tool=a {"x": ["]", {"y": "\\"["}]}] [tool=b]')
    assert script.tools == (ToolCall("a", '{"x": ["]", {"y": "\\"["}]}'), ToolCall("b", "{}"))
    assert plain == "go"


@pytest.mark.parametrize(
    "text",
    ["[delay=soon]", "[delay=-1]", "[delay=nan]", "[tokens=1.5]", "[fail=200]", "[fail=503x]", "[tool=]",
     "[tool=a {]", "[tool=a not json]", "[say=never closed"],
)  # fmt: skip
def test_a_directive_that_makes_no_sense_is_an_error(text: str) -> None:
    with pytest.raises(ScriptError):
        parse_message(text)


def test_a_rule_has_the_same_keys_with_json_values() -> None:
    rule = {"delay": 1, "fail": "503x2", "tool": [{"name": "a", "arguments": {"x": 1}}, 'b {"y": 2}'], "say": "x"}
    assert parse_rule(rule) == Script(
        delay=1.0, fail=Limited(503, 2), tools=(ToolCall("a", '{"x": 1}'), ToolCall("b", '{"y": 2}')), say="x"
    )


def test_a_rule_with_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ScriptError, match="known are"):
        parse_rule({"dely": 1})


def test_a_script_is_completed_by_the_one_below_it() -> None:
    above = Script(tokens=0, say="")
    assert above.over(Script(tokens=5, say="x", delay=2.0)) == Script(tokens=0, say="", delay=2.0)


@pytest.mark.parametrize(
    ("script", "count", "expected"),
    [
        (Script(), 3, [0, 0, 0]),
        (Script(delay=1.0), 3, [0.5, 0.75, 1.0]),
        (Script(delay=1.0), 1, [1.0]),
        (Script(delay=1.0), 0, []),
        (Script(first=0.5, gap=0.1), 3, [0.5, 0.6, 0.7]),
        (Script(delay=1.0, first=0.1), 3, [0.1, 0.35, 0.6]),
        (Script(delay=1.0, gap=0.0), 2, [0.5, 0.5]),
    ],
)
def test_tokens_are_due_as_the_script_says(script: Script, count: int, expected: list[float]) -> None:
    assert due_times(script, count) == pytest.approx(expected)
