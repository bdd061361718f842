"""What a node hosts workspaces with."""

from typing import NamedTuple

from tasks.agent_queues import AgentQueues
from tasks.request_desk import RequestDesk
from tasks.request_queues import RequestQueues
from wiring.core import Core
from workspace.agent_health import AgentHealth
from workspace.claims import Claims
from workspace.files import WorkspaceFiles, data_dir_id
from workspace.hosted_space import HostServices
from workspace.leases import Leases
from workspace.llm import ModelClient
from workspace.manager import WorkerSpaceManager
from workspace.memory.agent_memories import AgentMemories
from workspace.memory_check import MemoryCheck
from workspace.memory_watch import MemoryWatch
from workspace.sweeping.lost_hosts import LostHosts
from workspace.sweeping.orphaned_files import OrphanedFiles
from workspace.sweeping.orphaned_memory import OrphanedMemory


class Hosting(NamedTuple):
    """What a node hosts workspaces with."""

    leases: Leases
    claims: Claims
    requests: RequestQueues
    health: AgentHealth
    lost_hosts: LostHosts
    orphaned_files: OrphanedFiles
    memory_watch: MemoryWatch
    orphaned_memory: OrphanedMemory
    manager: WorkerSpaceManager


def build_hosting(
    core: Core,
    queues: AgentQueues,
    memories: AgentMemories,
    files: WorkspaceFiles,
    model: ModelClient,
    *,
    node_id: str,
) -> Hosting:
    """Build that, for a node of this id."""
    settings, services = core.settings, core.services
    leases = Leases(core.client, ttl=settings.node_lease_ttl)
    claims = Claims(core.database, leases, node_id=node_id, data_id=data_dir_id(settings.data_dir))
    memory_watch = MemoryWatch(memories.store, services.alerts, node_id=node_id)
    orphaned_memory = OrphanedMemory(core.database, memories.store)
    health = AgentHealth(core.database, probe=model.probe, interval=settings.agent_check_interval)
    lost_hosts = _lost_hosts(core, claims, leases)
    # The manager is made of what the desk is a part of, so it is looked up when a request comes.
    desk = RequestDesk(memories, core.client, tenure_of=lambda key: manager.tenure(key))  # noqa: PLW0108
    requests = RequestQueues(desk)
    host = HostServices(
        claims=claims,
        consumers=queues,
        requests=requests,
        cache=services.cache,
        health=health,
        bus=services.bus,
        alerts=services.alerts,
        memories=memories,
        check_memory=MemoryCheck(memory_watch, orphaned_memory).begin,
        recover=lost_hosts.fail_lost,
        fence_after=settings.node_lease_fence,
        grace=settings.node_shutdown_grace,
    )
    manager = WorkerSpaceManager(services._replace(host=host))
    return Hosting(
        leases=leases,
        claims=claims,
        requests=requests,
        health=health,
        lost_hosts=lost_hosts,
        orphaned_files=OrphanedFiles(core.database, files),
        memory_watch=memory_watch,
        orphaned_memory=orphaned_memory,
        manager=manager,
    )


def _lost_hosts(core: Core, claims: Claims, leases: Leases) -> LostHosts:
    return LostHosts(
        database=core.database,
        claims=claims,
        leases=leases,
        bus=core.services.bus,
        publisher=core.publisher,
        user_cap=core.user_cap,
        alerts=core.services.alerts,
        afterwards=core.afterwards,
    )
