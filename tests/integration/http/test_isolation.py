"""No request reaches past its user, and none past its project: every route is tried with every kind of wrong id.

The table has an entry for each view; a route without one fails here before it can be forgotten.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from models.tenancy import Database
from tests.conftest import MakeUser
from tests.support.answers import error, likeness
from tests.support.api import ApiClient
from tests.support.offline import build_app
from tests.support.routes import Route, guarded
from tests.support.rows import rows_of, user_id
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

ROUTES = guarded(build_app())


@dataclass(frozen=True)
class View:
    """How a view is called, and what its owner is answered."""

    success: int
    body: dict[str, Any] | None = None
    lines: bytes | None = None
    """What is sent instead of a body of JSON."""


AGENT = {"name": "helper", "system_prompt": "Another one."}
VIEWS = {
    "list_projects": View(200),
    "create_project": View(201, {"name": "mine"}),
    "get_project": View(200),
    "replace_project": View(200, {"name": "taken over"}),
    "delete_project": View(204),
    "get_workspace": View(200),
    "open_workspace": View(200, {}),
    "close_workspace": View(204),
    "reset_workspace": View(200),
    "list_agents": View(200),
    "create_agent": View(201, {"name": "newcomer"}),
    "get_agent": View(200),
    "replace_agent": View(200, AGENT),
    "delete_agent": View(204),
    "agent_status": View(200),
    "agent_metrics": View(200),
    "list_memories": View(200),
    "add_memories": View(201, {"items": [{"text": "planted"}]}),
    "search_memories": View(200, {"query": "private", "min_score": -1}),
    "forget_memories": View(200),
    "forget_memory": View(204),
    "prune_memories": View(200, {"keep": 0}),
    "memory_stats": View(200),
    "export_memories": View(200),
    "import_memories": View(200, lines=b'{"text": "planted"}\n'),
    "list_sessions": View(200),
    "create_session": View(201, {"title": "taken over"}),
    "get_session": View(200),
    "delete_session": View(204),
    "post_message": View(202, {"content": "Hello", "target_agent": "helper"}),
    "list_messages": View(200),
    "list_runs": View(200),
    "cancel_run": View(200),
    "get_run": View(200),
    "retry_run": View(409),  # its run has its answer, or will have it
    "stream_events": View(200),
    "list_approvals": View(200),
    "get_approval": View(200),
    "get_approval_metrics": View(200),
    "confirm_approval": View(200, {"decision": "approve"}),
    "extend_approval": View(200, {}),
    "confirm_approvals": View(200, {"ids": [str(uuid4())], "decision": "approve"}),
    "list_grants": View(200),
    "withdraw_grant": View(204),
    "list_tools": View(200),
    "list_tool_calls": View(200),
    "get_tool_call": View(200),
    "answer_tool_call": View(200, {"output": {}}),
    "get_orchestrator_config": View(200),
    "replace_orchestrator_config": View(200, {"instructions": "taken over"}),
    "get_calibration": View(200),
}
"""Every view below `/my` that needs a token."""

ONCE = {"confirm_approval", "extend_approval", "answer_tool_call"}
"""Views that work once, or on what others end."""


@dataclass(frozen=True)
class Place:
    """One project and one of everything in it."""

    project_id: str
    agent_id: str
    session_id: str
    run_id: str
    approval_id: str
    grant_id: str
    call_id: str
    memory_id: str

    def ids(self) -> dict[str, str]:
        """The ids by the names that routes have for them."""
        return vars(self)


UNKNOWN = Place(*(str(uuid4()) for _ in range(8)))


@dataclass(frozen=True)
class Owner:
    """A user with two projects, in each of which something has happened."""

    client: ApiClient
    user_id: UUID
    default: Place
    second: Place
    ids: set[str] = field(default_factory=set)


def furnish(client: ApiClient, project_id: str, *, answered: bool) -> Place:
    """Put an agent, a session and a run into a project."""
    agent = client.make_agent()
    session = client.make_session("private")
    accepted = client.send(session["id"], "[say=private] a private question")
    if answered:
        client.wait_for_run(accepted)
    (memory,) = client.post(f"agents/{agent['id']}/context/", {"items": [{"text": "a private memory"}]}).json()["items"]
    return Place(
        project_id,
        agent["id"],
        session["id"],
        accepted["run_id"],
        memory_id=memory["id"],
        **questions(client, project_id),
    )


def questions(client: ApiClient, project_id: str) -> dict[str, str]:
    """Let an agent ask its owner, and its owner's client; remember an answer."""
    client.put(f"/my/projects/{project_id}/", {"name": "private", "tool_execution": "client"})
    client.make_agent("asker", tools=["read_file", "write_file"])
    session = client.make_session()["id"]
    client.send(session, '[tool=write_file {"path": "a.txt", "content": "x"}]', "asker")
    remembered = eventually(lambda: waiting(client, "approvals/", status="pending"), "an approval")
    client.post(f"approvals/{remembered}/confirm/", {"decision": "approve", "remember": {"scope": "session"}})
    call = eventually(lambda: waiting(client, "tool-calls/", status="running"), "a tool request")
    client.send(client.make_session()["id"], '[tool=write_file {"path": "b.txt", "content": "x"}]', "asker")
    open_one = eventually(lambda: waiting(client, "approvals/", status="pending"), "an approval")
    (grant,) = client.get("approvals/grants/").json()["items"]
    return {"approval_id": open_one, "grant_id": grant["id"], "call_id": call}


def waiting(client: ApiClient, path: str, **query: str) -> str | None:
    """Return the id of what waits, if something does."""
    items = client.get(path, **query).json()["items"]
    return items[0]["id"] if items else None


def move_in(client: ApiClient, database: Database, *, answered: bool = True) -> Owner:
    """Make a user with two furnished projects."""
    (default,) = client.get("/my/projects/").json()["items"]
    second = client.make_project("second")
    places = (
        furnish(client, default["id"], answered=answered),
        furnish(client.inside(second["id"]), second["id"], answered=answered),
    )
    owner = Owner(client, user_id(database, client.subject), *places)
    owner.ids.update({str(owner.user_id)}, *(place.ids().values() for place in places))
    return owner


def memories(client: ApiClient, place: Place) -> list[str]:
    """Return the ids of what a place's agent was told to remember."""
    items = client.get(f"agents/{place.agent_id}/context/", interaction_type="note").json()["items"]
    return [item["id"] for item in items]


@pytest.fixture(scope="module")
def alice(make_user: MakeUser, database: Database) -> Owner:
    return move_in(make_user(), database)


@pytest.fixture(scope="module")
def bob(make_user: MakeUser, database: Database) -> Owner:
    return move_in(make_user(), database)


def call(client: ApiClient, route: Route, values: dict[str, str]) -> httpx.Response:
    """Call a route; of an event stream only the head is read."""
    view = VIEWS[route.view]
    sent = {"json": view.body} if view.lines is None else {"content": view.lines}
    headers = client.authorization | ({} if view.lines is None else {"Content-Type": "application/x-ndjson"})
    request = client.http.build_request(route.method, client.url + route.path(**values), headers=headers, **sent)
    response = client.http.send(request, stream=True)
    if route.view != "stream_events" or response.headers["Content-Type"].startswith("application/json"):
        response.read()
    response.close()
    return response


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with every route (`route`), or with every route that has ids in it (`addressed`)."""
    for name in {"route", "addressed"} & set(metafunc.fixturenames):
        metafunc.parametrize(name, [each for each in ROUTES if each.variables or name == "route"], ids=str)


def wrong_ids(route: Route, alice: Owner, bob: Owner) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every kind of ids that are not Bob's at this route, each with its name."""
    own_project, others = "project_id" in route.variables, set(route.variables) - {"project_id"}
    projects = {
        "Bob's": bob.default,
        "Alice's": alice.default,
        "Alice's second": alice.second,
        "an unknown": UNKNOWN,
    }
    things = {
        "Bob's": bob.default,
        "Bob's other project's": bob.second,
        "Alice's": alice.default,
        "Alice's second project's": alice.second,
        "an unknown": UNKNOWN,
    }
    for project_name, project in projects.items() if own_project else [("Bob's", bob.default)]:
        for name, place in things.items() if others else [("Bob's", bob.default)]:
            if project is bob.default and place is bob.default:
                continue
            yield f"{project_name} project, {name} thing", {**place.ids(), "project_id": project.project_id}


def test_every_route_has_an_entry_in_the_table() -> None:
    assert {route.view for route in ROUTES} == set(VIEWS)


def test_what_is_not_the_callers_is_the_same_404_and_stays_as_it_is(
    addressed: Route, alice: Owner, bob: Owner, database: Database
) -> None:
    before = rows_of(database, alice.user_id, bob.user_id)
    answers = {name: call(bob.client, addressed, ids) for name, ids in wrong_ids(addressed, alice, bob)}
    assert len(answers) >= 3
    for answer in answers.values():
        error(answer, 404, "not_found")
    known = {name: likeness(answer) for name, answer in answers.items()}
    assert len(set(map(repr, known.values()))) == 1, known
    assert rows_of(database, alice.user_id, bob.user_id) == before
    for owner in (alice, bob):
        for place in (owner.default, owner.second):
            assert memories(owner.client.inside(place.project_id), place) == [place.memory_id]


def test_the_404_is_the_same_for_every_route_and_for_no_route_at_all(bob: Owner) -> None:
    nowhere = bob.client.get("/my/nothing-here/")
    error(nowhere, 404, "not_found")
    for route in ROUTES:
        if route.variables:
            answer = call(bob.client, route, UNKNOWN.ids())
            assert likeness(answer)[:2] == likeness(nowhere)[:2], route


@pytest.fixture(scope="module")
def carol(make_user: MakeUser, database: Database) -> Owner:
    return move_in(make_user(), database, answered=False)


def test_its_owner_gets_through(route: Route, carol: Owner, make_user: MakeUser, database: Database) -> None:
    fresh = route.method == "DELETE" or route.view in ONCE
    owner = move_in(make_user(), database, answered=False) if fresh else carol
    # The default project cannot be deleted.
    place = owner.second if "project_id" in route.variables else owner.default
    assert call(owner.client, route, place.ids()).status_code == VIEWS[route.view].success


def test_lists_show_nothing_of_another_user(alice: Owner, bob: Owner) -> None:
    lists = [route for route in ROUTES if route.method == "GET" and route.view != "stream_events"]
    for route in lists:
        for place in (bob.default, bob.second) if "project_id" in route.variables else (bob.default,):
            answer = call(bob.client, route, place.ids())
            assert answer.status_code == 200, route
            seen = {each for each in alice.ids if each in answer.text}
            assert not seen, route


def test_lists_of_one_project_show_nothing_of_the_other(bob: Owner) -> None:
    for here, there in ((bob.default, bob.second), (bob.second, bob.default)):
        inside = bob.client.inside(here.project_id)
        for path in (
            "agents/",
            "chat/sessions/",
            f"chat/{here.session_id}/messages/",
            f"chat/{here.session_id}/runs/",
            f"agents/{here.agent_id}/context/",
        ):
            answer = inside.get(path)
            assert answer.json()["total"] > 0
            assert not {each for each in there.ids().values() if each in answer.text}, path


def test_the_short_address_is_the_default_project(bob: Owner) -> None:
    short, long = bob.client, bob.client.inside(bob.default.project_id)
    ids = bob.default
    for path in (
        "agents/",
        f"agents/{ids.agent_id}/",
        f"agents/{ids.agent_id}/context/",
        "chat/sessions/",
        f"chat/sessions/{ids.session_id}/",
        f"chat/{ids.session_id}/messages/",
        f"chat/{ids.session_id}/runs/",
        f"runs/{ids.run_id}/",
    ):
        assert short.get(path).json() == long.get(path).json(), path


def test_an_agent_of_another_user_or_project_is_no_target(
    alice: Owner, bob: Owner, database: Database, make_user: MakeUser
) -> None:
    alice.client.make_agent("hers")
    bob.client.inside(bob.second.project_id).make_agent("elsewhere")
    before = rows_of(database, alice.user_id, bob.user_id)
    answers = [
        bob.client.post(f"chat/{bob.default.session_id}/message/", {"content": "Hello", "target_agent": name})
        for name in ("hers", "elsewhere", "nobody")
    ]
    for answer in answers:
        error(answer, 404, "not_found")
        assert likeness(answer) == likeness(answers[0])
    assert rows_of(database, alice.user_id, bob.user_id) == before


def test_a_cursor_from_another_users_session_finds_nothing(alice: Owner, bob: Owner) -> None:
    (hers, *_) = alice.client.messages(alice.default.session_id)
    path = f"chat/{bob.default.session_id}/messages/"
    answers = [bob.client.get(path, cursor=cursor) for cursor in (hers["id"], str(uuid4()))]
    for answer in answers:
        error(answer, 404, "not_found")
    assert likeness(answers[0]) == likeness(answers[1])


def test_two_users_agents_of_one_name_are_two_agents(make_user: MakeUser, standin: Standin) -> None:
    said = {}
    for word in ("first", "second"):
        client = make_user()
        agent = client.make_agent("twin", system_prompt=f"You are the {word}.")
        session = client.make_session()
        client.answered(session["id"], f"[say=to the {word}]", "twin")
        question, answer = client.messages(session["id"])
        assert (question["role"], answer["role"]) == ("user", "assistant")
        assert answer["agent_id"] == agent["id"]
        assert standin.witness(agent["id"])["total"] == 1
        assert client.get("agents/").json()["total"] == 1
        assert client.get(f"agents/{agent['id']}/metrics/").json()["total_tasks"] == 1
        said[agent["id"]] = answer["content"]
    assert sorted(said.values()) == ["to the first", "to the second"]


def test_a_user_cannot_be_spoken_for_by_its_id(alice: Owner, bob: Owner) -> None:
    """The `sub` leads to the user: a token whose `sub` is another user's UUID is a stranger's."""
    stranger = ApiClient.of(bob.client.http, url=bob.client.url, secret=bob.client.secret, subject=str(alice.user_id))
    (project,) = stranger.get("/my/projects/").json()["items"]
    assert project["id"] not in alice.ids
    assert stranger.get("agents/").json()["total"] == 0
