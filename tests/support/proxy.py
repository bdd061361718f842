"""A TCP proxy in front of a store, so that a test can take the store away and bring it back."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from enum import Enum, auto
from urllib.parse import urlsplit, urlunsplit

DEFAULT_PORTS = {"redis": 6379, "postgres": 5432, "postgresql": 5432}
CHUNK = 65_536


class _State(Enum):
    OPEN = auto()
    CUT = auto()
    FROZEN = auto()


class Proxy:
    """Passes bytes on until it is cut or frozen, which are two ways for a store to be away.

    Cut: every connection ends, and new ones end at once, as when the store's process is gone. Frozen: connections stay
    open and no byte passes either way, and new ones are not served, as when a cable is pulled. What was on its way
    when it froze arrives when it is mended.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        scheme = parts.scheme.partition("+")[0]
        self._target = (parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORTS[scheme])
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._state = _State.OPEN
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        userinfo, at, _ = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{userinfo}{at}127.0.0.1:{port}"))
        """The store's address, by way of this proxy."""
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Take the store away: every connection ends now, new ones end at once."""
        with self._changed:
            self._become(_State.CUT)
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Take the store out of reach: connections stay open, nothing passes, new ones hang."""
        with self._changed:
            self._become(_State.FROZEN)

    def mend(self) -> None:
        """Bring the store back."""
        with self._changed:
            self._become(_State.OPEN)

    def close(self) -> None:
        """End."""
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _become(self, state: _State) -> None:
        self._state = state
        self._changed.notify_all()

    def _await_thaw(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._state is not _State.FROZEN)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._await_thaw()
            with self._changed:
                store = None if self._state is _State.CUT else self._connect()
                if store is None:
                    client.close()
                    continue
                self._open |= {client, store}
            done = threading.Barrier(2)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            for source, sink in ((client, store), (store, client)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink, done), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _passes(self, source: socket.socket, data: bytes, done: threading.Barrier) -> bool:
        """Whether bytes may pass; the connection ends with those that may not. Both its directions share `done`."""
        return True

    def _connect(self) -> socket.socket | None:
        """Return a connection to the store, unless the store itself is away."""
        try:
            return socket.create_connection(self._target, timeout=5)
        except OSError:
            return None

    def _pass_on(self, source: socket.socket, sink: socket.socket, done: threading.Barrier) -> None:
        with contextlib.suppress(OSError):
            source.settimeout(None)
            while (data := source.recv(CHUNK)) and self._passes(source, data, done):
                self._await_thaw()
                sink.sendall(data)
        # The end of a connection is news as well: it does not pass while nothing does.
        self._await_thaw()
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if done.wait() == 0:
            with self._changed:
                self._open -= {source, sink}
            source.close()
            sink.close()


@contextlib.contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy for the length of a block."""
    running = Proxy(target)
    try:
        yield running
    finally:
        running.close()
