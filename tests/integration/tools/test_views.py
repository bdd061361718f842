"""The list of tools, and the ledger of calls as its owner reads it: by pages, by filters, and nobody else's."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import MakeUser
from tests.integration.approvals.steps import TOOLS, make_agent, read, tool, write
from tests.integration.tools.steps import at_client, calls_when, post_result, put_files, send, use_client
from tests.support.answers import error, likeness, refused
from tests.support.api import ApiClient
from workspace.tools.catalogue import CATALOGUE

pytestmark = pytest.mark.stack


# -- tools -------------------------------------------------------------------------------------------------------


def test_the_tools_are_those_of_the_deployment_as_a_model_is_offered_them(user: ApiClient) -> None:
    answer = user.get("tools/")
    assert answer.status_code == 200
    assert answer.json() == {
        "items": [
            {
                "name": each.name,
                "description": each.description,
                "parameters": each.definition["function"]["parameters"],
                "client": each.client,
            }
            for each in CATALOGUE
        ]
    }
    assert set(TOOLS) <= {each["name"] for each in answer.json()["items"]}


def test_every_tool_that_is_listed_may_be_given_to_an_agent(user: ApiClient) -> None:
    names = [each["name"] for each in user.get("tools/").json()["items"]]
    assert user.make_agent(tools=names)["config"]["tools"] == names


# -- calls -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ledger:
    """A project with calls of every kind."""

    user: ApiClient
    runs: dict[str, dict[str, Any]]
    calls: list[dict[str, Any]]
    """All of them, oldest first."""

    def ids(self, **wanted: Any) -> list[str]:
        """What a listing by these filters should show."""
        return [call["id"] for call in self.calls if all(call[name] == value for name, value in wanted.items())]

    def listed(self, **query: Any) -> list[str]:
        answer = self.user.get("tool-calls/", **query)
        assert answer.status_code == 200, answer.text
        assert answer.json()["total"] == len(answer.json()["items"])
        return [call["id"] for call in answer.json()["items"]]


@pytest.fixture(scope="module")
def ledger(make_user: MakeUser) -> Ledger:
    user = make_user()
    put_files(user, **{"a.txt": "a", "b.txt": "b"})
    make_agent(user)
    runs = {
        "good": send(user, f"{read('a.txt')}{read('b.txt')}{tool('list_directory')}[then][say=done]"),
        "bad": send(user, f"{read('nowhere')}{tool('no_such_tool')}[then][say=done]"),
    }
    for run in runs.values():
        user.wait_for_run(run)
    runs["asking"] = send(user, write("c.txt"))
    calls_when(user, runs["asking"]["run_id"], ["awaiting_approval"])
    use_client(user)
    waiting = at_client(user, read("a.txt"))
    runs["client"] = waiting.accepted
    items = user.get("tool-calls/", limit=100).json()["items"]
    assert len(items) == 9
    return Ledger(user, runs, items)


@pytest.mark.parametrize("status", ["succeeded", "failed", "awaiting_approval", "running", "rejected", "unknown"])
def test_calls_by_their_status(ledger: Ledger, status: str) -> None:
    assert ledger.listed(status=status) == ledger.ids(status=status)


def test_calls_by_who_carries_them_out(ledger: Ledger) -> None:
    waiting = ledger.listed(execution="client", status="running")
    assert len(waiting) == 1
    assert waiting == ledger.ids(execution="client", status="running")
    assert ledger.listed(execution="server") == ledger.ids(execution="server")


@pytest.mark.parametrize("name", ["read_file", "no_such_tool", "never called"])
def test_calls_by_their_tool(ledger: Ledger, name: str) -> None:
    assert ledger.listed(tool=name) == ledger.ids(tool=name)


@pytest.mark.parametrize("field", ["run_id", "task_id", "session_id"])
def test_calls_by_where_they_belong(ledger: Ledger, field: str) -> None:
    for call in ledger.calls:
        assert ledger.listed(**{field: call[field]}) == ledger.ids(**{field: call[field]})
    assert ledger.listed(**{field: str(uuid4())}) == []


def test_filters_count_together(ledger: Ledger) -> None:
    run = ledger.runs["good"]["run_id"]
    assert len(ledger.listed(run_id=run, tool="read_file", status="succeeded")) == 2
    assert ledger.listed(run_id=run, status="failed") == []


@pytest.mark.parametrize(
    "query",
    [{"status": "done"}, {"execution": "here"}, {"run_id": "x"}, {"more": "x"}, {"limit": 0}, {"tool": "x" * 65}],
)
def test_a_filter_that_makes_no_sense_is_refused(ledger: Ledger, query: dict[str, Any]) -> None:
    refused(ledger.user.get("tool-calls/", **query))


@pytest.mark.parametrize("limit", [1, 4, 100])
@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
def test_pages_lead_through_all_calls_once(ledger: Ledger, limit: int, sort: str) -> None:
    seen: list[str] = []
    query: dict[str, Any] = {"limit": limit, "sort": sort}
    while True:
        page = ledger.user.get("tool-calls/", **query).json()
        assert page["total"] == len(ledger.calls)
        assert len(page["items"]) <= limit
        seen += [call["id"] for call in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    expected = ledger.ids()
    assert seen == (expected if sort == "created_at" else expected[::-1])


def test_pages_and_filters_go_together(ledger: Ledger) -> None:
    first = ledger.user.get("tool-calls/", tool="read_file", limit=2).json()
    rest = ledger.user.get("tool-calls/", tool="read_file", limit=2, cursor=first["next_cursor"]).json()
    assert [call["id"] for call in first["items"] + rest["items"]] == ledger.ids(tool="read_file")
    assert first["total"] == rest["total"] == 4


def test_a_call_has_the_exact_arguments_and_what_the_model_was_told(ledger: Ledger) -> None:
    (call,) = [each for each in ledger.calls if each["arguments"] == {"path": "nowhere"}]
    answer = ledger.user.get(f"tool-calls/{call['id']}/")
    assert (answer.status_code, answer.json()) == (200, call)
    assert call["result"]["ok"] is False
    assert call["result"]["error"]["code"] == "not_found"


# -- strangers ---------------------------------------------------------------------------------------------------


def test_what_is_not_the_callers_is_answered_like_what_there_is_not(ledger: Ledger, make_user: MakeUser) -> None:
    stranger, second = make_user(), ledger.user.inside(ledger.user.make_project("second")["id"])
    ids = [*ledger.ids(status="running"), *ledger.ids(status="succeeded")[:1], str(uuid4())]
    answers = [ask(client, call) for client in (stranger, second) for call in ids for ask in (_read, _answer)] + [
        _read(ledger.user, ids[-1]),
        _answer(ledger.user, ids[-1]),
    ]
    for answer in answers:
        error(answer, 404, "not_found")
    first, *others = map(likeness, answers)
    assert all(other == first for other in others)
    assert stranger.get("tool-calls/", limit=100).json()["items"] == []
    assert second.get("tool-calls/", limit=100).json()["items"] == []
    assert ledger.user.get("tool-calls/", limit=100).json()["items"] == ledger.calls, "nothing of it was changed"


def _read(client: ApiClient, call: str) -> Any:
    return client.get(f"tool-calls/{call}/")


def _answer(client: ApiClient, call: str) -> Any:
    return post_result(client, call, {"content": "forged"})
