"""The model client does with a model's server what it should, whatever that server does."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from settings import ModelPrice, Settings, load_settings
from tests.support.stack import Stack
from tests.support.standin import Standin
from workspace.errors import (
    Cancelled,
    DeadlineExceeded,
    ModelFailure,
    ModelRequestRefused,
    ModelUnavailable,
    RunFailure,
)
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.llm import ModelClient, ModelRequest, ModelTurn, Probe

pytestmark = pytest.mark.stack

KEY = "sk-a-key-that-nobody-may-see"
SOON = 1.0
LATE = 30.0


class Sink:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.restarts: list[int] = []
        self.pauses: list[tuple[str, float]] = []
        """Why the model is asked again, and after how many seconds."""
        self.dropped: list[str] = []
        """What had come when a restart was told."""

    def text(self, piece: str) -> None:
        self.pieces.append(piece)

    def restart(self, attempt: int, reason: str, seconds: float) -> None:
        self.restarts.append(attempt)
        self.pauses.append((reason, seconds))
        self.dropped.append("".join(self.pieces))
        self.pieces.clear()


@pytest.fixture
def sink() -> Sink:
    return Sink()


Asked = Callable[..., ModelTurn]


@contextmanager
def asker(settings: Settings, url: str, **options: Any) -> Iterator[Asked]:
    """Yield what asks a model at `url` for one turn."""
    update = {
        "openai_base_url": url,
        "openai_api_key": SecretStr(KEY),
        "model_backoff_max": 1.0,
        "model_prices": {"priced": ModelPrice(input=Decimal(2), output=Decimal(8))},
        **options,
    }
    client = ModelClient(settings.model_copy(update=update))

    def ask(content: str, sink: Sink, *, stop: StopSignal | None = None, seconds: float = LATE, **request: Any) -> Any:
        values = {"model": "priced", "agent": "contract", "messages": [{"role": "user", "content": content}], **request}
        watch = Watch(stop or StopSignal(), deadline=time.monotonic() + seconds, on_wait=lambda: 1.0)
        return client.turn(ModelRequest(**values), sink, watch)

    yield ask
    client.close()


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def ask(settings: Settings, stack: Stack) -> Iterator[Asked]:
    with asker(settings, stack.model_url) as ask:
        yield ask


@pytest.fixture
def ask_impatiently(settings: Settings, stack: Stack) -> Iterator[Asked]:
    with asker(settings, stack.model_url, model_idle_timeout=0.4, model_max_attempts=2) as ask:
        yield ask


@pytest.fixture
def agent() -> str:
    return f"contract-{uuid4().hex}"


@contextmanager
def refused(kind: type[RunFailure], *, within: float = LATE) -> Iterator[pytest.ExceptionInfo[RunFailure]]:
    started = time.monotonic()
    with pytest.raises(RunFailure) as caught:
        yield caught
    assert type(caught.value) is kind, repr(caught.value)
    assert KEY not in str(caught.value)
    assert time.monotonic() - started < within


# -- the stand-in ------------------------------------------------------------------------------------------------


def test_a_turn_streams_its_text_and_returns_it_with_usage_and_price(ask: Asked, sink: Sink) -> None:
    turn = ask("[say=Good morning to you]", sink)
    assert turn.text == "".join(sink.pieces) == "Good morning to you"
    assert len(sink.pieces) > 1
    assert turn.finish_reason == "stop"
    assert turn.usage.prompt_tokens > 0
    assert turn.usage.total_tokens == turn.usage.prompt_tokens + turn.usage.completion_tokens
    price = (2 * turn.usage.prompt_tokens + 8 * turn.usage.completion_tokens) / Decimal(1_000_000)
    assert turn.usage.cost_usd == price
    assert sink.restarts == []


def test_a_model_without_a_price_costs_nobody_knows_what(ask: Asked, sink: Sink) -> None:
    assert ask("hello", sink, model="unknown").usage.cost_usd is None


def test_the_request_says_what_the_agent_wants_and_who_it_is(
    ask: Asked, sink: Sink, standin: Standin, agent: str
) -> None:
    ask(f"hello {agent}", sink, agent=agent, temperature=0.0, max_output_tokens=17)
    (request,) = [one for one in standin.requests(50) if agent in str(one["messages"])]
    assert request["messages"] == [{"role": "user", "content": f"hello {agent}"}]
    assert (request["model"], request["temperature"], request["max_completion_tokens"]) == ("priced", 0.0, 17)
    assert request["stream"] is True
    assert standin.witness(agent)["total"] == 1
    ask(f"again {agent}", sink, agent=agent)
    (request,) = [one for one in standin.requests(50) if f"again {agent}" in str(one["messages"])]
    assert not {"temperature", "max_completion_tokens"} & set(request)


def test_the_form_of_the_answer_is_asked_for_and_streamed_like_any_other(
    ask: Asked, sink: Sink, standin: Standin, agent: str
) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 4}}, "required": ["sum"]}
    form = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}}
    turn = ask(f"sums {agent}", sink, response_format=form)
    assert json.loads(turn.text) == {"sum": 4}
    assert "".join(sink.pieces) == turn.text
    (request,) = [one for one in standin.requests(50) if f"sums {agent}" in str(one["messages"])]
    assert request["response_format"] == form


def test_without_a_form_none_is_asked_for(ask: Asked, sink: Sink, standin: Standin, agent: str) -> None:
    ask(f"words {agent}", sink)
    (request,) = [one for one in standin.requests(50) if f"words {agent}" in str(one["messages"])]
    assert "response_format" not in request


def test_a_429_is_retried_after_the_time_it_asks_for(ask: Asked, sink: Sink, standin: Standin, agent: str) -> None:
    started = time.monotonic()
    turn = ask(f"[fail=429x1] [retry_after=0.7] [say=at last] {agent}", sink, agent=agent)
    assert 0.7 <= time.monotonic() - started < 0.7 + 2 * SOON
    assert turn.text == "at last"
    assert sink.restarts == [2]
    assert standin.witness(agent)["total"] == 2


def test_a_retry_after_beyond_the_longest_wait_is_told_at_once(
    ask: Asked, sink: Sink, standin: Standin, agent: str
) -> None:
    with refused(ModelUnavailable, within=2 * SOON) as caught:
        ask(f"[fail=429] [retry_after=3600] {agent}", sink, agent=agent)
    assert caught.value.retry_after == 3600
    assert caught.value.retryable
    assert standin.witness(agent)["total"] == 1


def test_two_503_are_retried(ask: Asked, sink: Sink, standin: Standin, agent: str) -> None:
    assert ask(f"[fail=503x2] [say=at last] {agent}", sink, agent=agent).text == "at last"
    assert sink.restarts == [2, 3]
    assert standin.witness(agent)["total"] == 3


def test_the_attempts_are_bounded(ask_impatiently: Asked, sink: Sink, standin: Standin, agent: str) -> None:
    with refused(ModelUnavailable) as caught:
        ask_impatiently(f"[fail=500] {agent}", sink, agent=agent)
    assert "500" in caught.value.detail
    assert standin.witness(agent)["total"] == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ModelRequestRefused),
        (401, ModelFailure),
        (403, ModelFailure),
        (404, ModelFailure),
        (422, ModelRequestRefused),
    ],
)
def test_a_refusal_is_not_retried(
    ask: Asked, sink: Sink, standin: Standin, agent: str, status: int, kind: type[ModelFailure]
) -> None:
    with refused(kind, within=2 * SOON) as caught:
        ask(f"[fail={status}] {agent}", sink, agent=agent)
    assert str(status) in caught.value.detail
    assert not caught.value.retryable
    assert standin.witness(agent)["total"] == 1
    assert sink.restarts == []


def test_a_break_in_the_middle_starts_the_text_over(ask: Asked, sink: Sink, agent: str) -> None:
    turn = ask(f"[break=3x1] [tokens=8] {agent}", sink, agent=agent)
    assert sink.restarts == [2]
    assert sink.dropped[0]
    assert turn.text == "".join(sink.pieces)
    assert turn.usage.completion_tokens == 8


def test_a_silent_model_is_given_up_after_the_idle_timeout(
    ask_impatiently: Asked, sink: Sink, standin: Standin, agent: str
) -> None:
    with refused(ModelUnavailable, within=5 * SOON) as caught:
        ask_impatiently(f"[silent=20] {agent}", sink, agent=agent)
    assert caught.value.retryable
    assert standin.witness(agent)["total"] == 2


def test_a_model_that_speaks_slowly_is_not_silent(ask_impatiently: Asked, sink: Sink) -> None:
    assert len(ask_impatiently("[tokens=6] [gap=0.25]", sink).text.split()) == 6
    assert sink.restarts == []


@pytest.mark.parametrize("when", ["[silent=20]", "[fail=503] [retry_after=0.9]", "[tokens=200] [gap=0.2]"])
def test_a_stop_is_heard_within_a_second(ask: Asked, sink: Sink, standin: Standin, agent: str, when: str) -> None:
    stop = StopSignal()
    told: list[float] = []

    def tell() -> None:
        deadline = time.monotonic() + 10
        while not standin.witness(agent)["total"] and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        told.append(time.monotonic())
        stop.stop(Cancelled())

    teller = threading.Thread(target=tell)
    teller.start()
    with pytest.raises(Interrupted) as caught:
        ask(f"{when} {agent}", sink, agent=agent, stop=stop)
    assert time.monotonic() - told[0] < SOON
    assert isinstance(caught.value.failure, Cancelled)
    teller.join()
    for _ in range(50):
        if standin.witness(agent)["current"] == 0:
            break
        time.sleep(0.02)
    assert standin.witness(agent)["current"] == 0, "the call went on"


def test_the_deadline_ends_a_silent_call(ask: Asked, sink: Sink) -> None:
    started = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        ask("[silent=20]", sink, seconds=0.5)
    assert time.monotonic() - started < 0.5 + SOON
    assert isinstance(caught.value.failure, DeadlineExceeded)


# -- a server of our own -----------------------------------------------------------------------------------------

DONE = "[DONE]"


def chunk(content: Any = None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def events(*parts: Any) -> bytes:
    """Server-sent events of these chunks; strings are sent as they are."""
    return b"".join(f"data: {part if isinstance(part, str) else json.dumps(part)}\n\n".encode() for part in parts)


USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
GOOD = events(chunk("Good "), chunk("morning"), chunk(finish="stop"), USAGE, DONE)


class Server:
    """Answers each request with the next of its answers; the last one again and again."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.answers: list[tuple[str, bytes]] = [("text/event-stream", GOOD)]
        self.status = "200 OK"
        self.connections: list[socket.socket] = []
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=[connection], daemon=True))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that had enough resets the connection.
        with suppress(OSError), connection, connection.makefile("rb") as reader:
            while request := reader.readline():
                length = 0
                while (line := reader.readline()) not in {b"\r\n", b""}:
                    request += line
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.requests.append(request + reader.read(length))
                kind, body = self.answers[min(len(self.requests), len(self.answers)) - 1]
                head = f"HTTP/1.1 {self.status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
                chunk_of_body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
                connection.sendall(head.encode() + chunk_of_body + b"0\r\n\r\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def ask_own(settings: Settings, server: Server) -> Iterator[Asked]:
    with asker(settings, server.url, model_max_attempts=2, model_idle_timeout=2.0) as ask:
        yield ask


def test_five_calls_in_a_row_take_one_connection(ask_own: Asked, server: Server) -> None:
    for _ in range(5):
        assert ask_own("hello", Sink()).text == "Good morning"
    assert len(server.requests) == 5
    assert len(server.connections) == 1


def test_the_key_goes_to_the_server_and_the_usage_comes_back(ask_own: Asked, server: Server, sink: Sink) -> None:
    turn = ask_own("hello", sink)
    assert f"Bearer {KEY}".encode() in server.requests[0]
    assert (turn.usage.prompt_tokens, turn.usage.completion_tokens, turn.usage.total_tokens) == (5, 7, 12)


FINE: dict[str, bytes] = {
    "without the last mark": events(chunk("Good morning"), chunk(finish="stop")),
    "with comments and other fields": b": ping\n\nevent: x\nid: 1\n"
    + events(chunk("Good morning"), chunk(finish="stop")),
    "with returns at line ends": events(chunk("Good morning"), chunk(finish="stop"), DONE).replace(b"\n", b"\r\n"),
    "without blanks": events(chunk("Good morning"), chunk(finish="stop")).replace(b"data: ", b"data:"),
    "with empty choices and null": events(
        {"choices": []},
        {"choices": None, "usage": None},
        chunk(None),
        chunk(""),
        chunk("Good morning"),
        chunk(finish="stop"),
    ),
    "with the end beside the text": events(chunk("Good morning", finish="length"), DONE),
    "with fields that nobody knows": events(chunk("Good morning", more={"x": [1]}), chunk(finish="stop", error=None)),
}


@pytest.mark.parametrize("body", FINE.values(), ids=FINE.keys())
def test_what_servers_do_differently_is_understood(ask_own: Asked, server: Server, sink: Sink, body: bytes) -> None:
    server.answers = [("text/event-stream", body)]
    assert ask_own("hello", sink).text == "Good morning"
    assert sink.restarts == []


WRONG: dict[str, bytes] = {
    "no JSON": events("{not json"),
    "half a chunk": events(chunk("Good"), '{"choices": [{"del'),
    "a list": events("[1, 2]"),
    "a number": events("17"),
    "null": events("null"),
    "choices that are a number": events({"choices": 5}),
    "choices that are numbers": events({"choices": [5]}),
    "choices that are an object": events({"choices": {"a": 1}}),
    "a delta that is a text": events({"choices": [{"delta": "x"}]}),
    "content that is a number": events(chunk(17), chunk(finish="stop")),
    "content that is a list": events(chunk([{"type": "text"}]), chunk(finish="stop")),
    "usage that is a text": events(chunk("a", finish="stop"), {"choices": [], "usage": "much"}),
    "a JSON depth bomb": events("[" * 100_000),
    "not UTF-8": b"data: \xff\xfe\n\n",
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_the_protocol_is_a_failure_of_the_model(
    ask_own: Asked, server: Server, sink: Sink, body: bytes
) -> None:
    server.answers = [("text/event-stream", body)]
    with refused(ModelFailure, within=5 * SOON):
        ask_own("hello", sink)
    assert len(server.requests) == 1


CUT: dict[str, tuple[str, bytes]] = {
    "nothing": ("text/event-stream", b""),
    "a page": ("text/html", b"<html>Welcome</html>"),
    "an answer that is not streamed": ("application/json", b'{"choices": [{"message": {"content": "hi"}}]}'),
    "no end": ("text/event-stream", events(chunk("Good"), chunk(" mor"))),
    "the mark without an end": ("text/event-stream", events(chunk("Good"), DONE)),
    "an error object": ("text/event-stream", events(chunk("Good"), {"error": {"message": "overloaded", "code": 529}})),
    "an error text": ("text/event-stream", events(chunk("Good"), {"error": "overloaded"})),
}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT.keys())
def test_an_answer_without_an_end_is_asked_for_again(
    ask_own: Asked, server: Server, sink: Sink, answer: tuple[str, bytes]
) -> None:
    server.answers = [answer, ("text/event-stream", GOOD)]
    assert ask_own("hello", sink).text == "".join(sink.pieces) == "Good morning"
    assert sink.restarts == [2]


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT.keys())
def test_an_answer_that_never_has_an_end_is_told_as_passing(
    ask_own: Asked, server: Server, sink: Sink, answer: tuple[str, bytes]
) -> None:
    server.answers = [answer]
    with refused(ModelUnavailable) as caught:
        ask_own("hello", sink)
    assert caught.value.retryable
    assert len(server.requests) == 2


@pytest.mark.parametrize("count", ['"many"', "1e999", "-1", "2.5", "[]", "9" * 400])
def test_a_count_of_tokens_that_is_none_does_not_cost_the_answer(
    ask_own: Asked, server: Server, sink: Sink, count: str
) -> None:
    usage = f'{{"choices": [], "usage": {{"prompt_tokens": {count}, "completion_tokens": 7}}}}'
    server.answers = [("text/event-stream", events(chunk("Good morning", finish="stop"), usage, DONE))]
    turn = ask_own("hello", sink)
    assert (turn.text, turn.usage.prompt_tokens, turn.usage.completion_tokens) == ("Good morning", 0, 7)


def test_a_quota_that_is_used_up_is_not_waited_for(ask_own: Asked, server: Server, sink: Sink) -> None:
    server.status = "429 Too Many Requests"
    server.answers = [("application/json", b'{"error": {"code": "insufficient_quota", "message": "pay"}}')]
    with refused(ModelFailure, within=SOON):
        ask_own("hello", sink)
    assert len(server.requests) == 1


def test_a_refusal_that_repeats_the_key_does_not_show_it(ask_own: Asked, server: Server, sink: Sink) -> None:
    server.status = "401 Unauthorized"
    body = {"error": {"code": "invalid_api_key", "message": f"Incorrect API key provided: {KEY}"}}
    server.answers = [("application/json", json.dumps(body).encode())]
    with refused(ModelFailure) as caught:
        ask_own("hello", sink)
    assert "OPENAI_API_KEY" in caught.value.detail


STORABLE: dict[str, tuple[Iterable[str], str]] = {
    "NUL": (["a\x00b"], "a\ufffdb"),
    "a lone surrogate": (["a\ud800b"], "a?b"),
    "a pair in two pieces": (["\ud83d", "\ude00"], "??"),
    "a pair in one": (["\ud83d\ude00"], "\U0001f600"),
    "other planes": (["\U0001f600\u2028\x0b\u0085"], "\U0001f600\u2028\x0b\u0085"),
}


@pytest.mark.parametrize(("pieces", "text"), STORABLE.values(), ids=STORABLE.keys())
def test_text_that_cannot_be_stored_is_replaced(
    ask_own: Asked, server: Server, sink: Sink, pieces: Iterable[str], text: str
) -> None:
    server.answers = [("text/event-stream", events(*map(chunk, pieces), chunk(finish="stop"), DONE))]
    turn = ask_own("hello", sink)
    assert turn.text == "".join(sink.pieces) == text
    turn.text.encode()


def test_text_with_odd_line_ends_in_plain_utf8_stays_whole(ask_own: Asked, server: Server, sink: Sink) -> None:
    """JSON may hold U+2028 and U+0085 unescaped, and no line ends there."""
    text = "one\u2028two\u2029three\u0085four"
    raw = json.dumps(chunk(text), ensure_ascii=False)
    server.answers = [("text/event-stream", events(raw, chunk(finish="stop"), DONE))]
    assert ask_own("hello", sink).text == text


def test_a_server_that_is_not_there_is_told_as_passing(settings: Settings, sink: Sink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        asker(settings, f"http://127.0.0.1:{port}/v1", model_max_attempts=2) as ask,
        refused(ModelUnavailable, within=5 * SOON) as caught,
    ):
        ask("hello", sink)
    assert caught.value.retryable
    assert sink.restarts == [2]


# -- looking a model up ------------------------------------------------------------------------------------------

LookUp = Callable[[str], Probe]


@contextmanager
def prober(settings: Settings, url: str) -> Iterator[LookUp]:
    """Yield what looks a model of the server at `url` up."""
    client = ModelClient(settings.model_copy(update={"openai_base_url": url, "openai_api_key": SecretStr(KEY)}))
    yield client.probe
    client.close()


@pytest.fixture
def look_up(settings: Settings, stack: Stack) -> Iterator[LookUp]:
    with prober(settings, stack.model_url) as look_up:
        yield look_up


@pytest.fixture
def look_up_own(settings: Settings, server: Server) -> Iterator[LookUp]:
    with prober(settings, server.url) as look_up:
        yield look_up


def test_a_model_that_is_there_answers(look_up: LookUp, agent: str) -> None:
    assert look_up(f"maker/{agent}:tag") is Probe.ANSWERS


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ({"fail": 500}, Probe.AWAY),
        ({"fail": 503}, Probe.AWAY),
        ({"fail": 429}, Probe.AWAY),
        ({"fail": 401}, Probe.REFUSES),
        ({"fail": 403}, Probe.REFUSES),
        ({"fail": 404}, Probe.UNKNOWN),
        ({"fail": 405}, Probe.UNKNOWN),
        ({"fail": 501}, Probe.UNKNOWN),
        ({"break": 0}, Probe.AWAY),
    ],
)
def test_a_model_in_trouble_does_not(
    look_up: LookUp, standin: Standin, agent: str, trouble: dict[str, int], told: Probe
) -> None:
    standin.rules({"match": agent, "in": "lookup", **trouble})
    assert look_up(agent) is told


def test_a_look_up_is_made_once(look_up: LookUp, standin: Standin, agent: str) -> None:
    standin.rules({"match": agent, "in": "lookup", "fail": "503x1"})
    assert [look_up(agent) for _ in range(2)] == [Probe.AWAY, Probe.ANSWERS]


def test_a_look_up_of_a_silent_model_is_given_up_soon(
    look_up: LookUp, standin: Standin, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace.llm.PROBE_SECONDS", 0.3)
    standin.rules({"match": agent, "in": "lookup", "silent": 20})
    started = time.monotonic()
    assert look_up(agent) is Probe.AWAY
    assert time.monotonic() - started < 0.3 + SOON


def test_a_look_up_of_a_server_that_trickles_is_given_up_soon(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace.llm.PROBE_SECONDS", 0.5)
    gone = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with suppress(OSError), connection:  # the client left
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n")
            while not gone.wait(0.1):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=[listener])
        thread.start()
        started = time.monotonic()
        with prober(settings, f"http://127.0.0.1:{listener.getsockname()[1]}/v1") as look_up:
            assert look_up("any") is Probe.AWAY
        assert time.monotonic() - started < 0.5 + SOON
        gone.set()
        thread.join(10)


def test_a_server_that_is_not_there_is_away(settings: Settings) -> None:
    with prober(settings, "http://127.0.0.1:1/v1") as look_up:
        assert look_up("any") is Probe.AWAY


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": {"message": "The model \'mine\' does not exist", "code": "model_not_found"}}', Probe.REFUSES),
        (b'{"error": {"message": "No model of this name", "code": "model_not_found"}}', Probe.REFUSES),
        (b'{"error": "model \'mine\' not found, try pulling it first"}', Probe.REFUSES),
        (b'{"detail": "Not Found"}', Probe.UNKNOWN),
        (b"404 page not found", Probe.UNKNOWN),
        (b"", Probe.UNKNOWN),
    ],
)
def test_a_server_that_misses_the_model_names_it_and_one_without_the_route_does_not(
    look_up_own: LookUp, server: Server, body: bytes, told: Probe
) -> None:
    server.status, server.answers = "404 Not Found", [("application/json", body)]
    assert look_up_own("mine") is told


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>Welcome</html>"),
        ("application/json", b"<html>Welcome</html>"),
        ("application/json", b"[]"),
        ("application/json", b"null"),
        ("application/json", b"{}"),
        ("application/json", b'{"id": 5}'),
        ("application/json", b"[" * 100_000),
        ("application/json", b"\xff"),
    ],
)
def test_what_is_no_model_says_nothing(look_up_own: LookUp, server: Server, kind: str, body: bytes) -> None:
    server.answers = [(kind, body)]
    assert look_up_own("mine") is Probe.UNKNOWN


@pytest.mark.parametrize("name", ["..", "."])
def test_a_name_that_would_lead_to_another_path_is_not_asked_for(
    look_up_own: LookUp, server: Server, name: str
) -> None:
    assert look_up_own(name) is Probe.UNKNOWN
    assert server.requests == []


@pytest.mark.parametrize("name", ["../files", "%2e%2e", "a/../../b", "x?limit=1", "x#y", "x\r\nHost: other", "\u00e9"])
def test_a_name_stays_within_its_path(look_up_own: LookUp, server: Server, name: str) -> None:
    server.answers = [("application/json", json.dumps({"id": name}).encode())]
    assert look_up_own(name) is Probe.ANSWERS
    ((line, *_),) = [request.split(b"\r\n") for request in server.requests]
    method, path, version = line.split(b" ")
    assert (method, version) == (b"GET", b"HTTP/1.1")
    assert path.startswith(b"/v1/models/")
    assert not set(path.removeprefix(b"/v1/models/")) & set(b"/?#")
