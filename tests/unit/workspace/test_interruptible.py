"""A stop is heard while a server is silent, and a connection that was read to its end is used again."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx2
import pytest

from workspace.errors import Cancelled, DeadlineExceeded, RunFailure, WorkerShutdown
from workspace.interruptible import (
    LONGEST_SLICE,
    AskingWatch,
    Interrupted,
    InterruptibleTransport,
    StageWatch,
    StopSignal,
    Watch,
    watching,
)

SOON = 1.0
"""Seconds within which a stop has to be heard."""
LATE = 30.0


class Server:
    """Answers `/` at once, `/silent` never, `/slow` after 0.6 s; counts connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        self.asked = threading.Event()
        self.ended = threading.Event()
        """The silent request's client has gone."""
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that was interrupted resets the connection.
        with suppress(OSError), connection:
            while head := connection.recv(65_536):
                self.asked.set()
                if b"/silent" in head:
                    connection.recv(1)  # returns when the client leaves
                    self.ended.set()
                    return
                if b"/slow" in head:
                    time.sleep(0.6)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(transport=InterruptibleTransport(max_connections=4), timeout=LATE) as client:
        yield client


def watch(
    stop: StopSignal | None = None, *, seconds: float = LATE, on_wait: Callable[[], float] = lambda: 1.0
) -> Watch:
    return Watch(stop or StopSignal(), deadline=time.monotonic() + seconds, on_wait=on_wait)


@contextmanager
def interrupted(by: type[RunFailure], *, within: float) -> Iterator[None]:
    started = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        yield
    assert type(caught.value.failure) is by
    assert time.monotonic() - started < within


# -- signals and watches -----------------------------------------------------------------------------------------


def test_the_first_reason_to_stop_stays() -> None:
    stop = StopSignal()
    stop.check()
    stop.stop(Cancelled())
    stop.stop(WorkerShutdown())
    with interrupted(Cancelled, within=SOON):
        stop.check()


def test_an_interrupt_is_no_exception_that_a_library_would_take_for_its_own() -> None:
    assert not issubclass(Interrupted, Exception)


def test_a_sleep_ends_when_stopped() -> None:
    stop = StopSignal()
    threading.Timer(0.1, stop.stop, [Cancelled()]).start()
    with interrupted(Cancelled, within=SOON):
        watch(stop).sleep(LATE)


def test_a_sleep_ends_at_the_deadline() -> None:
    with interrupted(DeadlineExceeded, within=SOON):
        watch(seconds=0.1).sleep(LATE)


def test_a_sleep_lasts_as_long_as_wanted_and_does_what_is_due_meanwhile() -> None:
    calls: list[float] = []

    def due() -> float:
        calls.append(time.monotonic())
        return 0.05

    started = time.monotonic()
    watch(on_wait=due).sleep(0.3)
    assert 0.3 <= time.monotonic() - started < SOON
    assert len(calls) >= 3


def test_no_wait_is_longer_than_a_slice_or_than_what_is_due_or_left() -> None:
    assert watch(on_wait=lambda: 10).before_wait() == LONGEST_SLICE
    assert watch(on_wait=lambda: 0.01).before_wait() == 0.01
    assert 0 < watch(seconds=0.05, on_wait=lambda: 10).before_wait() <= 0.05


def test_a_stop_comes_before_the_deadline() -> None:
    stop = StopSignal()
    stop.stop(WorkerShutdown())
    with interrupted(WorkerShutdown, within=SOON):
        watch(stop, seconds=-1).check()


# -- stages of work ----------------------------------------------------------------------------------------------


def test_a_stage_ends_at_its_own_deadline() -> None:
    with interrupted(DeadlineExceeded, within=SOON):
        StageWatch(watch(), deadline=time.monotonic() - 1).check()


def test_a_stage_ends_with_its_work_and_for_the_reason_of_that() -> None:
    stop = StopSignal()
    stage = StageWatch(watch(stop), deadline=time.monotonic() - 1)
    stop.stop(Cancelled())
    with interrupted(Cancelled, within=SOON):
        stage.check()


def test_a_stage_hears_what_its_work_asks_for_by_a_call() -> None:
    def check() -> None:
        raise Interrupted(WorkerShutdown())

    with interrupted(WorkerShutdown, within=SOON):
        StageWatch(AskingWatch(check), deadline=time.monotonic() + LATE).check()


def test_a_stage_does_what_is_due_for_its_work() -> None:
    stage = StageWatch(watch(on_wait=lambda: 0.01), deadline=time.monotonic() + LATE)
    assert stage.before_wait() == 0.01


def test_a_stage_does_not_begin_a_pause_that_would_end_too_late() -> None:
    stage = StageWatch(watch(), deadline=time.monotonic() + LATE)
    with interrupted(DeadlineExceeded, within=SOON):
        stage.sleep(LATE)
    stage.sleep(0.01)


# -- on a socket -------------------------------------------------------------------------------------------------


def test_a_stop_is_heard_while_the_server_is_silent_and_the_connection_is_closed(
    server: Server, client: httpx2.Client
) -> None:
    stop = StopSignal()
    told: list[float] = []

    def tell() -> None:
        assert server.asked.wait(10)
        time.sleep(0.1)
        told.append(time.monotonic())
        stop.stop(Cancelled())

    teller = threading.Thread(target=tell)
    teller.start()
    with pytest.raises(Interrupted) as caught, watching(watch(stop)):
        client.get(f"{server.url}/silent")
    assert time.monotonic() - told[0] < SOON
    assert isinstance(caught.value.failure, Cancelled)
    assert server.ended.wait(SOON), "the server still waits for its client"
    teller.join()


def test_the_deadline_is_heard_while_the_server_is_silent(server: Server, client: httpx2.Client) -> None:
    with interrupted(DeadlineExceeded, within=0.3 + SOON), watching(watch(seconds=0.3)):
        client.get(f"{server.url}/silent")
    assert server.ended.wait(SOON)


def test_no_connection_is_waited_for_beyond_the_deadline(client: httpx2.Client) -> None:
    with socket.socket() as busy, socket.socket() as first:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        first.connect(busy.getsockname())  # the one place in its queue: nobody else is let in
        port = busy.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(httpx2.ConnectTimeout), watching(watch(seconds=0.3)):
            client.get(f"http://127.0.0.1:{port}/")
    assert 0.2 <= time.monotonic() - started < 0.3 + SOON


def test_silence_beyond_the_read_timeout_is_the_clients_own_timeout(server: Server, client: httpx2.Client) -> None:
    started = time.monotonic()
    with pytest.raises(httpx2.ReadTimeout), watching(watch()):
        client.get(f"{server.url}/silent", timeout=0.4)
    assert 0.4 <= time.monotonic() - started < 0.4 + SOON


def test_what_is_due_is_done_while_the_server_is_silent(server: Server, client: httpx2.Client) -> None:
    calls: list[float] = []

    def due() -> float:
        calls.append(time.monotonic())
        return 0.05

    with watching(watch(on_wait=due)):
        assert client.get(f"{server.url}/slow").text == "ok"
    assert len(calls) >= 5


def test_a_connection_is_used_again_and_after_an_interrupt_there_is_a_new_one(
    server: Server, client: httpx2.Client
) -> None:
    def get() -> None:
        with watching(watch()):
            assert client.get(server.url).text == "ok"

    for _ in range(3):
        get()
    assert len(server.connections) == 1
    with interrupted(DeadlineExceeded, within=SOON), watching(watch(seconds=0.1)):
        client.get(f"{server.url}/silent")
    for _ in range(3):
        get()
    assert len(server.connections) == 2


def test_a_watch_is_its_own_threads_and_ends_with_its_block(server: Server, client: httpx2.Client) -> None:
    stop = StopSignal()
    stop.stop(Cancelled())
    answers: list[str] = []
    with watching(watch(stop)):
        other = threading.Thread(target=lambda: answers.append(client.get(server.url).text))
        other.start()
        other.join(10)
        with pytest.raises(Interrupted):
            client.get(server.url)
    assert answers == ["ok"]
    assert client.get(server.url).text == "ok"
