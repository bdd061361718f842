"""What the stand-in says to a conversation with tools."""

import json
from typing import Any

import pytest

from devstack.standin.answer import INTRODUCTION, Answer, compose
from devstack.standin.conversation import Conversation
from devstack.standin.protocol import Chunks, completion
from devstack.standin.results import is_error, quoted
from devstack.standin.rules import RuleBook
from devstack.standin.script import Script, ScriptError

TOOLS = [{"type": "function", "function": {"name": "a"}}]


def talk(text: str, *results: str, tools: Any = TOOLS, **more: Any) -> Conversation:
    """A conversation whose user said `text`; with results, the model has had one turn with calls."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
    if results:
        calls = [{"id": str(number)} for number, _ in enumerate(results)]
        messages.append({"role": "assistant", "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": str(each), "content": text} for each, text in enumerate(results)]
    return Conversation.parse({"model": "m", "messages": messages, "tools": tools, **more})


def answer(conversation: Conversation) -> Answer:
    return compose(conversation, RuleBook(Script()).decide(conversation))


def deltas(conversation: Conversation) -> list[dict[str, Any]]:
    """The deltas of the stream, without those that only open or close it."""
    decision = RuleBook(Script()).decide(conversation)
    chunks = Chunks(conversation, compose(conversation, decision), decision.script)
    events = b"".join(chunks.pieces()).decode().split("\n\n")
    found = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events if event]
    return [delta for delta in found if delta.get("content") != ""]


def test_a_turn_may_speak_beside_its_calls() -> None:
    conversation = talk("[say=I look around.] [tool=a] [tool=b] [then]")
    message = completion(conversation, answer(conversation))["choices"][0]
    assert message["message"]["content"] == "I look around."
    assert [call["function"]["name"] for call in message["message"]["tool_calls"]] == ["a", "b"]
    assert message["finish_reason"] == "tool_calls"
    kinds = [next(iter(delta)) for delta in deltas(conversation)]
    assert kinds == ["content"] * 3 + ["tool_calls"] * 4


@pytest.mark.parametrize("forbidden", [{"tools": None}, {"tools": []}, {"tool_choice": "none"}])
def test_it_calls_nothing_that_it_may_not_call_and_says_so(forbidden: dict[str, Any]) -> None:
    given = answer(talk("[tool=a] [tool=b]", **forbidden))
    assert given.tool_calls == ()
    assert given.finish_reason == "stop"
    assert given.text.startswith(f"{INTRODUCTION} I was told to call a, b, but ")
    assert len(answer(talk("[tool=a] [tool=b] [insist]", **forbidden)).tool_calls) == 2


def test_a_tool_that_was_not_offered_can_be_called() -> None:
    assert [call.name for call in answer(talk("[tool=nobody]")).tool_calls] == ["nobody"]


def test_an_error_among_the_results_changes_the_answer() -> None:
    text = "[tool=a] [then] [say=fine] [tool=a] [on_error=It went wrong.]"
    fine, wrong = '{"size": 3, "error": null}', '{"error": {"code": "rejected"}}'
    assert len(answer(talk(text, fine, fine)).tool_calls) == 1
    given = answer(talk(text, wrong, fine))
    assert (given.text, given.tool_calls, given.finish_reason) == ("It went wrong.", (), "stop")
    assert answer(talk("[tool=a] [say=fine] [on_error=wrong]", wrong)).text == "wrong"
    assert answer(talk("[tool=a] [say=fine] [on_error=wrong]", fine)).text == "fine"


@pytest.mark.parametrize("result", ["", "text", "[]", '"error"', "{}", '{"error": null}', "[" * 100_000])
def test_what_is_no_object_with_an_error_is_none(result: str) -> None:
    assert not is_error(result)


def test_an_answer_can_quote_parts_of_the_results() -> None:
    results = ["plain", '{"error": {"detail": "no", "code": 5}}']
    assert quoted("{result}", results) == "; ".join(results)
    assert quoted("It said {result.error.detail} ({result.error.code}).", results) == "It said no (5)."
    assert quoted("{result.error.nothing.deeper}{result.x}|{ruins} {result", results) == "|{ruins} {result"
    assert quoted("{result}{result.x}", []) == ""


def test_the_reason_of_the_end_can_be_a_lie() -> None:
    calls = answer(talk("[tool=a] [finish=stop]"))
    assert (calls.finish_reason, len(calls.tool_calls)) == ("stop", 1)
    for conversation in (talk("[say=soon] [finish=tool_calls]"), talk("[say=] [finish=tool_calls]")):
        none = completion(conversation, answer(conversation))["choices"][0]
        assert (none["finish_reason"], none["message"]["tool_calls"]) == ("tool_calls", [])
        assert deltas(conversation)[-1] == {"tool_calls": []}


def test_arguments_come_in_pieces_of_the_size_that_is_told() -> None:
    parts = deltas(talk('[piece=1] [tool=a {"x": 1}]'))
    assert [part["tool_calls"][0]["function"]["arguments"] for part in parts] == ["", *'{"x": 1}']
    assert len(deltas(talk('[tool=a {"x": 1}]'))) == 2


def test_calls_can_come_side_by_side() -> None:
    parts = deltas(talk('[interleave] [piece=4] [tool=a {"x": 1}] [tool=b {"y": 2222}] [tool=c]'))
    told = [(part["tool_calls"][0]["index"], part["tool_calls"][0]["function"]["arguments"]) for part in parts]
    assert told == [
        (0, ""),
        (1, ""),
        (2, ""),
        (0, '{"x"'),
        (1, '{"y"'),
        (2, "{}"),
        (0, ": 1}"),
        (1, ": 22"),
        (1, "22}"),
    ]


def test_ids_are_made_up_unless_they_are_told() -> None:
    conversation = talk(
        '[tool={"name": "a", "times": 200}] [tool={"name": "a", "id": ""}] [tool={"name": "a", "id": null}]'
        '[tool={"name": "a", "id": "same", "times": 2}]'
    )
    calls = completion(conversation, answer(conversation))["choices"][0]["message"]["tool_calls"]
    assert len({call["id"] for call in calls[:200]}) == 200
    assert calls[200]["id"] == ""
    assert "id" not in calls[201]
    assert [call["id"] for call in calls[202:]] == ["same", "same"]


def test_two_calls_can_claim_the_same_place_in_the_stream() -> None:
    parts = deltas(talk('[tool=a] [tool={"name": "b", "index": 0}]'))
    assert [part["tool_calls"][0]["index"] for part in parts] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("colour is \\w+", "You like colour is green."),
        ("colour is (\\w+)", "You like green."),
        ("size is (\\w+)", "You like ."),
        ("(size)?", "You like ."),
    ],
)
def test_what_it_finds_in_the_system_prompt_can_be_said(pattern: str, said: str) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "system", "content": "Memory: the favourite colour is green."},
        {"role": "user", "content": f"[find={pattern}] [say=You like {{found}}.]"},
    ]
    assert answer(Conversation.parse({"model": "m", "messages": messages})).text == said


def test_what_is_found_is_not_looked_for_in_what_the_user_says() -> None:
    assert answer(talk("My colour is green. [find=colour is (\\w+)] [say=You like {found}.]")).text == "You like ."


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ScriptError, match="regular expression"):
        answer(talk("[find=(] [say={found}]"))
