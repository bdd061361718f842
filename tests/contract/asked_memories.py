"""Memories that are asked for as a web process asks its hosts: all of the way but the broker and the rows."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import redis

from bootstrap import redis_waiter
from settings import load_settings
from tasks.request_desk import RequestDesk
from tests.support.waiting import eventually
from workspace.memory.agent_memories import AgentMemories
from workspace.memory.agent_memory import IMPORTED_AT_ONCE
from workspace.memory.asking import Asking
from workspace.memory.host_calling import HostCalling
from workspace.memory.remote import RemoteMemories, RemoteMemory
from workspace.names import WorkspaceKey
from workspace.request_queue import RequestQueue
from workspace.tenure import Tenure


class _StraightToTheDesk(RequestQueue):
    def __init__(self, desk: RequestDesk) -> None:
        super().__init__(None)
        self._desk = desk

    def put(self, key: WorkspaceKey, request: bytes, *, seconds: float) -> bool:
        self._desk.take(key, request)
        return True


class _AllHosted(HostCalling):
    def __init__(self) -> None:
        nobody: Any = SimpleNamespace()
        super().__init__(nobody, nobody, nobody)

    def call(self, key: WorkspaceKey) -> None:
        """Its host is at the desk."""

    def call_again(self, key: WorkspaceKey) -> None:
        """It is still there."""


class AskedMemories:
    """Those of a node, from elsewhere."""

    def __init__(self, memories: AgentMemories) -> None:
        settings = load_settings()
        self._memories = memories
        self._client = redis.Redis.from_url(settings.redis_url)
        self._waiter = redis_waiter(settings)
        tenure = Tenure(1, sure_until=float("inf"))
        self._desk = RequestDesk(memories, self._client, tenure_of=lambda _: tenure)
        asking = Asking(_StraightToTheDesk(self._desk), _AllHosted(), self._waiter)
        self._remote = RemoteMemories(asking, batch=IMPORTED_AT_ONCE)

    def of(self, key: WorkspaceKey, agent_name: str, agent_id: UUID) -> RemoteMemory:
        return self._remote.of(key, agent_name, agent_id)

    def release(self, key: WorkspaceKey) -> None:
        self._memories.release(key)

    def close(self) -> None:
        self._desk.stop()
        eventually(lambda: not self._desk._at_work, "the desk to be done")
        self._client.close()
        self._waiter.close()
