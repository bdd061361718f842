"""`/my/projects/`: made, read, replaced, deleted."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from models.tenancy import Database
from tests.support.answers import error, refused
from tests.support.api import ApiClient
from tests.support.rows import rows_of, user_id

pytestmark = pytest.mark.stack


def test_a_new_user_has_one_project_which_is_the_default(user: ApiClient) -> None:
    listing = user.get("/my/projects/").json()
    assert listing["total"] == 1
    assert listing["next_cursor"] is None
    (project,) = listing["items"]
    assert set(project) == {"id", "name", "description", "is_default", "tool_execution", "created_at", "updated_at"}
    assert project["is_default"] is True
    assert project["name"] == "default"


def test_the_first_requests_of_a_user_make_one_user_whatever_their_number(user: ApiClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: user.get("/my/projects/"), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_a_project_is_made_read_replaced_and_deleted(user: ApiClient) -> None:
    made = user.make_project("First", "what it is for")
    UUID(made["id"])
    assert (made["name"], made["description"], made["is_default"]) == ("First", "what it is for", False)
    path = f"/my/projects/{made['id']}/"
    assert user.get(path).json() == made
    replaced = user.put(path, {"name": "Second"}).json()
    assert (replaced["name"], replaced["description"]) == ("Second", "")
    assert replaced["created_at"] == made["created_at"]
    assert replaced["updated_at"] > made["updated_at"]
    assert user.get(path).json() == replaced
    deleted = user.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    error(user.get(path), 404, "not_found")
    error(user.delete(path), 404, "not_found")
    error(user.put(path, {"name": "Third"}), 404, "not_found")


def test_the_default_project_cannot_be_deleted(user: ApiClient) -> None:
    (project,) = user.get("/my/projects/").json()["items"]
    error(user.delete(f"/my/projects/{project['id']}/"), 409, "default_project")
    assert user.get(f"/my/projects/{project['id']}/").json() == project


def test_the_default_project_can_be_renamed(user: ApiClient) -> None:
    (project,) = user.get("/my/projects/").json()["items"]
    renamed = user.put(f"/my/projects/{project['id']}/", {"name": "home"}).json()
    assert (renamed["name"], renamed["is_default"]) == ("home", True)


def test_two_projects_may_have_one_name(user: ApiClient) -> None:
    assert user.make_project("twin")["id"] != user.make_project("twin")["id"]


def test_a_deleted_project_takes_everything_in_it_along_and_nothing_else(user: ApiClient, database: Database) -> None:
    owner = user_id(database, _touched(user).subject)
    before = rows_of(database, owner)
    project = user.make_project()
    inside = user.inside(project["id"])
    inside.make_agent()
    session = inside.make_session()
    inside.answered(session["id"], "Hello")
    assert len(rows_of(database, owner)["messages"]) == len(before["messages"]) + 2
    assert user.delete(f"/my/projects/{project['id']}/").status_code == 204
    assert rows_of(database, owner) == before


def _touched(user: ApiClient) -> ApiClient:
    user.make_agent()
    user.answered(user.make_session()["id"], "Hello")
    return user


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["name"]),
        ({"name": ""}, ["name"]),
        ({"name": "x" * 129}, ["name"]),
        ({"name": None}, ["name"]),
        ({"name": 5}, ["name"]),
        ({"name": ["x"]}, ["name"]),
        ({"name": "x", "description": None}, ["description"]),
        ({"name": "x", "description": "x" * 10_001}, ["description"]),
        ({"name": "x", "is_default": True}, ["is_default"]),
        ({"name": "x", "user_id": "01a1fe10-8987-7355-b138-fc30b82271f8"}, ["user_id"]),
        ({"name": "x", "id": "01a1fe10-8987-7355-b138-fc30b82271f8"}, ["id"]),
    ],
    ids=repr,
)
def test_a_bad_project_is_refused_and_said_where(user: ApiClient, body: dict[str, object], where: list[str]) -> None:
    project = user.make_project()
    for answer in (user.post("/my/projects/", body), user.put(f"/my/projects/{project['id']}/", body)):
        assert [mistake["loc"] for mistake in refused(answer)] == [where]
    assert user.get(f"/my/projects/{project['id']}/").json() == project
    assert user.get("/my/projects/").json()["total"] == 2


def test_the_longest_project_and_any_characters_are_kept(user: ApiClient) -> None:
    name, description = "ü" * 128, "\U0001f600 <b>&amp;\t\n\u202e" * 600
    made = user.make_project(name, description)
    assert user.get(f"/my/projects/{made['id']}/").json()["name"] == name
    assert made["description"] == description
