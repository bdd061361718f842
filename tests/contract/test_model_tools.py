"""Tools over the wire: what a model calls comes out as it was called, however its server streams it."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from settings import Settings, load_settings
from tests.contract.test_model_client import Asked, Server, Sink, asker, chunk, events, refused
from tests.support.stack import Stack
from tests.support.standin import Standin
from workspace.errors import Cancelled, ModelFailure, ModelUnavailable
from workspace.interruptible import Interrupted, StopSignal
from workspace.model_stream import MOST_CALLS, AskedCall

pytestmark = pytest.mark.stack

TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": {"type": "object"}}}
    for name in ("look", "write")
]


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def ask(settings: Settings, stack: Stack) -> Iterator[Asked]:
    with asker(settings, stack.model_url) as ask:
        yield lambda content, sink, **more: ask(content, sink, **{"tools": TOOLS, **more})


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def ask_own(settings: Settings, server: Server) -> Iterator[Asked]:
    with asker(settings, server.url, model_max_attempts=2) as ask:
        yield lambda content, sink, **more: ask(content, sink, **{"tools": TOOLS, **more})


# -- the stand-in ------------------------------------------------------------------------------------------------


def test_a_call_comes_with_its_id_its_name_and_its_arguments(ask: Asked, sink: Sink) -> None:
    arguments = {"path": "a/ä.txt", "text": 'brackets ] and "quotes"', "deep": [1, None, {"x": 1.5}]}
    turn = ask(f"[tool=look {json.dumps(arguments)}]", sink)
    (call,) = turn.calls
    assert call.name == "look"
    assert call.id.startswith("call_")
    assert json.loads(call.arguments) == arguments
    assert (turn.text, turn.finish_reason, sink.pieces) == ("", "tool_calls", [])
    assert turn.usage.total_tokens > 0


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize("how", ["", "[interleave]"])
def test_several_calls_come_whole_in_any_pieces_and_side_by_side(ask: Asked, sink: Sink, piece: int, how: str) -> None:
    wanted = [{"number": number, "text": "x" * number * 10} for number in range(5)]
    calls = "".join(f"[tool=look {json.dumps(each)}]" for each in wanted)
    turn = ask(f"{calls}[piece={piece}]{how}", sink)
    assert [json.loads(call.arguments) for call in turn.calls] == wanted
    assert len({call.id for call in turn.calls}) == 5


def test_what_is_said_beside_calls_is_streamed(ask: Asked, sink: Sink) -> None:
    turn = ask("[tool=look][say=let me look at it][then][say=done]", sink)
    assert [call.name for call in turn.calls] == ["look"]
    assert turn.text == "".join(sink.pieces) == "let me look at it"


def test_calls_count_whatever_the_reason_for_the_end_is(ask: Asked, sink: Sink) -> None:
    turn = ask('[tool=look {"a": 1}][finish=stop]', sink)
    assert turn.finish_reason == "stop"
    assert [call.name for call in turn.calls] == ["look"]


def test_a_turn_that_tells_of_calls_and_has_none_is_a_failure_of_the_model(ask: Asked, sink: Sink) -> None:
    with refused(ModelFailure) as caught:
        ask("[say=hello][finish=tool_calls]", sink)
    assert caught.value.detail == "The model asked for tools and named none."


def test_calls_where_none_were_offered_are_a_failure_of_the_model(ask: Asked, sink: Sink) -> None:
    with refused(ModelFailure) as caught:
        ask("[tool=look][insist]", sink, tools=[])
    assert caught.value.detail == "The model asked for a tool, and it was offered none."


def test_a_model_that_has_to_answer_is_told_so_and_answers(ask: Asked, sink: Sink, standin: Standin) -> None:
    mark = uuid4().hex
    turn = ask(f"[tool=look][say={mark}]", sink, must_answer=True)
    assert turn.calls == ()
    (request,) = [one for one in standin.requests(50) if mark in str(one["messages"])]
    assert request["tool_choice"] == "none"
    assert request["tools"] == TOOLS, "a conversation with calls in it is refused by some servers without them"


def test_a_model_that_goes_on_to_call_where_it_has_to_answer_has_failed(ask: Asked, sink: Sink) -> None:
    with refused(ModelFailure) as caught:
        ask("[tool=look][insist]", sink, must_answer=True)
    assert caught.value.detail == "The model went on to ask for tools where it had to answer."


def test_tools_are_offered_as_they_are_and_without_any_nothing_is_said_of_them(
    ask: Asked, sink: Sink, standin: Standin
) -> None:
    mark = uuid4().hex
    ask(f"with {mark}", sink)
    ask(f"without {mark}", sink, tools=())
    first, second = [one for one in standin.requests(50) if mark in str(one["messages"])]
    assert first["tools"] == TOOLS
    assert "tool_choice" not in first
    assert not {"tools", "tool_choice"} & set(second)


def test_a_break_in_the_middle_of_a_call_is_asked_for_again(ask: Asked, sink: Sink) -> None:
    turn = ask(f'[tool=look {{"mark": "{uuid4().hex}"}}][break=3x1]', sink)
    assert [call.name for call in turn.calls] == ["look"]
    assert [reason for reason, _ in sink.pauses] == ["connection"]


def test_a_model_that_breaks_off_each_time_is_given_up(settings: Settings, stack: Stack, sink: Sink) -> None:
    with asker(settings, stack.model_url, model_max_attempts=2) as ask, refused(ModelUnavailable):
        ask(f'[tool=look {{"mark": "{uuid4().hex}"}}][break=3]', sink, tools=TOOLS)


def test_a_stop_is_heard_while_a_call_is_streamed(ask: Asked, sink: Sink) -> None:
    stop = StopSignal()
    stop.stop(Cancelled())
    with pytest.raises(Interrupted):
        ask('[tool=look {"a": "a long text that takes a while"}][gap=0.5]', sink, stop=stop)


def test_the_most_calls_are_taken_and_more_are_not(ask: Asked, sink: Sink) -> None:
    most = ask(f'[tool={{"name": "look", "times": {MOST_CALLS}}}]', sink)
    assert len(most.calls) == len({call.id for call in most.calls}) == MOST_CALLS
    with refused(ModelFailure) as caught:
        ask(f'[tool={{"name": "look", "times": {MOST_CALLS + 1}}}][interleave]', sink)
    assert caught.value.detail == f"The model asked for more than {MOST_CALLS} tools at once."


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"name": "look", "raw": '{"a": '}, AskedCall("x", "look", '{"a": ')),
        ({"name": "look", "raw": ""}, AskedCall("x", "look", "")),
        ({"name": "no such tool\n", "arguments": {}}, AskedCall("x", "no such tool\n", "{}")),
        ({"name": "look", "id": None}, AskedCall("", "look", "{}")),
        ({"name": "look", "id": ""}, AskedCall("", "look", "{}")),
        ({"name": "", "raw": "{}"}, AskedCall("x", "", "{}")),
        ({"name": "look", "raw": '"\\u0000\\ud800"'}, AskedCall("x", "look", '"\\u0000\\ud800"')),
        ({"name": "look", "raw": "[" * 1_000}, AskedCall("x", "look", "[" * 1_000)),
        ({"name": "look", "index": 7}, AskedCall("x", "look", "{}")),
    ],
)
def test_a_call_that_no_program_should_believe_comes_out_as_it_is(
    ask: Asked, sink: Sink, standin: Standin, call: dict[str, Any], expected: AskedCall
) -> None:
    mark = uuid4().hex
    standin.rules({"match": mark, "tool": {"id": "x", **call}})
    assert ask(mark, sink).calls == (expected,)


def test_one_id_for_two_calls_is_two_calls(ask: Asked, sink: Sink, standin: Standin) -> None:
    mark = uuid4().hex
    standin.rules({"match": mark, "tool": [{"name": "look", "id": "x"}, {"name": "write", "id": "x"}]})
    assert ask(mark, sink).calls == (AskedCall("x", "look", "{}"), AskedCall("x", "write", "{}"))


def test_two_calls_under_one_number_are_two_calls(ask: Asked, sink: Sink, standin: Standin) -> None:
    mark = uuid4().hex
    calls = [{"name": name, "id": name, "index": 0, "arguments": {"of": name}} for name in ("look", "write")]
    standin.rules({"match": mark, "tool": calls})
    assert ask(mark, sink).calls == tuple(AskedCall(name, name, f'{{"of": "{name}"}}') for name in ("look", "write"))


# -- other servers -----------------------------------------------------------------------------------------------


def called(*calls: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": None}]}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            [called({"id": "a", "type": "function", "function": {"name": "look", "arguments": {"x": 1}}})],
            (AskedCall("a", "look", '{"x": 1}'),),
        ),
        (
            [called({"id": "a", "function": {"name": "look"}}, {"id": "b", "function": {"name": "write"}})],
            (AskedCall("a", "look", ""), AskedCall("b", "write", "")),
        ),
        (
            [
                called({"index": 0, "id": "a", "function": {"name": "look", "arguments": None}}),
                called({"index": 0, "id": None, "function": {"name": None, "arguments": "{}"}}),
            ],
            (AskedCall("a", "look", "{}"),),
        ),
    ],
)
def test_what_servers_do_differently_with_calls_is_understood(
    ask_own: Asked, server: Server, sink: Sink, parts: list[Any], expected: Any
) -> None:
    server.answers = [("text/event-stream", events(*parts, chunk(finish="tool_calls")))]
    assert ask_own("hello", sink).calls == expected


def test_arguments_without_end_are_given_up(ask_own: Asked, server: Server, sink: Sink) -> None:
    piece = called({"index": 0, "id": "a", "function": {"name": "write", "arguments": "x" * 100_000}})
    server.answers = [("text/event-stream", events(*[piece] * 11, chunk(finish="tool_calls")))]
    with refused(ModelFailure) as caught:
        ask_own("hello", sink)
    assert caught.value.detail == "The model's answer is too long to be kept."
