"""A TCP proxy in front of a store, so that a test can take the store away and bring it back."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Passes bytes on until it is cut; while it is cut, connections are closed at once."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        userinfo, at, _ = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{userinfo}{at}127.0.0.1:{port}"))
        """The store's address, by way of this proxy."""
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Take the store away: every connection ends now, new ones end at once."""
        with self._lock:
            self._is_cut = True
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Bring the store back."""
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        """End."""
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._is_cut:
                    client.close()
                    continue
                store = socket.create_connection(self._target)
                self._open |= {client, store}
            done = threading.Barrier(2)
            for source, sink in ((client, store), (store, client)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink, done), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, done: threading.Barrier) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if done.wait() == 0:
            with self._lock:
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
