"""What a node is made of; `bootstrap` and `wiring` put it together."""

from dataclasses import dataclass

import redis

from orchestrator.orchestrator_run import OrchestratorRun
from settings import Settings
from tasks.agent_queues import AgentQueues
from tasks.request_queues import RequestQueues
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_health import AgentHealth
from workspace.announcements import Announcements
from workspace.broker_queues import BrokerQueues
from workspace.claims import Claims
from workspace.leases import Leases
from workspace.manager import WorkerSpaceManager
from workspace.memory.agent_memories import AgentMemories
from workspace.memory_watch import MemoryWatch
from workspace.rememberer import Rememberer
from workspace.reports import Reports
from workspace.sandbox import Sandbox
from workspace.sweeping import Sweeper
from workspace.sweeping.lost_hosts import LostHosts
from workspace.sweeping.orphaned_files import OrphanedFiles
from workspace.sweeping.orphaned_memory import OrphanedMemory
from workspace.task_run import TaskRun


@dataclass(frozen=True, kw_only=True)
class NodeParts:
    """The parts of the core that a node uses."""

    settings: Settings
    queues: AgentQueues
    requests: RequestQueues
    claims: Claims
    leases: Leases
    manager: WorkerSpaceManager
    task_run: TaskRun
    orchestrator_run: OrchestratorRun
    sweeper: Sweeper
    lost_hosts: LostHosts
    orphaned_files: OrphanedFiles
    sandbox: Sandbox
    memories: AgentMemories
    rememberer: Rememberer
    memory_watch: MemoryWatch
    orphaned_memory: OrphanedMemory
    bus: AgentBus
    cache: AgentCache
    health: AgentHealth
    announcements: Announcements
    broker: BrokerQueues
    reports: Reports
    subscriber: redis.Redis
