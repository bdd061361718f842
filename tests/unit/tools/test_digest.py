"""A digest says whether two calls are the same, as JSON: it must see every difference and no other one."""

import copy
import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from workspace.tools.digest import digest

# Lone surrogates too: a caller may not have refused them.
a_text = st.text(st.characters(exclude_categories=[]), max_size=8)
a_leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | a_text
a_json = st.recursive(
    a_leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(a_text, inner, max_size=3), max_leaves=8
)
some_arguments = st.dictionaries(a_text, a_json, max_size=4)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same as JSON, by the definition: type by type, member by member."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return one == other


@given(a_text, some_arguments, a_text, some_arguments)
@example("t", {"a": 1}, "t", {"a": 1.0})
@example("t", {"a": 1}, "t", {"a": True})
@example("t", {"a": 0}, "t", {"a": False})
@example("t", {"a": 0.0}, "t", {"a": -0.0})
@example("t", {"a": None}, "t", {})
@example("t", {"a": "1"}, "t", {"a": 1})
@example("t", {"a": []}, "t", {"a": {}})
@example("t", {"a": "\u00e9"}, "t", {"a": "e\u0301"})
@example("t", {"a": "\U0001f600"}, "t", {"a": "\ud83d\ude00"})
@example("t", {"a": "\ud800"}, "t", {"a": "?"})
@example("t", {"a": "\ud800"}, "t", {"a": "\ud801"})
@example("t", {"a": "\u00e9"}, "t", {"a": "\\u00e9"})
@example("t", {"a": [1, [2]]}, "t", {"a": [[1], 2]})
@example("t", {"a": ["b", "c"]}, "t", {"a": ["b,c"]})
@example('t",{"a":1}', {}, "t", {"a": 1})
@example("ta", {}, "t", {"a": 1})
@example("t", {"a": 2**53}, "t", {"a": float(2**53)})
@example("t", {"a": 0.1}, "t", {"a": 0.1 + 2**-56})
def test_two_calls_have_one_digest_if_and_only_if_they_are_the_same(
    tool: str, arguments: dict[str, Any], other_tool: str, others: dict[str, Any]
) -> None:
    are_same = tool == other_tool and same(arguments, others)

    assert (digest(tool, arguments) == digest(other_tool, others)) == are_same


@given(a_text, some_arguments)
def test_the_order_of_members_does_not_matter(tool: str, arguments: dict[str, Any]) -> None:
    turned = dict(reversed(copy.deepcopy(arguments).items()))

    assert digest(tool, turned) == digest(tool, arguments)


@given(a_text, some_arguments, a_text, a_json)
def test_an_argument_that_is_added_changes_it(tool: str, arguments: dict[str, Any], name: str, value: Any) -> None:
    assume(name not in arguments)

    assert digest(tool, arguments | {name: value}) != digest(tool, arguments)


@given(a_text, some_arguments, a_json, st.data())
def test_an_argument_that_is_changed_changes_it(
    tool: str, arguments: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    assume(arguments)
    name = data.draw(st.sampled_from(sorted(arguments)))
    assume(not same(arguments[name], value))

    assert digest(tool, arguments | {name: value}) != digest(tool, arguments)


def test_it_is_the_sha_256_of_one_line_of_json() -> None:
    """A digest is stored: another way to make it would void every approval that waits."""
    line = '["write_file",{"mode":"create","n":1.0,"path":"ä"}]'

    made = digest("write_file", {"path": "ä", "mode": "create", "n": 1.0})

    assert made == hashlib.sha256(line.encode()).hexdigest()


@pytest.mark.parametrize(
    "arguments",
    [
        {"a": math.nan},
        {"a": math.inf},
        {"a": {1, 2}},
        {"a": b"bytes"},
        {1: "a"},
        {"a": {None: 1}},
        {"a": [{True: 1}]},
    ],
)
def test_what_is_no_json_has_no_digest(arguments: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest("tool", arguments)


def test_what_is_nested_without_end_has_no_digest() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(ValueError, match="JSON"):
        digest("tool", {"a": deep})


def test_a_call_has_the_digest_of_its_json() -> None:
    arguments = {"args": ("a", "b"), "timeout": 1.5, "empty": {}, "text": "\u2028\x7f\n"}

    assert digest("tool", json.loads(json.dumps(arguments))) == digest("tool", arguments)
