"""Which script answers a request, and how often a disturbance happens."""

from typing import Any

import pytest

from devstack.standin.conversation import BadRequestError, Conversation
from devstack.standin.rules import Rule, RuleBook
from devstack.standin.script import Script, ScriptError


def talk(text: Any, system: str = "", model: str = "m") -> Conversation:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return Conversation.parse({"model": model, "messages": messages})


def after(text: str, turns: int, model: str = "m") -> Conversation:
    """A conversation in which so many turns with tool calls have had their results."""
    earlier = [{"role": "user", "content": "before"}, {"role": "assistant", "tool_calls": [{"id": "0"}]}]
    turn = [{"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "{}"}]
    messages = [*earlier, {"role": "user", "content": text}, *turn * turns]
    return Conversation.parse({"model": model, "messages": messages})


def book(*rules: dict[str, Any], defaults: Script | None = None) -> RuleBook:
    made = RuleBook(defaults or Script())
    made.add([Rule.parse(rule) for rule in rules])
    return made


def test_the_message_wins_over_the_rule_and_the_rule_over_the_default() -> None:
    rules = book({"match": "x", "say": "rule", "gap": 0.2}, defaults=Script(say="default", gap=0.1, first=0.3))
    script = rules.decide(talk("x [say=own]")).script
    assert (script.say, script.gap, script.first) == ("own", 0.2, 0.3)


def test_the_first_rule_that_matches_counts() -> None:
    rules = book({"match": "no", "say": "1"}, {"match": "o", "say": "2"}, {"match": "o", "say": "3"})
    assert rules.decide(talk("ox")).script.say == "2"


def test_rules_look_where_they_are_told_to() -> None:
    rules = book({"match": "plan", "in": "system", "say": "s"}, {"match": "big", "in": "model", "say": "m"})
    assert rules.decide(talk("plan")).script.say is None
    assert rules.decide(talk("x", system="you plan")).script.say == "s"
    assert rules.decide(talk("x", model="big")).script.say == "m"


def test_a_counted_disturbance_of_a_message_is_counted_for_that_message() -> None:
    rules = book()
    assert [rules.decide(talk("a [fail=503x2]")).fail for _ in range(3)] == [503, 503, None]
    assert rules.decide(talk("b [fail=503x2]")).fail == 503


def test_a_counted_disturbance_of_a_rule_is_counted_for_that_rule() -> None:
    rules = book({"match": "a", "fail": "500x2"}, {"match": "b", "fail": "500x2"})
    assert [rules.decide(talk(text)).fail for text in ("a1", "a2", "a3", "b1")] == [500, 500, None, 500]


def test_a_failure_leaves_the_other_counts_for_the_request_that_gets_so_far() -> None:
    rules = book()
    seen = [rules.decide(talk("[fail=503x1] [break=2x1] [silent=3x1]")) for _ in range(3)]
    assert [(each.fail, each.break_after, each.silent) for each in seen] == [
        (503, None, 0),
        (None, 2, 3),
        (None, None, 0),
    ]


def test_clearing_forgets_rules_and_counts() -> None:
    rules = book({"match": "", "say": "rule"})
    rules.decide(talk("[fail=503x1]"))
    rules.clear()
    decision = rules.decide(talk("[fail=503x1]"))
    assert (decision.fail, decision.script.say) == (503, None)


@pytest.mark.parametrize("rule", [{"match": "("}, {"match": 5}, {"in": "moon"}, {"unknown": 1}])
def test_a_rule_that_cannot_be_understood_is_an_error(rule: dict[str, Any]) -> None:
    with pytest.raises(ScriptError):
        Rule.parse(rule)


def test_a_message_in_parts_is_one_text() -> None:
    assert talk([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]).user == "one two"


@pytest.mark.parametrize("body", [None, [], {}, {"model": "m"}, {"model": "m", "messages": ["x"]}, {"messages": [{}]}])
def test_a_body_that_is_no_chat_request_is_refused(body: Any) -> None:
    with pytest.raises(BadRequestError):
        Conversation.parse(body)


def test_a_look_up_obeys_the_first_rule_for_its_model_and_no_other() -> None:
    rules = book(
        {"match": "big", "fail": 500},
        {"match": "big", "in": "system", "fail": 501},
        {"match": "big", "in": "lookup", "fail": 502},
        {"match": "big", "in": "model", "fail": 503},
    )
    assert rules.decide_lookup("big").fail == 502
    assert rules.decide_lookup("small").fail is None
    assert book({"match": "big", "in": "model", "fail": 503}).decide_lookup("big").fail == 503


def test_a_rule_for_look_ups_does_not_touch_conversations() -> None:
    rules = book({"match": "", "in": "lookup", "fail": 500}, {"match": "big", "in": "model", "fail": 503})
    assert rules.decide(talk("x", model="big")).fail == 503
    assert rules.decide(talk("x")).fail is None


def test_look_ups_and_conversations_are_counted_apart() -> None:
    rules = book({"match": "big", "in": "model", "fail": "503x1", "silent": "2x1", "break": "1x1"})
    assert rules.decide(talk("x", model="big")).fail == 503
    first, second, third = (rules.decide_lookup("big") for _ in range(3))
    assert (first.fail, first.silent, first.break_after) == (503, 0.0, None)
    assert (second.fail, second.silent, second.break_after) == (None, 2.0, 1)
    assert (third.fail, third.silent, third.break_after) == (None, 0.0, None)
    assert rules.decide(talk("x", model="big")).silent == 2.0


def test_the_turn_is_told_by_the_calls_since_the_last_user_message() -> None:
    assert [after("x", turns).turn for turns in range(3)] == [0, 1, 2]
    empty = {"role": "assistant", "content": "said beside nothing", "tool_calls": []}
    assert Conversation.parse({"model": "m", "messages": [{"role": "user", "content": "x"}, empty]}).turn == 0


def test_each_turn_has_its_own_script() -> None:
    rules = book({"match": "ruled", "steps": [{"tool": "a"}, {"tool": "b"}, {"say": "ruled"}]})
    for text in ("[tool=a] [then] [tool=b] [then] [say=ruled]", "ruled"):
        scripts = [rules.decide(after(text, turns)).script for turns in range(4)]
        assert [[call.name for call in script.tools] for script in scripts] == [["a"], ["b"], [], []]
        assert [script.say for script in scripts] == [None, None, "ruled", None]


def test_words_and_calls_of_a_message_and_a_rule_with_steps_are_not_mixed() -> None:
    rules = book({"match": "x", "delay": 1, "steps": [{"tool": "a"}, {"say": "ruled"}]})
    own = [rules.decide(after("x [tool=b] [then] [tool=c]", turns)).script for turns in range(3)]
    assert [[call.name for call in script.tools] for script in own] == [["b"], ["c"], []]
    assert [(script.say, script.delay) for script in own] == [(None, 1), (None, 1), (None, None)]
    plain = [rules.decide(after("x [gap=2]", turns)).script for turns in range(2)]
    assert [(bool(script.tools), script.say, script.gap) for script in plain] == [(True, None, 2), (False, "ruled", 2)]
    short = rules.decide(after("x [say=own]", 0)).script
    assert (short.tools, short.say) == ((), "own")


def test_a_message_may_say_what_follows_the_calls_of_a_rule() -> None:
    rules = book({"match": "x", "tool": "a"})
    scripts = [rules.decide(after("x [say=own]", turns)).script for turns in range(2)]
    assert [(bool(script.tools), script.say) for script in scripts] == [(True, None), (False, "own")]


def test_disturbances_are_counted_for_each_turn() -> None:
    rules = book({"match": "ruled", "steps": [{"tool": "a", "fail": "500x1"}, {"fail": "501x1"}]})
    for text in ("[tool=a] [fail=500x1] [then] [fail=501x1]", "ruled"):
        seen = [rules.decide(after(text, turns)).fail for turns in (0, 1, 0, 1)]
        assert seen == [500, 501, None, None]


def test_without_then_a_disturbance_is_counted_over_all_turns() -> None:
    rules = book()
    assert [rules.decide(after("[tool=a] [fail=503x1]", turns)).fail for turns in (0, 1)] == [503, None]
