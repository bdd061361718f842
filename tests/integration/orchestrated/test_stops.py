"""Planning and the writing of an answer end when they are told to, and go on elsewhere after a shutdown."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.integration.orchestrated.steps import Request, events_of, replies, send
from tests.integration.runs.own_system import OwnSystem, own_system
from tests.integration.runs.steps import SOON, cancelled
from tests.support.api import ApiClient, Json
from tests.support.proxy import proxy
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def project_of(user: ApiClient) -> str:
    """What the model's server knows an orchestrator by: its project's id."""
    (project,) = [each for each in user.get("/my/projects/").json()["items"] if each["is_default"]]
    return str(project["id"])


def asked(user: ApiClient, standin: Standin, count: int = 1) -> None:
    """Wait until the model works on so many calls of a user's orchestrator."""
    project = project_of(user)
    eventually(lambda: standin.witness(project)["current"] == count, f"{count} calls of the orchestrator")


@pytest.fixture
def session(user: ApiClient) -> str:
    """A session in a project with an agent."""
    user.make_agent()
    return str(user.make_session()["id"])


def ended_soon(user: ApiClient, accepted: Json) -> Json:
    """Ask for the end of a run, which must come at once."""
    began = time.monotonic()
    cancelled(user, accepted["run_id"])
    run = user.wait_for_run(accepted, status="cancelled")
    assert time.monotonic() - began < SOON
    return run


def test_a_run_is_cancelled_while_the_planner_is_silent(user: ApiClient, session: str, standin: Standin) -> None:
    accepted = send(user, session, Request(standin).plan({"a": []}, silent="60"))
    asked(user, standin)
    run = ended_soon(user, accepted)
    assert [task["status"] for task in run["tasks"]] == ["cancelled"]
    assert run["error"]["error_code"] == "cancelled"
    assert events_of(user, accepted)[-1].type == "run_cancelled"
    assert replies(user, session) == []


def test_a_run_that_is_cancelled_while_its_answer_is_written_keeps_what_was_written(
    user: ApiClient, session: str, standin: Standin
) -> None:
    request = Request(standin).plan({"a": [], "b": []}).work("a", say="one").work("b", say="two")
    accepted = send(user, session, request.answer(tokens=400, gap=0.05))
    events_of(user, accepted, "task_plan_created")
    read_the_beginning(user, accepted)
    ended_soon(user, accepted)
    (reply,) = replies(user, session)
    assert reply[1].startswith("tok1 tok2")
    assert "tok400" not in reply[1]


def read_the_beginning(user: ApiClient, accepted: Json) -> None:
    """Wait for a piece of the answer that is not its first."""
    with user.events(accepted["events_url"]) as stream:
        piece = stream.until("task_progress")[-1].payload
        while not ("tok" in piece["text"] and piece["offset"] > 0):
            piece = stream.until("task_progress")[-1].payload


@pytest.fixture
def restless(stack: Stack, http: httpx.Client, tmp_path: Path) -> Iterator[OwnSystem]:
    """A system whose planner may take long, and whose nodes end at once."""
    options = {"PLANNING_TIMEOUT": 60, "NODE_SHUTDOWN_GRACE": 0}
    with own_system(http, stack, tmp_path, redis_from=12, **options) as system:
        yield system


def of_agent(calls: dict[str, int]) -> tuple[int, int]:
    """How many calls there are, and were in all."""
    return calls["current"], calls["total"]


TASKS = {"planning": "_planning", "working": "a", "answering": "_closing"}


@pytest.mark.parametrize("stage", TASKS)
def test_what_a_node_had_to_leave_is_done_by_the_next_one(restless: OwnSystem, standin: Standin, stage: str) -> None:
    user = restless.user()
    agent = user.make_agent(concurrency_limit=2)
    session = user.make_session()["id"]
    silent = {each: {"silent": "60x1"} if each == stage else {} for each in TASKS}
    request = Request(standin).plan({"a": [], "b": []}, **silent["planning"])
    request.work("a", **silent["working"], say="one").work("b", say="two")
    request.answer(**silent["answering"], say="both")
    accepted = send(user, session, request)
    if stage == "working":
        # The other task is done: it is not done again.
        eventually(lambda: of_agent(standin.witness(agent["id"])) == (1, 2), "one of both tasks to be done")
    else:
        asked(user, standin)
    (leaving,) = restless.nodes.values()
    with restless.node():
        leaving.send_signal(signal.SIGTERM)
        run = user.wait_for_run(accepted)
        assert replies(user, session) == [("@orchestrator", "both")]
        events = events_of(user, accepted)
        plans = [event for event in events if event.type == "task_plan_created"]
        assert len(plans) == 1
        started = [event.payload["attempt"] for event in events if event.payload.get("plan_task_id") == TASKS[stage]]
        assert started == [1, 2]
        assert run["status"] == "completed"


@pytest.mark.parametrize("stage", ["planning", "answering"])
def test_what_a_node_had_to_leave_that_was_out_of_reach_of_all_stores_is_begun_anew(
    restless: OwnSystem, standin: Standin, stage: str
) -> None:
    """It stops then, as nobody can know whose the workspace is by now; nobody has taken it from this one."""
    (first,) = restless.nodes.values()
    with ExitStack() as open_ways:
        stores = ("DATABASE_URL", "REDIS_URL")
        ways = {name: open_ways.enter_context(proxy(str(restless.options[name]))) for name in stores}
        open_ways.enter_context(restless.node(**{name: way.url for name, way in ways.items()}))
        first.send_signal(signal.SIGTERM)
        first.wait(timeout=30)
        user = restless.user()
        user.make_agent(concurrency_limit=2)
        silent = {each: {"silent": "60x1"} if each == stage else {} for each in TASKS}
        request = Request(standin).plan({"a": [], "b": []}, **silent["planning"]).work("a", say="one")
        request.work("b", say="two").answer(**silent["answering"], say="both")
        session = user.make_session()["id"]
        accepted = send(user, session, request)
        asked(user, standin)
        for way in ways.values():
            way.cut()
        eventually(lambda: of_agent(standin.witness(project_of(user)))[0] == 0, "the node to stop", within=30)
        for way in ways.values():
            way.mend()
        user.wait_for_run(accepted)
        assert replies(user, session) == [("@orchestrator", "both")]
