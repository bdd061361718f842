"""The fan-out of a web process, with a Redis of the test's own: one connection, a bounded queue for each reader."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from api import event_hub
from api.event_hub import EventHub
from api.streamed_events import Closed, Gap, Item, Reader, StreamedEvent, as_sse, parse_id
from models.statuses import MessageRole
from tests.support.waiting import eventually
from workspace.errors import TooManyStreams, Unavailable
from workspace.event_publisher import CLOSE_STREAM
from workspace.events import EventType, MessageCreated, encode

BODY = b'{"event_type":"task_progress","session_id":"x","payload":{}}'
Entry = tuple[bytes, dict[bytes, bytes]]


class FakeRedis:
    """As much of a Redis as the hub uses: buffers, and subscriptions that can be lost."""

    def __init__(self) -> None:
        self.buffers: dict[str, list[Entry]] = {}
        self.is_away = False
        self.confirms = True
        self.subscribed: set[str] = set()
        self.connections: list[FakePubSub] = []
        self._serial = 0

    # what the hub calls

    def pubsub(self) -> "FakePubSub":
        self._refuse()
        connection = FakePubSub(self)
        self.connections.append(connection)
        self.subscribed.clear()
        return connection

    def xrevrange(self, name: str, count: int) -> list[Entry]:
        self._refuse()
        return self.buffers.get(name, [])[::-1][:count]

    def xrange(self, name: str, min: str, count: int | None = None) -> list[Entry]:  # noqa: A002  # the client's name
        self._refuse()
        start = (0, 0) if min == "-" else parse_id(min.removeprefix("("))
        entries = [entry for entry in self.buffers.get(name, []) if parse_id(entry[0].decode()) >= start]
        if min.startswith("("):
            entries = [entry for entry in entries if parse_id(entry[0].decode()) != start]
        return entries[:count]

    # what the test does

    def publish(self, name: str, *, keep: int = 1_000) -> str:
        self._serial += 1
        event_id = f"{self._serial}-0"
        self.buffers[name] = [*self.buffers.get(name, []), (event_id.encode(), {b"e": BODY})][-keep:]
        self.tell(name, f"{event_id} ".encode() + BODY)
        return event_id

    def tell(self, name: str, data: bytes) -> None:
        if name in self.subscribed and not self.is_away:
            self.connections[-1].put({"type": "message", "channel": name.encode(), "data": data})

    def lose(self) -> None:
        """Lose the connection; nothing comes back before `return_`."""
        self.is_away = True
        self.subscribed.clear()
        self.connections[-1].put(redis.ConnectionError("lost"))

    def return_(self) -> None:
        self.is_away = False

    def _refuse(self) -> None:
        if self.is_away:
            raise redis.ConnectionError("away")


class FakePubSub:
    """One subscribed connection."""

    def __init__(self, server: FakeRedis) -> None:
        self._server = server
        self._messages: queue.Queue[Any] = queue.Queue()

    def subscribe(self, *names: str) -> None:
        self._server._refuse()
        for name in names:
            self._server.subscribed.add(name)
            if self._server.confirms or name == event_hub.KEEP_ALIVE:
                self.put({"type": "subscribe", "channel": name.encode(), "data": 1})

    def unsubscribe(self, *names: str) -> None:
        self._server._refuse()
        for name in names:
            self._server.subscribed.discard(name)
            self.put({"type": "unsubscribe", "channel": name.encode(), "data": 1})

    def put(self, message: Any) -> None:
        self._messages.put(message)

    def get_message(self, timeout: float | None) -> Any:
        message = self._messages.get(timeout=60)
        if isinstance(message, BaseException):
            raise message
        return message


@pytest.fixture
def server() -> FakeRedis:
    return FakeRedis()


@pytest.fixture
def make_hub(server: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., EventHub]]:
    """A maker of hubs whose listeners end with the test."""
    made: list[EventHub] = []
    listen = EventHub._listen

    def listen_until_told(hub: EventHub) -> None:
        with suppress(SystemExit):
            listen(hub)

    monkeypatch.setattr(EventHub, "_listen", listen_until_told)
    monkeypatch.setattr(event_hub, "time", SimpleNamespace(time=time.time, sleep=lambda _: time.sleep(0.01)))

    def make(queue_size: int = 10, streams_per_user: int = 3) -> EventHub:
        hub = EventHub(server, server, queue_size=queue_size, streams_per_user=streams_per_user)  # type: ignore[arg-type]
        made.append(hub)
        return hub

    yield make
    server.return_()
    for hub in made:
        if hub._thread is not None:
            eventually(lambda hub=hub: hub._pubsub is not None, "the hub listens")
            hub._pubsub.put(SystemExit())
            hub._thread.join(10)


def taken(reader: Reader, count: int) -> list[Item]:
    """Wait for items and return them."""
    items: list[Item] = []

    def enough() -> bool:
        while not reader.queue.empty():
            items.append(reader.queue.get_nowait())
        return len(items) >= count

    eventually(enough, f"{count} items", within=10)
    return items


def ids(items: list[Item]) -> list[str]:
    return [item.id if isinstance(item, StreamedEvent) else type(item).__name__ for item in items]


# Fan-out ------------------------------------------------------------------------------------------------------------


def test_every_reader_of_a_channel_gets_every_event_in_order(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    with hub.reader("a", "user") as one, hub.reader("a", "user") as two, hub.reader("b", "user") as other:
        sent = [server.publish("a") for _ in range(3)]
        assert ids(taken(one, 3)) == ids(taken(two, 3)) == sent
        assert other.queue.empty()
        assert len(server.connections) == 1


def test_a_channel_is_subscribed_once_and_left_with_its_last_reader(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    with hub.reader("a", "user"):
        with hub.reader("a", "user"):
            assert server.subscribed == {event_hub.KEEP_ALIVE, "a"}
        assert "a" in server.subscribed
    assert server.subscribed == {event_hub.KEEP_ALIVE}
    assert hub._channels == {}
    with hub.reader("a", "user") as again:
        sent = server.publish("a")
        assert ids(taken(again, 1)) == [sent]


def test_a_reader_that_left_gets_nothing_more(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    with hub.reader("a", "user") as stays:
        with hub.reader("a", "user") as leaves:
            pass
        server.publish("a")
        taken(stays, 1)
        assert leaves.queue.empty()


def test_an_error_in_a_stream_leaves_the_hub_as_it_was(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    with pytest.raises(ZeroDivisionError), hub.reader("a", "user"):
        raise ZeroDivisionError
    assert hub._channels == {}
    assert hub._streams == {}
    assert "a" not in server.subscribed


def test_the_end_of_a_session_is_told_to_its_readers_only(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    with hub.reader("a", "user") as ends, hub.reader("b", "user") as goes_on:
        server.tell("a", CLOSE_STREAM)
        (item,) = taken(ends, 1)
        assert isinstance(item, Closed)
        assert item.reason == "session_closed"
        server.publish("b")
        assert ids(taken(goes_on, 1)) == ["1-0"]


def test_a_full_reader_is_marked_and_takes_no_more_and_others_do(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub(queue_size=3)
    with hub.reader("a", "user") as slow, hub.reader("a", "user") as quick:
        sent: list[str] = []
        for _ in range(5):
            sent.append(server.publish("a"))
            assert ids(taken(quick, 1)) == sent[-1:]
        assert slow.lagging
        # What it has is in order and without a hole; a hole would look like a complete stream.
        assert ids(taken(slow, 3)) == sent[:3]
        server.publish("a")
        taken(quick, 1)
        assert slow.queue.empty()
        assert not quick.lagging


def test_an_unknown_message_or_channel_does_no_harm(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    with hub.reader("a", "user") as reader:
        server.connections[-1].put({"type": "message", "channel": b"gone", "data": b"1-0 {}"})
        server.connections[-1].put({"type": "pong", "channel": b"a", "data": b""})
        server.connections[-1].put(None)
        sent = server.publish("a")
        assert ids(taken(reader, 1)) == [sent]


# Caps and errors ----------------------------------------------------------------------------------------------------


def test_a_user_has_a_cap_of_open_streams_and_others_have_their_own(make_hub: Any) -> None:
    hub = make_hub(streams_per_user=2)
    with ExitStack() as stack:
        for channel in ("a", "b"):
            stack.enter_context(hub.reader(channel, "one"))
        with pytest.raises(TooManyStreams), hub.reader("a", "one"):
            pass
        stack.enter_context(hub.reader("a", "another"))
        stack.pop_all().close()
    assert hub._streams == {}
    with hub.reader("a", "one"), hub.reader("a", "one"):
        pass


def test_a_stream_that_could_not_be_opened_is_not_counted(
    make_hub: Any, server: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "SUBSCRIBE_TIMEOUT", 0.05)
    server.confirms = False
    hub = make_hub(streams_per_user=1)
    for _ in range(3):
        with pytest.raises(Unavailable), hub.reader("a", "user"):
            pass
    assert hub._streams == {}
    assert hub._channels == {}


def test_those_who_wait_for_an_answer_have_a_budget_beside_the_streams(make_hub: Any) -> None:
    hub = make_hub(streams_per_user=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(hub.reader("a", "user"))
            stack.enter_context(hub.waiter("a", "user"))
        for door in (hub.reader, hub.waiter):
            with pytest.raises(TooManyStreams), door("a", "user"):
                pass
            with door("a", "other"):
                pass
    assert hub._streams == {}
    assert hub._channels == {}


def test_it_is_known_whether_a_channel_is_heard(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    assert not hub.hears("a")
    server.confirms = False
    with hub.waiter("a", "user") as waiter:
        eventually(lambda: "a" in server.subscribed, "the subscription is sent")
        assert not hub.hears("a")
        server.connections[-1].put({"type": "subscribe", "channel": b"a", "data": 1})
        eventually(lambda: hub.hears("a"), "it is confirmed")
        server.confirms = True
        sent = server.publish("a")
        assert ids(taken(waiter, 1)) == [sent]
        server.lose()
        eventually(lambda: not hub.hears("a"), "the loss is noticed")
        server.return_()
        eventually(lambda: hub.hears("a"), "it is heard again")
    assert not hub.hears("a")


def test_the_cap_holds_for_threads_that_come_at_once(make_hub: Any) -> None:
    hub = make_hub(streams_per_user=5)
    start, leave = threading.Barrier(20), threading.Event()
    results: list[bool] = []

    def come() -> None:
        start.wait(10)
        try:
            with hub.reader("a", "user"):
                results.append(True)
                leave.wait(10)
        except TooManyStreams:
            results.append(False)

    threads = [threading.Thread(target=come) for _ in range(20)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(results) == 20, "everybody came")
    leave.set()
    for thread in threads:
        thread.join(10)
    assert results.count(True) == 5
    assert hub._streams == {}


def test_a_buffer_that_cannot_be_read_is_said_to_be_out_of_reach(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    server.is_away = True
    with pytest.raises(Unavailable):
        hub.newest("a")
    with pytest.raises(Unavailable):
        hub.replay("a", "1-0")
    with pytest.raises(Unavailable):
        list(hub.replay("a", "0") or ())


# A lost connection --------------------------------------------------------------------------------------------------


@pytest.fixture
def outage(server: FakeRedis) -> Callable[..., list[str]]:
    """Lose the connection, publish, and bring it back; returns the ids published meanwhile."""

    def happen(name: str, count: int, *, keep: int = 1_000) -> list[str]:
        connections = len(server.connections)
        server.lose()
        missed = [server.publish(name, keep=keep) for _ in range(count)]
        server.return_()
        eventually(lambda: len(server.connections) > connections and name in server.subscribed, "the hub is back")
        return missed

    return happen


@pytest.mark.parametrize("seen", [0, 1])
@pytest.mark.parametrize("before", [0, 1])
def test_what_was_missed_is_brought_afterwards_once_and_in_order(
    make_hub: Any, server: FakeRedis, outage: Any, before: int, seen: int
) -> None:
    hub = make_hub()
    for _ in range(before):
        server.publish("a")
    with hub.reader("a", "user") as reader:
        sent = [server.publish("a") for _ in range(seen)]
        taken(reader, seen)
        sent = outage("a", 2)
        sent.append(server.publish("a"))
        # Readers drop what they have; the buffer's end may come twice here, but never a hole.
        assert [each for each in dict.fromkeys(ids(taken(reader, 3))) if each in sent] == sent


@pytest.mark.parametrize("seen", [0, 1])
def test_where_the_buffer_does_not_reach_back_a_gap_is_told(
    make_hub: Any, server: FakeRedis, outage: Any, seen: int
) -> None:
    hub = make_hub()
    server.publish("a")
    with hub.reader("a", "user") as reader:
        for _ in range(seen):
            server.publish("a")
        taken(reader, seen)
        outage("a", 5, keep=2)
        assert ids(taken(reader, 1)) == ["Gap"]
        live = server.publish("a")
        assert ids(taken(reader, 1)) == [live]


def test_every_channel_is_subscribed_again(make_hub: Any, server: FakeRedis, outage: Any) -> None:
    hub = make_hub(streams_per_user=10)
    names = list("abcdef")
    with ExitStack() as stack:
        readers = {name: stack.enter_context(hub.reader(name, "user")) for name in names}
        outage("a", 0)
        eventually(lambda: set(names) <= server.subscribed, "all channels are back")
        for name in names:
            sent = server.publish(name)
            assert ids(taken(readers[name], 1))[-1] == sent


def test_an_error_that_nobody_foresaw_does_not_end_the_listener(make_hub: Any, server: FakeRedis) -> None:
    hub = make_hub()
    with hub.reader("a", "user") as reader:
        server.connections[-1].put({"type": "message", "channel": b"a", "data": b"no id at all"})
        eventually(lambda: len(server.connections) == 2 and "a" in server.subscribed, "it listens again")
        sent = server.publish("a")
        assert ids(taken(reader, 1))[-1] == sent


# The buffer ---------------------------------------------------------------------------------------------------------

orders = st.tuples(st.integers(1, 5), st.integers(0, 3))
buffers = st.lists(orders, unique=True, max_size=12).map(sorted)


def _as_id(order: tuple[int, int]) -> str:
    return f"{order[0]}-{order[1]}"


@given(buffer=buffers, cursor=orders, page=st.integers(1, 13))
def test_a_replay_is_what_comes_after_the_cursor_or_nothing_at_all(
    buffer: list[tuple[int, int]], cursor: tuple[int, int], page: int
) -> None:
    server = FakeRedis()
    server.buffers["a"] = [(_as_id(order).encode(), {b"e": BODY}) for order in buffer]
    hub = EventHub(server, server, queue_size=1, streams_per_user=1)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_hub, "PAGE", page)
        _check_replay(hub, buffer, cursor)


def _check_replay(hub: EventHub, buffer: list[tuple[int, int]], cursor: tuple[int, int]) -> None:
    replayed = hub.replay("a", _as_id(cursor))
    if cursor in buffer:
        assert replayed is not None
        assert [event.order for page in replayed for event in page] == [order for order in buffer if order > cursor]
    else:
        assert replayed is None
    assert [event.order for page in hub.replay("a", "0") or () for event in page] == buffer
    assert hub.newest("a") == (_as_id(buffer[-1]) if buffer else "0")


# Ids and wire formats -----------------------------------------------------------------------------------------------

numbers = st.integers(0, 2**64 - 1)


@given(milliseconds=numbers, sequence=numbers)
def test_an_id_is_read_as_two_numbers(milliseconds: int, sequence: int) -> None:
    assert parse_id(f"{milliseconds}-{sequence}") == (milliseconds, sequence)
    assert parse_id(str(milliseconds)) == (milliseconds, 0)


@given(one=st.tuples(numbers, numbers), two=st.tuples(numbers, numbers))
def test_ids_compare_as_redis_orders_them(one: tuple[int, int], two: tuple[int, int]) -> None:
    assert (parse_id(_as_id(one)) < parse_id(_as_id(two))) == (one < two)


@pytest.mark.parametrize(
    "text",
    ["", "-", "-1", "1-", "1--1", "1-+1", "1-1_0", "1_0", "1-1-1", "+1", " 1", "1 ", "1- 1", "1.0", "0x1", "\u0661",
     "1-\u0661", "\u00b2", "x", "$", "18446744073709551616", "0-18446744073709551616", "9" * 5_000, "1\n", "\x001"],
)  # fmt: skip
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_id(text)


@given(text=st.text(max_size=12))
def test_any_text_is_an_id_that_redis_takes_or_is_refused(text: str) -> None:
    try:
        milliseconds, sequence = parse_id(text)
    except ValueError:
        return
    head, dash, tail = text.partition("-")
    assert head.isascii()
    assert head.isdigit()
    assert int(head) == milliseconds
    assert (not dash and sequence == 0) or (tail.isascii() and tail.isdigit() and int(tail) == sequence)


@pytest.mark.parametrize("kind", list(EventType))
def test_the_end_of_a_run_is_known_by_its_type_and_its_run(kind: EventType) -> None:
    run, other = uuid4(), uuid4()
    payload = MessageCreated(message_id=other, role=MessageRole.USER, content=f'"run_id":"{other}"')
    body = encode(uuid4(), run, uuid4(), payload).replace(b"message_created", kind.value.encode(), 1)
    event = StreamedEvent("1-0", body)
    assert event.ends(run) is kind.value.startswith("run_")
    assert not event.ends(other)


def test_an_event_in_both_formats() -> None:
    event = StreamedEvent("7-1", BODY)
    assert event.ndjson == b'{"id":"7-1",' + BODY[1:] + b"\n"
    assert event.sse == b'id: 7-1\nevent: task_progress\ndata: {"id":"7-1",' + BODY[1:] + b"\n\n"
    assert as_sse(None, BODY) == b'event: task_progress\ndata: {"id":null,' + BODY[1:] + b"\n\n"


def test_each_format_is_made_once_for_all_readers() -> None:
    event = StreamedEvent("7-1", BODY)
    assert event.ndjson is event.ndjson
    assert event.sse is event.sse


def test_a_gap_and_an_end_are_no_events() -> None:
    assert not isinstance(Gap(), StreamedEvent)
    assert not isinstance(Closed("x"), StreamedEvent)
