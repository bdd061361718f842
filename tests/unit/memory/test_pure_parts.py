"""Names of collections, filters, vectors and texts: what needs no store to be wrong."""

import math
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import new_id
from tests.support.memories import START, memory, new_collection, random_vector, vector
from workspace.errors import ErrorCode, InvalidInput, MemoryUnavailable
from workspace.history import estimate_tokens
from workspace.memory.conditions import conditions
from workspace.memory.ids import milliseconds_of
from workspace.memory.memories import Filter, Found, InteractionType, Memory, Provenance
from workspace.memory.payload import of_payload, to_payload
from workspace.memory.texts import MOST_CHARACTERS, fitting, stored
from workspace.memory.vectors import from_bytes, from_text, is_usable, to_text, vector_of
from workspace.names import Collection, WorkspaceKey

agent_names = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True)

# -- names ------------------------------------------------------------------------------------------------------------


@given(st.uuids(), st.uuids(), agent_names)
def test_a_collections_name_stands_for_it_alone(user_id, project_id, agent_name: str) -> None:
    collection = Collection(WorkspaceKey(user_id, project_id), agent_name, new_id())
    assert collection.name == f"user{user_id}_project{project_id}_{agent_name}_context"
    assert Collection.of_name(collection.name, collection.agent_id) == collection


def test_an_agent_may_be_called_context() -> None:
    for name in ("context", "a_context", "a_context_context", "context_context"):
        collection = new_collection(name)
        assert Collection.of_name(collection.name, collection.agent_id) == collection


@pytest.mark.parametrize("change", [str.upper, lambda name: name[1:], lambda name: name + "\n", lambda name: name[:-1]])
def test_any_other_name_stands_for_none(change) -> None:
    with pytest.raises(ValueError):
        Collection.of_name(change(new_collection().name), new_id())


@pytest.mark.parametrize("name", ["", "A", "1", "a/b", "..", "a\n", "x" * 64, "ä"])
def test_what_is_no_agents_name_has_no_collection(name: str) -> None:
    with pytest.raises(ValueError):
        _ = new_collection(name).name


# -- memories and filters ---------------------------------------------------------------------------------------------


def test_a_memory_has_an_id_that_tells_its_time() -> None:
    with pytest.raises(ValueError):
        memory(id=uuid4())
    assert memory(5).created_at == START + timedelta(minutes=5)


@given(
    st.builds(
        Memory,
        id=st.just(memory().id),
        text=st.text(),
        interaction_type=st.sampled_from(InteractionType),
        success=st.booleans(),
        session_id=st.none() | st.uuids(),
        run_id=st.none() | st.uuids(),
        task_id=st.none() | st.uuids(),
        provenance=st.sampled_from(Provenance),
    )
)
def test_a_payload_gives_back_the_memory(made: Memory) -> None:
    payload = to_payload(made)
    assert payload["created_at"] == milliseconds_of(made.id)
    assert None not in payload.values()
    assert of_payload(str(made.id), payload) == made


@pytest.mark.parametrize("payload", [None, {}, {**to_payload(memory()), "interaction_type": "other"}])
def test_a_payload_of_something_else_is_refused(payload) -> None:
    with pytest.raises(MemoryUnavailable, match="did not write"):
        of_payload(memory().id, payload)


def test_a_filter_asks_for_what_it_names_and_for_nothing_else() -> None:
    assert conditions(Filter()) == ({}, None, None)
    run = uuid4()
    asked = conditions(Filter(run_id=run, success=False, interaction_type=InteractionType.TOOL, since=START))
    assert asked.equal == {"run_id": str(run), "outcome": "failure", "interaction_type": "tool"}
    assert asked.since == milliseconds_of(memory().id)


@pytest.mark.parametrize(
    ("until", "before", "end"), [(None, 5, 5), (START, None, None), (START, 5, 5), (START, 2**50, 0)]
)
def test_of_two_ends_the_earlier_one_counts(until, before: int | None, end: int | None) -> None:
    own = milliseconds_of(memory().id)
    assert conditions(Filter(until=until), before=before).before == (end or own)


# -- vectors ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_a_vector_survives_its_ways_to_travel(values: list[float]) -> None:
    made = vector_of(values)
    assert from_bytes(made.tobytes()) == made
    assert from_text(to_text(made)) == made


@pytest.mark.parametrize("text", ["?", "AAA", "AAAAA", "AAAA AAAA", "äää="])
def test_what_is_no_vector_in_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_text(text)


def test_only_finite_vectors_of_the_right_length_can_be_used() -> None:
    assert is_usable(random_vector(1), 8)
    assert is_usable(vector(), 8)
    assert not is_usable(vector(1), 7)
    assert not is_usable(vector_of([]), 8)
    for value in (math.nan, math.inf, -math.inf, 3e38):
        assert not is_usable(vector(1, value), 8)


# -- texts ------------------------------------------------------------------------------------------------------------


@given(st.text())
def test_what_is_stored_can_be_stored_anywhere(text: str) -> None:
    try:
        kept = stored(text)
    except InvalidInput:
        assert not text.strip() or not text.encode(errors="ignore").strip()
    else:
        assert kept.encode().decode() == kept
        assert "\0" not in kept
        assert 0 < len(kept) <= MOST_CHARACTERS


def test_a_long_text_is_cut() -> None:
    assert stored("x" * 100_000) == "x" * MOST_CHARACTERS
    with pytest.raises(InvalidInput):
        stored(" " * MOST_CHARACTERS + "x")


@given(st.lists(st.integers(1, 400), max_size=20), st.integers(1, 300))
def test_what_is_chosen_fits_and_nothing_that_fits_is_left_out(lengths: list[int], tokens: int) -> None:
    found = [Found(memory(n, text="x" * length), 1.0) for n, length in enumerate(lengths)]
    chosen = fitting(found, tokens)
    assert [each for each in found if each in chosen] == chosen
    left = tokens
    for each in found:
        needed = estimate_tokens(each.memory.text)
        if each in chosen:
            left -= needed
        else:
            assert needed > left
    assert left >= 0


def test_every_way_in_which_memory_is_away_has_one_code() -> None:
    assert {kind.code for kind in [MemoryUnavailable, *MemoryUnavailable.__subclasses__()]} == {
        ErrorCode.MEMORY_UNAVAILABLE
    }
