"""The engine's process, seen from the node: started when it is first needed, and again after it ended."""

import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from workspace.errors import DimensionsChanged, MemoryInUse, MemoryOvertaken, MemoryUnavailable
from workspace.memory.edge.building import ROOT
from workspace.memory.edge.wire import Op, Outcome, Reply, Request
from workspace.names import Collection

log = structlog.get_logger(__name__)

RESTART_PAUSE = 1.0
"""Seconds between two starts: what ends at once would do so again."""
SEND_PATIENCE = 10
"""Seconds until an engine that takes nothing counts as hung. Its longest act is the opening of a large collection."""
CLOSE_PATIENCE = 10.0
"""Seconds in which an engine that is told to end writes everything to its place. Killing it loses nothing either."""


class EngineProcess:
    """Sends requests to the engine and hands its replies to those who wait. Safe to share between threads."""

    def __init__(self, base: Path) -> None:
        self._base = base.absolute()
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._not_before = 0.0
        self._closed = False

    def call(self, op: Op, collection: Collection | None, *arguments: Any, timeout: float) -> Any:
        """Ask, and wait for the answer.

        Raises:
            MemoryUnavailable: the engine cannot be started, failed, or does not answer in time.
            DimensionsChanged: the collection was made with another embedding.
            ValueError: the arguments are wrong.
        """
        until = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise MemoryUnavailable("The memory engine is busy.")
        try:
            running = self._started()
            answer = running.send(op, collection, arguments, until)
        finally:
            self._lock.release()
        try:
            reply = answer.result(max(0.0, until - time.monotonic()))
        except FutureTimeout as error:
            running.forget(answer)
            raise MemoryUnavailable("The memory engine does not answer in time.") from error
        return _value(reply)

    @property
    def pid(self) -> int | None:
        """The process id, if it runs."""
        return self._running.pid if self._running is not None else None

    def close(self) -> None:
        """Let the engine write everything to its place and end."""
        with self._lock:
            self._closed = True
            running, self._running = self._running, None
        if running is not None:
            running.end()

    def _started(self) -> "_Running":
        if self._closed:
            raise MemoryUnavailable("The memory engine has been closed.")
        if self._running is not None and self._running.lives():
            return self._running
        if self._running is not None:
            self._running.end()
            self._running = None
        if time.monotonic() < self._not_before:
            raise MemoryUnavailable("The memory engine has ended.", retry_after=RESTART_PAUSE)
        self._not_before = time.monotonic() + RESTART_PAUSE
        try:
            self._running = _Running(self._base)
        except OSError as error:
            raise MemoryUnavailable("The memory engine could not be started.") from error
        return self._running


class _Running:
    """One life of the engine."""

    def __init__(self, base: Path) -> None:
        base.mkdir(parents=True, exist_ok=True)
        base.chmod(0o700)  # whoever made it
        ours, theirs = socket.socketpair()
        with theirs:
            # A hung engine must not hold a thread for ever; a message sent by half makes the connection useless.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_PATIENCE, 0))
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", "workspace.memory.edge", "engine", str(descriptor), str(base)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(descriptor,),
                start_new_session=True,  # it ends with the node, not with whoever presses Ctrl-C
            )
        self._socket = ours
        self._channel = Connection(os.dup(ours.fileno()))
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Reply]] = {}
        self._lives = True
        self._reader = threading.Thread(target=self._read, name="memory-engine", daemon=True)
        self._reader.start()
        log.info("memory_engine_started", pid=self._process.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def lives(self) -> bool:
        """Whether it answers still, as far as is known."""
        return self._lives

    def send(self, op: Op, collection: Collection | None, arguments: tuple[Any, ...], until: float) -> "Future[Reply]":
        """Send a request. Only one thread at a time may."""
        number = next(self._numbers)
        answer: Future[Reply] = Future()
        self._waiting[number] = answer
        try:
            self._channel.send(Request(number, op, collection, arguments, until))
        except OSError as error:
            self._waiting.pop(number, None)
            self._lives = False
            self._process.kill()
            raise MemoryUnavailable("The memory engine has ended.") from error
        if not self._lives:  # it ended after the look at it, and the reader has been through those who waited
            self._give_up()
        return answer

    def forget(self, answer: "Future[Reply]") -> None:
        """Wait for an answer no more."""
        for number, waiting in list(self._waiting.items()):
            if waiting is answer:
                self._waiting.pop(number, None)

    def end(self) -> None:
        """Tell it to end, and see that it does."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(CLOSE_PATIENCE)
        except subprocess.TimeoutExpired:
            log.warning("memory_engine_killed", pid=self._process.pid)
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._channel.close()
        self._socket.close()

    def _read(self) -> None:
        """Hand out replies until the engine ends."""
        while True:
            try:
                reply: Reply = self._channel.recv()
            except (EOFError, OSError):
                break
            answer = self._waiting.pop(reply.number, None)
            if answer is not None:
                answer.set_result(reply)
        self._lives = False
        self._give_up()

    def _give_up(self) -> None:
        for number in list(self._waiting):
            answer = self._waiting.pop(number, None)
            if answer is not None:
                answer.set_exception(MemoryUnavailable("The memory engine has ended."))


def _value(reply: Reply) -> Any:
    match reply.outcome:
        case Outcome.DONE:
            return reply.value
        case Outcome.REFUSED:
            raise ValueError(reply.value)
        case Outcome.CHANGED:
            expected, got = reply.value
            raise DimensionsChanged(expected=expected, got=got)
        case Outcome.IN_USE:
            raise MemoryInUse
        case Outcome.OVERTAKEN:
            raise MemoryOvertaken
        case Outcome.BROKEN:
            raise MemoryUnavailable("The memory engine failed; its log tells why.")
