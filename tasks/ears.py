"""Hears what is told to every node: an agent is needed, changed or gone; a workspace is reset or to be closed."""

import threading
from collections.abc import Callable

import redis
import structlog

from workspace.broadcast import Notice, parse_notice
from workspace.names import NODES_CHANNEL

log = structlog.get_logger(__name__)


class Ears:
    """A thread that listens. What is said while nobody listens is found by comparison with the rows."""

    def __init__(
        self, subscriber: redis.Redis, *, hear: Callable[[Notice], None], catch_up: Callable[[], None]
    ) -> None:
        """Take what it needs.

        Args:
            subscriber: a client whose reads may wait.
            hear: acts on one notice.
            catch_up: compares with the rows, after each time that nobody listened.
        """
        self._subscriber = subscriber
        self._hear = hear
        self._catch_up = catch_up
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._listen, name="node-ears", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._subscriber.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(NODES_CHANNEL)
                    self._catch_up()
                    while not self._stopping.is_set():
                        message = channel.get_message(timeout=1.0)
                        if message is not None:
                            self._take(message["data"])
            except redis.RedisError as error:
                log.warning("node_ears_lost", error=repr(error))
                self._stopping.wait(1.0)
            except Exception:  # the database is away, most likely
                log.exception("node_ears_failed")
                self._stopping.wait(1.0)

    def _take(self, data: bytes) -> None:
        notice = parse_notice(data)
        if notice is None:
            return
        try:
            self._hear(notice)
        except Exception:  # the comparison with the rows will find it
            log.exception("notice_failed", change=notice.change)
