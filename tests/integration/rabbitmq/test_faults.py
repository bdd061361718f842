"""What breaks between a node and RabbitMQ comes back, and neither a limit nor a message is lost over it."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.rabbitmq.system import OwnNode, System
from tests.support.api import FINAL, ApiClient, Json
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

RECOVERY = 60.0


def _settled(user: ApiClient, accepted: list[Json]) -> list[Json]:
    def all_ended() -> list[Json] | None:
        runs = [user.run(one["run_id"]) for one in accepted]
        return runs if all(run["status"] in FINAL for run in runs) else None

    return eventually(all_ended, "the end of every accepted run", within=RECOVERY, every=0.2)


@contextmanager
def _silent(pid: int) -> Iterator[None]:
    """Let the broker hang for the block, as a machine that is out of reach does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_lost_connections_keep_the_limit_and_lose_nothing(
    system: System, user: ApiClient, standin: Standin, node: OwnNode
) -> None:
    agent = user.make_agent(concurrency_limit=3)
    accepted = [user.send(user.make_session()["id"], "[delay=2.5]") for _ in range(15)]
    eventually(lambda: standin.witness(agent["id"])["current"] == 3, "every slot to be used", within=RECOVERY)
    losses = node.losses()
    system.rabbitmq.lose_connections(times=3)
    runs = _settled(user, accepted)
    assert node.losses() == losses + 3
    assert [run["status"] for run in runs] == ["completed"] * 15
    assert standin.witness(agent["id"]) == {"current": 0, "max": 3, "total": 15}


def test_a_restarted_broker_loses_no_message(system: System, user: ApiClient, standin: Standin, node: OwnNode) -> None:
    agent = user.make_agent(concurrency_limit=2)
    accepted = [user.send(user.make_session()["id"], "[delay=1]") for _ in range(4)]
    system.rabbitmq.control("stop_app")
    # Not even its definitions are left: neither queues nor messages.
    system.rabbitmq.control("force_reset")
    accepted += [user.send(user.make_session()["id"], "[delay=0.2]") for _ in range(3)]
    system.rabbitmq.control("start_app")
    runs = _settled(user, accepted)
    assert [run["status"] for run in runs] == ["completed"] * 7
    assert standin.witness(agent["id"]) == {"current": 0, "max": 2, "total": 7}


def test_a_message_does_not_wait_for_a_silent_broker(system: System, user: ApiClient, node: OwnNode) -> None:
    user.make_agent()
    user.make_agent("fresh")
    user.answered(user.make_session()["id"], "[say=before]")
    sessions = [user.make_session()["id"] for _ in range(4)]
    took = []
    accepted = []
    with _silent(system.rabbitmq.pid):
        for session, agent in zip(sessions, ["helper", "helper", "fresh", "fresh"], strict=True):
            begun = time.monotonic()
            accepted.append(user.send(session, "[say=late]", agent))
            took.append(time.monotonic() - begun)
    assert max(took) < 1.0, "the broker has 0.4 s of a request; the rest is the database on a busy machine"
    assert [run["status"] for run in _settled(user, accepted)] == ["completed"] * 4


def test_a_broker_that_is_away_makes_answers_late(system: System, user: ApiClient, node: OwnNode) -> None:
    user.make_agent()
    system.rabbitmq.control("stop_app")
    begun = time.monotonic()
    accepted = [user.send(user.make_session()["id"], "[say=late]") for _ in range(3)]
    assert time.monotonic() - begun < 3 * 1.0
    system.rabbitmq.control("start_app")
    assert [run["status"] for run in _settled(user, accepted)] == ["completed"] * 3


def test_a_channel_that_the_broker_closes_comes_back(
    system: System, user: ApiClient, standin: Standin, node: OwnNode
) -> None:
    """RabbitMQ closes the channel of a message that stays unacknowledged for longer than it allows."""
    agent = user.make_agent(concurrency_limit=2)
    allow = "lists:foreach(fun({{Name, Value}}) -> application:set_env(rabbit, Name, Value) end, [{}])."
    system.rabbitmq.evaluate(allow.format("{consumer_timeout, 1500}, {channel_tick_interval, 500}"))
    try:
        # Limits of time are read when a channel is opened.
        system.rabbitmq.lose_connections()
        accepted = [user.send(user.make_session()["id"], "[delay=5]") for _ in range(3)]
        eventually(
            lambda: "delivery acknowledgement on channel" in node.log.read_text(), "the broker to close it", within=30
        )
        assert [run["status"] for run in _settled(user, accepted)] == ["completed"] * 3
        assert standin.witness(agent["id"]) == {"current": 0, "max": 2, "total": 3}
    finally:
        system.rabbitmq.evaluate(allow.format("{consumer_timeout, 1800000}, {channel_tick_interval, 60000}"))
        system.rabbitmq.lose_connections()
