"""What web processes and nodes have alike."""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import redis

from models.database import build_database
from models.tenancy import Database
from orchestrator.chords import Chords
from orchestrator.history import HistoryEstimator
from orchestrator.plan_answers import PlanAnswers
from orchestrator.retrying import Retrying
from orchestrator.team import TeamStore
from settings import Settings
from wiring.stores import redis_client, redis_waiter
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_store import AgentStore
from workspace.alerts import Alerts
from workspace.announcements import mark_announced
from workspace.approvals.grants import Grants
from workspace.approvals.manager import ApprovalManager
from workspace.broadcast import Broadcaster, Change
from workspace.broker_queues import BrokerQueues
from workspace.cancellation import Cancellation
from workspace.chat_store import ChatStore
from workspace.endings import Endings
from workspace.event_publisher import EventPublisher
from workspace.idempotency import Receipts
from workspace.intake import Intake
from workspace.memory.agent_memories import AgentMemories
from workspace.memory.asking import Asking
from workspace.memory.host_calling import HostCalling
from workspace.memory.remote import RemoteMemories
from workspace.memory.store import MOST_AT_ONCE
from workspace.names import WorkspaceKey
from workspace.plans.afterwards import PlanAfterwards
from workspace.remembering import Remembering
from workspace.reports import Reports
from workspace.request_queue import RequestQueue
from workspace.resuming import Resumption
from workspace.retry_intake import RetryIntake
from workspace.space import SpaceServices
from workspace.space_store import SpaceStore
from workspace.survey import Surveyor, WorkspaceStore
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.client_calls import ToolCalls
from workspace.tools.registry import ToolRegistry
from workspace.user_cap import UserCap


class _Ground(NamedTuple):
    """What nearly every part stands on."""

    settings: Settings
    app: Any
    database: Database
    client: redis.Redis
    bus: AgentBus
    publisher: EventPublisher
    broadcaster: Broadcaster
    user_cap: UserCap


class Core(NamedTuple):
    """What web processes and nodes have alike."""

    settings: Settings
    database: Database
    client: redis.Redis
    publisher: EventPublisher
    user_cap: UserCap
    edges: Chords
    afterwards: PlanAfterwards
    endings: Endings
    team: TeamStore
    estimator: HistoryEstimator
    approvals: ApprovalManager
    plan_answers: PlanAnswers
    tool_calls: ToolCalls
    services: SpaceServices


def build_core(
    settings: Settings,
    app: Any,
    *,
    application_name: str,
    memories: AgentMemories | None,
    is_consumed: Callable[[UUID], bool] = lambda _: False,
) -> Core:
    """Build that.

    Args:
        settings: the options.
        app: sends.
        application_name: what the database knows the process by.
        memories: the agents', if this process has them itself; without them their hosts are asked.
        is_consumed: says of which agents' queues this process is the consumer, so that no host has to be told.
    """
    ground = _ground(settings, app, application_name)
    database, publisher, bus = ground.database, ground.publisher, ground.bus
    edges = Chords(app, bus, needed=_needed(ground.broadcaster, is_consumed))
    afterwards = PlanAfterwards(
        publisher=publisher, bus=bus, edges=edges, announce=lambda run_id: mark_announced(database, [run_id])
    )
    endings = _endings(ground, afterwards)
    team = TeamStore(database, default_model=settings.default_model)
    estimator = HistoryEstimator(database, settings)
    resumption = Resumption(bus, ground.broadcaster)
    approvals = ApprovalManager(database, publisher, resumption, Grants(database), settings)
    return Core(
        settings=settings,
        database=database,
        client=ground.client,
        publisher=publisher,
        user_cap=ground.user_cap,
        edges=edges,
        afterwards=afterwards,
        endings=endings,
        team=team,
        estimator=estimator,
        approvals=approvals,
        plan_answers=PlanAnswers(approvals, team, estimator, ToolRegistry(CATALOGUE), run_max_age=settings.run_max_age),
        tool_calls=ToolCalls(database, publisher, resumption, output_limit=settings.tool_output_limit),
        services=_services(ground, endings, team, estimator, memories),
    )


def _endings(ground: _Ground, afterwards: PlanAfterwards) -> Endings:
    return Endings(
        database=ground.database,
        publisher=ground.publisher,
        broadcaster=ground.broadcaster,
        bus=ground.bus,
        user_cap=ground.user_cap,
        afterwards=afterwards,
    )


def _needed(broadcaster: Broadcaster, is_consumed: Callable[[UUID], bool]) -> Callable[[WorkspaceKey, UUID], None]:
    def needed(key: WorkspaceKey, agent_id: UUID) -> None:
        # Most of the time the node that tells is the host itself, and has the queue at hand since the last task.
        if not is_consumed(agent_id):
            broadcaster.tell(Change.AGENT_NEEDED, key, agent_id)

    return needed


def _ground(settings: Settings, app: Any, application_name: str) -> _Ground:
    database = build_database(settings, application_name=application_name)
    client = redis_client(settings)
    return _Ground(
        settings=settings,
        app=app,
        database=database,
        client=client,
        bus=AgentBus(app),
        publisher=EventPublisher(client, buffer_size=settings.event_buffer_size, buffer_ttl=settings.event_buffer_ttl),
        broadcaster=Broadcaster(client),
        user_cap=UserCap(database, cap=settings.user_task_cap),
    )


def _services(
    ground: _Ground, endings: Endings, team: TeamStore, estimator: HistoryEstimator, memories: AgentMemories | None
) -> SpaceServices:
    settings, database, client = ground.settings, ground.database, ground.client
    alerts = Alerts(client, ground.publisher)
    cache = _cache(settings, alerts)
    spaces = SpaceStore(database)
    limits = {"queue_limit": settings.agent_queue_limit, "user_task_cap": settings.user_task_cap}
    return SpaceServices(
        intake=Intake(database, **limits),
        bus=ground.bus,
        publisher=ground.publisher,
        broadcaster=ground.broadcaster,
        agents=AgentStore(database, cache),
        chats=ChatStore(database),
        broker=BrokerQueues(ground.app),
        cache=cache,
        cancellation=Cancellation(database),
        endings=endings,
        receipts=Receipts(database),
        retries=Retrying(database, RetryIntake(database, **limits), team, estimator),
        spaces=spaces,
        user_cap=ground.user_cap,
        survey=WorkspaceStore(database, Surveyor(Reports(client), queue_limit=settings.agent_queue_limit)),
        alerts=alerts,
        memories=memories or _asked_memories(ground, HostCalling(spaces, ground.bus, ground.broadcaster)),
        remembering=Remembering(database),
        queue_limit=settings.agent_queue_limit,
        remember_host=settings.agent_idle_timeout / 2,
    )


def _cache(settings: Settings, alerts: Alerts) -> AgentCache:
    return AgentCache(
        size=settings.agent_cache_size,
        ttl=settings.agent_cache_ttl,
        client=redis_client(settings, url=settings.cache),
        alerts=alerts,
    )


def own_memories(settings: Settings) -> AgentMemories:
    """Return the memories of a process that reaches the engine itself."""
    return AgentMemories(settings, redis_client(settings, url=settings.cache))


def _asked_memories(ground: _Ground, calling: HostCalling) -> RemoteMemories:
    asking = Asking(RequestQueue(ground.app), calling, redis_waiter(ground.settings))
    return RemoteMemories(asking, batch=min(ground.settings.embedding_batch, MOST_AT_ONCE))
