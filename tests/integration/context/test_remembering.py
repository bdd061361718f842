"""What an owner lets an agent remember, reads and looks for."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.answers import error, refused
from tests.support.api import ApiClient
from tests.support.contexts import Context
from workspace.memory.ids import made_at

pytestmark = pytest.mark.stack

FIELDS = {
    "id",
    "text",
    "interaction_type",
    "success",
    "session_id",
    "run_id",
    "task_id",
    "provenance",
    "created_at",
}


def test_a_new_agent_remembers_nothing(mine: Context) -> None:
    assert mine.page() == {"items": [], "total": 0, "next_cursor": None}
    assert mine.search("anything") == []
    assert mine.export() == b""
    assert mine.stats() == {
        "vectors": 0,
        "bytes": 0,
        "success_rate": None,
        "by_type": {"conversation": 0, "task": 0, "tool": 0, "note": 0},
        "embedding": None,
    }


def test_a_text_is_remembered_as_a_note_of_its_owner(mine: Context) -> None:
    before = datetime.now(UTC)
    (added,) = mine.add("The owner prefers tabs.")
    after = datetime.now(UTC)

    assert set(added) == FIELDS
    assert added["text"] == "The owner prefers tabs."
    assert (added["interaction_type"], added["success"], added["provenance"]) == ("note", True, "user")
    assert added["session_id"] is added["run_id"] is added["task_id"] is None
    made = datetime.fromisoformat(added["created_at"])
    assert before - timedelta(milliseconds=1) <= made <= after
    assert made == made_at(UUID(added["id"]))
    assert mine.page() == {"items": [added], "total": 1, "next_cursor": None}


def test_what_is_said_of_a_memory_is_kept(mine: Context) -> None:
    fields = {
        "text": "It broke.",
        "interaction_type": "tool",
        "success": False,
        "session_id": str(uuid4()),
        "run_id": str(uuid4()),
        "created_at": "2026-01-31T12:00:00.123000+02:00",
    }
    (added,) = mine.add(fields)
    assert added == {
        **fields,
        "id": added["id"],
        "task_id": None,
        "provenance": "user",
        "created_at": "2026-01-31T10:00:00.123000Z",
    }
    assert mine.all() == [added]


def test_several_memories_keep_their_order_and_the_newest_is_listed_first(mine: Context) -> None:
    texts = [f"memory {number}" for number in range(100)]
    added = mine.add(*texts)
    assert [each["text"] for each in added] == texts
    assert mine.all() == added[::-1]


def test_a_list_is_read_by_pages(mine: Context) -> None:
    added = mine.add(*(f"memory {number}" for number in range(7)))
    pages = list(mine.pages(limit=3))
    assert [len(page["items"]) for page in pages] == [3, 3, 1]
    assert {page["total"] for page in pages} == {7}
    assert [item for page in pages for item in page["items"]] == added[::-1]
    assert [len(page["items"]) for page in mine.pages(limit=7)] == [7]


def test_a_list_has_twenty_memories_unless_it_is_said_otherwise(mine: Context) -> None:
    mine.add(*(f"memory {number}" for number in range(21)))
    assert len(mine.page()["items"]) == 20


def test_a_page_goes_on_where_its_cursor_was_though_that_memory_is_forgotten(mine: Context) -> None:
    added = mine.add(*(f"memory {number}" for number in range(4)))
    page = mine.page(limit=2)
    assert mine.delete(f"{page['next_cursor']}/").status_code == 204
    assert mine.page(limit=2, cursor=page["next_cursor"])["items"] == [added[1], added[0]]


@pytest.mark.parametrize("cursor", ["x", "", str(uuid4()), "5", "ffffffff-ffff-7fff-bfff-ffffffffffff", "{id}x"])
def test_a_cursor_that_is_none_is_refused(mine: Context, cursor: str) -> None:
    (added,) = mine.add("something")
    error(mine.get(cursor=cursor.replace("{id}", added["id"])), 422, "validation_error")


def test_a_search_finds_what_is_most_alike_first(mine: Context) -> None:
    mine.add("the cat sat on the mat", "stock prices fell on monday", "a dog chased the cat")
    found = mine.search("the cat sat on the mat")
    assert found[0]["text"] == "the cat sat on the mat"
    assert found[0]["score"] == pytest.approx(1, abs=0.001)
    assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
    assert set(found[0]) == FIELDS | {"score"}
    assert {each["text"] for each in found} == set(mine.texts())


def test_a_search_finds_as_many_and_as_good_ones_as_it_asks_for(mine: Context) -> None:
    mine.add(*(f"the cat number {number}" for number in range(9)), "unrelated words entirely")
    assert len(mine.search("the cat number 3", limit=2)) == 2
    close = mine.search("the cat number 3", min_score=0.9)
    assert all(each["score"] >= 0.9 for each in close)
    assert 1 <= len(close) < 10
    by_settings = mine.post("search/", query="the cat number 3").json()["items"]
    assert len(by_settings) == 5  # MEMORY_TOP_K
    assert all(each["score"] >= 0.3 for each in by_settings)  # MEMORY_MIN_SCORE


def test_what_a_search_finds_need_not_fit_into_a_prompt(mine: Context) -> None:
    long = [f"{number} " + "word " * 3_000 for number in range(5)]
    mine.add(*long)
    assert len(mine.search("word", limit=5)) == 5


def test_what_is_changed_from_one_of_two_agents_stays_with_the_other(user: ApiClient) -> None:
    one, other = Context.of_new_agent(user, "one"), Context.of_new_agent(user, "other")
    one.add("of the first")
    other.add("of the second")
    assert one.delete().json() == {"deleted": 1}
    assert (one.texts(), other.texts()) == ([], ["of the second"])


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": []},
        {"items": [{"text": "x"}] * 101},
        {"text": "x"},
        {"items": [{}]},
        {"items": [{"text": ""}]},
        {"items": [{"text": " \n"}]},
        {"items": [{"text": "x" * 16_001}]},
        {"items": [{"text": "x", "id": str(uuid4())}]},
        {"items": [{"text": "x", "provenance": "run"}]},
        {"items": [{"text": "x", "task_id": str(uuid4())}]},
        {"items": [{"text": "x", "interaction_type": "dream"}]},
        {"items": [{"text": "x", "success": "yes"}]},
        {"items": [{"text": "x", "success": None}]},
        {"items": [{"text": "x", "run_id": "mine"}]},
        {"items": [{"text": "x", "created_at": "2026-01-31T12:00:00"}]},
        {"items": [{"text": "x", "created_at": "1969-12-31T23:59:59Z"}]},
        {"items": [{"text": "x", "created_at": "9999-12-31T23:59:59-01:00"}]},
        {"items": [{"text": "x", "created_at": "0001-01-01T00:00:00+01:00"}]},
        {"items": [{"text": "good"}, {"text": ""}]},
    ],
)
def test_what_is_no_memory_is_refused_and_nothing_is_kept(mine: Context, body: dict[str, Any]) -> None:
    refused(mine.post(**body))
    assert mine.texts() == []


def test_the_first_and_the_last_moments_can_be_remembered(mine: Context) -> None:
    moments = ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999000Z"]
    added = mine.add(*({"text": each, "created_at": each} for each in moments))
    assert [each["created_at"] for each in added] == moments
    assert mine.texts() == moments[::-1]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "x"},
        {"offset": 1},
        {"sort": "created_at"},
        {"query": "cat"},
        {"min_score": 0.5},
        {"provenance": "user"},
        {"interaction_type": "dream"},
        {"success": "perhaps"},
        {"since": "yesterday"},
        {"since": "2026-01-31T12:00:00"},
        {"until": "9999-12-31T23:59:59-01:00"},
        {"run_id": "x"},
        {"session_id": ""},
        {"run_id": [str(uuid4()), str(uuid4())]},
    ],
)
def test_a_list_with_a_filter_that_is_none_is_refused(mine: Context, query: dict[str, Any]) -> None:
    refused(mine.get(**query))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": "  "},
        {"query": "x" * 16_001},
        {"query": "x", "limit": 0},
        {"query": "x", "limit": 101},
        {"query": "x", "min_score": 1.1},
        {"query": "x", "min_score": "0.5"},
        {"query": "x", "token_budget": 5},
        {"query": "x", "cursor": str(uuid4())},
        {"query": "x", "success": "true"},
    ],
)
def test_a_search_that_is_none_is_refused(mine: Context, body: dict[str, Any]) -> None:
    refused(mine.post("search/", **body))


# Sent again ---------------------------------------------------------------------------------------------------------


def _add_under(mine: Context, name: str, *texts: str) -> Any:
    body = {"items": [{"text": text} for text in texts]}
    return mine.client.request("POST", mine.path(), json=body, headers={"Idempotency-Key": name})


def test_what_is_sent_again_under_its_key_is_remembered_once(mine: Context) -> None:
    first = _add_under(mine, "k-1", "one", "two")
    second = _add_under(mine, "k-1", "one", "two")
    assert (first.status_code, second.status_code) == (201, 201)
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.json() == first.json()
    assert mine.texts() == ["two", "one"]


def test_without_a_key_and_under_another_one_it_is_remembered_again(mine: Context) -> None:
    mine.add("one")
    mine.add("one")
    for name in ("k-1", "k-2"):
        _add_under(mine, name, "one")
    assert mine.texts() == ["one"] * 4


def test_a_key_that_came_with_something_else_is_a_conflict(mine: Context) -> None:
    _add_under(mine, "k-1", "one")
    error(_add_under(mine, "k-1", "two"), 409, "idempotency_conflict")
    assert mine.texts() == ["one"]


def test_a_key_is_one_agents_own(user: ApiClient) -> None:
    one, other = Context.of_new_agent(user, "one"), Context.of_new_agent(user, "other")
    for each in (one, other):
        answer = _add_under(each, "k-1", f"of {each.agent_id}")
        assert answer.status_code == 201
        assert "Idempotency-Replayed" not in answer.headers
    assert one.texts() == [f"of {one.agent_id}"]


@pytest.mark.parametrize("name", ["", "a b", "x" * 256])
def test_a_key_that_is_none_is_refused(mine: Context, name: str) -> None:
    error(_add_under(mine, name, "one"), 422, "validation_error")
    assert mine.texts() == []


def test_a_request_that_was_refused_leaves_its_key_free(mine: Context) -> None:
    refused(_add_under(mine, "k-1", " "))
    assert _add_under(mine, "k-1", "one").status_code == 201


def test_ids_tell_nothing_of_the_key_and_are_those_of_memories(mine: Context) -> None:
    (added,) = _add_under(mine, "secret-key", "one").json()["items"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", added["id"])
