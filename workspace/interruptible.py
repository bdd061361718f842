"""Model I/O that can be stopped while the model is silent, and that wakes to flush what is due.

A blocking `recv` hears nothing of a cancel. Here each socket read is done in slices: between two slices the thread's
`Watch` runs, which may raise `Interrupted` or send text that waited for company. `httpcore`'s network backend is its
documented place for this, and costs nothing while bytes arrive.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2

from workspace.errors import DeadlineExceeded, ModelFailure, RunFailure

LONGEST_SLICE = 0.25
"""Seconds: a stop is heard within this time, a quarter of the second that a cancel may take."""


MOST_BYTES = 64_000_000
"""Of one answer: a chunk of the protocol is some 300 bytes around a few characters."""


class Interrupted(BaseException):
    """The work was told to stop. No `Exception`: the HTTP layers below wrap those into connection errors."""

    def __init__(self, failure: RunFailure) -> None:
        self.failure = failure
        super().__init__(failure.detail)


class StopSignal:
    """Tells one task's work to stop, from any thread. The first reason stays."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason: RunFailure | None = None

    def stop(self, reason: RunFailure) -> None:
        """Ask the work to end with `reason`."""
        if self.reason is None:
            self.reason = reason
        self._event.set()

    def sleep(self, seconds: float) -> None:
        """Wait, or raise at once when stopped.

        Raises:
            Interrupted: `stop` was called.
        """
        self._event.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raise if stopped.

        Raises:
            Interrupted: `stop` was called.
        """
        if self._event.is_set():
            assert self.reason is not None
            raise Interrupted(self.reason)


class Watch:
    """What a thread looks at while it waits for bytes: the stop signal, the deadline, and text that is due."""

    def __init__(self, stop: StopSignal, *, deadline: float, on_wait: Callable[[], float]) -> None:
        """Make a watch.

        Args:
            stop: the task's signal.
            deadline: on the monotonic clock, in seconds.
            on_wait: called before each wait; does what is due and returns the seconds until it has more to do.
        """
        self.stop = stop
        self._deadline = deadline
        self._on_wait = on_wait
        self._received = 0

    def check(self) -> None:
        """Raise if the work has to end.

        Raises:
            Interrupted: stopped, or the deadline passed.
        """
        self.stop.check()
        if time.monotonic() >= self._deadline:
            raise Interrupted(DeadlineExceeded())

    def begin_answer(self) -> None:
        """Count an answer's bytes from 0."""
        self._received = 0

    def received(self, size: int) -> None:
        """Count bytes from the model, errors and headers included.

        Raises:
            Interrupted: it is more than any honest answer has.
        """
        self._received += size
        if self._received > MOST_BYTES:
            raise Interrupted(ModelFailure("The model's server sent more than an answer can have."))

    def before_wait(self) -> float:
        """Do what is due and return for how many seconds to wait at most."""
        self.check()
        return min(LONGEST_SLICE, self._on_wait(), self.seconds_left())

    def seconds_left(self) -> float:
        """Return the seconds until the deadline; never 0, which is no time limit to a socket."""
        return max(self._deadline - time.monotonic(), 0.001)

    def sleep(self, seconds: float) -> None:
        """Wait between two attempts, within the same rules."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.stop.sleep(min(left, self.before_wait()))


class StageWatch(Watch):
    """The watch of a stage of some work: that may end before the work has to, and never after it."""

    def __init__(self, work: Watch, *, deadline: float) -> None:
        """Make a watch.

        Args:
            work: the watch of the whole.
            deadline: of the stage, on the monotonic clock.
        """
        super().__init__(work.stop, deadline=deadline, on_wait=work.before_wait)
        self._work = work

    def check(self) -> None:
        """See `Watch`; of two reasons to end, that of the whole counts."""
        self._work.check()
        super().check()

    def sleep(self, seconds: float) -> None:
        """See `Watch`; raises at once where the deadline would come first: the time is of use to who goes on."""
        self.check()
        if seconds >= self.seconds_left():
            raise Interrupted(DeadlineExceeded())
        super().sleep(seconds)


class AskingWatch(Watch):
    """The watch of work that asks by a call whether it has to end, and does nothing else while it waits."""

    def __init__(self, check: Callable[[], None]) -> None:
        """Make a watch.

        Args:
            check: raises `Interrupted` when the work has to end.
        """
        super().__init__(StopSignal(), deadline=float("inf"), on_wait=lambda: LONGEST_SLICE)
        self._check = check

    def check(self) -> None:
        """See `Watch`."""
        self._check()


_thread = threading.local()


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let `watch` run whenever this thread waits for the model."""
    _thread.watch = watch
    try:
        yield
    finally:
        _thread.watch = None


def _within_deadline(timeout: float | None) -> float | None:
    """Return the time limit of what is not done in slices: it ends with the deadline of the work at the latest."""
    watch: Watch | None = getattr(_thread, "watch", None)
    if watch is None or watch.seconds_left() == float("inf"):
        return timeout
    return watch.seconds_left() if timeout is None else min(timeout, watch.seconds_left())


class _SlicedStream(httpcore2.NetworkStream):
    """A socket whose reads are done in slices."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        watch: Watch | None = getattr(_thread, "watch", None)
        if watch is None:
            return self._stream.read(max_bytes, timeout)
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        while True:
            wait = min(watch.before_wait(), max(until - time.monotonic(), 0.001))
            try:
                data = self._stream.read(max_bytes, wait)
            except httpcore2.ReadTimeout:
                if time.monotonic() >= until:
                    raise
            else:
                watch.received(len(data))
                return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _SlicedStream(self._stream.start_tls(ssl_context, server_hostname, _within_deadline(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _SlicedBackend(httpcore2.NetworkBackend):
    """Opens sliced sockets."""

    def __init__(self) -> None:
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        limit = _within_deadline(timeout)
        return _SlicedStream(self._backend.connect_tcp(host, port, limit, local_address, socket_options))


class InterruptibleTransport(httpx2.HTTPTransport):
    """An HTTP transport whose waiting can be interrupted by the thread's `Watch`."""

    def __init__(self, *, max_connections: int) -> None:
        super().__init__()
        self._pool.close()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=30.0,
            network_backend=_SlicedBackend(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; an answer that is compressed although none was asked for is refused, small as it may seem.

        Raises:
            httpx2.RemoteProtocolError: the answer is compressed.
        """
        response = super().handle_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            response.close()
            raise httpx2.RemoteProtocolError("a compressed answer was not asked for", request=request)
        return response
