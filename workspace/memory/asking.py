"""Asking the host of a workspace: a request onto its queue, and the wait for the reply."""

import time
from typing import Any
from uuid import uuid4

import redis
import structlog

from workspace.errors import CodelabError, InvalidInput, MemoryUnavailable
from workspace.memory.calls import Call
from workspace.memory.host_calling import HostCalling
from workspace.memory.wire import Malformed, of_reply, to_request
from workspace.metrics import MEMORY_REQUEST_SECONDS, MEMORY_REQUESTS
from workspace.names import WorkspaceKey, reply_list
from workspace.request_queue import RequestQueue

log = structlog.get_logger(__name__)

PATIENCE = 5.0
"""Seconds until a host that does not answer is out of reach."""
SOON = 1.0
"""Seconds until a host that does not answer is called again."""


class Asking:
    """Asks, and waits for the answer. Safe to share between threads and greenlets."""

    def __init__(self, queue: RequestQueue, calling: HostCalling, replies: redis.Redis) -> None:
        """Take what it needs.

        Args:
            queue: sends requests.
            calling: sees to it that there is a host.
            replies: a client of `REDIS_URL` whose reads may take `PATIENCE`.
        """
        self._queue = queue
        self._calling = calling
        self._replies = replies

    def ask(self, key: WorkspaceKey, call: Call) -> Any:
        """Have the workspace's host carry out a call, and return what it brought.

        Raises:
            NotFound: the project is gone.
            MemoryUnavailable: no host answered in time. It may still carry out what it was asked.
            CodelabError: what was raised on the host.
        """
        began = time.monotonic()
        outcome = "failed"
        try:
            value = self._ask(key, call)
            outcome = "done"
        except InvalidInput:
            outcome = "refused"
            raise
        except Unanswered:
            outcome = "unanswered"
            raise
        finally:
            MEMORY_REQUESTS.labels(call.op.value, outcome).inc()
            MEMORY_REQUEST_SECONDS.labels(call.op.value).observe(time.monotonic() - began)
        return value

    def _ask(self, key: WorkspaceKey, call: Call) -> Any:
        until = time.monotonic() + PATIENCE
        request_id = uuid4()
        self._calling.call(key)
        if not self._queue.put(key, to_request(request_id, call, seconds=PATIENCE), seconds=PATIENCE):
            raise Unanswered
        place = reply_list(request_id)
        try:
            raw = self._wait(place, SOON)
            if raw is None:
                self._calling.call_again(key)
                raw = self._wait(place, until - time.monotonic())
        except redis.RedisError as error:
            log.warning("reply_not_read", **_ids(key), op=call.op, error=repr(error))
            raise Unanswered from error
        if raw is None:
            log.warning("request_unanswered", **_ids(key), op=call.op)
            raise Unanswered
        try:
            return of_reply(call, raw)
        except Malformed as error:
            log.error("reply_malformed", **_ids(key), op=call.op, error=str(error))  # noqa: TRY400  # says it all
            raise CodelabError from error

    def _wait(self, place: str, seconds: float) -> bytes | None:
        # With 0 it would wait for ever.
        found: Any = self._replies.blpop([place], timeout=max(seconds, 0.01))
        return None if found is None else found[1]


class Unanswered(MemoryUnavailable):
    """The agent's memory is out of reach: no host answers."""


def _ids(key: WorkspaceKey) -> dict[str, str]:
    return {"user_id": str(key.user_id), "project_id": str(key.project_id)}
