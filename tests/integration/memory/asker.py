"""A process that asks: what a web process has, without its HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery
from kombu import pools

from bootstrap import redis_client, redis_waiter
from models.tenancy import Database
from settings import Settings
from tasks.sender import web_sender
from tests.integration.core.world import World, make_world
from workspace.agent_bus import AgentBus
from workspace.broadcast import Broadcaster
from workspace.memory.asking import Asking
from workspace.memory.host_calling import HostCalling
from workspace.memory.remote import RemoteMemories, RemoteMemory
from workspace.request_queue import RequestQueue
from workspace.space_store import SpaceStore


@dataclass(frozen=True, kw_only=True)
class Asker:
    """It, and what tests look at beside it."""

    database: Database
    app: Celery
    client: redis.Redis
    broker: Any
    queue: RequestQueue
    calling: HostCalling
    asking: Asking
    memories: RemoteMemories

    def world(self) -> World:
        """A user with a project that no node hosts yet, and an agent `helper`."""
        return make_world(self.database, host=None)

    def memory(self, world: World) -> RemoteMemory:
        """The memory of its agent."""
        return self.memories.of(world.key, "helper", world.agent_id)

    def replies(self) -> list[bytes]:
        """The keys of replies that nobody took."""
        return list(self.client.scan_iter("reply:*"))


@contextmanager
def asker_of(settings: Settings, database: Database) -> Iterator[Asker]:
    """Run what asks, over the stores of some settings."""
    app = web_sender(settings)
    client, replies = redis_client(settings), redis_waiter(settings)
    queue = RequestQueue(app)
    calling = HostCalling(SpaceStore(database), AgentBus(app), Broadcaster(client))
    asking = Asking(queue, calling, replies)
    broker = redis.Redis.from_url(settings.broker) if settings.broker.startswith("redis") else None
    try:
        yield Asker(
            database=database,
            app=app,
            client=client,
            broker=broker,
            queue=queue,
            calling=calling,
            asking=asking,
            memories=RemoteMemories(asking, batch=settings.embedding_batch),
        )
    finally:
        for each in (client, replies, broker):
            if each is not None:
                each.close()
        pools.reset()  # kombu keeps them for a process's life
        app.close()
