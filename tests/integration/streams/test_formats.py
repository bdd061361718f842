"""One stream in two formats: lines of JSON, and server-sent events for those who ask for them."""

from datetime import datetime

import pytest

from tests.integration.streams.conftest import Reply, Talk
from tests.support.api import ApiClient
from tests.support.streams import EventStream
from workspace.events import EventType, Payload

pytestmark = pytest.mark.stack

PAYLOADS = {each.event_type: each for each in Payload.__subclasses__()}
ENVELOPE = {"id", "event_type", "session_id", "run_id", "task_id", "payload", "timestamp"}


def test_both_formats_tell_the_same(reply: Reply) -> None:
    for sse in (False, True):
        with reply.client.events(reply.session_id, cursor="0", sse=sse) as stream:
            assert stream.next().type == "heartbeat"
            assert [event.body for event in stream.take(len(reply.events))] == reply.events


def test_lines_of_json_are_the_default(talk: Talk) -> None:
    with talk.client.events(talk.session_id) as stream:
        assert stream.headers["content-type"] == "application/x-ndjson; charset=utf-8"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert "content-length" not in stream.headers


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/event-stream", "text/event-stream"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/event-stream;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson;q=0.5, text/event-stream;q=0.9", "text/event-stream"),
        ("text/html, text/event-stream;q=0.1", "text/event-stream"),
        ("*/*", "application/x-ndjson"),
        ("text/*", "text/event-stream"),
        ("application/json", "application/x-ndjson"),
        ("", "application/x-ndjson"),
        ("nonsense", "application/x-ndjson"),
    ],
)
def test_accept_chooses_the_format(talk: Talk, accept: str, content_type: str) -> None:
    url = talk.client.url + talk.client.path(f"chat/{talk.session_id}/events/")
    with EventStream.open(url, {**talk.client.authorization, "Accept": accept}) as stream:
        assert stream.headers["content-type"] == f"{content_type}; charset=utf-8"
        assert stream.next().type == "heartbeat"


def test_the_first_frame_is_a_heartbeat_at_once(talk: Talk) -> None:
    for cursor in (None, "0"):
        with talk.client.events(talk.session_id, cursor=cursor) as stream:
            first = stream.next(within=5)
            assert (first.type, first.id, first.payload) == ("heartbeat", None, {})
            assert first.body["session_id"] == talk.session_id


def test_every_event_is_what_the_schema_says(reply: Reply) -> None:
    for event in reply.events:
        assert set(event) == ENVELOPE
        PAYLOADS[EventType(str(event["event_type"]))].model_validate(event["payload"])
        assert event["session_id"] == reply.session_id
        assert event["run_id"] == reply.accepted["run_id"]
        assert event["task_id"] == reply.accepted["task_id"]
        assert datetime.fromisoformat(str(event["timestamp"])).tzinfo is not None


def test_a_direct_message_is_told_in_this_order(reply: Reply) -> None:
    types = [event["event_type"] for event in reply.events if event["event_type"] != "agent_status_changed"]
    pieces = types.count("task_progress")
    assert pieces >= 4
    assert types == [
        "message_created",
        "direct_agent_call",
        "task_started",
        "context_retrieved",
        *["task_progress"] * pieces,
        "task_completed",
        "message_created",
        "run_completed",
    ]


def test_ids_grow_and_times_do_not_go_back(reply: Reply) -> None:
    numbers = [tuple(map(int, each.split("-"))) for each in reply.ids]
    assert numbers == sorted(set(numbers))
    times = [str(event["timestamp"]) for event in reply.events]
    assert times[0] <= times[-1]


def test_text_of_any_kind_keeps_its_frame(talk: Talk) -> None:
    """Line ends inside of a text must not end a frame, in either format."""
    words = ["a\nb", "\r\n\r\n", "data: x\n\nid: 1-1", "\u2028\u2029\x85", "ü\U0001f600", '"\\"', " ", "x" * 100_000]
    talk.say(*words)
    for sse in (False, True):
        with talk.client.events(talk.session_id, cursor="0", sse=sse) as stream:
            assert [event.payload["text"] for event in stream.take(len(words) + 1)[1:]] == words


def test_head_opens_no_stream(talk: Talk) -> None:
    def active() -> float:
        text = talk.client.http.get(f"{talk.client.url}/metrics").text
        return float(next(line for line in text.splitlines() if line.startswith("codelab_streams_active")).split()[1])

    before = active()
    for _ in range(5):
        answer = talk.client.request("HEAD", f"chat/{talk.session_id}/events/")
        assert (answer.status_code, answer.content) == (200, b"")
    assert active() <= before


def test_a_stream_is_asked_for_by_get_only(user: ApiClient) -> None:
    session = user.make_session()["id"]
    assert user.post(f"chat/{session}/events/", {}).status_code == 405
