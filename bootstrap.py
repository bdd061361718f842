"""The one place where the parts are put together: web, worker and tests call these functions.

Nothing connects here; each part connects when it is first used.
"""

import os
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.parts import Web
from models.database import build_database
from models.tenancy import Database
from orchestrator.calibrating import Calibrations
from orchestrator.chords import Chords
from orchestrator.closing_task import ClosingTask
from orchestrator.history import HistoryEstimator
from orchestrator.launching import Launching
from orchestrator.orchestrator_run import OrchestratorRun, OrchestratorServices
from orchestrator.personal import PersonalOrchestrator
from orchestrator.plan_answers import PlanAnswers
from orchestrator.plan_approvals import PlanApprovals
from orchestrator.planner.cache import PlanCache
from orchestrator.planner.model_planner import ModelPlanner
from orchestrator.planning_task import PlanningTask
from orchestrator.retrying import Retrying
from orchestrator.run_end import RunEnds
from orchestrator.run_rows import RunRows
from orchestrator.team import TeamStore
from settings import Settings, load_settings
from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.node import Node
from tasks.node_parts import NodeParts
from tasks.request_desk import RequestDesk
from tasks.request_queues import RequestQueues
from tasks.sender import web_sender
from workspace.account_store import Accounts, ProjectStore
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_health import AgentHealth
from workspace.agent_store import AgentStore
from workspace.alerts import Alerts
from workspace.announcements import Announcements, mark_announced
from workspace.approvals.grants import Grants
from workspace.approvals.manager import ApprovalManager
from workspace.approvals.requests import ApprovalRequests
from workspace.broadcast import Broadcaster, Change
from workspace.broker_queues import BrokerQueues
from workspace.cancellation import Cancellation
from workspace.census import Census
from workspace.chat_store import ChatStore
from workspace.claims import Claims
from workspace.direct_end import DirectEnd
from workspace.endings import Endings
from workspace.event_publisher import EventPublisher
from workspace.explanations import Explanations
from workspace.files import Owner, WorkspaceFiles, data_dir_id
from workspace.hosted_space import HostServices
from workspace.idempotency import Receipts
from workspace.in_hand import InHand
from workspace.intake import Intake
from workspace.keepalive import KEEPALIVE
from workspace.leases import Leases
from workspace.ledger import Ledger
from workspace.llm import ModelClient
from workspace.manager import WorkerSpaceManager
from workspace.memory.agent_memories import AgentMemories
from workspace.memory.asking import PATIENCE, Asking
from workspace.memory.host_calling import HostCalling
from workspace.memory.remote import RemoteMemories
from workspace.memory.store import MOST_AT_ONCE
from workspace.memory_check import MemoryCheck
from workspace.memory_watch import MemoryWatch
from workspace.oversight import Oversight
from workspace.plans.afterwards import PlanAfterwards
from workspace.plans.end import PlanEnd
from workspace.plans.ledger import PlanLedger
from workspace.recall import Recall
from workspace.rememberer import Rememberer
from workspace.remembering import Remembering
from workspace.reports import Reports
from workspace.request_queue import RequestQueue
from workspace.resuming import Resumption
from workspace.retry_intake import RetryIntake
from workspace.run_spending import RunSpending
from workspace.runner import AgentRunner
from workspace.sandbox import build_sandbox, identity_of_commands
from workspace.space import SpaceServices
from workspace.space_store import SpaceStore
from workspace.survey import Surveyor, WorkspaceStore
from workspace.sweeping import Sweeper
from workspace.sweeping.lost_hosts import LostHosts
from workspace.sweeping.orphaned_files import OrphanedFiles
from workspace.sweeping.orphaned_memory import OrphanedMemory
from workspace.sweeping.outbox import Outbox
from workspace.sweeping.overdue import Overdue
from workspace.sweeping.plans import StuckPlans
from workspace.sweeping.unanswered import Unanswered
from workspace.sweeping.unremembered import Unremembered
from workspace.sweeping.untold import Untold
from workspace.task_run import TaskRun
from workspace.task_waits import TaskWaits
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.client_calls import ToolCalls
from workspace.tools.executor import ToolExecutor
from workspace.tools.ledger import ToolLedger
from workspace.tools.memory_port import OwnMemory
from workspace.tools.registry import Resources, ToolRegistry
from workspace.tools.toolbox import ToolServices
from workspace.user_cap import UserCap


def redis_client(settings: Settings, *, url: str | None = None) -> redis.Redis:
    """Return a client for short commands: it fails within `redis_timeout` instead of holding its caller.

    A pooled connection that the server closed meanwhile is retried once; a server that is silent is not.

    Args:
        settings: its time limit counts.
        url: of another store than that of `REDIS_URL`.
    """
    return redis.Redis.from_url(
        url or settings.redis_url,
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
        socket_keepalive_options=KEEPALIVE,
        health_check_interval=10,
    )


def redis_waiter(settings: Settings) -> redis.Redis:
    """Return a client whose reads wait for a reply as long as somebody waits for that; nothing is tried again."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=PATIENCE + settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        max_connections=2_048,
        retry=Retry(NoBackoff(), 0),
    )


def _publisher(settings: Settings, client: redis.Redis) -> EventPublisher:
    return EventPublisher(client, buffer_size=settings.event_buffer_size, buffer_ttl=settings.event_buffer_ttl)


def _cache(settings: Settings, alerts: Alerts) -> AgentCache:
    return AgentCache(
        size=settings.agent_cache_size,
        ttl=settings.agent_cache_ttl,
        client=redis_client(settings, url=settings.cache),
        alerts=alerts,
    )


class _Core(NamedTuple):
    """What web processes and nodes have alike."""

    settings: Settings
    database: Database
    client: redis.Redis
    publisher: EventPublisher
    agents: AgentStore
    chats: ChatStore
    user_cap: UserCap
    edges: Chords
    afterwards: PlanAfterwards
    endings: Endings
    approvals: ApprovalManager
    plan_answers: PlanAnswers
    tool_calls: ToolCalls
    services: SpaceServices


def _core(settings: Settings, app: Any, *, application_name: str, memories: AgentMemories | None) -> _Core:
    """Build that, with memories that are asked of their hosts unless this process has them itself."""
    database = build_database(settings, application_name=application_name)
    client = redis_client(settings)
    bus = AgentBus(app)
    publisher = _publisher(settings, client)
    broadcaster = Broadcaster(client)
    alerts = Alerts(client, publisher)
    cache = _cache(settings, alerts)
    agents = AgentStore(database, cache)
    chats = ChatStore(database)
    user_cap = UserCap(database, cap=settings.user_task_cap)
    edges = Chords(app, bus, needed=partial(broadcaster.tell, Change.AGENT_NEEDED))
    afterwards = PlanAfterwards(
        publisher=publisher, bus=bus, edges=edges, announce=lambda run_id: mark_announced(database, [run_id])
    )
    endings = Endings(
        database=database,
        publisher=publisher,
        broadcaster=broadcaster,
        bus=bus,
        user_cap=user_cap,
        afterwards=afterwards,
    )
    spaces = SpaceStore(database)
    limits = {"queue_limit": settings.agent_queue_limit, "user_task_cap": settings.user_task_cap}
    team = TeamStore(database, default_model=settings.default_model)
    estimator = HistoryEstimator(database, team, settings)
    services = SpaceServices(
        intake=Intake(database, **limits),
        bus=bus,
        publisher=publisher,
        broadcaster=broadcaster,
        agents=agents,
        chats=chats,
        broker=BrokerQueues(app),
        cache=cache,
        cancellation=Cancellation(database),
        endings=endings,
        receipts=Receipts(database),
        retries=Retrying(database, RetryIntake(database, **limits), team, estimator),
        spaces=spaces,
        user_cap=user_cap,
        survey=WorkspaceStore(database, Surveyor(Reports(client), queue_limit=settings.agent_queue_limit)),
        alerts=alerts,
        memories=memories or _asked_memories(settings, app, HostCalling(spaces, bus, broadcaster)),
        remembering=Remembering(database),
        queue_limit=settings.agent_queue_limit,
        remember_host=settings.agent_idle_timeout / 2,
    )
    resumption = Resumption(bus, broadcaster)
    approvals = ApprovalManager(database, publisher, resumption, Grants(database), settings)
    return _Core(
        settings=settings,
        database=database,
        client=client,
        publisher=publisher,
        agents=agents,
        chats=chats,
        user_cap=user_cap,
        edges=edges,
        afterwards=afterwards,
        endings=endings,
        approvals=approvals,
        plan_answers=PlanAnswers(approvals, team, estimator, ToolRegistry(CATALOGUE), run_max_age=settings.run_max_age),
        tool_calls=ToolCalls(database, publisher, resumption, output_limit=settings.tool_output_limit),
        services=services,
    )


def _asked_memories(settings: Settings, app: Any, calling: HostCalling) -> RemoteMemories:
    asking = Asking(RequestQueue(app), calling, redis_waiter(settings))
    return RemoteMemories(asking, batch=min(settings.embedding_batch, MOST_AT_ONCE))


def _own_memories(settings: Settings) -> AgentMemories:
    return AgentMemories(settings, redis_client(settings, url=settings.cache))


def build_web(settings: Settings | None = None) -> Web:
    """Build what the web process needs."""
    settings = settings or load_settings()
    # A server is reached from everywhere; the embedded engine only on the node that hosts a workspace.
    memories = _own_memories(settings) if settings.qdrant_url else None
    core = _core(settings, web_sender(settings), application_name="codelab-web", memories=memories)
    surveyor = Surveyor(Reports(core.client), queue_limit=settings.agent_queue_limit)
    return Web(
        settings=settings,
        database=core.database,
        redis=core.client,
        subscriber=redis_subscriber(settings),
        accounts=Accounts(core.database),
        projects=ProjectStore(core.database),
        agents=core.agents,
        chats=core.chats,
        manager=WorkerSpaceManager(core.services),
        explanations=Explanations(core.database, TaskWaits(core.client), user_task_cap=settings.user_task_cap),
        workspaces=core.services.survey,
        oversight=Oversight(core.database, surveyor),
        alerts=core.services.alerts,
        census=Census(core.database),
        approvals=core.approvals,
        plan_answers=core.plan_answers,
        tool_calls=core.tool_calls,
        tools=ToolRegistry(CATALOGUE),
        team=TeamStore(core.database, default_model=settings.default_model),
        calibrations=Calibrations(core.database),
    )


def build_node(app: Any, *, name: str, settings: Settings | None = None) -> Node:
    """Build a node for the worker of `app`.

    Args:
        app: the Celery app.
        name: the worker's name; a number that differs with each start is added, so that a node that comes back is
            never taken for the one that was lost.
        settings: the options, by default those of the environment.
    """
    settings = settings or load_settings()
    memories = _own_memories(settings)
    core = _core(settings, app, application_name="codelab-node", memories=memories)
    node_id = f"{name}:{os.getpid()}:{UUID(bytes=os.urandom(16)).hex[:8]}"
    leases = Leases(core.client, ttl=settings.node_lease_ttl)
    claims = Claims(core.database, leases, node_id=node_id, data_id=data_dir_id(settings.data_dir))
    queues = AgentQueues(Admission(slots=settings.node_slots), most_attached=settings.user_attached_agents)
    resources = _resources(settings, memories)
    orphaned_files = OrphanedFiles(core.database, resources.files)
    memory_watch = MemoryWatch(memories.store, core.services.alerts, node_id=node_id)
    orphaned_memory = OrphanedMemory(core.database, memories.store)
    model = ModelClient(settings)
    health = AgentHealth(core.database, probe=model.probe, interval=settings.agent_check_interval)
    announcements = Announcements(core.database)
    lost_hosts = LostHosts(
        database=core.database,
        claims=claims,
        leases=leases,
        bus=core.services.bus,
        publisher=core.publisher,
        user_cap=core.user_cap,
        alerts=core.services.alerts,
        afterwards=core.afterwards,
    )
    # The manager is made of what the desk is a part of, so it is looked up when a request comes.
    desk = RequestDesk(memories, core.client, tenure_of=lambda key: manager.tenure(key))  # noqa: PLW0108
    requests = RequestQueues(desk)
    host = HostServices(
        claims=claims,
        consumers=queues,
        requests=requests,
        cache=core.services.cache,
        health=health,
        bus=core.services.bus,
        alerts=core.services.alerts,
        memories=memories,
        check_memory=MemoryCheck(memory_watch, orphaned_memory).begin,
        recover=lost_hosts.fail_lost,
        fence_after=settings.node_lease_fence,
        grace=settings.node_shutdown_grace,
    )
    manager = WorkerSpaceManager(core.services._replace(host=host))
    rememberer = Rememberer(core.services.remembering, memories, node_id=node_id, is_host=manager.is_sure_host)
    ledger = Ledger(core.database, history_messages=settings.history_messages, user_task_cap=settings.user_task_cap)
    task_run = TaskRun(
        settings=settings,
        ledger=ledger,
        publisher=core.publisher,
        runner=AgentRunner(model, settings),
        bus=core.services.bus,
        health=health,
        direct_end=DirectEnd(ledger, core.services.bus, announcements),
        plan_end=PlanEnd(PlanLedger(core.database, user_task_cap=settings.user_task_cap), core.afterwards),
        load_config=core.agents.config,
        user_cap=core.user_cap,
        waits=TaskWaits(core.client),
        tools=_tools(core, resources),
        recall=Recall(memories, core.publisher, settings),
        spending=RunSpending(core.database),
        remember=rememberer.hint,
    )
    parts = NodeParts(
        settings=settings,
        queues=queues,
        requests=requests,
        claims=claims,
        leases=leases,
        manager=manager,
        task_run=task_run,
        orchestrator_run=_orchestrator_run(core, model, ledger, announcements),
        sweeper=_sweeper(core, lost_hosts, orphaned_files, orphaned_memory),
        lost_hosts=lost_hosts,
        orphaned_files=orphaned_files,
        sandbox=resources.sandbox,
        memories=memories,
        rememberer=rememberer,
        memory_watch=memory_watch,
        orphaned_memory=orphaned_memory,
        bus=core.services.bus,
        cache=core.services.cache,
        health=health,
        announcements=announcements,
        broker=core.services.broker,
        reports=Reports(core.client),
        subscriber=redis_subscriber(settings),
    )
    return Node(parts)


def _orchestrator_run(core: _Core, model: ModelClient, ledger: Ledger, announcements: Announcements) -> OrchestratorRun:
    settings = core.settings
    approvals = PlanApprovals(timeout=settings.approval_timeout_plan)
    team = TeamStore(core.database, default_model=settings.default_model)
    orchestrator = PersonalOrchestrator(
        team=team,
        planner=ModelPlanner(
            model, PlanCache(redis_client(settings, url=settings.cache), ttl=settings.plan_cache_ttl), settings
        ),
        estimator=HistoryEstimator(core.database, team, settings),
        approvals=approvals,
    )
    planning = PlanningTask(
        settings=settings,
        orchestrator=orchestrator,
        rows=RunRows(core.database, approvals),
        launching=Launching(core.database, core.edges, core.publisher),
        ledger=ledger,
        publisher=core.publisher,
    )
    closing = ClosingTask(
        settings=settings,
        database=core.database,
        orchestrator=orchestrator,
        model=model,
        publisher=core.publisher,
        waits=TaskWaits(core.client),
    )
    services = OrchestratorServices(
        ledger=ledger,
        ends=RunEnds(core.database),
        publisher=core.publisher,
        bus=core.services.bus,
        user_cap=core.user_cap,
        announcements=announcements,
    )
    return OrchestratorRun(services, planning, closing)


def _resources(settings: Settings, memories: AgentMemories) -> Resources:
    identity = identity_of_commands(uid=settings.sandbox_uid, gid=settings.sandbox_gid)
    files = WorkspaceFiles(
        settings.data_dir / "files",
        quota_bytes=settings.workspace_quota_bytes,
        quota_entries=settings.workspace_quota_entries,
        largest_file=settings.file_size_limit,
        # What the file tools write, commands may change, and the other way round.
        owner=None if identity.is_worker else Owner(identity.uid, identity.gid),
        output_limit=settings.tool_output_limit,
    )
    return Resources(files=files, sandbox=build_sandbox(settings, identity), memory=OwnMemory(memories))


def _tools(core: _Core, resources: Resources) -> ToolServices:
    settings = core.settings
    return ToolServices(
        executor=ToolExecutor(ToolRegistry(CATALOGUE), resources, output_limit=settings.tool_output_limit),
        ledger=ToolLedger(core.database),
        requests=ApprovalRequests(settings, core.approvals.grants),
        grants=core.approvals.grants,
        publisher=core.publisher,
        settings=settings,
    )


def _sweeper(
    core: _Core, lost_hosts: LostHosts, orphaned_files: OrphanedFiles, orphaned_memory: OrphanedMemory
) -> Sweeper:
    settings = core.settings
    outbox = Outbox(
        database=core.database,
        bus=core.services.bus,
        user_cap=core.user_cap,
        queue_length=core.services.broker.length,
        in_hand=InHand(core.database, Reports(core.client)).of,
    )
    overdue = Overdue(
        database=core.database,
        cancellation=core.services.cancellation,
        endings=core.endings,
        end_tasks=lost_hosts.fail_overdue,
        alerts=core.services.alerts,
        run_max_age=settings.run_max_age,
        stuck_after=settings.stuck_after,
        task_deadline=settings.task_deadline,
    )
    plans = StuckPlans(core.database, core.edges)
    untold = Untold(core.database, core.publisher)
    unremembered = Unremembered(core.database, core.services.bus)
    unanswered = Unanswered(core.database, core.approvals, core.tool_calls, warning=settings.approval_warning)
    return Sweeper(
        core.database,
        {
            "expired": overdue.end_old_runs,
            "overdue": overdue.end_overdue,
            "declined": unanswered.decline,
            "warned": unanswered.warn,
            "given_up": unanswered.give_up,
            "buried": lost_hosts.bury,
            "lost": lost_hosts.fail_lost,
            "released": outbox.release_held,
            "uncapped": outbox.release_capped,
            "unstuck": plans.promote,
            "reopened": plans.reopen,
            "placed": lost_hosts.place,
            "sent": outbox.send,
            "announced": untold.announce,
            "unremembered": unremembered.place,
            "not_remembered": unremembered.give_up,
            "stuck": overdue.tell_stuck,
            "orphaned_files": orphaned_files.look,
            "orphaned_memory": orphaned_memory.look,
        },
    )
