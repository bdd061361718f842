"""Whose approvals, grants and tool calls they are: for anybody else there are none."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest

from models.tenancy import Database
from tests.conftest import MakeUser
from tests.integration.approvals.steps import Asked, append, approvals_of, ask, calls_of, confirmed, make_agent
from tests.support.answers import error, likeness
from tests.support.api import ApiClient
from tests.support.rows import rows_of, user_id

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Place:
    """One project with an open question, the call that it is about, and a grant."""

    client: ApiClient
    open: Asked
    call_id: str
    grant_id: str


def furnish(client: ApiClient) -> Place:
    make_agent(client)
    remembered = ask(client, append("log.txt", "x"))
    confirmed(client, remembered.id, remember={"scope": "project"})
    remembered.completed()
    one = ask(client, append("secret.txt", "secret"))
    (grant,) = client.get("approvals/grants/").json()["items"]
    return Place(client, one, calls_of(client, one.run_id)[0]["id"], grant["id"])


@pytest.fixture(scope="module")
def alice(make_user: MakeUser) -> Place:
    return furnish(make_user())


@pytest.fixture(scope="module")
def bob(make_user: MakeUser) -> Place:
    return furnish(make_user())


@pytest.fixture(scope="module")
def second(bob: Place) -> Place:
    """Another project of Bob's."""
    return furnish(bob.client.inside(bob.client.make_project()["id"]))


Request = Callable[[ApiClient, dict[str, str]], httpx.Response]

REQUESTS: dict[str, Request] = {
    "get": lambda client, ids: client.get(f"approvals/{ids['approval']}/"),
    "approve": lambda client, ids: client.post(f"approvals/{ids['approval']}/confirm/", {"decision": "approve"}),
    "reject": lambda client, ids: client.post(f"approvals/{ids['approval']}/confirm/", {"decision": "reject"}),
    "remember": lambda client, ids: client.post(
        f"approvals/{ids['approval']}/confirm/", {"decision": "approve", "remember": {"scope": "project"}}
    ),
    "extend": lambda client, ids: client.post(f"approvals/{ids['approval']}/extend/", {"seconds": 60}),
    "extend as at first": lambda client, ids: client.post(f"approvals/{ids['approval']}/extend/", {}),
    "get the call": lambda client, ids: client.get(f"tool-calls/{ids['call']}/"),
    "answer the call": lambda client, ids: client.post(f"tool-calls/{ids['call']}/result/", {"output": {}}),
    "revoke": lambda client, ids: client.delete(f"approvals/grants/{ids['grant']}/"),
}


def ids_of(place: Place) -> dict[str, str]:
    return {"approval": place.open.id, "call": place.call_id, "grant": place.grant_id}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_not_the_callers_is_the_same_404_and_stays_as_it_is(
    name: str, alice: Place, bob: Place, second: Place, database: Database
) -> None:
    owners = [user_id(database, place.client.subject) for place in (alice, bob)]
    before = rows_of(database, *owners)
    unknown = {kind: str(uuid4()) for kind in ids_of(bob)}
    wrong = [
        *((bob.client, ids) for ids in (ids_of(alice), ids_of(second), unknown)),
        *((second.client, ids) for ids in (ids_of(alice), ids_of(bob), unknown)),
        (bob.client.inside(str(uuid4())), ids_of(bob)),
    ]
    answers = [REQUESTS[name](client, ids) for client, ids in wrong]
    for answer in answers:
        error(answer, 404, "not_found")
        assert likeness(answer) == likeness(answers[0])
    assert rows_of(database, *owners) == before


def test_a_batch_answers_the_callers_own_and_finds_no_other(
    alice: Place, bob: Place, second: Place, database: Database
) -> None:
    own = ask(bob.client, append("own.txt", "x"))
    unknown = str(uuid4())
    ids = [alice.open.id, own.id, second.open.id, unknown]
    before = rows_of(database, user_id(database, alice.client.subject))
    answer = bob.client.post("approvals/batch/", {"ids": ids, "decision": "approve"})
    assert answer.status_code == 200
    items = {item.pop("id"): item for item in answer.json()["items"]}
    assert list(items) == ids
    assert items[own.id] == {"status": "approved", "error_code": None, "detail": None}
    assert items[unknown]["error_code"] == "not_found"
    assert items[alice.open.id] == items[second.open.id] == items[unknown]
    own.completed()
    assert rows_of(database, user_id(database, alice.client.subject)) == before
    assert second.open.now() == second.open.approvals[0]


def test_lists_have_the_projects_own_only(alice: Place, bob: Place, second: Place) -> None:
    for place, others in ((bob, (alice, second)), (second, (alice, bob))):
        foreign = {each for other in others for each in (*ids_of(other).values(), other.open.run_id)}
        for path in ("approvals/", "approvals/grants/", "tool-calls/"):
            seen = place.client.get(path, limit=100)
            assert seen.json()["total"] > 0
            assert not {each for each in foreign if each in seen.text}, path
        for other in others:
            assert approvals_of(place.client, run_id=other.open.run_id) == []
            assert approvals_of(place.client, session_id=other.open.session) == []
            assert calls_of(place.client, other.open.run_id) == []
