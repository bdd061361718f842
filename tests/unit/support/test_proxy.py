"""The proxy that tests take stores away with: what it passes on, and what it does not while it is cut or frozen."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.proxy import Proxy, proxy

SILENCE = 0.3
"""Seconds without a byte that count as none."""

Connect = Callable[[], socket.socket]


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back whatever it gets."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1_000):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture
def between(echo: int) -> Iterator[Proxy]:
    with proxy(f"redis://:secret@127.0.0.1:{echo}/1") as running:
        yield running


@pytest.fixture
def connect(between: Proxy) -> Iterator[Connect]:
    with contextlib.ExitStack() as opened:

        def open_one() -> socket.socket:
            port = urlsplit(between.url).port
            return opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))

        yield open_one


def says(connection: socket.socket, within: float = 5.0) -> bytes | None:
    """Return what comes next; `b""` at the end of the connection, `None` if nothing comes."""
    connection.settimeout(within)
    try:
        return connection.recv(1_000)
    except TimeoutError:
        return None
    except ConnectionResetError:
        return b""


def test_the_address_keeps_all_but_the_place(between: Proxy, echo: int) -> None:
    assert between.url == f"redis://:secret@127.0.0.1:{urlsplit(between.url).port}/1"
    assert urlsplit(between.url).port != echo


def test_an_address_without_a_port_means_the_usual_one_of_its_store() -> None:
    for url, port in (("redis://h/0", 6379), ("postgresql://h/d", 5432), ("postgresql+psycopg2://h/d", 5432)):
        with proxy(url) as running:
            assert running._target == ("h", port)


def test_bytes_pass_both_ways(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"hello")
    assert says(connection) == b"hello"


def test_while_it_is_cut_connections_end_and_new_ones_end_at_once(between: Proxy, connect: Connect) -> None:
    before = connect()
    before.sendall(b"1")
    assert says(before) == b"1"
    between.cut()
    assert says(before) == b""
    assert says(connect()) == b""
    between.mend()
    after = connect()
    after.sendall(b"2")
    assert says(after) == b"2"


def test_while_it_is_frozen_nothing_passes_and_nothing_ends(between: Proxy, connect: Connect) -> None:
    before = connect()
    before.sendall(b"1")
    assert says(before) == b"1"
    between.freeze()
    before.sendall(b"2")
    new = connect()
    new.sendall(b"3")
    assert says(before, SILENCE) is None
    assert says(new, SILENCE) is None
    between.mend()
    assert says(before) == b"2"
    assert says(new) == b"3"


def test_a_frozen_proxy_can_be_cut(between: Proxy, connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"1")
    assert says(connection) == b"1"
    between.freeze()
    connection.sendall(b"2")
    assert says(connection, SILENCE) is None
    between.cut()
    assert says(connection) in {b"", b"2"}


def test_a_store_that_is_away_itself_does_not_end_the_proxy(echo: int, between: Proxy, connect: Connect) -> None:
    between._target = ("127.0.0.1", _unused())
    assert says(connect()) == b""
    between._target = ("127.0.0.1", echo)
    connection = connect()
    connection.sendall(b"1")
    assert says(connection) == b"1"


def _unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
