"""Carries out what others ask this node as a host, on threads of its own, and puts the replies where they are awaited.

Nothing is done for a workspace that another node may host at this moment, nor for somebody who does not wait any more.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import redis
import structlog

from tasks.fair_pool import Bounds, FairPool
from workspace.errors import CodelabError, MemoryUnavailable
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.memory.agent_memories import ENGINES, AgentMemories
from workspace.memory.asking import PATIENCE
from workspace.memory.calls import Here
from workspace.memory.wire import Malformed, Request, to_failure, to_reply
from workspace.metrics import MEMORY_REQUESTS_SERVED
from workspace.names import WorkspaceKey, reply_list
from workspace.tenure import Tenure

log = structlog.get_logger(__name__)

REPLY_KEPT = 60
"""Seconds for which a reply is kept that nobody took."""
LOOK_AT_LEAST = 0.25
"""Seconds between two looks of a wait for the model's server at whether it is still of use."""
WORKING = Bounds(threads=8 + 4 * ENGINES, at_once=4, waiting=32, all_waiting=512)
"""Each engine may be building the index of one collection, for which all that its owner has at work waits. That leaves
eight threads to the others."""
REFUSING = Bounds(threads=1, at_once=1, waiting=100, all_waiting=1_000)


class RequestDesk:
    """Takes requests of workspaces that this node hosts."""

    def __init__(
        self,
        memories: AgentMemories,
        client: redis.Redis,
        *,
        tenure_of: Callable[[WorkspaceKey], Tenure | None],
        bounds: Bounds = WORKING,
    ) -> None:
        """Take what it needs.

        Args:
            memories: of all agents.
            client: of `REDIS_URL`, where replies are awaited.
            tenure_of: says how this node hosts a workspace, if it does.
            bounds: of the work.
        """
        self._memories = memories
        self._client = client
        self._tenure_of = tenure_of
        self._pool = FairPool("node-requests", bounds)
        # The worker's loop brings requests, and must not wait for Redis to say that one is too many.
        self._refusals = FairPool("node-refusals", REFUSING)
        self._lock = threading.Lock()
        self._at_work: Counter[WorkspaceKey] = Counter()

    def take(self, key: WorkspaceKey, raw: str | bytes) -> None:
        """Carry out a request soon, or refuse it where too much waits."""
        if not self._pool.submit(key.user_id, lambda: self._answer(key, raw)):
            self._refusals.submit(key.user_id, lambda: self._refuse(key, raw, "The host has too much to do."))

    def serves(self, key: WorkspaceKey) -> bool:
        """Whether requests of a workspace may be carried out here now."""
        return self._tenure(key) is not None

    def at_work(self, key: WorkspaceKey) -> bool:
        """Whether something of a workspace is being carried out."""
        with self._lock:
            return self._at_work[key] > 0

    def stop(self) -> None:
        """Carry out nothing more."""
        self._pool.stop()
        self._refusals.stop()

    def _tenure(self, key: WorkspaceKey) -> Tenure | None:
        tenure = self._tenure_of(key)
        if tenure is None or tenure.suspended or tenure.closing or not tenure.is_sure:
            return None
        return tenure

    def _answer(self, key: WorkspaceKey, raw: str | bytes) -> None:
        request = _read(key, raw)
        if request is None:
            return
        self._enter(key)
        try:
            # Who closes the workspace looks for work after it has said so: one of both sees the other.
            tenure = self._tenure(key)
            if request.seconds_left <= 0:
                _count(request, "expired")
            elif tenure is None:
                self._fail(request, MemoryUnavailable("The workspace changes its host.", retry_after=1), "not_hosted")
            else:
                tenure.touch()
                self._carry_out(key, request)
                tenure.touch()
        finally:
            self._leave(key)

    def _carry_out(self, key: WorkspaceKey, request: Request) -> None:
        until = time.monotonic() + min(request.seconds_left, PATIENCE)
        watch = Watch(StopSignal(), deadline=until, on_wait=lambda: LOOK_AT_LEAST)
        try:
            call = request.call()
            value = call.carry_out(Here(self._memories.of(key, call.agent_name, call.agent_id), watch))
            self._reply(request.request_id, to_reply(call, value))
        except Interrupted:
            _count(request, "expired")
        except MemoryUnavailable as error:
            self._fail(request, error, "failed")
        except CodelabError as error:
            self._fail(request, error, "refused")
        except Exception as error:  # the border of a request; what is asked may be wrong as well
            log.exception("request_failed", **_ids(key), op=request.op)
            self._fail(request, error, "failed")
        else:
            _count(request, "done")

    def _refuse(self, key: WorkspaceKey, raw: str | bytes, why: str) -> None:
        request = _read(key, raw)
        if request is not None:
            self._fail(request, MemoryUnavailable(why, retry_after=1), "too_many")

    def _fail(self, request: Request, error: Exception, outcome: str) -> None:
        self._reply(request.request_id, to_failure(error))
        _count(request, outcome)

    def _reply(self, request_id: UUID, reply: bytes) -> None:
        place = reply_list(request_id)
        try:
            with self._client.pipeline() as both:
                both.rpush(place, reply)
                both.expire(place, REPLY_KEPT)
                both.execute()
        except redis.RedisError as error:
            log.warning("reply_not_sent", error=repr(error))

    def _enter(self, key: WorkspaceKey) -> None:
        with self._lock:
            self._at_work[key] += 1

    def _leave(self, key: WorkspaceKey) -> None:
        with self._lock:
            self._at_work[key] -= 1
            if not self._at_work[key]:
                del self._at_work[key]


def _read(key: WorkspaceKey, raw: str | bytes) -> Request | None:
    try:
        return Request(raw)
    except Malformed as error:
        log.warning("request_malformed", **_ids(key), error=str(error))
        return None


def _count(request: Request, outcome: str) -> None:
    MEMORY_REQUESTS_SERVED.labels(request.op.value, outcome).inc()


def _ids(key: WorkspaceKey) -> dict[str, str]:
    return {"user_id": str(key.user_id), "project_id": str(key.project_id)}
