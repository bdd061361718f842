"""A load client that costs little: raw asyncio protocols, prepared requests, and a search for two words in the bytes.

It shares the machine's cores with what it measures, so it parses nothing that it does not need. Its own CPU time is in
none of the figures.
"""

import asyncio
import gc
import json
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

FIRST = b'"task_progress"'
FINAL = b'"run_completed"'
FAILED = b'"run_failed"'
OVERLAP = len(FIRST) - 1
"""Bytes of the last read that may hold the beginning of a word."""

ANSWER_SECONDS = 60.0


class BenchError(Exception):
    """The system under test did not do its part, so there is nothing to measure."""


@dataclass(frozen=True)
class Line:
    """One caller's session: where its messages go, and where its events come from."""

    url: str
    post_path: str
    stream_path: str
    headers: tuple[tuple[str, str], ...] = ()

    def post(self, body: Mapping[str, Any]) -> bytes:
        """Return the bytes of the POST of a message."""
        return self.creation(self.post_path, body)

    def creation(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the bytes of a POST to any path."""
        content = json.dumps(body).encode()
        head = self._head("POST", path, f"Content-Type: application/json\r\nContent-Length: {len(content)}")
        return head + content

    def deletion(self, path: str) -> bytes:
        """Return the bytes of a DELETE."""
        return self._head("DELETE", path, "Content-Length: 0")

    def stream(self, accept: str = "application/x-ndjson") -> bytes:
        """Return the bytes of the GET that holds the stream open."""
        return self._head("GET", self.stream_path, f"Accept: {accept}")

    def _head(self, method: str, path: str, extra: str) -> bytes:
        own = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return f"{method} {path} HTTP/1.1\r\nHost: {self.address[0]}\r\n{own}{extra}\r\n\r\n".encode()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


class Poster(asyncio.Protocol):
    """A kept connection for requests, one at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None

    @classmethod
    async def open(cls, address: tuple[str, int]) -> "Poster":
        """Connect."""
        _, poster = await asyncio.get_running_loop().create_connection(cls, *address)
        return poster

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if separator and len(body) >= _content_length(head) and self._answer is not None:
            self._buffer = b""
            self._answer.set_result((head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for an answer."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchError(f"the connection of a POST was lost: {exc}"))

    async def post(self, request: bytes) -> None:
        """Send a message and wait for its receipt.

        Raises:
            BenchError: it was not accepted.
        """
        await self.ask(request, b"202")

    async def ask(self, request: bytes, status: bytes) -> bytes:
        """Send a request and return its answer's body.

        Raises:
            BenchError: the answer has another status.
        """
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        head, body = await self._answer
        if head.split(b" ", 2)[1] != status:
            raise BenchError(f"a request was refused: {head.decode()} {body.decode()}")
        return body

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0] or 0)  # 204 has none


class _Listener(asyncio.Protocol):
    """An open stream that notes when the first text and the end of a run came."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._tail = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first = 0.0
        self.final = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        seen = self._tail + data
        self._tail = seen[-OVERLAP:]
        if not self.opened.done():
            self._open(seen)
            return
        if not self.first and FIRST in seen:
            self.first = now
        if not self.done.done() and (FINAL in seen or FAILED in seen):
            self.final = now
            self._end(seen)

    def _open(self, seen: bytes) -> None:
        """Both sides send a first chunk once they are subscribed."""
        if not seen.startswith(b"HTTP/1.1 200"):
            self.opened.set_exception(BenchError(f"a stream was refused: {seen.decode()}"))
        elif seen.endswith(b"\r\n\r\n") and not seen.partition(b"\r\n\r\n")[2]:
            self._tail = seen
        else:
            self._tail = b""
            self.opened.set_result(None)

    def _end(self, seen: bytes) -> None:
        if FAILED in seen:
            self.done.set_exception(BenchError(f"a run failed: {seen.decode()}"))
        else:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.opened, self.done):
            if not future.done():
                future.set_exception(BenchError(f"a stream ended: {exc}"))

    def expect(self) -> None:
        """Wait for a new run."""
        self.done = asyncio.get_running_loop().create_future()
        self.first = self.final = 0.0
        self._tail = b""

    def close(self) -> None:
        """Close the connection."""
        self.done.cancel()
        if self._transport is not None:
            self._transport.abort()


@dataclass(frozen=True)
class Timing:
    """One message as its sender saw it, in seconds from the POST's first byte."""

    accepted: float
    """Until the POST was answered."""
    first: float
    final: float
    ended: float
    """When, on the performance counter."""


class Caller:
    """Sends a message and waits for its end, again and again; its stream is open all the time."""

    def __init__(self, line: Line, poster: Poster, listener: _Listener) -> None:
        self.line = line
        self._poster = poster
        self._listener = listener

    @classmethod
    async def open(cls, line: Line) -> "Caller":
        """Open both connections; the stream is subscribed when this returns."""
        loop = asyncio.get_running_loop()
        poster = await Poster.open(line.address)
        _, listener = await loop.create_connection(lambda: _Listener(line.stream()), *line.address)
        await asyncio.wait_for(listener.opened, ANSWER_SECONDS)
        return cls(line, poster, listener)

    async def send(self, request: bytes) -> Timing:
        """Send one message.

        Raises:
            BenchError: it was refused or failed.
        """
        self._listener.expect()
        started = time.perf_counter()
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._poster.post(request)
            accepted = time.perf_counter()
            await self._listener.done
        final = self._listener.final
        return Timing(accepted - started, (self._listener.first or final) - started, final - started, final)

    def close(self) -> None:
        """Close both connections."""
        self._poster.close()
        self._listener.close()


@contextmanager
def no_collections() -> Iterator[None]:
    """Collect garbage before and after, never in between: a pause of the client would look like one of the server."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@asynccontextmanager
async def callers(lines: Sequence[Line]) -> AsyncIterator[list[Caller]]:
    """Open a caller a line, and close all of them."""
    opened = [await Caller.open(line) for line in lines]
    try:
        with no_collections():
            yield opened
    finally:
        for caller in opened:
            caller.close()
        await asyncio.sleep(0.05)


async def post_all(
    address: tuple[str, int], requests: Sequence[bytes], connections: int, rate: float = math.inf
) -> None:
    """Send messages over a few kept connections, as fast as they are accepted or so many a second.

    Raises:
        BenchError: one was refused.
    """
    left = enumerate(requests)
    started = time.perf_counter()

    async def work() -> None:
        poster = await Poster.open(address)
        try:
            for number, request in left:
                await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
                async with asyncio.timeout(ANSWER_SECONDS):
                    await poster.post(request)
        finally:
            poster.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(connections, len(requests))):
            group.create_task(work())


async def send_quota(crowd: Sequence[Caller], body: dict[str, str], count: int, pause: float = 0.0) -> list[Timing]:
    """Let the callers send `count` messages in all, each the next one when it has its answer."""
    left = iter(range(count))
    timings: list[Timing] = []

    async def work(caller: Caller) -> None:
        request = caller.line.post(body)
        for _ in left:
            timings.append(await caller.send(request))
            if pause:
                await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        for caller in crowd:
            group.create_task(work(caller))
    return timings


async def send_for(crowd: Sequence[Caller], body: dict[str, str], seconds: float, spread: float) -> list[Timing]:
    """Let the callers send for some time; their starts are spread over the first `spread` seconds."""
    until = time.perf_counter() + seconds
    timings: list[Timing] = []

    async def work(caller: Caller, wait: float) -> None:
        request = caller.line.post(body)
        await asyncio.sleep(wait)
        while time.perf_counter() < until:
            timings.append(await caller.send(request))

    async with asyncio.TaskGroup() as group:
        for number, caller in enumerate(crowd):
            group.create_task(work(caller, spread * number / len(crowd)))
    return timings
