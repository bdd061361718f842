"""Directives and rules of the stand-in model become scripts."""

import json

import pytest

from devstack.standin.directives import parse_message, parse_rule
from devstack.standin.pace import due_times
from devstack.standin.script import Limited, Script, ScriptError, ToolCall


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
     "[tool=a {]", "[tool=a not json]", "[say=never closed", "[piece=0]", "[insist=yes]", "[tool={}]",
     '[tool={"name": "a", "arguments": {}, "raw": ""}]', '[tool={"name": 1}]', '[tool={"name": "a", "times": 0}]',
     '[tool={"name": "a", "times": true}]', '[tool={"name": "a", "index": -1}]', '[tool={"name": "a", "ids": "x"}]'],
)  # fmt: skip
def test_a_directive_that_makes_no_sense_is_an_error(text: str) -> None:
    with pytest.raises(ScriptError):
        parse_message(text)


def test_then_separates_the_turns_of_the_model() -> None:
    script, plain = parse_message("go [say=I look.] [tool=a] [then] on [tool=b] [then] [say=done]")
    turns = [script.step(number) for number in range(4)]
    assert turns[0] == Script(say="I look.", tools=(ToolCall("a", "{}"),))
    assert turns[1:] == [Script(tools=(ToolCall("b", "{}"),)), Script(say="done"), Script()]
    assert plain == "go on"


def test_without_then_what_is_said_follows_the_calls() -> None:
    script, _ = parse_message("[say=done] [on_error=no] [tool=a] [delay=1]")
    assert script.step(0) == Script(tools=(ToolCall("a", "{}"),), delay=1)
    assert script.step(1) == script.step(2) == Script(say="done", on_error="no", delay=1)


def test_a_flag_needs_no_value() -> None:
    assert parse_message("[insist] [interleave=true]")[0] == Script(insist=True, interleave=True)
    assert parse_rule({"insist": True, "interleave": False}) == Script(insist=True, interleave=False)
    assert parse_message("[say]") == (Script(), "[say]")


def test_a_call_as_an_object_may_be_a_bad_one() -> None:
    text = r'[tool={"name": "", "raw": "{\"a]: \u0000", "id": "", "index": 3, "times": 2}]'
    text += '[tool={"name": "b", "id": null}]'
    bad = ToolCall("", '{"a]: \0', "", 3)
    assert parse_message(text)[0].tools == (bad, bad, ToolCall("b", "{}", None))
    rule = {"tool": [{"name": "a", "raw": "no json"}, {"name": "a", "arguments": [1]}]}
    assert parse_rule(rule).tools == (ToolCall("a", "no json"), ToolCall("a", "[1]"))


@pytest.mark.parametrize("arguments", [r'{"a": "\u0000\ud800"}', '{"a": 1, "a": 2}', "[" * 100_000 + "]" * 100_000])
def test_arguments_are_sent_as_they_are_written(arguments: str) -> None:
    assert parse_message(f"[tool=a {arguments}]")[0].tools == (ToolCall("a", arguments),)


def test_an_object_that_is_nested_too_deeply_is_an_error() -> None:
    with pytest.raises(ScriptError, match="raw"):
        parse_message('[tool={"name": "a", "arguments": ' + "[" * 100_000 + "]" * 100_000 + "}]")


def test_a_rule_has_steps_and_what_holds_for_all_of_them() -> None:
    rule = {"delay": 1, "on_error": "no", "steps": [{"tool": ["a", "b"]}, {"delay": 2, "say": "x", "tool": "c {}"}]}
    script = parse_rule(rule)
    assert script.step(0) == Script(delay=1, on_error="no", tools=(ToolCall("a", "{}"), ToolCall("b", "{}")))
    assert script.step(1) == Script(delay=2, on_error="no", say="x", tools=(ToolCall("c", "{}"),))
    assert script.step(2) == Script()
    alone = parse_rule({"steps": [{"say": "x", "tool": "a"}]})
    assert [alone.step(0).say, alone.step(1)] == ["x", Script()]


@pytest.mark.parametrize("steps", [[], {}, "x", [1], [{"steps": []}], [{"match": "x"}], [{"then": True}]])
def test_steps_that_cannot_be_understood_are_an_error(steps: object) -> None:
    with pytest.raises(ScriptError):
        parse_rule({"steps": steps})


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


def test_a_plan_within_a_line_of_json_disturbs_nobody_who_is_not_asked_for_one() -> None:
    plan = json.dumps({"tasks": [{"instruction": "[say=late] it"}]})
    shown = json.dumps({"kind": "request", "text": f"Do it. [plan={plan}]"})
    script, plain = parse_message(f"{shown}\n[say=done] now", plans=False)
    assert (script, plain) == (Script(say="done"), '{"kind": "request", "text": "Do it. "}\n now')
