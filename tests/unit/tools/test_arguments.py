"""Whatever a model writes as a call becomes one that rows can hold, or is told back as its mistake."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workspace.model_stream import AskedCall
from workspace.tools.arguments import LONGEST_ID, LONGEST_NAME, ParsedCall, parse_calls
from workspace.tools.digest import digest
from workspace.tools.errors import ToolErrorCode


def parsed(arguments: str = "{}", *, name: str = "read_file", call_id: str = "call_1") -> ParsedCall:
    (call,) = parse_calls((AskedCall(call_id, name, arguments),), 1, frozenset())
    return call


def mistake(arguments: str) -> str:
    call = parsed(arguments)
    assert call.error is not None
    assert call.error.code is ToolErrorCode.INVALID_ARGUMENTS
    assert call.arguments == {}
    return call.error.detail


# -- arguments ---------------------------------------------------------------------------------------------------


def test_arguments_are_read_as_they_are_written() -> None:
    written = {"path": "a/ä.txt", "deep": [1, 1.5, None, True, {"x": "\U0001f600"}]}
    assert parsed(json.dumps(written)) == ParsedCall("call_1", "read_file", written, None)
    assert parsed(json.dumps(written, ensure_ascii=False)).arguments == written


@pytest.mark.parametrize("nothing", ["", " ", "\n\t", "{}", " {} "])
def test_no_arguments_are_none(nothing: str) -> None:
    assert parsed(nothing) == ParsedCall("call_1", "read_file", {}, None)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"path": "a', "Unterminated string"),
        ("{'path': 'a'}", "Expecting property name"),
        ("path=a", "Expecting value"),
        ("[]", "not an object"),
        ('"a"', "not an object"),
        ("null", "not an object"),
        ("7", "not an object"),
        ('{"a": 1}{"b": 2}', "Extra data"),
        ('{"a": 1, "a": 2}', "the same key twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": 9223372036854775808}', "63 bits"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"\\u0000": 1}', "NUL"),
        ('{"a": "\x00"}', "Invalid control character"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": "\ud800"}', "not UTF-8"),
        ("\ufeff{}", "byte order mark"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "nested deeper than 64"),
        ("[" * 100_000, "nested deeper than 64"),
        ('{"a": 1e22}', "a number is too large"),
        ('{"a": [-1e300]}', "a number is too large"),
    ],
)
def test_what_is_no_object_of_json_is_told(arguments: str, why: str) -> None:
    detail = mistake(arguments)
    assert why in detail
    assert detail.startswith("The arguments are no JSON object that can be used: ")


@pytest.mark.parametrize(
    ("written", "kept"),
    [("-0.0", 0.0), ("1e18", 10**18), ("-1e16", -(10**16)), ("9999999999999998.0", 9999999999999998.0), ("1.0", 1.0)],
)
def test_numbers_are_kept_as_the_database_gives_them_back(written: str, kept: float) -> None:
    """Otherwise a call would seem to be another one than was approved."""
    found = parsed(f'{{"a": [{{"b": {written}}}]}}').arguments["a"][0]["b"]
    assert (found, type(found), str(found)) == (kept, type(kept), str(kept))


def test_a_mistake_does_not_repeat_what_was_written() -> None:
    assert "secret" not in mistake('{"a": "a secret that is long')


# -- names and ids -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "x" * (LONGEST_NAME + 1), "ä", "a\nb", "a\x00b", "\ud800", "read file", "a.b", "?", "<a>", '"', "a/b"]
)
def test_a_name_that_no_tool_can_have_is_not_shown_to_the_model_again(name: str) -> None:
    """Model servers refuse a conversation in which a call has a name of any other form: the run would end."""
    told = parsed(name=name).tool
    assert told == "unnamed"


@pytest.mark.parametrize("name", ["read_file", "Read-File", "x" * LONGEST_NAME, "7"])
def test_any_other_name_stays(name: str) -> None:
    assert parsed(name=name).tool == name


def test_ids_stay_as_the_model_gave_them() -> None:
    calls = tuple(AskedCall(call_id, "a", "") for call_id in ("call_x", "toolu_01", "x" * LONGEST_ID, " "))
    assert [call.call_id for call in parse_calls(calls, 1, frozenset())] == [call.id for call in calls]


@pytest.mark.parametrize("call_id", ["", "x" * (LONGEST_ID + 1), "ä", "a\nb", "a\x00", "\ud800"])
def test_an_id_that_cannot_be_kept_is_replaced(call_id: str) -> None:
    assert parsed(call_id=call_id).call_id == "call_1_0"


def test_an_id_that_comes_twice_or_was_used_before_is_replaced() -> None:
    calls = tuple(AskedCall("same", "a", "") for _ in range(3))
    assert [call.call_id for call in parse_calls(calls, 2, frozenset())] == ["same", "call_2_1", "call_2_2"]
    assert [call.call_id for call in parse_calls(calls[:1], 2, frozenset({"same"}))] == ["call_2_0"]


def test_a_model_that_uses_our_own_ids_first_does_not_take_them_away() -> None:
    calls = tuple(AskedCall(call_id, "a", "") for call_id in ("call_1_1", "", "call_1_1_", ""))
    found = [call.call_id for call in parse_calls(calls, 1, frozenset())]
    assert found == ["call_1_1", "call_1_1_1", "call_1_1_", "call_1_3"]


def test_no_id_grows_beyond_what_a_row_can_hold_whatever_was_used_before() -> None:
    used = frozenset({"call_1_0", *(f"call_1_0{'_' * number}" for number in range(LONGEST_ID))})
    (call,) = parse_calls((AskedCall("", "a", ""),), 1, used)
    assert call.call_id == "call_1_0_1"


any_text = st.text(st.characters(exclude_categories=()), max_size=40)
any_arguments = any_text | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
).map(json.dumps)
any_call = st.builds(
    AskedCall, any_text | st.sampled_from(["a", "call_1_0", "call_1_1"]), any_text | st.just("read_file"), any_arguments
)


@given(st.lists(any_call, max_size=8), st.frozensets(st.sampled_from(["a", "call_1_0", "call_1_0_", "call_1_1"])))
@example([AskedCall("", "", "")], frozenset({"call_1_0", "call_1_0_"}))
def test_for_any_calls_there_are_as_many_that_can_be_stored_each_with_an_id_of_its_own(
    calls: list[AskedCall], used: frozenset[str]
) -> None:
    found = parse_calls(tuple(calls), 1, used)
    assert len(found) == len(calls)
    ids = [call.call_id for call in found]
    assert len(set(ids)) == len(ids)
    assert not used & set(ids)
    for call in found:
        _can_be_stored(call.call_id, LONGEST_ID)
        _can_be_stored(call.tool, LONGEST_NAME)
        assert (call.error is None) or call.arguments == {}
        assert isinstance(call.arguments, dict)
        _can_be_stored(json.dumps(call.arguments, ensure_ascii=False))
        _is_json_of_a_database(call.arguments)
        digest(call.tool, call.arguments)
        if call.error:
            _can_be_stored(call.error.detail, 1_000)


@given(st.dictionaries(st.text("ab"), st.integers(-5, 5) | st.text("ab")))
def test_good_arguments_are_never_refused(arguments: dict[str, Any]) -> None:
    assert parsed(json.dumps(arguments)) == ParsedCall("call_1", "read_file", arguments, None)


def _can_be_stored(text: str, most: int | None = None) -> None:
    assert "\0" not in text
    text.encode()
    assert most is None or len(text) <= most


def _is_json_of_a_database(value: Any) -> None:
    match value:
        case dict():
            for name, each in value.items():
                _can_be_stored(name)
                _is_json_of_a_database(each)
        case list():
            for each in value:
                _is_json_of_a_database(each)
        case str():
            _can_be_stored(value)
        case bool() | None:
            pass
        case int():
            assert -(2**63) <= value < 2**63
        case float():
            assert value - value == 0, "neither endless nor no number"
        case _:
            raise AssertionError(value)
