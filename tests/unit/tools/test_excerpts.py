"""What events show of arguments is bounded, and says whether it is all."""

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workspace.tools.excerpts import LONGEST_TEXT, MOST_TEXT, excerpt

LONGEST = 8 * MOST_TEXT
"""Characters of JSON that an excerpt never has: a control character is written with six, and a number with up to 25."""


def size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def test_short_arguments_stay_whole() -> None:
    arguments = {"path": "a", "deep": [1, None, {"x": True, "y": 1.5}], "empty": {}}
    assert excerpt(arguments) == (arguments, True)


def test_a_long_text_is_cut_and_that_is_said() -> None:
    found = excerpt({"path": "a", "content": "x" * (LONGEST_TEXT + 1)})
    assert found == ({"path": "a", "content": "x" * LONGEST_TEXT + "…"}, False)


def test_a_text_of_just_the_longest_stays_whole() -> None:
    arguments = {"content": "x" * LONGEST_TEXT}
    assert excerpt(arguments) == (arguments, True)


def test_many_texts_share_a_bound() -> None:
    arguments = {f"text{number}": "x" * LONGEST_TEXT for number in range(20)}
    found, complete = excerpt(arguments)
    assert not complete
    assert MOST_TEXT / 2 < size(found) < LONGEST


def test_what_is_cut_in_the_rows_stays_as_it_is() -> None:
    arguments = {"content": "x" * 5_000, "deep": [["y" * 5_000]]}
    kept = json.loads(json.dumps(arguments))
    excerpt(arguments)
    assert arguments == kept


HUGE = {
    "many texts": ["x" * 50] * 20_000,
    "many numbers": [2**62] * 50_000,
    "many names": {f"name{number}": 1 for number in range(20_000)},
    "a long name": {"x" * 500_000: 1},
    "many lists without anything in them": [[]] * 300_000,
    "lists of empty lists": [[[]] * 1_000] * 300,
    "objects of empty objects": {str(number): {str(each): {} for each in range(500)} for number in range(100)},
    "lists of lists of lists": [[[[]] * 60] * 60] * 60,
}


@pytest.mark.parametrize("kind", HUGE)
def test_nothing_that_a_model_writes_makes_a_large_event(kind: str) -> None:
    found, _ = excerpt({"x": HUGE[kind]})
    assert size(found) < LONGEST


small = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=6),
    max_leaves=12,
)


class Argument(NamedTuple):
    """One argument, told briefly: hypothesis shows what it found."""

    name: str
    times: int
    value: Any
    inner: int
    outer: int

    def made(self) -> tuple[str, Any]:
        value = [[self.value] * self.inner] * self.outer if self.outer else self.value
        if isinstance(value, str):
            value *= self.times
        return self.name * self.times, value


a_size = st.just(0) | st.integers(1, 300)
an_argument = st.builds(Argument, st.text(max_size=5), st.just(1) | st.integers(1, 3_000), small, a_size, a_size)


@given(st.lists(an_argument, max_size=6))
@example([Argument("x", 1, [], 300, 300)])
@example([Argument("x", 3_000, "\x01", 1, 1)])
def test_for_any_arguments_an_excerpt_is_bounded_and_complete_if_and_only_if_it_is_all(
    arguments: list[Argument],
) -> None:
    whole = dict(each.made() for each in arguments)
    found, complete = excerpt(whole)
    assert size(found) < LONGEST
    assert complete == (json.dumps(found) == json.dumps(whole))


@given(st.dictionaries(st.text(max_size=5), small, max_size=3))
def test_small_arguments_are_complete(arguments: dict[str, Any]) -> None:
    assert excerpt(arguments) == (arguments, True)
