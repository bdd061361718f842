"""What an owner makes an agent forget: all of it, a run, a session, one memory, what is old."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.answers import error, refused
from tests.support.contexts import Context
from workspace.memory.ids import made_at, memory_id, milliseconds_of

pytestmark = pytest.mark.stack

RUN, SESSION, OTHER = (str(uuid4()) for _ in range(3))


@pytest.fixture
def full(mine: Context) -> Context:
    """Memories of two runs and two sessions, and one of neither."""
    mine.add(
        {"text": "run and session", "run_id": RUN, "session_id": SESSION},
        {"text": "run elsewhere", "run_id": RUN, "session_id": OTHER},
        {"text": "other run", "run_id": OTHER, "session_id": SESSION},
        "neither",
    )
    return mine


def _old(count: int) -> list[dict[str, Any]]:
    """Memories of the first days of a year, one a day."""
    return [{"text": f"day {day}", "created_at": f"2026-01-{day:02}T00:00:00Z"} for day in range(1, count + 1)]


def test_everything_is_forgotten(full: Context) -> None:
    assert full.delete().json() == {"deleted": 4}
    assert full.texts() == []
    assert full.stats()["embedding"] is None
    assert full.delete().json() == {"deleted": 0}
    full.add("anew")
    assert full.texts() == ["anew"]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ({"run_id": RUN}, ["neither", "other run"]),
        ({"session_id": SESSION}, ["neither", "run elsewhere"]),
        ({"run_id": RUN, "session_id": SESSION}, ["neither", "other run", "run elsewhere"]),
        ({"run_id": str(uuid4())}, ["neither", "other run", "run elsewhere", "run and session"]),
    ],
)
def test_only_a_run_or_a_session_is_forgotten(full: Context, query: dict[str, str], left: list[str]) -> None:
    assert full.delete(**query).json() == {"deleted": 4 - len(left)}
    assert full.texts() == left
    assert full.delete(**query).json() == {"deleted": 0}


@pytest.mark.parametrize(
    "query",
    [
        {"success": "false"},
        {"interaction_type": "note"},
        {"since": "2026-01-01T00:00:00Z"},
        {"until": "2026-01-01T00:00:00Z"},
        {"task_id": RUN},
        {"query": "run"},
        {"limit": "1"},
        {"memory_id": RUN},
        {"run": RUN},
        {"run_id": ""},
        {"run_id": "x"},
        {"run_id": [RUN, OTHER]},
        {"session_id": "", "run_id": RUN},
    ],
)
def test_a_filter_that_forgetting_does_not_know_is_refused_and_not_ignored(
    full: Context, query: dict[str, Any]
) -> None:
    refused(full.delete(**query))
    assert len(full.texts()) == 4


def test_a_filter_in_the_body_is_refused_and_not_ignored(full: Context) -> None:
    answer = full.client.request("DELETE", full.path(), json={"run_id": RUN})
    error(answer, 422, "validation_error")
    assert len(full.texts()) == 4


def test_one_memory_is_forgotten_and_once_more_is_no_mistake(mine: Context) -> None:
    one, two = mine.add("one", "two")
    for _ in range(2):
        answer = mine.delete(f"{one['id']}/")
        assert (answer.status_code, answer.content) == (204, b"")
    assert mine.all() == [two]


@pytest.mark.parametrize("id_", ["x", str(uuid4()), "ffffffff-ffff-7fff-bfff-ffffffffffff", "{upper}x", "%00", "*"])
def test_an_id_that_is_no_memorys_is_not_found(mine: Context, id_: str) -> None:
    (one,) = mine.add("one")
    error(mine.delete(f"{id_.replace('{upper}', one['id'].upper())}/"), 404, "not_found")
    assert mine.texts() == ["one"]


def test_the_neighbours_of_an_id_are_not_forgotten_with_it(mine: Context) -> None:
    (one,) = mine.add("one")
    moment = made_at(UUID(one["id"]))
    for step in (1, -1):
        assert mine.delete(f"{UUID(int=UUID(one['id']).int + step)}/").status_code in {204, 404}
    assert mine.delete(f"{memory_id(moment, 'another')}/").status_code == 204
    assert milliseconds_of(UUID(one["id"])) == milliseconds_of(memory_id(moment, "another"))
    assert mine.texts() == ["one"]


# Pruning ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "by_age", "by_count"),
    [
        ({"older_than": "2026-01-03T00:00:00Z"}, 2, 0),
        ({"older_than": "2026-01-03T02:00:00+02:00"}, 2, 0),
        ({"older_than": "2026-01-03T00:00:00.001Z"}, 3, 0),
        ({"older_than": "2025-01-01T00:00:00Z"}, 0, 0),
        ({"older_than": "0001-01-01T00:00:00Z"}, 0, 0),
        ({"older_than": "9999-12-31T23:59:59Z"}, 6, 0),
        ({"keep": 4}, 0, 2),
        ({"keep": 0}, 0, 6),
        ({"keep": 6}, 0, 0),
        ({"keep": 2**31 - 1}, 0, 0),
        ({"older_than": "2026-01-03T00:00:00Z", "keep": 3}, 2, 1),
    ],
)
def test_what_is_old_or_too_much_is_forgotten(mine: Context, body: dict[str, Any], by_age: int, by_count: int) -> None:
    mine.add(*_old(6))
    days = [f"day {day}" for day in range(6, 0, -1)]

    tried = mine.post("prune/", **body, dry_run=True)
    assert tried.json() == {"by_age": by_age, "by_count": by_count, "dry_run": True}
    assert mine.texts() == days

    done = mine.post("prune/", **body)
    assert done.json() == {"by_age": by_age, "by_count": by_count, "dry_run": False}
    assert mine.texts() == days[: 6 - by_age - by_count]


@pytest.mark.parametrize(
    "body",
    [
        {"keep": -1},
        {"keep": "3"},
        {"keep": 2.5},
        {"keep": 2**31},
        {"older_than": 60},
        {"older_than": "P30D"},
        {"older_than": "2026-01-03"},
        {"keep": 1, "dry_run": "true"},
        {"keep": 1, "interaction_type": "note"},
        {"keep": 1, "run_id": RUN},
    ],
)
def test_a_pruning_that_is_none_is_refused(mine: Context, body: dict[str, Any]) -> None:
    mine.add(*_old(3))
    refused(mine.post("prune/", **body))
    assert len(mine.texts()) == 3


@pytest.mark.parametrize("body", [{}, {"dry_run": True}, {"keep": None, "older_than": None}])
def test_a_pruning_that_names_nothing_is_refused(mine: Context, body: dict[str, Any]) -> None:
    mine.add(*_old(3))
    error(mine.post("prune/", **body), 422, "validation_error")
    assert len(mine.texts()) == 3


# Numbers ------------------------------------------------------------------------------------------------------------


def test_the_stats_say_what_there_is(mine: Context) -> None:
    mine.add("one", {"text": "two", "interaction_type": "tool", "success": False}, "three", "four")
    stats = mine.stats()
    assert stats.pop("bytes") > 0
    assert stats == {
        "vectors": 4,
        "success_rate": 0.75,
        "by_type": {"conversation": 0, "task": 0, "tool": 1, "note": 3},
        "embedding": {"model": "stand-in-embedding", "dimensions": 384},
    }
