"""What breaks comes back, and nothing that was accepted is lost.

These tests break the stack's own parts: they run one after the other, and each waits until all is well again.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest

from tests.conftest import MakeUser
from tests.support.api import FINAL, ApiClient
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

RECOVERY = 60.0
"""Seconds a test waits for all to be well again; what recovery takes is measured by the bench, not asserted here."""


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """Let a process hang for the block, as a machine that is out of reach does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _settle(user: ApiClient, accepted: list[dict[str, object]]) -> list[dict[str, object]]:
    """Wait until every run has ended; the API may be away for a while."""

    def all_ended() -> list[dict[str, object]] | None:
        try:
            answers = [user.get(f"runs/{one['run_id']}/") for one in accepted]
        except httpx.TransportError:
            return None
        if any(answer.status_code != 200 for answer in answers):
            assert all(answer.status_code in {200, 503} for answer in answers), [a.text for a in answers]
            return None
        runs = [answer.json() for answer in answers]
        return runs if all(run["status"] in FINAL for run in runs) else None

    return eventually(all_ended, "the end of every accepted run", within=RECOVERY, every=0.2)


def _post(user: ApiClient, session: str, content: str) -> dict[str, object]:
    """Send a message; the only errors allowed are those that say to come back."""
    deadline = time.monotonic() + RECOVERY
    while True:
        answer = user.post(f"chat/{session}/message/", {"content": content, "target_agent": "helper"})
        if answer.status_code == 202:
            accepted: dict[str, object] = answer.json()
            return accepted
        assert answer.status_code == 503, answer.text
        assert answer.json()["error_code"] == "overloaded"
        assert "Retry-After" in answer.headers
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _replies(user: ApiClient, session: str) -> list[str]:
    return [message["content"] for message in user.messages(session) if message["role"] == "assistant"]


def test_a_silent_broker_delays_answers_and_loses_none(user: ApiClient, standin: Standin, store: object) -> None:
    agent = user.make_agent(concurrency_limit=2)
    sessions = [user.make_session()["id"] for _ in range(8)]
    accepted = [_post(user, session, f"[delay=0.3] [say=reply in {session}]") for session in sessions[:4]]
    redis_pid = _redis_pid(store)
    with _stopped(redis_pid):
        begun = time.monotonic()
        accepted += [_post(user, session, f"[say=reply in {session}]") for session in sessions[4:6]]
        assert time.monotonic() - begun < 2 * 5, "a message waits for the broker"
        time.sleep(1.0)
    accepted += [_post(user, session, f"[say=reply in {session}]") for session in sessions[6:]]
    runs = _settle(user, accepted)
    assert [run["status"] for run in runs] == ["completed"] * 8
    assert [_replies(user, session) for session in sessions] == [[f"reply in {session}"] for session in sessions]
    assert standin.witness(agent["id"])["max"] <= 2


def test_a_broker_that_lost_all_its_data_loses_no_message(user: ApiClient, standin: Standin, store: object) -> None:
    agent = user.make_agent(concurrency_limit=2)
    sessions = [user.make_session()["id"] for _ in range(10)]
    accepted = [_post(user, session, f"[delay=0.5] [say=reply in {session}]") for session in sessions[:6]]
    os.kill(_redis_pid(store), signal.SIGKILL)
    accepted += [_post(user, session, f"[say=reply in {session}]") for session in sessions[6:]]
    runs = _settle(user, accepted)
    assert [run["status"] for run in runs] == ["completed"] * 10
    assert [_replies(user, session) for session in sessions] == [[f"reply in {session}"] for session in sessions]
    assert standin.witness(agent["id"])["max"] <= 2
    assert standin.witness(agent["id"])["total"] == 10, "a task ran twice"


def test_streams_go_on_after_the_broker_came_back(user: ApiClient, store: object) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    with user.events(session) as stream:
        user.answered(session, "[say=before]")
        stream.until("run_completed")
        os.kill(_redis_pid(store), signal.SIGKILL)
        eventually(lambda: _pings(store), "Redis to come back", within=RECOVERY)
        gap = stream.until("stream_gap", within=RECOVERY)[-1]
        assert gap.payload["snapshot_url"].endswith(f"/chat/{session}/messages/")
        _settle(user, [_post(user, session, "[say=after]")])
        stream.until("run_completed", within=RECOVERY)


def test_a_model_that_is_away_for_a_while_makes_answers_late(user: ApiClient, stack: Stack) -> None:
    user.make_agent()
    sessions = [user.make_session()["id"] for _ in range(3)]
    with _stopped(_model_pid(stack)):
        accepted = [_post(user, session, f"[say=reply in {session}]") for session in sessions]
        time.sleep(1.0)
    assert [run["status"] for run in _settle(user, accepted)] == ["completed"] * 3


def test_a_killed_node_fails_what_it_ran_and_the_rest_goes_on(make_user: MakeUser, stack: Stack) -> None:
    user = make_user()
    user.make_agent(concurrency_limit=1)
    session = user.make_session()["id"]
    running = _post(user, session, "[delay=4]")
    held = _post(user, session, "[say=second of the session]")
    queued = _post(user, user.make_session()["id"], "[say=second of the agent]")
    eventually(lambda: user.run(str(running["run_id"]))["status"] == "running", "the first to run")
    for pid in _worker_pids(stack):
        os.kill(pid, signal.SIGKILL)
    runs = _settle(user, [running, held, queued])
    assert runs[0]["status"] == "failed"
    assert runs[0]["error"]["error_code"] == "worker_lost"  # type: ignore[index]
    assert runs[0]["error"]["retryable"] is True  # type: ignore[index]
    assert [run["status"] for run in runs[1:]] == ["completed"] * 2


def test_a_restarted_database_loses_no_message(user: ApiClient, stack: Stack) -> None:
    user.make_agent()
    sessions = [user.make_session()["id"] for _ in range(6)]
    accepted = [_post(user, session, f"[delay=1.0] [say=reply in {session}]") for session in sessions[:3]]
    postmaster = _parent_of_database(stack)
    os.kill(postmaster, signal.SIGINT)  # a fast shutdown: every session is ended
    accepted += [_post(user, session, f"[say=reply in {session}]") for session in sessions[3:]]
    runs = _settle(user, accepted)
    assert [run["status"] for run in runs] == ["completed"] * 6
    assert [_replies(user, session) for session in sessions] == [[f"reply in {session}"] for session in sessions]


def _redis_pid(store: object) -> int:
    return int(store.info("server")["process_id"])  # type: ignore[attr-defined]


def _pings(store: object) -> bool:
    try:
        return bool(store.ping())  # type: ignore[attr-defined]
    except Exception:
        return False


def _model_pid(stack: Stack) -> int:
    """Return the process that serves: gunicorn's parent only watches it."""
    address = stack.model_url.removeprefix("http://").partition("/")[0]
    for process in psutil.process_iter(["cmdline", "pid"]):
        command = process.info["cmdline"] or []
        if address in command and "devstack.standin.app:create_app()" in command:
            children = process.children()
            return int(children[0].pid if children else process.pid)
    raise AssertionError("the stack's stand-in model was not found")


def _worker_pids(stack: Stack) -> list[int]:
    for line in (stack.directory / "env").read_text().splitlines():
        if line.startswith("WORKER_PIDS="):
            return [int(pid) for pid in line.partition("=")[2].strip('"').split()]
    raise AssertionError("the stack names no workers")


def _parent_of_database(stack: Stack) -> int:
    port = stack.database_url.rpartition(":")[2].partition("/")[0]
    for process in psutil.process_iter(["cmdline", "pid"]):
        command = process.info["cmdline"] or []
        if command and command[0].endswith("postgres") and f"port={port}" in command:
            return int(process.info["pid"])
    raise AssertionError("the stack's Postgres was not found")
