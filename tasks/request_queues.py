"""The queues by which others ask this node as the host of workspaces, consumed while they are needed.

A workspace's queue is opened when somebody says that he has a request, and let go when none came for a while: each
open one costs a channel. Its messages are not acknowledged: a request is of use for a few seconds only, and who asked
in vain asks again. Channels live on the worker's event loop; other threads reach it through `call_soon`.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from kombu.common import ignore_errors
from kombu.messaging import Consumer

from tasks.channel_pool import ChannelPool
from tasks.request_desk import RequestDesk
from workspace.metrics import REQUEST_QUEUES_OPEN
from workspace.names import WorkspaceKey
from workspace.request_queue import requests_queue

log = structlog.get_logger(__name__)

IDLE = 300.0
"""Seconds without a request after which a queue is let go; who asks trusts in half of it."""
ASKED_LATELY = 30.0
"""Seconds for which it is remembered that a workspace's host is asked: this node may be its host by then."""
MOST_ASKED = 20_000
MOST_OPEN = 50
"""Queues of one user that are open at once."""


@dataclass(eq=False)
class OpenQueue:
    """A workspace whose requests this node consumes."""

    key: WorkspaceKey
    last_used: float = field(default_factory=time.monotonic)
    consumer: Any = None

    @property
    def queue_name(self) -> str:
        """The name of the queue."""
        return self.key.requests_queue


class RequestQueues:
    """The request queues that this node consumes. Every method may be called from any thread."""

    def __init__(self, desk: RequestDesk, *, idle: float = IDLE, most_open: int = MOST_OPEN) -> None:
        """Take what it needs.

        Args:
            desk: carries requests out.
            idle: seconds until a queue is let go.
            most_open: queues of one user.
        """
        self._desk = desk
        self._idle = idle
        self._most_open = most_open
        self._lock = threading.RLock()
        self._open: dict[WorkspaceKey, OpenQueue] = {}
        self._asked: OrderedDict[WorkspaceKey, float] = OrderedDict()
        """When it was last told that the host of a workspace is asked something, whoever that is."""
        self._worker: Any = None
        self._channels: ChannelPool | None = None

    # -- what is open ----------------------------------------------------------------------------------------

    def hear(self, key: WorkspaceKey) -> None:
        """Consume a workspace's requests, if this node hosts it or will soon."""
        with self._lock:
            self._asked[key] = time.monotonic()
            self._asked.move_to_end(key)
            if len(self._asked) > MOST_ASKED:
                self._asked.popitem(last=False)
        self.open_if_asked(key)

    def open_if_asked(self, key: WorkspaceKey) -> None:
        """Consume a workspace's requests if there were some lately: this node may host it only now."""
        with self._lock:
            asked = self._asked.get(key)
            if asked is None or time.monotonic() - asked > ASKED_LATELY or not self._desk.serves(key):
                return
            queue = self._open.get(key)
            if queue is None:
                queue = self._open[key] = OpenQueue(key)
                REQUEST_QUEUES_OPEN.set(len(self._open))
                log.info("request_queue_opened", queue=queue.queue_name)
            queue.last_used = time.monotonic()
            surplus = self._surplus_beside(queue)
        self._soon(self._consume, queue)
        if surplus is not None:
            self.let_go(surplus.key)

    def let_go(self, key: WorkspaceKey) -> None:
        """Consume a workspace's requests no more."""
        with self._lock:
            queue = self._open.pop(key, None)
            if queue is None:
                return
            REQUEST_QUEUES_OPEN.set(len(self._open))
        log.info("request_queue_let_go", queue=queue.queue_name)
        self._soon(self._close, queue)

    def pause(self, key: WorkspaceKey) -> None:
        """Let a workspace's requests go until this node hosts it again, if that is soon."""
        with self._lock:
            if key in self._open:
                self._asked[key] = time.monotonic()
        self.let_go(key)

    def at_work(self, key: WorkspaceKey) -> bool:
        """Whether something that a workspace's host was asked is being carried out."""
        return self._desk.at_work(key)

    def look(self) -> None:
        """Let go of what is idle or hosted elsewhere, and open what was asked for."""
        before = time.monotonic() - self._idle
        with self._lock:
            opened = list(self._open.values())
            lately = time.monotonic() - ASKED_LATELY
            while self._asked and next(iter(self._asked.values())) < lately:
                self._asked.popitem(last=False)
            asked = [key for key in self._asked if key not in self._open]
        for queue in opened:
            if queue.last_used < before or not self._desk.serves(queue.key):
                self.let_go(queue.key)
        for key in asked:
            self.open_if_asked(key)

    def opened(self) -> list[OpenQueue]:
        """Return the queues that are consumed."""
        with self._lock:
            return list(self._open.values())

    def stop(self) -> None:
        """Carry out nothing more."""
        self._desk.stop()

    def _surplus_beside(self, queue: OpenQueue) -> OpenQueue | None:
        """Return the queue of the same user that was not used for the longest time, if too many of his are open."""
        others = [each for each in self._open.values() if each.key.user_id == queue.key.user_id and each is not queue]
        return min(others, key=lambda each: each.last_used) if len(others) >= self._most_open else None

    # -- on the worker's loop --------------------------------------------------------------------------------

    def connected(self, worker: Any, channels: ChannelPool) -> None:
        """Open all queues again: the worker's consumer (re)started on a new connection."""
        with self._lock:
            self._worker = worker
            self._channels = channels
            opened = tuple(self._open.values())
        for queue in opened:
            queue.consumer = None
            self._guarded(self._consume, queue)

    def disconnected(self) -> None:
        """Take no more requests: the connection is lost, or the node is stopping."""
        with self._lock:
            worker, self._worker = self._worker, None
            consumers = [queue.consumer for queue in self._open.values() if queue.consumer is not None]
        if worker is None:
            return
        for consumer in consumers:
            ignore_errors(worker, consumer.cancel)

    def _soon(self, call: Callable[[OpenQueue], None], queue: OpenQueue) -> None:
        worker = self._worker
        if worker is not None:
            worker.call_soon(self._guarded, call, queue)

    def _guarded(self, call: Callable[[OpenQueue], None], queue: OpenQueue) -> None:
        """Run on the loop, where a lost connection must surface to the worker's own reconnect and nothing else may."""
        worker = self._worker
        if worker is None:
            return
        try:
            call(queue)
        except worker.connection.connection_errors as error:
            log.warning("request_channel_lost", queue=queue.queue_name, error=repr(error))
            raise
        except Exception:
            log.exception("request_channel_failed", queue=queue.queue_name)

    def _consume(self, queue: OpenQueue) -> None:
        if queue.consumer is not None or self._open.get(queue.key) is not queue:
            return
        worker, channels = self._worker, self._channels
        assert channels is not None
        channel = channels.open()

        def on_message(message: Any) -> None:
            queue.last_used = time.monotonic()
            self._desk.take(queue.key, message.body)

        try:
            consumer = Consumer(channel, queues=[requests_queue(queue.key)], no_ack=True, on_message=on_message)
            consumer.consume()
            self._watch(queue, channel)
        except BaseException:
            ignore_errors(worker, channels.release, channel)
            raise
        queue.consumer = consumer

    def _watch(self, queue: OpenQueue, channel: Any) -> None:
        """Let go of a queue that is deleted, which RabbitMQ tells and which happens with its project."""
        if self._worker.connection.transport.driver_type == "amqp":
            channel.cancel_callbacks.update(dict.fromkeys(channel.callbacks, lambda _tag: self._gone(queue)))

    def _gone(self, queue: OpenQueue) -> None:
        if self._open.get(queue.key) is queue:
            self.let_go(queue.key)

    def _close(self, queue: OpenQueue) -> None:
        consumer, queue.consumer = queue.consumer, None
        if consumer is not None and self._channels is not None:
            consumer.cancel()
            self._channels.release(consumer.channel)
