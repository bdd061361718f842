"""What operators see: the stock `celery inspect`, and Flower."""

import json
import os
import subprocess
import sys

import httpx
import pytest

from devstack.directory import ROOT
from tests.integration.orchestrated.steps import Request, send
from tests.integration.runs.steps import cancelled
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def _inspect(command: str) -> dict[str, object]:
    """Ask all nodes. One that is busy may take longer than the second that Celery waits by default."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", "inspect", "--timeout", "5", command, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_inspect_active_queues_lists_the_queues_of_agents(user: ApiClient) -> None:
    user.make_agent("parrot")
    user.answered(user.make_session()["id"], "[say=attached]", agent="parrot")
    nodes = _inspect("active_queues")
    names = {queue["name"] for queues in nodes.values() for queue in queues}  # type: ignore[attr-defined]
    assert {"placement", "control", "maintenance"} <= names
    assert any(name.startswith("agent.user") and name.endswith(".parrot") for name in names)


def test_inspect_workspaces_shows_agents_with_limit_running_and_queued(user: ApiClient) -> None:
    user.make_agent("parrot", concurrency_limit=1)
    slow = user.send(user.make_session()["id"], "[delay=20]", agent="parrot")
    user.send(user.make_session()["id"], "behind it", agent="parrot")
    (project,) = user.get("/my/projects/").json()["items"]
    nodes = _inspect("workspaces")
    shown = [
        workspace
        for node in nodes.values()
        for slug, workspace in node["workspaces"].items()  # type: ignore[index]
        if slug.endswith(project["id"])
    ]
    assert len(shown) == 1
    parrot = shown[0]["agents"]["parrot"]
    assert (parrot["limit"], parrot["running"], parrot["queued"]) == (1, 1, 1)
    assert shown[0]["idle_seconds"] >= 0
    user.delete(f"agents/{parrot['agent_id']}/")
    user.wait_for_run(slow, status="cancelled")


def test_inspect_shows_the_queue_of_an_orchestrator_that_is_in_use(user: ApiClient, standin: Standin) -> None:
    user.make_agent()
    (project,) = user.get("/my/projects/").json()["items"]
    request = Request(standin).plan({"a": [], "b": []}).work("a", say="one").work("b", say="two").answer(silent="60")
    accepted = send(user, user.make_session()["id"], request)
    eventually(lambda: standin.witness(project["id"])["current"] == 1, "the answer to be written")
    shown = [
        agents["@orchestrator"]
        for node in _inspect("workspaces").values()
        for slug, workspace in node["workspaces"].items()  # type: ignore[index]
        if slug.endswith(project["id"]) and "@orchestrator" in (agents := workspace["agents"])
    ]
    assert len(shown) == 1
    assert (shown[0]["limit"], shown[0]["running"], shown[0]["queued"]) == (2, 1, 0)
    assert shown[0]["queue"].startswith("orchestrator.user")
    names = {queue["name"] for queues in _inspect("active_queues").values() for queue in queues}  # type: ignore[attr-defined]
    assert shown[0]["queue"] in names
    cancelled(user, accepted["run_id"])


@pytest.mark.skipif("FLOWER_URL" not in os.environ, reason="the stack runs no Flower")
def test_flower_asks_for_its_password_and_shows_the_queues_of_agents(user: ApiClient) -> None:
    user.make_agent("parrot")
    user.answered(user.make_session()["id"], "[say=attached]", agent="parrot")
    url = httpx.URL(os.environ["FLOWER_URL"])
    with httpx.Client(trust_env=False) as client:
        assert client.get(url.copy_with(username=None, password=None)).status_code == 401

        def shown() -> bool:
            workers = client.get(url.join("/api/workers"), params={"refresh": "true"}, timeout=30).json()
            names = {queue["name"] for worker in workers.values() for queue in worker.get("active_queues", ())}
            return any(name.endswith(".parrot") for name in names)

        # Flower asks the nodes by the broker, and may first have to find that it was restarted.
        eventually(shown, "Flower to show the agent's queue", within=60, every=0.5)


@pytest.mark.skipif("FLOWER_URL" not in os.environ, reason="the stack runs no Flower")
def test_flower_shows_how_many_messages_wait_for_an_agent(user: ApiClient) -> None:
    user.make_agent("busy", concurrency_limit=1)
    runs = [user.send(user.make_session()["id"], "[delay=60] Think.", agent="busy") for _ in range(4)]
    url = httpx.URL(os.environ["FLOWER_URL"])
    with httpx.Client(trust_env=False) as client:

        def waiting() -> bool:
            client.get(url.join("/api/workers"), params={"refresh": "true"}, timeout=30)
            queues = client.get(url.join("/api/queues/length"), timeout=30).json()["active_queues"]
            return {queue["messages"] for queue in queues if queue["name"].endswith(".busy")} == {3}

        eventually(waiting, "Flower to show three messages", within=60, every=0.5)
    for run in runs:
        assert user.post(f"runs/{run['run_id']}/cancel/", {}).status_code == 200
