"""Calls of tools are read from a stream as servers send them: in pieces, side by side, whole, or not quite right."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace.errors import Cancelled, ModelFailure
from workspace.interruptible import Interrupted
from workspace.model_stream import LONGEST_TEXT, MOST_CALLS, AskedCall, PassingError, Reading


class Sink:
    def __init__(self) -> None:
        self.pieces: list[str] = []

    def text(self, piece: str) -> None:
        self.pieces.append(piece)

    def restart(self, attempt: int, reason: str, seconds: float) -> None:
        raise AssertionError


@pytest.fixture
def reading() -> Reading:
    return Reading(sink=Sink(), check=lambda: None)


def take(reading: Reading, *pieces: Any, content: str | None = None, finish: str | None = None) -> None:
    """Let a chunk come with these pieces of calls."""
    delta: dict[str, Any] = {}
    if content is not None:
        delta["content"] = content
    if pieces:
        delta["tool_calls"] = list(pieces)
    reading.take(json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode())


def piece(
    index: Any = None, *, call_id: Any = None, name: Any = None, arguments: Any = None, **more: Any
) -> dict[str, Any]:
    """A piece of a call; what is `None` is not sent."""
    function = {"name": name, "arguments": arguments}
    made = {
        "index": index,
        "id": call_id,
        "function": {key: value for key, value in function.items() if value is not None},
    }
    return {key: value for key, value in made.items() if value is not None} | more


# -- as the protocol has it --------------------------------------------------------------------------------------


def test_a_call_comes_in_pieces(reading: Reading) -> None:
    take(reading, piece(0, call_id="call_a", name="read_file", arguments=""))
    for part in ('{"pa', 'th": "', 'a"}'):
        take(reading, piece(0, arguments=part))
    assert reading.calls.made() == (AskedCall("call_a", "read_file", '{"path": "a"}'),)


def test_calls_one_after_the_other(reading: Reading) -> None:
    for index in range(3):
        take(reading, piece(index, call_id=f"call_{index}", name=f"tool_{index}"))
        take(reading, piece(index, arguments="{"))
        take(reading, piece(index, arguments="}"))
    assert reading.calls.made() == tuple(AskedCall(f"call_{index}", f"tool_{index}", "{}") for index in range(3))


def test_calls_side_by_side_in_the_same_and_in_different_chunks(reading: Reading) -> None:
    take(reading, piece(1, call_id="b", name="second"), piece(0, call_id="a", name="first"))
    take(reading, piece(0, arguments="1"), piece(1, arguments="2"))
    take(reading, piece(1, arguments="2"))
    take(reading, piece(0, arguments="1"))
    assert reading.calls.made() == (AskedCall("a", "first", "11"), AskedCall("b", "second", "22"))


def test_text_beside_calls_goes_to_the_reader(reading: Reading) -> None:
    take(reading, content="let me look")
    take(reading, piece(0, call_id="a", name="look"), content=" here")
    assert isinstance(reading.sink, Sink)
    assert "".join(reading.sink.pieces) == "".join(reading.pieces) == "let me look here"
    assert len(reading.calls.made()) == 1


def test_no_calls_are_none(reading: Reading) -> None:
    take(reading, content="hello")
    reading.take(b'{"choices": [{"delta": {"tool_calls": null}}]}')
    reading.take(b'{"choices": [{"delta": {"tool_calls": []}}]}')
    assert reading.calls.made() == ()


# -- as some servers have it -------------------------------------------------------------------------------------


def test_without_an_index_each_id_begins_a_call(reading: Reading) -> None:
    take(reading, piece(call_id="a", name="first", arguments='{"x"'))
    take(reading, piece(arguments=": 1}"))
    take(reading, piece(call_id="b", name="second", arguments="{}"))
    assert reading.calls.made() == (AskedCall("a", "first", '{"x": 1}'), AskedCall("b", "second", "{}"))


def test_without_an_index_and_an_id_the_first_piece_begins_a_call(reading: Reading) -> None:
    take(reading, piece(name="first", arguments="{"))
    take(reading, piece(arguments="}"))
    assert reading.calls.made() == (AskedCall("", "first", "{}"),)


@pytest.mark.parametrize("index", [0, None, 7])
def test_several_calls_under_one_index_are_told_apart_by_their_ids(reading: Reading, index: int | None) -> None:
    """Ollama counts every call of a turn as the first one."""
    take(reading, piece(index, call_id="a", name="first", arguments='{"x": 1}'))
    take(reading, piece(index, call_id="b", name="second", arguments='{"x":'))
    take(reading, piece(index, call_id="b", arguments=" 2"))
    take(reading, piece(index, arguments="}"))
    assert reading.calls.made() == (AskedCall("a", "first", '{"x": 1}'), AskedCall("b", "second", '{"x": 2}'))


def test_without_an_index_and_ids_each_name_begins_a_call(reading: Reading) -> None:
    take(reading, piece(name="first", arguments='{"x":'))
    take(reading, piece(arguments="1}"))
    take(reading, piece(name="second", arguments="{}"))
    assert reading.calls.made() == (AskedCall("", "first", '{"x":1}'), AskedCall("", "second", "{}"))


def test_a_piece_with_another_id_and_no_name_goes_on_with_the_call(reading: Reading) -> None:
    """Some releases of vLLM make up an id for each piece."""
    take(reading, piece(0, call_id="a", name="first", arguments='{"x":'))
    take(reading, piece(0, call_id="b", arguments="1}"))
    assert reading.calls.made() == (AskedCall("a", "first", '{"x":1}'),)


def test_an_id_that_comes_with_every_piece_is_one_call(reading: Reading) -> None:
    for part in ("{", "}"):
        take(reading, piece(0, call_id="a", name="first", arguments=part))
    assert reading.calls.made() == (AskedCall("a", "first", "{}"),)


def test_arguments_that_come_parsed_are_written_again(reading: Reading) -> None:
    take(reading, piece(0, call_id="a", name="first", arguments={"path": "ä", "deep": [1, None]}))
    (call,) = reading.calls.made()
    assert json.loads(call.arguments) == {"path": "ä", "deep": [1, None]}


def test_an_id_or_a_name_that_is_missing_or_no_text_is_empty(reading: Reading) -> None:
    take(reading, piece(0, arguments="{}"))
    take(reading, piece(1, call_id=7, name=["x"], arguments="{}"))
    take(reading, {"index": 2, "function": None})
    take(reading, {"index": 3})
    assert reading.calls.made() == (
        AskedCall("", "", "{}"),
        AskedCall("", "", "{}"),
        AskedCall("", "", ""),
        AskedCall("", "", ""),
    )


def test_gaps_between_the_indexes_are_no_calls(reading: Reading) -> None:
    take(reading, piece(5, call_id="b", name="second"))
    take(reading, piece(2, call_id="a", name="first"))
    assert [call.name for call in reading.calls.made()] == ["first", "second"]


# -- what is refused ---------------------------------------------------------------------------------------------


def test_as_many_calls_as_may_be_are_taken_and_one_more_is_not(reading: Reading) -> None:
    for index in range(MOST_CALLS):
        take(reading, piece(index, call_id=f"call_{index}", name="look"))
    assert len(reading.calls.made()) == MOST_CALLS
    take(reading, piece(0, arguments="{}"))
    with pytest.raises(ModelFailure, match=f"more than {MOST_CALLS} tools at once"):
        take(reading, piece(MOST_CALLS, name="look"))


def test_calls_without_an_index_are_counted_as_well(reading: Reading) -> None:
    with pytest.raises(ModelFailure, match="tools at once"):
        take(reading, *(piece(call_id=f"call_{number}", name="look") for number in range(MOST_CALLS + 1)))
    assert len(reading.calls.made()) == MOST_CALLS


def test_text_and_arguments_together_have_a_longest(reading: Reading) -> None:
    half = "x" * (LONGEST_TEXT // 2)
    take(reading, content=half)
    take(reading, piece(0, name="write", arguments=half))
    with pytest.raises(ModelFailure, match="too long to be kept"):
        take(reading, piece(1, name="write", arguments="xx"))


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": 7},
        {"tool_calls": [7]},
        {"tool_calls": ["x"]},
        {"tool_calls": [None]},
        {"tool_calls": [{"index": 0, "function": "x"}]},
        {"tool_calls": [{"index": 0, "function": [1]}]},
    ],
)
def test_what_is_no_call_is_a_failure_of_the_model(reading: Reading, delta: Any) -> None:
    with pytest.raises(ModelFailure, match="not the OpenAI protocol"):
        reading.take(json.dumps({"choices": [{"delta": delta}]}).encode())


def test_a_stop_is_heard_before_each_chunk() -> None:
    def check() -> None:
        raise Interrupted(Cancelled())

    with pytest.raises(Interrupted):
        take(Reading(sink=Sink(), check=check), content="x")


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
any_function = st.fixed_dictionaries({}, optional={"name": any_json, "arguments": any_json}) | any_json
any_piece = (
    st.fixed_dictionaries(
        {}, optional={"index": st.integers(-3, 3) | any_json, "id": any_json, "function": any_function}
    )
    | any_json
)


@given(st.lists(st.lists(any_piece, max_size=4) | any_json, max_size=6))
def test_whatever_a_server_sends_it_is_calls_of_text_or_a_failure_of_the_model(chunks: list[Any]) -> None:
    reading = Reading(sink=Sink(), check=lambda: None)
    try:
        for pieces in chunks:
            reading.take(json.dumps({"choices": [{"delta": {"tool_calls": pieces}}]}).encode())
    except (ModelFailure, PassingError):
        return
    for call in reading.calls.made():
        assert all(isinstance(part, str) for part in call)


calls_of_a_turn = st.lists(st.tuples(st.text("abc_", min_size=1), st.text(max_size=30)), min_size=1, max_size=6)


@given(calls_of_a_turn, st.randoms(use_true_random=False), st.booleans())
def test_however_calls_are_cut_and_mixed_they_come_out_whole(
    wanted: list[tuple[str, str]], random: Any, together: bool
) -> None:
    streams = []
    for index, (name, arguments) in enumerate(wanted):
        cuts = sorted(random.randint(0, len(arguments)) for _ in range(3))
        parts = [arguments[start:end] for start, end in zip([0, *cuts], [*cuts, len(arguments)], strict=True)]
        first = piece(index, call_id=f"call_{index}", name=name)
        streams.append([first, *(piece(index, arguments=part) for part in parts)])
    mixed = []
    while streams:
        stream = random.choice(streams)
        mixed.append(stream.pop(0))
        streams = [each for each in streams if each]
    reading = Reading(sink=Sink(), check=lambda: None)
    for chunk in [mixed] if together else [[each] for each in mixed]:
        take(reading, *chunk)
    assert reading.calls.made() == tuple(
        AskedCall(f"call_{index}", name, arguments) for index, (name, arguments) in enumerate(wanted)
    )
