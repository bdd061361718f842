"""A reader that comes back with the last id it saw goes on there: nothing is missed, nothing comes twice."""

import threading
from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.integration.streams.conftest import MakeTalk, Reply, Talk
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.streams import Event, StreamRefused, pump_all

pytestmark = pytest.mark.stack

MALFORMED = [
    "x", "-", "-1", "1-", "1--5", "1-+5", "1-1_0", "1_0", "1-1-1", "1.5", "+1", "1 -1", "\u0661", "0x1", "1e3",
    "18446744073709551616", "1-18446744073709551616", "9" * 41, "$", "*", "last", "null",
]  # fmt: skip


def test_every_cut_of_a_reply_goes_on_where_it_was_cut(reply: Reply) -> None:
    """By the query, as clients of NDJSON do, and by the header, as a browser does."""
    for position, last_seen in enumerate(reply.ids):
        expected = reply.events[position + 1 :]
        for sse, how in ((False, {"cursor": last_seen}), (True, {"header": last_seen})):
            with reply.client.events(reply.session_id, sse=sse, **how) as stream:
                assert stream.next().type == "heartbeat"
                assert [event.body for event in stream.take(len(expected))] == expected


@pytest.mark.parametrize("sse", [False, True], ids=["NDJSON", "SSE"])
def test_a_reader_that_leaves_after_every_event_of_a_running_reply_sees_each_once(user: ApiClient, sse: bool) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, "[tokens=20] [gap=0.03] Hello")
    seen: list[Event] = []
    while not seen or seen[-1].type != "run_completed":
        with user.events(session, header=str(seen[-1].id) if seen else "0", sse=sse) as stream:
            heartbeat, event = stream.take(2)
            assert heartbeat.type == "heartbeat"
            seen.append(event)
    with user.events(accepted["events_url"]) as stream:
        assert stream.until("run_completed") == seen


def test_the_cursor_0_is_the_whole_buffer(reply: Reply) -> None:
    for cursor in ("0", "0-0", "00"):
        with reply.client.events(reply.session_id, cursor=cursor) as stream:
            stream.next()
            assert [event.body for event in stream.take(len(reply.events))] == reply.events


def test_without_a_cursor_only_what_happens_from_now_on_comes(talk: Talk) -> None:
    talk.say("before")
    with talk.client.events(talk.session_id) as stream:
        assert stream.next().type == "heartbeat"
        talk.say("after")
        assert stream.next().payload["text"] == "after"


def test_an_empty_buffer_is_no_gap(talk: Talk) -> None:
    with talk.client.events(talk.session_id, cursor="0") as stream:
        assert stream.next().type == "heartbeat"
        talk.say("first")
        assert stream.next().payload["text"] == "first"


def test_the_header_wins_over_the_query(talk: Talk) -> None:
    first, second = talk.say("first", "second")
    with talk.client.events(talk.session_id, cursor="0", header=first) as stream:
        assert [event.id for event in stream.take(2)] == [None, second]
    with talk.client.events(talk.session_id, cursor=first, header="") as stream:
        assert [event.id for event in stream.take(2)] == [None, second]


@pytest.mark.parametrize("sse", [False, True], ids=["NDJSON", "SSE"])
def test_an_unknown_cursor_is_told_as_a_gap_and_then_live_events_come(talk: Talk, sse: bool) -> None:
    first, _ = talk.say("first", "second")
    milliseconds = int(first.split("-")[0])
    for cursor in ("1-1", "1", f"{milliseconds}-77", f"{milliseconds + 10**6}-0", "18446744073709551615-0"):
        with talk.client.events(talk.session_id, cursor=cursor, sse=sse) as stream:
            heartbeat, gap = stream.take(2)
            assert (heartbeat.type, gap.type, gap.id) == ("heartbeat", "stream_gap", None)
            assert set(gap.payload) == {"snapshot_url", "reason"}
            assert talk.client.get(gap.payload["snapshot_url"]).status_code == 200
            (third,) = talk.say("live")
            assert stream.next().id == third


def test_the_snapshot_is_at_the_address_by_which_the_reader_came(talk: Talk) -> None:
    long = talk.client.inside(str(talk.scope.key.project_id))
    for client in (talk.client, long):
        with client.events(talk.session_id, cursor="1-1") as stream:
            gap = stream.until("stream_gap")[-1]
            assert gap.payload["snapshot_url"] == f"{client.prefix}/chat/{talk.session_id}/messages/"


def test_an_expired_buffer_is_a_gap(talk: Talk, forget: Callable[[Talk], None]) -> None:
    (first,) = talk.say("first")
    forget(talk)
    with talk.client.events(talk.session_id, cursor=first) as stream:
        assert [event.type for event in stream.take(2)] == ["heartbeat", "stream_gap"]
        talk.say("second")
        assert stream.next().payload["text"] == "second"


@pytest.mark.parametrize("cursor", MALFORMED)
def test_a_malformed_cursor_is_a_422(talk: Talk, cursor: str) -> None:
    path = f"chat/{talk.session_id}/events/"
    answer = talk.client.get(path, last_event_id=cursor)
    error(answer, 422, "validation_error")
    answer = talk.client.request("GET", path, headers={"Last-Event-ID": f"{cursor}".encode()})
    error(answer, 422, "validation_error")


def test_an_overlong_cursor_or_an_unknown_parameter_is_a_422(talk: Talk) -> None:
    path = f"chat/{talk.session_id}/events/"
    for query in ({"last_event_id": "1" * 42}, {"cursor": "0"}, {"last_event_id": "0", "token": "x"}):
        error(talk.client.get(path, **query), 422, "validation_error", more={"errors"})


def test_a_cursor_of_another_session_brings_nothing_of_it(
    talk: Talk, make_talk: MakeTalk, make_user: Callable[[], ApiClient]
) -> None:
    for other in (make_talk(talk.client), make_talk(make_user())):
        # Two sessions may have equal ids, which are times; the last of many at once is none of mine.
        theirs = other.say(*["theirs"] * 20)[-1]
        talk.say("mine")
        with talk.client.events(talk.session_id, cursor=theirs) as stream:
            assert [event.type for event in stream.take(2)] == ["heartbeat", "stream_gap"]
            (next_id,) = talk.say("mine again")
            assert stream.next().id == next_id


def test_events_of_one_session_do_not_reach_another(talk: Talk, make_talk: MakeTalk) -> None:
    other = make_talk(talk.client)
    with talk.client.events(talk.session_id) as mine, talk.client.events(other.session_id) as theirs:
        mine.next(), theirs.next()
        other.say("theirs")
        talk.say("mine")
        assert mine.next().payload["text"] == "mine"
        assert theirs.next().payload["text"] == "theirs"
        assert not mine.arrived()


def test_a_stream_that_is_not_there_is_a_404(user: ApiClient) -> None:
    with pytest.raises(StreamRefused) as refusal, user.events(str(uuid4()), cursor="0"):
        pass
    assert (refusal.value.status, refusal.value.body["error_code"]) == (404, "not_found")


def test_readers_that_come_while_much_happens_see_everything_once_and_in_order(talk: Talk) -> None:
    """Joining the live events and reading the buffer overlap: neither may lose or repeat what falls in between."""
    count, readers = 400, 12
    publishing = threading.Thread(target=lambda: [talk.say(str(number)) for number in range(count)])
    first = talk.say("start")
    publishing.start()
    streams = []
    try:
        for number in range(readers):
            context = talk.client.events(talk.session_id, cursor="0" if number % 2 else first[0], sse=number % 3 == 0)
            streams.append((context, context.__enter__()))
        seen: list[list[str]] = [[] for _ in streams]

        def complete() -> bool:
            for texts, (_, stream) in zip(seen, streams, strict=True):
                texts += [event.payload["text"] for event in stream.arrived() if event.type == "task_progress"]
            return all(texts and texts[-1] == str(count - 1) for texts in seen)

        pump_all([stream for _, stream in streams], complete)
    finally:
        publishing.join()
        for context, _ in streams:
            context.__exit__(None, None, None)
    for number, texts in enumerate(seen):
        assert texts == [*(["start"] if number % 2 else []), *map(str, range(count))]
