"""How a stream lives and ends: heartbeats, deleted sessions, expired tokens, lost connections."""

import time

import httpx
import pytest
import redis

from tests.integration.streams.conftest import MakeTalk, Talk
from tests.support.api import ApiClient
from tests.support.proxy import Proxy
from tests.support.streams import Event, EventStream, StreamRefused
from tests.support.waiting import eventually
from workspace.event_publisher import EventPublisher

pytestmark = pytest.mark.stack


def test_heartbeats_come_while_nothing_happens(talk: Talk, tuned_url: str) -> None:
    with talk.client.at(tuned_url).events(talk.session_id) as stream:
        arrivals = []
        for _ in range(4):
            beat = stream.next(within=10)
            assert (beat.type, beat.id) == ("heartbeat", None)
            arrivals.append(time.monotonic())
    # The first comes at once, the others each half a second; a busy machine may be late, never early.
    assert 1.4 < arrivals[-1] - arrivals[0] < 6


def test_no_heartbeat_comes_where_events_do(talk: Talk, tuned_url: str) -> None:
    with talk.client.at(tuned_url).events(talk.session_id) as stream:
        stream.next()
        started = time.monotonic()
        types = []
        while time.monotonic() - started < 1.2:
            talk.say("busy")
            types.append(stream.next().type)
        assert set(types) == {"task_progress"}


@pytest.mark.parametrize("sse", [False, True], ids=["NDJSON", "SSE"])
def test_a_stream_ends_when_its_session_is_deleted(talk: Talk, sse: bool) -> None:
    with talk.client.events(talk.session_id, cursor="0", sse=sse) as stream:
        stream.next()
        talk.say("last words")
        assert talk.client.delete(f"chat/sessions/{talk.session_id}/").status_code == 204
        assert [event.payload.get("text") for event in stream.rest(within=5)] == ["last words"]


def test_only_the_deleted_sessions_streams_end(talk: Talk, make_talk: MakeTalk) -> None:
    other = make_talk(talk.client)
    with talk.client.events(other.session_id) as stream:
        stream.next()
        talk.client.delete(f"chat/sessions/{talk.session_id}/")
        other.say("still here")
        assert stream.next().payload["text"] == "still here"


def test_a_deleted_session_leaves_no_buffer(talk: Talk, store: redis.Redis) -> None:
    talk.say("something")
    assert store.exists(talk.buffer)
    talk.client.delete(f"chat/sessions/{talk.session_id}/")
    assert not store.exists(talk.buffer)


def test_a_stream_ends_when_its_project_is_deleted(user: ApiClient) -> None:
    project = user.make_project()["id"]
    inside = user.inside(project)
    session = inside.make_session()["id"]
    with inside.events(session) as stream:
        stream.next()
        assert user.delete(f"/my/projects/{project}/").status_code == 204
        stream.rest(within=5)


def test_a_stream_ends_with_its_token_and_says_so(talk: Talk) -> None:
    now = int(time.time())
    brief = talk.client.with_token(exp=now + 3)
    with brief.events(talk.session_id, cursor="0") as stream, talk.client.events(talk.session_id) as other:
        talk.say("while it lasts")
        *events, last = stream.rest(within=15)
        assert [event.payload.get("text") for event in events] == [None, "while it lasts"]
        assert (last.type, last.id, last.payload["error_code"]) == ("error", None, "unauthorized")
        assert 2 <= time.time() - now < 10
        other.take(2)
        talk.say("for the others")
        assert other.next().payload["text"] == "for the others"


def test_an_expired_token_opens_no_stream(talk: Talk) -> None:
    now = int(time.time())
    expired = talk.client.with_token(iat=now - 100, exp=now - 60)
    with pytest.raises(StreamRefused) as refusal, expired.events(talk.session_id):
        pass
    assert refusal.value.status == 401


def test_a_reader_that_went_away_is_noticed(talk: Talk, tuned_url: str, http: httpx.Client) -> None:
    def active() -> float:
        text = http.get(f"{tuned_url}/metrics").text
        return float(next(line for line in text.splitlines() if line.startswith("codelab_streams_active")).split()[1])

    eventually(lambda: active() == 0, "no other reader is left")
    with talk.client.at(tuned_url).events(talk.session_id) as stream:
        stream.next()
        assert active() == 1
    eventually(lambda: active() == 0, "the heartbeats found nobody")


# The web process's own connection to Redis --------------------------------------------------------------------------


def heard(talk: Talk, stream: EventStream) -> list[Event]:
    """Publish until the stream brings something again; returns all that it brought, heartbeats left out."""
    events: list[Event] = []
    said: set[str | None] = set()

    def came() -> bool:
        said.update(talk.say("again"))
        stream.pump(0.3)
        events.extend(event for event in stream.arrived() if event.type != "heartbeat")
        return bool(events) and events[-1].id in said

    eventually(came, "the stream goes on")
    return events


@pytest.mark.parametrize("has_seen_something", [True, False], ids=["after an event", "before the first"])
def test_what_happened_while_redis_was_out_of_reach_comes_afterwards(
    talk: Talk, wired_url: str, wire: Proxy, store: redis.Redis, has_seen_something: bool
) -> None:
    talk.say("at the start")
    with talk.client.at(wired_url).events(talk.session_id) as stream:
        stream.next()
        if has_seen_something:
            talk.say("before")
            stream.next()
        wire.cut()
        try:
            missed = talk.say("missed", "missed, too")
        finally:
            wire.mend()
        seen = [event.id for event in heard(talk, stream)]
    written = [entry_id.decode() for entry_id, _ in store.xrange(talk.buffer, min=missed[0])]
    assert seen == written[: len(seen)]


@pytest.mark.parametrize("has_seen_something", [True, False], ids=["after an event", "before the first"])
def test_a_gap_is_told_where_the_buffer_does_not_reach_back(
    talk: Talk, wired_url: str, wire: Proxy, store: redis.Redis, has_seen_something: bool
) -> None:
    short = Talk(talk.client, talk.session_id, talk.scope, EventPublisher(store, buffer_size=2, buffer_ttl=60))
    (start,) = short.say("at the start")
    with talk.client.at(wired_url).events(talk.session_id, cursor=start) as stream:
        stream.next()
        if has_seen_something:
            short.say("before")
            stream.next()
        wire.cut()
        try:
            short.say(*"abcdef")
        finally:
            wire.mend()
        events = heard(short, stream)
    assert events[0].type == "stream_gap", events


def test_the_process_that_lost_redis_serves_new_readers_again(talk: Talk, wired_url: str, wire: Proxy) -> None:
    wire.cut()
    wire.mend()
    here = talk.client.at(wired_url)

    def opened() -> bool:
        answer = here.request("HEAD", f"chat/{talk.session_id}/events/")
        assert answer.status_code in {200, 503}
        return answer.status_code == 200

    eventually(opened, "streams are within reach")
    (first,) = talk.say("after")
    with here.events(talk.session_id, cursor="0") as stream:
        assert [event.id for event in stream.take(2)] == [None, first]
