"""`agents/`: the team of a project."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from tests.support.answers import error, refused
from tests.support.api import ApiClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

DEFAULTS = {
    "system_prompt": "You are a helpful assistant.",
    "model": None,
    "tools": [],
    "concurrency_limit": 3,
    "capabilities": [],
    "temperature": None,
    "limits": {"timeout_seconds": None, "max_output_tokens": None},
    "memory": {"enabled": True, "top_k": None, "min_score": None},
}
EVERYTHING = {
    "name": "writer",
    "system_prompt": "You write.",
    "model": "stand-in",
    "tools": ["read_file", "write_file"],
    "concurrency_limit": 50,
    "capabilities": ["prose", "letters of any kind"],
    "temperature": 0.5,
    "limits": {"timeout_seconds": 60, "max_output_tokens": 1_000},
    "memory": {"enabled": False, "top_k": 3, "min_score": 0.5},
}
LONGEST = "a" + "0_-" * 20 + "zz"


def test_an_agent_needs_a_name_only(client: ApiClient) -> None:
    agent = client.make_agent("helper")
    assert set(agent) == {"id", "agent_id", "name", "version", "status", "status_reason", "config", "created_at"}
    assert agent["config"] == {"name": "helper", **DEFAULTS}
    assert (agent["name"], agent["version"], agent["status"], agent["status_reason"]) == ("helper", 1, "ready", None)
    UUID(agent["id"])
    assert client.get(f"agents/{agent['id']}/").json() == agent


def test_the_public_agent_id_is_made_of_user_name_and_version(client: ApiClient) -> None:
    agent = client.make_agent("helper")
    user, name, version = agent["agent_id"].removeprefix("user").split("_")
    assert (name, version) == ("helper", "1")
    UUID(user)
    changed = client.put(f"agents/{agent['id']}/", {"name": "helper", "system_prompt": "New."}).json()
    assert changed["agent_id"] == f"user{user}_helper_2"


def test_an_agent_keeps_everything_it_is_given(client: ApiClient) -> None:
    assert client.make_agent(**EVERYTHING)["config"] == EVERYTHING


def test_put_replaces_the_config_and_bumps_the_version_only_on_a_change(client: ApiClient) -> None:
    agent = client.make_agent(**EVERYTHING)
    path = f"agents/{agent['id']}/"
    assert client.put(path, EVERYTHING).json() == agent
    changed = client.put(path, EVERYTHING | {"temperature": 0.6}).json()
    assert changed["version"] == 2
    # What is left out gets its default again: nothing is merged.
    bare = client.put(path, {"name": "writer"}).json()
    assert bare["config"] == {"name": "writer", **DEFAULTS}
    assert bare["version"] == 3
    assert client.put(path, {"name": "writer", **DEFAULTS}).json()["version"] == 3
    assert client.get(path).json() == bare


def test_the_name_of_an_agent_never_changes(client: ApiClient) -> None:
    agent = client.make_agent("helper")
    error(client.put(f"agents/{agent['id']}/", {"name": "other"}), 422, "validation_error")
    assert client.get(f"agents/{agent['id']}/").json() == agent


def test_a_name_is_taken_once_in_a_project_and_free_again_after_deletion(client: ApiClient) -> None:
    agent = client.make_agent("helper")
    error(client.post("agents/", {"name": "helper"}), 409, "agent_name_taken")
    assert client.get("agents/").json()["total"] == 1
    deleted = client.delete(f"agents/{agent['id']}/")
    assert (deleted.status_code, deleted.content) == (204, b"")
    error(client.get(f"agents/{agent['id']}/"), 404, "not_found")
    error(client.delete(f"agents/{agent['id']}/"), 404, "not_found")
    assert client.make_agent("helper")["id"] != agent["id"]


def test_two_projects_of_a_user_may_have_agents_of_one_name(user: ApiClient) -> None:
    other = user.inside(user.make_project()["id"])
    assert user.make_agent("helper")["id"] != other.make_agent("helper")["id"]
    assert user.get("agents/").json()["total"] == other.get("agents/").json()["total"] == 1


def test_of_parallel_requests_for_one_name_one_succeeds(client: ApiClient) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: client.post("agents/", {"name": "helper"}).status_code, range(6)))
    assert sorted(answers) == [201, 409, 409, 409, 409, 409]


def test_a_new_agent_has_nothing_to_do_and_no_past(client: ApiClient) -> None:
    agent = client.make_agent(concurrency_limit=7)
    assert client.get(f"agents/{agent['id']}/status/").json() == {
        "id": agent["id"],
        "status": "ready",
        "status_reason": None,
        "concurrency_limit": 7,
        "running": 0,
        "queued": 0,
    }
    assert client.get(f"agents/{agent['id']}/metrics/").json() == {
        "total_tasks": 0,
        "tasks_by_status": {},
        "success_rate": None,
        "average_duration": None,
    }


def test_an_agent_at_work_is_busy_and_its_queue_is_counted(client: ApiClient) -> None:
    agent = client.make_agent("worker", concurrency_limit=1)
    idle = client.make_agent("idle")
    for _ in range(2):
        client.send(client.make_session()["id"], "[silent=60] never answered", "worker")
    path = f"agents/{agent['id']}/"
    eventually(lambda: client.get(path).json()["status"] == "busy", "the agent is busy")
    status = client.get(f"{path}status/").json()
    assert (status["status"], status["running"], status["queued"]) == ("busy", 1, 1)
    assert [each["name"] for each in client.get("agents/", status="busy").json()["items"]] == ["worker"]
    ready = client.get("agents/", status="ready").json()
    assert ([each["id"] for each in ready["items"]], ready["total"]) == ([idle["id"]], 1)
    assert client.get("agents/", status="error").json() == {"items": [], "total": 0, "next_cursor": None}
    assert client.delete(path).status_code == 204


def test_metrics_count_completed_and_failed_tasks(client: ApiClient) -> None:
    agent = client.make_agent()
    session = client.make_session()["id"]
    for _ in range(3):
        client.answered(session, "Hello")
    client.wait_for_run(client.send(session, "[fail=400] no"), status="failed")
    metrics = client.get(f"agents/{agent['id']}/metrics/").json()
    assert metrics["total_tasks"] == 4
    assert metrics["tasks_by_status"] == {"completed": 3, "failed": 1}
    assert metrics["success_rate"] == 0.75
    assert 0 < metrics["average_duration"] < 20


def test_the_longest_name_and_the_shortest_serve(client: ApiClient) -> None:
    session = client.make_session()["id"]
    for name in ("a", LONGEST):
        client.make_agent(name)
        client.answered(session, "Hello", name)


@pytest.mark.parametrize(
    "name",
    ["", "A", "1a", "-a", "_a", "a b", "a.b", "a/b", "ä", "a" * 64, "a\n", "a*", "user{id}", "a:b", None, 5, ["a"]],
    ids=repr,
)
def test_a_bad_name_is_refused(user: ApiClient, name: Any) -> None:
    (mistake,) = refused(user.post("agents/", {"name": name}))
    assert mistake["loc"] == ["name"]
    assert user.get("agents/").json()["total"] == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency_limit", 0),
        ("concurrency_limit", 51),
        ("concurrency_limit", -1),
        ("concurrency_limit", "3"),
        ("concurrency_limit", 3.0),
        ("concurrency_limit", True),
        ("concurrency_limit", None),
        ("system_prompt", ""),
        ("system_prompt", None),
        ("system_prompt", 5),
        ("system_prompt", "x" * 100_001),
        ("model", ""),
        ("model", "x" * 129),
        ("model", 5),
        ("tools", "read_file"),
        ("tools", ["Read"]),
        ("tools", ["a b"]),
        ("tools", ["x"] * 65),
        ("tools", [None]),
        ("tools", {"a": 1}),
        ("capabilities", [""]),
        ("capabilities", ["x" * 65]),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "1"),
        ("temperature", True),
        ("limits", None),
        ("limits", []),
        ("limits", {"timeout_seconds": 0}),
        ("limits", {"timeout_seconds": 3_601}),
        ("limits", {"timeout_seconds": "5"}),
        ("limits", {"timeout_seconds": True}),
        ("limits", {"unknown": 1}),
        ("memory", None),
        ("memory", {"enabled": "yes"}),
        ("memory", {"top_k": 0}),
        ("memory", {"top_k": 101}),
        ("memory", {"top_k": "5"}),
        ("memory", {"min_score": 1.1}),
        ("memory", {"unknown": 1}),
        ("unknown", 1),
        ("user_id", "01a1fe10-8987-7355-b138-fc30b82271f8"),
        ("version", 7),
        ("status", "ready"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_config_is_refused_and_said_where(user: ApiClient, field: str, value: Any) -> None:
    agent = user.make_agent()
    body = {"name": "other", field: value}
    assert {mistake["loc"][0] for mistake in refused(user.post("agents/", body))} == {field}
    body = {"name": "helper", field: value}
    assert {mistake["loc"][0] for mistake in refused(user.put(f"agents/{agent['id']}/", body))} == {field}
    assert user.get("agents/").json()["items"] == [agent]


def test_a_refusal_does_not_quote_the_input(user: ApiClient) -> None:
    answer = user.post("agents/", {"name": "a", "system_prompt": 12345678, "secret-field": "secret-value"})
    refused(answer)
    assert "12345678" not in answer.text
    assert "secret-value" not in answer.text


def test_the_first_mistakes_of_many_are_told(user: ApiClient) -> None:
    assert len(refused(user.post("agents/", {"name": "a", **{f"field{n}": n for n in range(100)}}))) == 20
