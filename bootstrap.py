"""The one place where the parts are put together: web, worker and tests call these functions.

Nothing connects here; each part connects when it is first used.
"""

import os
from typing import Any
from uuid import UUID

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.parts import Web
from models.database import build_database
from settings import Settings, load_settings
from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.hosting import Hosting
from tasks.node import Node
from tasks.sender import web_sender
from workspace.account_store import Accounts, ProjectStore
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_health import AgentHealth
from workspace.agent_store import AgentStore
from workspace.announcements import Announcements
from workspace.broadcast import Broadcaster
from workspace.broker_queues import BrokerQueues
from workspace.chat_store import ChatStore
from workspace.direct_run import DirectRun
from workspace.event_publisher import EventPublisher
from workspace.intake import Intake
from workspace.ledger import Ledger
from workspace.llm import ModelClient
from workspace.manager import WorkerSpaceManager
from workspace.runner import AgentRunner
from workspace.space import SpaceServices
from workspace.sweeper import Sweeper


def redis_client(settings: Settings) -> redis.Redis:
    """Return a client for short commands: it fails within `redis_timeout` instead of holding its caller.

    A pooled connection that the server closed meanwhile is retried once; a server that is silent is not.
    """
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        # A thread or greenlet holds one for a command; the default of 100 would refuse the hundred-and-first.
        max_connections=2_048,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


def redis_subscriber(settings: Settings) -> redis.Redis:
    """Return a client whose reads may wait for ever; it pings by itself, so that a dead peer is noticed."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=None,
        socket_connect_timeout=2.0,
        socket_keepalive=True,
        health_check_interval=10,
    )


def _publisher(settings: Settings, client: redis.Redis) -> EventPublisher:
    return EventPublisher(client, buffer_size=settings.event_buffer_size, buffer_ttl=settings.event_buffer_ttl)


def _cache(settings: Settings) -> AgentCache:
    return AgentCache(size=settings.agent_cache_size, ttl=settings.agent_cache_ttl)


def build_web(settings: Settings | None = None) -> Web:
    """Build what the web process needs."""
    settings = settings or load_settings()
    database = build_database(settings, application_name="codelab-web")
    client = redis_client(settings)
    agents = AgentStore(database, _cache(settings))
    chats = ChatStore(database)
    sender = web_sender(settings)
    services = SpaceServices(
        intake=Intake(database, queue_limit=settings.agent_queue_limit),
        bus=AgentBus(sender),
        broker=BrokerQueues(sender),
        publisher=_publisher(settings, client),
        broadcaster=Broadcaster(client),
        agents=agents,
        chats=chats,
    )
    return Web(
        settings=settings,
        database=database,
        redis=client,
        subscriber=redis_subscriber(settings),
        accounts=Accounts(database),
        projects=ProjectStore(database),
        agents=agents,
        chats=chats,
        manager=WorkerSpaceManager(services),
    )


def build_node(app: Any, *, name: str, settings: Settings | None = None) -> Node:
    """Build a node for the worker of `app`.

    Args:
        name: the worker's name; a number that differs with each start is added, so that a node that comes back is
            never taken for the one that was lost.
    """
    settings = settings or load_settings()
    database = build_database(settings, application_name="codelab-node")
    client = redis_client(settings)
    node_id = f"{name}:{os.getpid()}:{UUID(bytes=os.urandom(16)).hex[:8]}"
    bus = AgentBus(app)
    cache = _cache(settings)
    health = AgentHealth(database)
    publisher = _publisher(settings, client)
    announcements = Announcements(database)
    broker = BrokerQueues(app)
    direct_run = DirectRun(
        settings=settings,
        ledger=Ledger(database, history_messages=settings.history_messages),
        publisher=publisher,
        runner=AgentRunner(ModelClient(settings), progress_interval=settings.progress_interval),
        bus=bus,
        health=health,
        announcements=announcements,
        load_config=AgentStore(database, cache).config,
    )
    return Node(
        node_id=node_id,
        settings=settings,
        queues=AgentQueues(Admission(slots=settings.node_slots, cap=settings.user_task_cap)),
        hosting=Hosting(database, node_id=node_id, ttl=settings.node_lease_ttl),
        direct_run=direct_run,
        sweeper=Sweeper(database=database, bus=bus, publisher=publisher, queue_length=broker.length),
        bus=bus,
        cache=cache,
        health=health,
        announcements=announcements,
        broker=broker,
        subscriber=redis_subscriber(settings),
    )
