"""No memory is seen, changed or forgotten by anybody but its owner, and by no other agent of its owner.

All agents here have the same name. Each attack is followed by a look through the owner's own eyes: what could not be
reached was there.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.conftest import MakeUser
from tests.support.answers import error, likeness
from tests.support.api import ApiClient, Json
from tests.support.contexts import Context, line

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Home:
    """An agent whose memory holds secrets."""

    context: Context
    secrets: list[Json]

    @property
    def ids(self) -> set[str]:
        """What nobody else must see."""
        named = {each[name] for each in self.secrets for name in ("id", "session_id", "run_id")}
        return named | {self.context.agent_id}

    def is_untouched(self) -> None:
        """Look through the owner's eyes."""
        assert self.context.all() == self.secrets[::-1]


def move_in(client: ApiClient, name: str = "twin") -> Home:
    context = Context.of_new_agent(client, name)
    run, session = str(uuid4()), str(uuid4())
    secrets = context.add(
        *({"text": f"the secret number {number} of {run}", "run_id": run, "session_id": session} for number in range(3))
    )
    return Home(context, secrets)


Neighbours = dict[str, Home]


@pytest.fixture(scope="module")
def attacker(make_user: MakeUser) -> Home:
    return move_in(make_user())


@pytest.fixture(scope="module")
def neighbours(attacker: Home, make_user: MakeUser) -> Neighbours:
    """Everybody whose memory is not that of the attacking agent."""
    client, other = attacker.context.client, make_user()
    return {
        "another user": move_in(other),
        "another user's second project": move_in(other.inside(other.make_project()["id"])),
        "another project of the same user": move_in(client.inside(client.make_project()["id"])),
        "another agent of the same project": move_in(client, "other"),
    }


@pytest.fixture(
    params=[
        "another user",
        "another user's second project",
        "another project of the same user",
        "another agent of the same project",
    ]
)
def victim(request: pytest.FixtureRequest, neighbours: Neighbours) -> Iterator[Home]:
    home = neighbours[request.param]
    home.is_untouched()
    yield home
    home.is_untouched()


@pytest.fixture
def mine(attacker: Home) -> Iterator[Context]:
    """The attacker's agent, with its memories as they were."""
    yield attacker.context
    attacker.context.delete()
    attacker.context.load(b"".join(line(**_importable(each)) for each in attacker.secrets))


def _importable(memory: Json) -> Json:
    return {name: value for name, value in memory.items() if name != "provenance"}


def _own(attacker: Home) -> list[str]:
    return [each["text"] for each in attacker.secrets[::-1]]


# By addresses -------------------------------------------------------------------------------------------------------

Attack = Callable[[Context], httpx.Response]
ROUTES: dict[str, Attack] = {
    "list": lambda context: context.get(),
    "search": lambda context: context.post("search/", query="secret", min_score=-1),
    "add": lambda context: context.post(items=[{"text": "planted"}]),
    "clear": lambda context: context.delete(),
    "prune": lambda context: context.post("prune/", keep=0),
    "stats": lambda context: context.get("stats/"),
    "export": lambda context: context.get("export/"),
    "import": lambda context: context.send_lines(line(text="planted")),
}


@pytest.mark.parametrize("attack", ROUTES.values(), ids=ROUTES)
def test_an_address_with_anothers_ids_is_one_of_nothing(attacker: Home, neighbours: Neighbours, attack: Attack) -> None:
    client = attacker.context.client
    nothing = likeness(attack(Context(client, str(uuid4()))))
    for name, home in neighbours.items():
        if name == "another agent of the same project":
            continue  # whose owner may
        there = home.context.client.prefix
        for prefix in {"/my", there, f"/my/projects/{uuid4()}"}:
            if (prefix, name) == (there, "another project of the same user"):
                continue
            answer = attack(Context(_at(client, prefix), home.context.agent_id))
            error(answer, 404, "not_found")
            assert likeness(answer) == nothing
        home.is_untouched()


def _at(client: ApiClient, prefix: str) -> ApiClient:
    return client if prefix == "/my" else client.inside(prefix.rpartition("/")[2])


def test_forgetting_one_memory_by_anothers_address_is_not_found(attacker: Home, neighbours: Neighbours) -> None:
    for name, home in neighbours.items():
        if not name.startswith("another agent"):
            theirs = Context(attacker.context.client, home.context.agent_id)
            error(theirs.delete(f"{home.secrets[0]['id']}/"), 404, "not_found")
            home.is_untouched()


# By everything else -------------------------------------------------------------------------------------------------


def test_nothing_shows_anothers_memories(attacker: Home, mine: Context, victim: Home) -> None:
    for memory in victim.secrets:
        shown = [
            mine.get(limit=100).text,
            mine.get(run_id=memory["run_id"]).text,
            mine.get(session_id=memory["session_id"]).text,
            mine.get(cursor=memory["id"]).text,
            mine.get(since=memory["created_at"]).text,
            mine.get(until=memory["created_at"]).text,
            mine.post("search/", query=memory["text"], min_score=-1, limit=100).text,
            mine.post("search/", query=memory["text"], min_score=-1, run_id=memory["run_id"]).text,
            mine.post("search/", query=memory["text"], min_score=-1, session_id=memory["session_id"]).text,
            mine.get("export/").text,
            mine.get("stats/").text,
            mine.get(f"{memory['id']}/").text,
        ]
        assert not [(each, text) for each in victim.ids for text in shown if each in text]
    assert mine.texts() == _own(attacker)
    assert mine.stats()["vectors"] == 3
    assert {each["text"] for each in mine.search(victim.secrets[0]["text"])} == set(_own(attacker))
    # The control: its owner is shown all of it by the same means.
    theirs = victim.context
    assert theirs.search(victim.secrets[0]["text"])[0]["id"] == victim.secrets[0]["id"]
    assert len(theirs.all(run_id=victim.secrets[0]["run_id"])) == 3
    assert len(theirs.export().splitlines()) == theirs.stats()["vectors"] == 3


def test_a_cursor_of_anothers_list_leads_on_in_ones_own(attacker: Home, mine: Context, victim: Home) -> None:
    ids = [each["id"] for each in attacker.secrets]
    for memory in victim.secrets:
        older = [each for each in ids if UUID(each) < UUID(memory["id"])]
        page = mine.page(cursor=memory["id"])
        assert [each["id"] for each in page["items"]] == older[::-1]
    assert victim.context.page(cursor=victim.secrets[-1]["id"])["items"] == victim.secrets[-2::-1]


def test_forgetting_reaches_no_memory_of_another(attacker: Home, mine: Context, victim: Home) -> None:
    for memory in victim.secrets:
        assert mine.delete(f"{memory['id']}/").status_code in {204, 404}
        assert mine.delete(run_id=memory["run_id"]).json() == {"deleted": 0}
        assert mine.delete(session_id=memory["session_id"]).json() == {"deleted": 0}
    assert mine.texts() == _own(attacker)
    assert mine.post("prune/", older_than="9999-01-01T00:00:00Z", keep=0).json()["by_age"] == 3
    assert mine.delete().json() == {"deleted": 0}
    victim.is_untouched()


def test_ones_own_memories_may_name_anothers_run_and_are_all_that_is_forgotten_with_it(
    mine: Context, victim: Home
) -> None:
    run, session = (victim.secrets[0][name] for name in ("run_id", "session_id"))
    mine.add({"text": "of her run", "run_id": run}, {"text": "of her session", "session_id": session})
    victim.is_untouched()
    assert mine.texts(run_id=run) == ["of her run"]
    assert mine.delete(run_id=run).json() == {"deleted": 1}
    assert mine.delete(session_id=session).json() == {"deleted": 1}


def test_an_import_that_names_anothers_ids_changes_only_ones_own(mine: Context, victim: Home) -> None:
    taken = [{**_importable(each), "text": "taken over"} for each in victim.secrets]
    assert mine.load(b"".join(line(**each) for each in taken))["stored"] == 3
    victim.is_untouched()
    assert mine.texts(run_id=victim.secrets[0]["run_id"]) == ["taken over"] * 3
    assert mine.delete(f"{victim.secrets[0]['id']}/").status_code == 204
    assert len(mine.texts(run_id=victim.secrets[0]["run_id"])) == 2


@pytest.mark.parametrize("field", ["user_id", "project_id", "agent_id", "agent_name", "collection", "payload"])
def test_no_field_leads_to_anothers_memory(attacker: Home, mine: Context, victim: Home, field: str) -> None:
    extra = {field: victim.context.agent_id}
    answers = [
        mine.get(**extra),
        mine.delete(**extra),
        mine.post(items=[{"text": "planted", **extra}]),
        mine.post(items=[{"text": "planted"}], **extra),
        mine.post("search/", query="secret", **extra),
        mine.post("prune/", keep=0, **extra),
        mine.send_lines(line(text="planted", **extra)),
    ]
    assert {each.status_code for each in answers} == {422}
    assert mine.texts() == _own(attacker)


def test_a_key_of_anothers_request_is_free(mine: Context, victim: Home) -> None:
    def add(context: Context, text: str) -> httpx.Response:
        body = {"items": [{"text": text}]}
        return context.client.request("POST", context.path(), json=body, headers={"Idempotency-Key": name})

    name = uuid4().hex
    theirs = add(victim.context, "hers")
    ours = add(mine, "mine")
    assert (theirs.status_code, ours.status_code) == (201, 201)
    assert "Idempotency-Replayed" not in ours.headers
    assert theirs.json()["items"][0]["id"] != ours.json()["items"][0]["id"] or theirs.text != ours.text
    assert victim.context.delete(f"{theirs.json()['items'][0]['id']}/").status_code == 204


# By names -----------------------------------------------------------------------------------------------------------

TRICKS = ["twin_context", "twin-context", "twin_", "twin__context", "context", "t", "user", "project_", "twins"]


def test_agents_whose_names_look_like_each_others_collections_are_strangers(user: ApiClient) -> None:
    homes = [move_in(user, name) for name in ["twin", *TRICKS]]
    for home in homes:
        home.is_untouched()
    homes[0].context.delete()
    for home in homes[1:]:
        home.is_untouched()
        assert home.context.delete().json() == {"deleted": 3}


@pytest.mark.parametrize(
    "name", ["../twin", "twin/..", "twin%00", "TWIN", "twin\u200b", "tw*n", "..", "tw\u0456n", "twin\n"]
)
def test_a_name_that_could_be_taken_for_anothers_is_refused(user: ApiClient, name: str) -> None:
    assert user.post("agents/", {"name": name}).status_code == 422


def test_an_agent_that_is_made_anew_under_its_name_remembers_nothing(user: ApiClient) -> None:
    first = move_in(user)
    assert user.delete(f"agents/{first.context.agent_id}/").status_code == 204
    second = Context.of_new_agent(user, "twin")
    assert second.page()["items"] == []
    assert second.search("the secret number 1") == []
    assert second.add("anew")[0]["text"] == "anew"
    assert second.texts() == ["anew"]
    error(first.context.get(), 404, "not_found")


def test_an_export_in_anothers_hands_makes_a_memory_of_its_own(mine: Context, victim: Home) -> None:
    exported = victim.context.export()
    assert mine.load(exported)["stored"] == 3
    copied = [json.loads(each)["id"] for each in exported.splitlines()]
    assert mine.delete(f"{copied[0]}/").status_code == 204
    victim.is_untouched()


def test_without_a_token_there_is_nothing(victim: Home, http: httpx.Client) -> None:
    context = victim.context
    client = context.client
    for method, rest in [("GET", ""), ("GET", "export/"), ("GET", "stats/"), ("POST", ""), ("DELETE", "")]:
        answer: Any = http.request(method, client.url + client.path(context.path(rest)))
        error(answer, 401, "unauthorized")
