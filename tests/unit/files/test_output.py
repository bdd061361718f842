"""What fits into an answer, counted as JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st

from workspace.tools.output import fitting, json_size

_texts = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from('"\\\n\x01\x7fé€😀')), max_size=60)


@given(_texts, st.integers(-5, 300))
def test_what_is_kept_is_the_longest_beginning_that_fits(text: str, room: int) -> None:
    kept = fitting(text, room)
    assert text.startswith(kept)
    assert json_size(kept) - 2 <= max(room, 0)
    if kept != text:
        assert json_size(text[: len(kept) + 1]) - 2 > room


@given(st.recursive(_texts, lambda inner: st.lists(inner) | st.dictionaries(_texts, inner), max_leaves=5))
def test_a_size_is_that_of_the_json(value: object) -> None:
    assert json_size(value) == len(json.dumps(value, ensure_ascii=False).encode())
