"""Lines of an export: what is written can be read, and what cannot be read says why."""

import json
from datetime import UTC, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memories import SPACE, START, memory, random_vector, vector
from workspace.errors import InvalidInput
from workspace.memory.ids import memory_id
from workspace.memory.memories import InteractionType, Memory, Point, Provenance, VectorSpace
from workspace.memory.texts import MOST_CHARACTERS
from workspace.memory.transfer import LONGEST_LINE, of_line, to_line
from workspace.memory.vectors import to_text

optional_ids = st.none() | st.uuids()
storable = (
    st.text(min_size=1, max_size=50)
    .map(lambda text: f"a{text}".replace("\0", ""))
    .filter(lambda text: text.encode(errors="ignore").decode() == text)
)
memories = st.builds(
    Memory,
    id=st.builds(memory_id, st.datetimes(min_value=START.replace(tzinfo=None), timezones=st.just(UTC)), st.text()),
    text=storable,
    interaction_type=st.sampled_from(InteractionType),
    success=st.booleans(),
    session_id=optional_ids,
    run_id=optional_ids,
    task_id=optional_ids,
    provenance=st.just(Provenance.IMPORT),
)


@given(memories, st.integers(0, 9))
def test_a_line_gives_back_what_it_was_made_of(made: Memory, seed: int) -> None:
    point = Point(made, random_vector(seed))
    line = to_line(point, SPACE)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert of_line(line, SPACE) == point
    assert of_line(line.encode(), SPACE) == point


def test_a_line_is_the_form_that_the_documents_show() -> None:
    made = memory(success=False, run_id=uuid4())
    assert json.loads(to_line(Point(made, vector(1)), SPACE)) == {
        "id": str(made.id),
        "created_at": "2026-01-01T00:00:00Z",
        "text": "memory 0",
        "interaction_type": "conversation",
        "success": False,
        "session_id": None,
        "run_id": str(made.run_id),
        "task_id": None,
        "provenance": "run",
        "embedding": {"model": "a-model", "dimensions": 8, "vector": "AACAPwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
    }


def read(**fields: Any) -> Memory:
    return of_line(json.dumps({"text": "a text", **fields}), SPACE, now=START).memory


def test_where_a_memory_comes_from_is_not_believed() -> None:
    assert read(provenance="run").provenance is Provenance.IMPORT


def test_without_an_id_time_and_text_make_one() -> None:
    assert read() == read()
    assert read().created_at == START
    assert read(created_at="2026-01-01T00:01:00Z").created_at == START + timedelta(minutes=1)
    assert read(text="another").id != read().id
    assert read(created_at="2020-01-01T00:00:00Z", id=str(memory(3).id)).created_at == memory(3).created_at


@pytest.mark.parametrize("space", [VectorSpace("another", 8), VectorSpace("a-model", 9)], ids=str)
def test_a_vector_of_another_space_is_left_out(space: VectorSpace) -> None:
    assert of_line(to_line(Point(memory(), vector(1)), SPACE), space) == (
        memory(provenance=Provenance.IMPORT),
        None,
    )


@pytest.mark.parametrize(
    "text",
    ["", "AAAA", "?", to_text(vector(1, dimensions=7)), to_text(vector(float("nan"))), to_text(vector(float("inf")))],
)
def test_a_vector_that_is_none_is_left_out(text: str) -> None:
    embedding = {"model": "a-model", "dimensions": 8, "vector": text}
    assert of_line(json.dumps({"text": "a text", "embedding": embedding}), SPACE).vector is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "empty"),
        ("{", "line 1"),
        (b'{"text": "\xff"}', "UTF-8"),
        ("null", "dictionary"),
        ("[]", "dictionary"),
        ('{"text": NaN}', "NaN"),
        ('{"text": "a", "text": "b"}', "twice"),
        ('{"text": "a\\u0000b"}', "NUL"),
        ('{"text": "\\ud800"}', "surrogate"),
        ("[" * 10_000, "nested"),
        ("{}", "text: Field required"),
        ('{"text": ""}', "text: "),
        ('{"text": " "}', "no text"),
        ('{"text": 7}', "text: "),
        (json.dumps({"text": "x" * (MOST_CHARACTERS + 1)}), "text: "),
        ('{"text": "a", "success": "yes"}', "success: "),
        ('{"text": "a", "interaction_type": "other"}', "interaction_type: "),
        ('{"text": "a", "created_at": "2026-01-01T00:00:00"}', "created_at: "),
        ('{"text": "a", "created_at": "1969-01-01T00:00:00Z"}', "1970"),
        ('{"text": "a", "user_id": "x"}', "user_id: "),
        ('{"text": "a", "embedding": {"model": "a-model"}}', "embedding.dimensions: "),
        (json.dumps({"text": "a", "id": str(uuid4())}), "no id of a memory"),
        (json.dumps({"text": "a", "id": "ffffffff-ffff-7fff-bfff-ffffffffffff"}), "no id of a memory"),
        ('{"text": "a"}' + " " * LONGEST_LINE, "too long"),
    ],
    ids=lambda value: ascii(value[:40]),
)
def test_a_line_that_is_no_memory_says_why(line: str | bytes, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        of_line(line, SPACE)
    assert words in caught.value.detail
    assert len(caught.value.detail) < 300
