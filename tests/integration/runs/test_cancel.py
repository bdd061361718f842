"""A run that is ended on request: wherever it is, at once, once, and nothing else with it."""

import time
from uuid import UUID, uuid4

import pytest

from models.tenancy import Database
from tests.conftest import MakeUser
from tests.integration.runs.steps import SOON, calls, cancel, cancelled, key_of, post, settled, story
from tests.support.answers import error, likeness
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.streams import Event
from tests.support.waiting import eventually
from workspace.cancellation import Cancellation

pytestmark = pytest.mark.stack


def test_a_queued_run_ends_at_once_and_the_one_before_it_goes_on(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=1)
    first = user.send(user.make_session()["id"], "[silent=60]")
    calls(standin, agent, 1)
    session = user.make_session()["id"]
    queued = user.send(session, "never answered")
    run = cancelled(user, queued["run_id"])
    assert (run["status"], run["tasks"][0]["status"], run["why"]) == ("cancelled", "cancelled", None)
    assert run["error"]["error_code"] == "cancelled"
    assert run["error"]["retryable"] is False
    assert run["started_at"] is None
    assert run["cancel_requested_at"] is not None
    assert run["finished_at"] is not None
    with user.events(queued["events_url"]) as stream:
        events = stream.until("run_cancelled")
    assert story(events, queued["run_id"]) == ["message_created", "direct_agent_call", "run_cancelled"]
    assert events[-1].payload == {"mode": "direct", "error": run["error"], "outcome": None}
    assert user.run(first["run_id"])["status"] == "running"
    cancelled(user, first["run_id"])
    user.answered(session, "[say=this one is]")
    assert [m["content"] for m in user.messages(session, role="assistant")] == ["this one is"]
    assert standin.witness(agent["id"])["total"] == 2


def test_a_held_run_ends_at_once_and_its_session_goes_on_behind_it(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    first = user.send(session, "[gap=0.1] [tokens=30]")
    second, third = (user.send(session, f"[say=answer {number}]") for number in (2, 3))
    assert [second["status"], third["status"]] == ["held", "held"]
    assert cancelled(user, second["run_id"])["status"] == "cancelled"
    user.wait_for_run(first)
    user.wait_for_run(third)
    assert [m["content"] for m in user.messages(session, role="assistant")][1:] == ["answer 3"]
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 2}


@pytest.mark.parametrize("message", ["[silent=60]", "[first=60] [tokens=3]"])
def test_a_run_whose_model_is_silent_ends_within_a_second(user: ApiClient, standin: Standin, message: str) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, message)
    after = user.send(session, "[say=the next one]")
    calls(standin, agent, 1)
    asked = time.monotonic()
    assert cancelled(user, accepted["run_id"])["status"] in {"running", "cancelled"}
    eventually(lambda: standin.witness(agent["id"])["total"] == 2, "the next run's model call")
    took = time.monotonic() - asked
    assert took < SOON
    user.wait_for_run(after)
    run = user.wait_for_run(accepted, status="cancelled")
    assert run["error"]["error_code"] == run["tasks"][0]["error"]["error_code"] == "cancelled"
    assert [m["content"] for m in user.messages(session, role="assistant")] == ["the next one"]
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 2}
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    told = ["message_created", "direct_agent_call", "task_started", "context_retrieved", "run_cancelled"]
    assert story(events, accepted["run_id"]) == told


def test_what_was_said_before_a_cancel_is_kept_exactly_as_it_was_streamed(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, "[gap=0.05] [tokens=400]")
    with user.events(accepted["events_url"]) as stream:
        events: list[Event] = []
        while sum(event.type == "task_progress" for event in events) < 4:
            events.append(stream.next())
        asked = time.monotonic()
        cancelled(user, accepted["run_id"])
        calls(standin, agent, 0)
        assert time.monotonic() - asked < SOON
        after = user.send(session, "[say=and on it goes]")
        events += stream.until("run_completed")
    run = user.wait_for_run(accepted, status="cancelled")
    told = story(events, accepted["run_id"])
    assert told[-2:] == ["message_created", "run_cancelled"]
    assert told[3] == "context_retrieved"
    assert set(told[4:-2]) == {"task_progress"}
    ours = [event for event in events if event.body["run_id"] == accepted["run_id"]]
    said = "".join(event.payload["text"] for event in ours if event.type == "task_progress")
    assert said.startswith("tok1 tok2")
    created = [event.payload for event in ours if event.type == "message_created"][-1]
    (kept,) = [m for m in user.messages(session, role="assistant") if m["run_id"] == accepted["run_id"]]
    assert kept["content"] == created["content"] == said
    assert kept["id"] == created["message_id"]
    assert (kept["agent_id"], created["role"]) == (agent["id"], "assistant")
    last = next(event for event in ours if event.type == "run_cancelled")
    assert last.payload["error"] == run["error"]
    shown = next(r for r in reversed(standin.requests(50)) if "and on it goes" in str(r["messages"][-1]["content"]))
    assert {"role": "assistant", "content": said} in shown["messages"]
    user.wait_for_run(after)


def test_a_run_that_waits_for_its_model_to_come_back_ends_within_a_second(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, f"[fail=503x9] [retry_after=15] {session}")
    eventually(lambda: user.run(accepted["run_id"])["why"]["code"] == "model_backoff", "the model's back-off")
    asked = time.monotonic()
    cancelled(user, accepted["run_id"])
    user.wait_for_run(accepted, status="cancelled")
    assert time.monotonic() - asked < SOON
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 1}
    user.answered(session, "[say=well]")


def test_a_finished_run_stays_as_it_is(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    accepted = user.answered(session, "[say=done]")
    before = user.run(accepted["run_id"])
    assert cancelled(user, accepted["run_id"]) == before == user.run(accepted["run_id"])
    assert before["status"] == "completed"
    assert before["cancel_requested_at"] is None
    failed = user.wait_for_run(user.send(session, "[fail=400]"), status="failed")
    assert cancelled(user, failed["id"]) == failed


def test_cancelling_again_changes_nothing_and_tells_nothing(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=1)
    session = user.make_session()["id"]
    running = user.send(session, "[gap=0.05] [tokens=400]")
    calls(standin, agent, 1)
    held = user.send(session, "never answered")
    for accepted in (held, running):
        first, second = cancelled(user, accepted["run_id"]), cancelled(user, accepted["run_id"])
        assert first["cancel_requested_at"] == second["cancel_requested_at"]
        run = user.wait_for_run(accepted, status="cancelled")
        assert cancelled(user, accepted["run_id"]) == run
    end = user.send(session, "[say=the end]")
    with user.events(running["events_url"]) as stream:
        events = stream.until("run_completed")
    for accepted in (running, held):
        assert story(events, accepted["run_id"]).count("run_cancelled") == 1
        assert story(events, accepted["run_id"])[-1] == "run_cancelled"
    assert story(events, end["run_id"])[-1] == "run_completed"


def test_a_run_of_somebody_else_or_of_another_project_is_not_there(user: ApiClient, make_user: MakeUser) -> None:
    user.make_agent()
    accepted = user.send(user.make_session()["id"], "[gap=0.1] [tokens=20]")
    stranger = make_user()
    stranger.make_agent()
    elsewhere = user.inside(user.make_project()["id"])
    theirs = stranger.inside(stranger.make_project()["id"])
    for client, nowhere in ((stranger, stranger), (elsewhere, elsewhere), (theirs, theirs)):
        foreign = cancel(client, accepted["run_id"])
        error(foreign, 404, "not_found")
        assert likeness(foreign) == likeness(cancel(nowhere, str(uuid4())))
    assert user.run(accepted["run_id"])["cancel_requested_at"] is None
    user.wait_for_run(accepted)


def test_cancelled_runs_leave_exactly_their_slots(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=3)
    sessions = [user.make_session()["id"] for _ in range(8)]
    silent = [user.send(session, "[silent=60]") for session in sessions[:3]]
    calls(standin, agent, 3)
    waiting = [user.send(session, "[delay=0.6]") for session in sessions[3:]]
    for one in silent:
        cancelled(user, one["run_id"])
        cancelled(user, one["run_id"])
    for run in settled(user, silent):
        assert run["status"] == "cancelled"
    for one in waiting:
        user.wait_for_run(one)
    assert standin.witness(agent["id"]) == {"current": 0, "max": 3, "total": 8}
    again = [user.send(session, "[delay=0.8]") for session in sessions]
    calls(standin, agent, 3)
    for one in again:
        user.wait_for_run(one)
    assert standin.witness(agent["id"])["max"] == 3


def test_a_node_that_heard_nothing_of_a_cancel_finds_it_by_itself(
    user: ApiClient, standin: Standin, database: Database
) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, "[silent=60]")
    calls(standin, agent, 1)
    ending = Cancellation(database).cancel_run(key_of(user, database), UUID(accepted["run_id"]))
    assert [str(task) for task in ending.at_work] == [accepted["task_id"]]
    assert ending.ended == []
    calls(standin, agent, 0, within=6)
    assert user.wait_for_run(accepted, status="cancelled")["error"]["detail"] == "The run was cancelled."
    with user.events(accepted["events_url"]) as stream:
        assert story(stream.until("run_cancelled"), accepted["run_id"])[-1] == "run_cancelled"
    user.answered(session, "[say=on]")


def test_runs_that_are_cancelled_while_they_start_and_end_each_end_once(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=4)
    sessions = [user.make_session()["id"] for _ in range(6)]
    sent = []
    for turn in range(5):
        batch = [post(user, session, f"[first=0.0{turn}] [tokens=2]").json() for session in sessions]
        for one in batch:
            cancelled(user, one["run_id"])
        sent += batch
    runs = settled(user, sent)
    assert {run["status"] for run in runs} <= {"completed", "cancelled"}
    for run in runs:
        assert run["tasks"][0]["status"] == run["status"]
        assert (run["error"] is None) == (run["status"] == "completed")
    for session in sessions:
        user.answered(session, "[say=free]")
    witness = standin.witness(agent["id"])
    assert witness["current"] == 0
    assert witness["max"] <= 4
