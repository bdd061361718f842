"""Where web, worker and tests begin: these functions put the parts together, from the groups of `wiring`.

Nothing connects here; each part connects when it is first used.
"""

import os
from typing import Any
from uuid import UUID

from api.parts import Web
from orchestrator.calibrating import Calibrations
from settings import Settings, load_settings
from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.node import Node
from tasks.node_parts import NodeParts
from tasks.sender import web_sender
from wiring.core import build_core, own_memories
from wiring.hosting import build_hosting
from wiring.stores import redis_client, redis_subscriber, redis_waiter
from wiring.sweeping import build_sweeper
from wiring.tools import build_resources
from wiring.work import build_work
from workspace.account_store import Accounts, ProjectStore
from workspace.census import Census
from workspace.explanations import Explanations
from workspace.llm import ModelClient
from workspace.manager import WorkerSpaceManager
from workspace.oversight import Oversight
from workspace.reports import Reports
from workspace.survey import Surveyor
from workspace.task_waits import TaskWaits
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.registry import ToolRegistry

__all__ = ["build_node", "build_web", "redis_client", "redis_subscriber", "redis_waiter"]


def build_web(settings: Settings | None = None) -> Web:
    """Build what the web process needs."""
    settings = settings or load_settings()
    # A server is reached from everywhere; the embedded engine only on the node that hosts a workspace.
    memories = own_memories(settings) if settings.qdrant_url else None
    core = build_core(settings, web_sender(settings), application_name="codelab-web", memories=memories)
    surveyor = Surveyor(Reports(core.client), queue_limit=settings.agent_queue_limit)
    return Web(
        settings=settings,
        database=core.database,
        redis=core.client,
        subscriber=redis_subscriber(settings),
        accounts=Accounts(core.database),
        projects=ProjectStore(core.database),
        agents=core.services.agents,
        chats=core.services.chats,
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
        team=core.team,
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
    memories = own_memories(settings)
    queues = AgentQueues(Admission(slots=settings.node_slots), most_attached=settings.user_attached_agents)
    core = build_core(settings, app, application_name="codelab-node", memories=memories, is_consumed=queues.is_consumed)
    node_id = f"{name}:{os.getpid()}:{UUID(bytes=os.urandom(16)).hex[:8]}"
    resources = build_resources(settings, memories)
    model = ModelClient(settings)
    hosting = build_hosting(core, queues, memories, resources.files, model, node_id=node_id)
    work = build_work(core, memories, resources, model, hosting, node_id=node_id)
    parts = NodeParts(
        settings=settings,
        queues=queues,
        requests=hosting.requests,
        claims=hosting.claims,
        leases=hosting.leases,
        manager=hosting.manager,
        task_run=work.task_run,
        orchestrator_run=work.orchestrator_run,
        sweeper=build_sweeper(core, hosting),
        lost_hosts=hosting.lost_hosts,
        orphaned_files=hosting.orphaned_files,
        sandbox=resources.sandbox,
        memories=memories,
        rememberer=work.rememberer,
        memory_watch=hosting.memory_watch,
        orphaned_memory=hosting.orphaned_memory,
        bus=core.services.bus,
        cache=core.services.cache,
        health=hosting.health,
        announcements=work.announcements,
        broker=core.services.broker,
        reports=Reports(core.client),
        subscriber=redis_subscriber(settings),
    )
    return Node(parts)
