"""Many readers, slow readers, and buffers that do not grow."""

import socket
from collections.abc import Callable

import pytest
import redis

from tests.integration.streams.conftest import Talk
from tests.support.api import ApiClient
from tests.support.streams import EventStream, pump_all
from tests.support.waiting import eventually
from workspace.event_publisher import EventPublisher

pytestmark = pytest.mark.stack

READERS = 200
PIECE = "x" * 60_000


def test_two_hundred_readers_all_get_every_event_once_and_in_order(talk: Talk) -> None:
    url = talk.client.url + talk.client.path(f"chat/{talk.session_id}/events/")
    words = [str(number) for number in range(25)]
    streams: list[EventStream] = []
    try:
        for number in range(READERS):
            accept = "text/event-stream" if number % 2 else "application/x-ndjson"
            streams.append(EventStream.open(url, {**talk.client.authorization, "Accept": accept}))
        ids = [talk.say(word)[0] for word in words]
        seen: list[list[str | None]] = [[] for _ in streams]

        def complete() -> bool:
            for events, stream in zip(seen, streams, strict=True):
                events += [event.id for event in stream.arrived() if event.type != "heartbeat"]
            return all(len(events) >= len(ids) for events in seen)

        pump_all(streams, complete)
        assert all(events == ids for events in seen)
    finally:
        for stream in streams:
            stream.close()


def test_a_slow_reader_is_dropped_with_a_gap_and_holds_nobody_up(talk: Talk, tuned_url: str) -> None:
    """It does not read until the kernel's buffers and its queue of 40 are full; another reader gets every event."""
    here = talk.client.at(tuned_url)
    with here.events(talk.session_id, receive_buffer=4_096) as slow, here.events(talk.session_id) as quick:
        assert slow.next().type == "heartbeat"
        quick.next()
        ids: list[str] = []
        dropped = _counter(here, 'codelab_streams_lost_total{reason="slow"}')
        before = dropped()
        while dropped() == before:
            assert len(ids) < 2_000, "the slow reader is never dropped"
            ids += talk.say(PIECE)
            assert quick.until("task_progress")[-1].id == ids[-1]
        # From here on it is read again: what was queued comes in order, then the gap, then the end.
        *events, gap = [event for event in slow.rest() if event.type != "heartbeat"]
        assert (gap.type, gap.payload["reason"]) == ("stream_gap", "slow_reader")
        assert (
            here.http.get(talk.client.url + gap.payload["snapshot_url"], headers=here.authorization).status_code == 200
        )
        assert [event.id for event in events] == ids[: len(events)]
        assert 40 <= len(events) < len(ids)
        (last,) = talk.say("still here")
        assert quick.until("task_progress")[-1].id == last


def test_a_reader_that_is_slow_while_it_replays_misses_nothing_silently(talk: Talk, store: redis.Redis) -> None:
    """While it holds up its own replay, the buffer moves on: what it missed is told as a gap, or came."""
    capped = Talk(talk.client, talk.session_id, talk.scope, EventPublisher(store, buffer_size=200, buffer_ttl=60))
    old = [each for _ in range(20) for each in capped.say(*[PIECE] * 10)]
    with talk.client.events(talk.session_id, cursor="0", receive_buffer=4_096) as stream:
        assert stream.next().type == "heartbeat"
        new = [each for _ in range(20) for each in capped.say(*["new"] * 10)]
        events = [stream.next()]
        while events[-1].id != new[-1]:
            events.append(stream.next())
    told = [event.id for event in events if event.id]
    assert told == sorted(set(told), key=(old + new).index)
    assert told == old + new or "stream_gap" in [event.type for event in events]


def test_a_reader_that_is_dropped_can_come_back_where_it_was(talk: Talk) -> None:
    ids = talk.say(*"abcdef")
    with talk.client.events(talk.session_id, cursor="0") as stream:
        seen = stream.take(4)[-1].id
    with talk.client.events(talk.session_id, cursor=str(seen)) as stream:
        assert [event.id for event in stream.take(4)[1:]] == ids[3:]


def _counter(client: ApiClient, name: str) -> Callable[[], float]:
    def value() -> float:
        for line in client.http.get(f"{client.url}/metrics").text.splitlines():
            if line.startswith(name):
                return float(line.rpartition(" ")[2])
        return 0.0

    return value


def test_connections_that_close_at_once_leave_nothing(talk: Talk, tuned_url: str) -> None:
    """Their clients leave between the request and the first frame."""
    host, _, port = tuned_url.removeprefix("http://").partition(":")
    path = talk.client.path(f"chat/{talk.session_id}/events/")
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {talk.client.token}\r\n\r\n".encode()
    active = _counter(talk.client.at(tuned_url), "codelab_streams_active")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request)
    eventually(lambda: active() == 0, "every stream is given up")


# Buffers ------------------------------------------------------------------------------------------------------------


def test_a_buffer_is_capped(user: ApiClient, tuned_url: str, talk: Talk, store: redis.Redis) -> None:
    """The web process under test keeps 5 events a session, and publishes 2 for each message."""
    agent = user.make_agent()
    first = user.send(talk.session_id, "[silent=60] holds the session, so that nothing else is published")
    with user.events(first["events_url"]) as stream:
        stream.until("context_retrieved")
    talk.say(*"abcdefgh")
    assert store.xlen(talk.buffer) > 5
    accepted = user.at(tuned_url).send(talk.session_id, "held")
    assert accepted["status"] == "held"
    assert store.xlen(talk.buffer) == 5
    with user.at(tuned_url).events(talk.session_id, cursor="0") as stream:
        events = stream.take(6)[1:]
    assert [event.type for event in events] == ["task_progress"] * 3 + ["message_created", "direct_agent_call"]
    user.delete(f"agents/{agent['id']}/")


def test_a_buffer_expires_after_its_last_event(talk: Talk, store: redis.Redis) -> None:
    talk.say("first")
    assert 290 <= store.ttl(talk.buffer) <= 300
    store.expire(talk.buffer, 10)
    talk.say("second")
    assert store.ttl(talk.buffer) > 290


def test_the_stacks_programs_let_every_buffer_expire(user: ApiClient, talk: Talk, store: redis.Redis) -> None:
    user.make_agent()
    user.answered(talk.session_id, "Hello")
    assert 0 < store.ttl(talk.buffer) <= 300


def test_every_key_of_a_session_begins_with_its_user_and_project(
    user: ApiClient, talk: Talk, store: redis.Redis
) -> None:
    user.make_agent()
    user.answered(talk.session_id, "Hello")
    prefix = f"user{talk.scope.key.user_id}:project{talk.scope.key.project_id}:"
    keys = [key.decode() for key in store.scan_iter(match=f"*{talk.session_id}*", count=1_000)]
    assert keys == [f"{prefix}session:{talk.session_id}:events"]
