"""The tools `search_context` and `remember` reach the agent's own memory, and no other."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from models.tenancy import Database
from tests.integration.approvals.steps import calls_of, tool
from tests.integration.memory.steps import ask, look, tell, topic
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack

TOOLS = ["search_context", "remember"]


@pytest.fixture(autouse=True)
def _undisturbed(standin: Standin) -> Iterator[None]:
    yield
    standin.reset()


def called(user: ApiClient, name: str, agent: str = "helper", **arguments: Any) -> dict[str, Any]:
    """Let an agent call a tool, and return what came of it."""
    accepted = user.answered(user.make_session()["id"], tool(name, **arguments), agent)
    (call,) = calls_of(user, accepted["run_id"])
    result: dict[str, Any] = call["result"]
    return result


def found(user: ApiClient, agent: str = "helper", **arguments: Any) -> list[dict[str, Any]]:
    """Return the memories that the tool finds."""
    result = called(user, "search_context", agent, **arguments)
    assert result["ok"], result
    memories: list[dict[str, Any]] = result["output"]["memories"]
    return memories


def test_what_an_agent_writes_down_it_finds_and_is_shown_in_later_conversations(user: ApiClient) -> None:
    user.make_agent(tools=TOOLS)
    about = topic()
    text = f"The owner of {about} prefers tabs."
    kept = called(user, "remember", text=text)
    assert kept["ok"], kept

    (memory,) = found(user, query=f"What does the owner of {about} prefer?", interaction_type="note")
    assert memory["text"] == text
    assert (memory["written_by"], memory["interaction_type"]) == ("agent", "note")
    assert memory["id"] == kept["output"]["id"]
    _, events = ask(user, f"What does the owner of {about} prefer?")
    assert memory["id"] in [item["id"] for item in look(events)["items"]]


def test_no_other_agent_finds_it(user: ApiClient) -> None:
    user.make_agent(tools=TOOLS)
    user.make_agent("other", tools=TOOLS)
    about = topic()
    called(user, "remember", text=f"The owner of {about} prefers tabs.")
    assert found(user, "other", query=f"the owner of {about}") == []
    assert found(user, query=f"the owner of {about}", interaction_type="note")


def test_a_search_can_be_narrowed(user: ApiClient, database: Database) -> None:
    user.make_agent(tools=TOOLS)
    about = topic()
    tell(user, database, f"The owner of {about} prefers tabs.")
    called(user, "remember", text=f"The owner of {about} prefers tabs indeed.")
    query = f"The owner of {about} prefers tabs"

    def kinds(**more: Any) -> set[str]:
        return {each["interaction_type"] for each in found(user, query=query, limit=20, **more)}

    assert kinds() == {"conversation", "note"}
    assert kinds(interaction_type="note") == {"note"}
    assert kinds(success=False) == set()
    assert kinds(until="2020-01-01T00:00:00Z") == set()
    assert kinds(since="2020-01-01T00:00:00Z") == {"conversation", "note"}
    assert len(found(user, query=query, limit=1)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": ""},
        {"query": " \n "},
        {"query": "x", "limit": 0},
        {"query": "x", "since": "yesterday"},
        {"query": "x", "since": "2020-01-01T00:00:00"},
        {"query": "x", "interaction_type": "secret"},
        {"query": "x", "agent_name": "other"},
    ],
    ids=json.dumps,
)
def test_a_search_that_makes_no_sense_is_explained_to_the_model(user: ApiClient, arguments: dict[str, Any]) -> None:
    user.make_agent(tools=TOOLS)
    result = called(user, "search_context", **arguments)
    assert result["error"]["code"] == "invalid_arguments", result


def test_without_embeddings_the_model_is_told_that_memory_is_unavailable(user: ApiClient, standin: Standin) -> None:
    user.make_agent(tools=TOOLS)
    about = topic()
    standin.rules({"match": f"^{about}", "in": "embedding", "fail": "400"})
    for name, argument in (("search_context", "query"), ("remember", "text")):
        result = called(user, name, **{argument: f"{about} is down"})
        assert result["error"]["code"] == "memory_unavailable", result


def test_an_agent_whose_memory_is_off_has_no_tools_for_it(user: ApiClient, standin: Standin) -> None:
    user.make_agent(tools=[*TOOLS, "read_file"], memory={"enabled": False})
    content = f"{topic()} [insist] {tool('remember', text='something')}"
    accepted = user.answered(user.make_session()["id"], content)
    (call,) = calls_of(user, accepted["run_id"])
    assert call["result"]["error"]["code"] == "unknown_tool"
    offered = next(request for request in standin.requests(200) if content in str(request["messages"]))["tools"]
    assert [each["function"]["name"] for each in offered] == ["read_file"]
