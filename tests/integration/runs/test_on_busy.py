"""What becomes of a message whose session has a run that is not finished: `on_busy`."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import pytest

from tests.integration.runs.steps import Json, calls, cancelled, post, runs_of, settled, story
from tests.support.answers import error, refused
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.streams import Event

pytestmark = pytest.mark.stack

LONG = "[gap=0.05] [tokens=400]"


def interrupt(user: ApiClient, session: str, content: str, agent: str = "helper") -> Json:
    answer = post(user, session, content, agent, on_busy="interrupt")
    assert answer.status_code == 202, answer.text
    body: Json = answer.json()
    return body


@pytest.mark.parametrize("more", [{}, {"on_busy": "enqueue"}])
def test_a_message_to_a_busy_session_is_answered_after_what_runs(
    user: ApiClient, standin: Standin, more: dict[str, str]
) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    first = user.send(session, "[delay=2] [say=one]")
    calls(standin, agent, 1)
    second = post(user, session, "[say=two]", **more).json()
    assert second["status"] == "held"
    user.wait_for_run(second)
    assert user.run(first["run_id"])["status"] == "completed"
    assert [m["content"] for m in user.messages(session, role="assistant")] == ["one", "two"]
    assert standin.witness(agent["id"])["max"] == 1


@pytest.mark.parametrize("value", ["later", "", None, 1, True, ["reject"], "REJECT"])
def test_an_unknown_wish_is_refused(user: ApiClient, value: object) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    assert refused(post(user, session, "hello", on_busy=value))[0]["loc"] == ["on_busy"]
    assert user.messages(session) == runs_of(user, session) == []


def test_a_message_that_asks_for_it_is_refused_by_a_busy_session_and_leaves_nothing(
    user: ApiClient, standin: Standin
) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    running = user.send(session, "[silent=60]")
    calls(standin, agent, 1)
    held = user.send(session, "[say=held]")
    before = (user.messages(session), runs_of(user, session))
    error(post(user, session, "now or never", on_busy="reject"), 409, "session_busy")
    assert (user.messages(session), runs_of(user, session)) == before
    cancelled(user, running["run_id"])
    user.wait_for_run(held)
    answer = post(user, session, "[say=now]", on_busy="reject")
    assert answer.status_code == 202
    user.wait_for_run(answer.json())
    with user.events(running["events_url"]) as stream:
        events = stream.until("run_completed") + stream.until("run_completed")
    assert [event.payload["content"] for event in events if event.type == "message_created"] == [
        "[silent=60]",
        "[say=held]",
        "held",
        "[say=now]",
        "now",
    ]


def test_a_session_that_only_waits_is_busy_and_another_one_is_not(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=1)
    blocker = user.send(user.make_session()["id"], "[silent=60]")
    calls(standin, agent, 1)
    session, free = user.make_session()["id"], user.make_session()["id"]
    queued = user.send(session, "hello")
    assert queued["status"] == "queued"
    error(post(user, session, "hello", on_busy="reject"), 409, "session_busy")
    assert post(user, free, "hello", on_busy="reject").status_code == 202
    for one in (queued, blocker):
        cancelled(user, one["run_id"])


def test_an_interrupt_keeps_what_was_said_and_the_next_answer_knows_it(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    first = user.send(session, LONG)
    with user.events(first["events_url"]) as stream:
        events: list[Event] = []
        while sum(event.type == "task_progress" for event in events) < 3:
            events.append(stream.next())
        second = interrupt(user, session, "[say=instead]")
        assert second["status"] == "held"
        events += stream.until("run_completed")
    run = user.wait_for_run(first, status="cancelled")
    assert run["error"]["error_code"] == "cancelled"
    assert "newer message" in run["error"]["detail"]
    user.wait_for_run(second)
    ours = [event for event in events if event.body["run_id"] == first["run_id"]]
    said = "".join(event.payload["text"] for event in ours if event.type == "task_progress")
    assert said.startswith("tok1 tok2")
    conversation = [(m["role"], m["content"]) for m in user.messages(session)]
    assert conversation == [("user", LONG), ("assistant", said), ("user", "[say=instead]"), ("assistant", "instead")]
    request = next(r for r in reversed(standin.requests(50)) if r["messages"][-1]["content"] == "[say=instead]")
    assert [(m["role"], m["content"]) for m in request["messages"] if m["role"] != "system"] == conversation[:3]
    assert story(ours, first["run_id"])[-2:] == ["message_created", "run_cancelled"]
    order = [(event.type, event.body["run_id"]) for event in events]
    assert order.index(("run_cancelled", first["run_id"])) < order.index(("task_progress", second["run_id"]))
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 2}


def test_an_interrupt_ends_all_that_the_session_has(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    running = user.send(session, "[silent=60]")
    calls(standin, agent, 1)
    held = [user.send(session, f"number {number}") for number in range(3)]
    elsewhere = user.send(user.make_session()["id"], "[delay=1] [say=untouched]")
    last = interrupt(user, session, "[say=only me]")
    for one in held:
        run = user.run(one["run_id"])
        assert run["status"] == run["tasks"][0]["status"] == "cancelled"
    user.wait_for_run(running, status="cancelled")
    user.wait_for_run(last)
    user.wait_for_run(elsewhere)
    assert [m["content"] for m in user.messages(session, role="assistant")] == ["only me"]
    with user.events(running["events_url"]) as stream:
        events = stream.until("run_completed")
    for one in (running, *held):
        assert story(events, one["run_id"])[-1] == "run_cancelled"


def test_an_interrupt_of_a_queued_run_starts_in_its_place(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=1)
    blocker = user.send(user.make_session()["id"], "[silent=60]")
    calls(standin, agent, 1)
    session = user.make_session()["id"]
    queued = user.send(session, "never answered")
    second = interrupt(user, session, "[say=answered]")
    assert (second["status"], second["queue_position"]) == ("queued", 0)
    assert user.run(queued["run_id"])["status"] == "cancelled"
    assert user.run(blocker["run_id"])["status"] == "running"
    cancelled(user, blocker["run_id"])
    user.wait_for_run(second)
    assert standin.witness(agent["id"])["total"] == 2


def test_an_interrupt_reaches_a_run_of_another_agent(user: ApiClient, standin: Standin) -> None:
    first, second = user.make_agent("first"), user.make_agent("second")
    session = user.make_session()["id"]
    running = user.send(session, "[silent=60]", agent="first")
    calls(standin, first, 1)
    user.wait_for_run(interrupt(user, session, "[say=mine]", agent="second"))
    user.wait_for_run(running, status="cancelled")
    assert standin.witness(second["id"])["total"] == 1


def test_an_interrupt_of_an_idle_session_is_a_message_like_any_other(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    done = user.answered(session, "[say=one]")
    second = interrupt(user, session, "[say=two]")
    assert (second["status"], second["queue_position"]) == ("queued", 0)
    user.wait_for_run(second)
    assert user.run(done["run_id"])["status"] == "completed"


def test_an_interrupt_that_is_refused_ends_nothing(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    running = user.send(session, "[silent=60]")
    calls(standin, agent, 1)
    held = user.send(session, "held")
    error(post(user, session, "hello", "nobody", on_busy="interrupt"), 404, "not_found")
    error(post(user, str(uuid4()), "hello", on_busy="interrupt"), 404, "not_found")
    refused(post(user, session, "", on_busy="interrupt"))
    assert user.run(running["run_id"])["cancel_requested_at"] is None
    assert user.run(held["run_id"])["status"] == "queued"
    cancelled(user, held["run_id"])
    cancelled(user, running["run_id"])


def test_of_many_interrupts_at_once_the_newest_is_answered_and_never_two_at_a_time(
    user: ApiClient, standin: Standin
) -> None:
    agent = user.make_agent(concurrency_limit=8)
    session = user.make_session()["id"]
    started = user.send(session, LONG)
    calls(standin, agent, 1)
    send = partial(interrupt, user, session)
    messages = [f"[gap=0.02] [tokens=20] number {number}" for number in range(16)]
    with ThreadPoolExecutor(8) as threads:
        sent = list(threads.map(send, messages))
    runs = {run["id"]: run for run in settled(user, [started, *sent])}
    in_order = runs_of(user, session)
    assert len(in_order) == 17
    newest = in_order[-1]["id"]
    assert runs[newest]["status"] == "completed"
    assert runs[newest]["finished_at"] == max(run["finished_at"] for run in runs.values())
    assert {run["status"] for run_id, run in runs.items() if run_id != newest} <= {"cancelled", "completed"}
    assert runs[started["run_id"]]["status"] == "cancelled"
    assert standin.witness(agent["id"])["max"] == 1
    user.answered(session, "[say=free]")


def test_interrupts_of_runs_that_are_about_to_end_are_all_accepted(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=8)
    sessions = [user.make_session()["id"] for _ in range(4)]

    def chat(session: str) -> list[Json]:
        return [interrupt(user, session, "[first=0.005] [tokens=1]") for _ in range(12)]

    with ThreadPoolExecutor(4) as threads:
        sent = [one for batch in threads.map(chat, sessions) for one in batch]
    assert {run["status"] for run in settled(user, sent)} <= {"cancelled", "completed"}
    assert standin.witness(agent["id"])["max"] <= 4
