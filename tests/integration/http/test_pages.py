"""Every list is read by pages: each item once and in order, whatever the pages' size and direction."""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.support.answers import error, refused
from tests.support.api import ApiClient

pytestmark = pytest.mark.stack

COUNT = 5


class List(NamedTuple):
    """A list and what it holds, oldest first."""

    path: str
    ids: list[str]


Filled = Callable[[ApiClient], List]


def _projects(user: ApiClient) -> List:
    default = user.get("/my/projects/").json()["items"][0]["id"]
    return List("/my/projects/", [default, *(user.make_project()["id"] for _ in range(COUNT - 1))])


def _agents(user: ApiClient) -> List:
    return List("agents/", [user.make_agent(f"agent{number}")["id"] for number in range(COUNT)])


def _sessions(user: ApiClient) -> List:
    return List("chat/sessions/", [user.make_session()["id"] for _ in range(COUNT)])


def _messages(user: ApiClient) -> List:
    session, accepted = _conversation(user)
    questions = [each["message_id"] for each in accepted]
    messages = user.messages(session)
    answers = {each["run_id"]: each["id"] for each in messages if each["role"] == "assistant"}
    pairs = [(question, answers[each["run_id"]]) for question, each in zip(questions, accepted, strict=True)]
    return List(f"chat/{session}/messages/", [message for pair in pairs for message in pair])


def _runs(user: ApiClient) -> List:
    session, accepted = _conversation(user)
    return List(f"chat/{session}/runs/", [each["run_id"] for each in accepted])


def _conversation(user: ApiClient) -> tuple[str, list[dict[str, Any]]]:
    user.make_agent()
    session = user.make_session()["id"]
    accepted = [user.send(session, f"[say=answer] question {number}") for number in range(COUNT)]
    user.wait_for_run(accepted[-1])
    return session, accepted


@pytest.fixture(
    scope="module", params=[_projects, _agents, _sessions, _messages, _runs], ids=lambda make: make.__name__
)
def filled(request: pytest.FixtureRequest, make_user: Callable[[], ApiClient]) -> tuple[ApiClient, List]:
    """A user's list, once for all tests of it: they only read."""
    user = make_user()
    return user, request.param(user)


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
@pytest.mark.parametrize("sort", [None, "-created_at"])
def test_cursors_lead_through_the_whole_list_once(filled: tuple[ApiClient, List], limit: int, sort: str | None) -> None:
    user, (path, ids) = filled
    seen: list[str] = []
    query: dict[str, Any] = {"limit": limit} | ({"sort": sort} if sort else {})
    while True:
        page = user.get(path, **query).json()
        assert set(page) == {"items", "total", "next_cursor"}
        assert page["total"] == len(ids)
        assert 0 < len(page["items"]) <= limit
        seen += [item["id"] for item in page["items"]]
        assert len(seen) <= len(ids)
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == (ids[::-1] if sort == "-created_at" else ids)


@pytest.mark.parametrize("offset", [0, 1, 4, 5, 6, 1_000_000])
@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
def test_an_offset_skips_items(filled: tuple[ApiClient, List], offset: int, sort: str) -> None:
    user, (path, ids) = filled
    page = user.get(path, offset=offset, limit=3, sort=sort).json()
    ordered = ids[::-1] if sort == "-created_at" else ids
    assert [item["id"] for item in page["items"]] == ordered[offset : offset + 3]
    assert page["total"] == len(ids)
    assert (page["next_cursor"] is None) == (offset + 3 >= len(ids))


def test_a_page_has_at_most_20_items_unless_asked_for(user: ApiClient) -> None:
    for number in range(21):
        user.make_agent(f"agent{number}")
    page = user.get("agents/").json()
    assert (len(page["items"]), page["total"]) == (20, 21)
    assert len(user.get("agents/", cursor=page["next_cursor"]).json()["items"]) == 1


def test_what_is_added_behind_the_cursor_does_not_move_the_pages(user: ApiClient) -> None:
    ids = [user.make_session()["id"] for _ in range(3)]
    page = user.get("chat/sessions/", limit=2, sort="-created_at").json()
    user.make_session()
    rest = user.get("chat/sessions/", limit=2, sort="-created_at", cursor=page["next_cursor"]).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == ids[::-1]


def test_an_empty_list_is_one_empty_page(user: ApiClient) -> None:
    session = user.make_session()["id"]
    for path in ("agents/", f"chat/{session}/messages/", f"chat/{session}/runs/"):
        assert user.get(path).json() == {"items": [], "total": 0, "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": "all"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": 2**70}, "limit"),
        ({"limit": [1, 2]}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": 1_000_001}, "offset"),
        ({"offset": "1.5"}, "offset"),
        ({"sort": "name"}, "sort"),
        ({"sort": ""}, "sort"),
        ({"cursor": "x" * 65}, "cursor"),
        ({"page": 1}, "page"),
        ({"user_id": str(uuid4())}, "user_id"),
    ],
    ids=repr,
)
def test_a_bad_query_is_refused_and_said_where(
    filled: tuple[ApiClient, List], query: dict[str, Any], field: str
) -> None:
    user, (path, _) = filled
    assert {mistake["loc"][0] for mistake in refused(user.get(path, **query))} == {field}


@pytest.mark.parametrize(
    "cursor", ["", "x", "\0", "1", "%", "'; DROP TABLE users", "00000000-0000-0000-0000-00000000000g"]
)
def test_a_malformed_cursor_is_refused(filled: tuple[ApiClient, List], cursor: str) -> None:
    user, (path, _) = filled
    error(user.get(path, cursor=cursor), 422, "validation_error")


def test_a_cursor_and_an_offset_exclude_each_other(filled: tuple[ApiClient, List]) -> None:
    user, (path, ids) = filled
    error(user.get(path, cursor=ids[0], offset=1), 422, "validation_error")
    assert user.get(path, cursor=ids[0], offset=0).status_code == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("agents/", {"status": "lazy"}),
        ("agents/", {"status": ""}),
        ("agents/", {"status": "READY"}),
        ("agents/", {"role": "user"}),
        ("chat/{session}/messages/", {"role": "robot"}),
        ("chat/{session}/messages/", {"role": "\0"}),
        ("chat/{session}/messages/", {"status": "completed"}),
        ("chat/{session}/runs/", {"status": "done"}),
        ("chat/sessions/", {"title": "x"}),
    ],
    ids=repr,
)
def test_a_bad_filter_is_refused(user: ApiClient, path: str, query: dict[str, str]) -> None:
    path = path.format(session=user.make_session()["id"]) if "{" in path else path
    assert [mistake["loc"] for mistake in refused(user.get(path, **query))] == [list(query)]
