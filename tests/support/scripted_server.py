"""An HTTP server that answers as a test tells it to: the provider that fails in every way a provider can."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: bytes = b""
    status: str = "200 OK"
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()
    silent: bool = False
    """Whether nothing is sent at all until the test ends."""
    hang_up: bool = False
    """Whether the connection is closed instead, in the middle of the body if there is one."""

    def head(self) -> bytes:
        """Return everything before the body."""
        length = len(self.body) + (100 if self.hang_up else 0)
        lines = [f"HTTP/1.1 {self.status}", f"Content-Type: {self.content_type}", f"Content-Length: {length}"]
        return "\r\n".join([*lines, *self.headers, "", ""]).encode()


class ScriptedServer:
    """Answers each request with what `script` makes of its body."""

    def __init__(self) -> None:
        self.script: Callable[[bytes], Answer] = lambda _: Answer()
        self.requests: list[bytes] = []
        """Head and body of each."""
        self._ended = threading.Event()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Hang up on everybody."""
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=[connection], daemon=True))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as reader:  # a client may go at any time
            while head := reader.readline():
                body = self._read(head, reader)
                if not self._answer(connection, self.script(body)):
                    return

    def _read(self, head: bytes, reader: BinaryIO) -> bytes:
        length = 0
        while (line := reader.readline()) not in {b"\r\n", b""}:
            head += line
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = reader.read(length)
        self.requests.append(head + b"\r\n" + body)
        return body

    def _answer(self, connection: socket.socket, answer: Answer) -> bool:
        """Send an answer; returns whether the connection stays."""
        if answer.silent:
            self._ended.wait(30)
            return False
        if answer.body or not answer.hang_up:
            connection.sendall(answer.head() + answer.body)
        return not answer.hang_up


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Run a server on a port of its own."""
    server = ScriptedServer()
    try:
        yield server
    finally:
        server.close()
