"""A node without its Celery worker: its claims, agent queues and keeper are real, over real stores."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import redis

from models.tenancy import Database
from settings import load_settings
from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.attached_agent import Slot
from tasks.keeper import Keeper
from tasks.request_desk import RequestDesk
from tasks.request_queues import RequestQueues
from tests.integration.core.world import World
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_health import AgentHealth
from workspace.alerts import Alerts
from workspace.claims import Claims
from workspace.errors import RunFailure
from workspace.event_publisher import EventPublisher
from workspace.hosted_space import HostedSpace, HostServices
from workspace.interruptible import Interrupted
from workspace.leases import Leases
from workspace.llm import Probe
from workspace.memory.agent_memories import AgentMemories
from workspace.names import WorkspaceKey
from workspace.tenure import Tenure

TTL, FENCE, RENEWAL = 3.0, 2.0, 0.5
"""Seconds: short, so that a test waits for little, and long enough for a machine that is busy."""


class Outgoing:
    """The sending half of a Celery app: writes down what goes out."""

    def __init__(self) -> None:
        self.placements: list[list[str]] = []

    def send_task(self, name: str, args: list[str], **options: Any) -> None:
        self.placements.append(args)


@dataclass
class OneNode:
    """A node."""

    database: Database
    client: redis.Redis
    name: str = "first"
    grace: float = 0.2
    ttl: float = TTL
    fence: float = FENCE
    settings: dict[str, object] = field(default_factory=dict)
    recovered: list[WorkspaceKey] = field(default_factory=list)
    checked: list[WorkspaceKey] = field(default_factory=list)
    spaces: dict[WorkspaceKey, HostedSpace] = field(default_factory=dict)
    outgoing: Outgoing = field(default_factory=Outgoing)

    def __post_init__(self) -> None:
        self.leases = Leases(self.client, ttl=self.ttl)
        self.claims = Claims(self.database, self.leases, node_id=self.name)
        self.queues = AgentQueues(Admission(slots=100))
        self.alerts = Alerts(self.client, EventPublisher(self.client, buffer_size=10, buffer_ttl=10))
        self.cache = AgentCache(size=100, ttl=60, client=self.client, alerts=self.alerts)
        self.memories = AgentMemories(load_settings().model_copy(update=self.settings), self.client)
        self.desk = RequestDesk(self.memories, self.client, tenure_of=self._tenure)
        self.requests = RequestQueues(self.desk)
        self.recover: Callable[[WorkspaceKey], int] = self._note_recovery
        self.services = HostServices(
            claims=self.claims,
            consumers=self.queues,
            requests=self.requests,
            cache=self.cache,
            health=AgentHealth(self.database, probe=lambda _: Probe.UNKNOWN, interval=60),
            bus=AgentBus(self.outgoing),
            alerts=self.alerts,
            memories=self.memories,
            check_memory=self.checked.append,
            recover=self._recover_now,
            fence_after=self.fence,
            grace=self.grace,
        )
        self.keeper = Keeper(
            settings=load_settings().model_copy(
                update={"node_lease_ttl": self.ttl, "node_lease_fence": self.fence, "node_lease_renewal": RENEWAL}
            ),
            claims=self.claims,
            leases=self.leases,
            hosted=lambda: [space for space in self.spaces.values() if space.tenure is not None],
            is_busy=lambda key: self.queues.running_of(key) > 0,
            resumed=self._attach_needed,
        )

    def _tenure(self, key: WorkspaceKey) -> Tenure | None:
        space = self.spaces.get(key)
        return space.tenure if space else None

    def _attach_needed(self) -> None:
        """What a node's housekeeping does soon after."""
        for space in self.spaces.values():
            if space.tenure is not None:
                space.attach_needed()

    def _recover_now(self, key: WorkspaceKey) -> int:
        return self.recover(key)

    def _note_recovery(self, key: WorkspaceKey) -> int:
        self.recovered.append(key)
        return 0

    def space(self, world: World) -> HostedSpace:
        return self.spaces.setdefault(world.key, HostedSpace(world.key, self.services))

    def open(self, world: World) -> HostedSpace:
        """Host a workspace, with its agent `helper` attached."""
        space = self.space(world)
        assert space.open()
        space.attach_by_id(world.agent_id)
        return space

    def enter(self, agent_id: UUID) -> Slot:
        """Take one of an agent's slots."""
        (agent,) = [one for one in self.queues.attached() if one.agent_id == agent_id]
        slot = self.queues.enter(agent, uuid4(), str(uuid4()))
        assert isinstance(slot, Slot), slot
        return slot


def owner(client: redis.Redis, world: World) -> str | None:
    """Return who has the lease of a workspace."""
    value = client.get(world.key.lease)
    return value.decode() if isinstance(value, bytes) else None


def stopped(slot: Slot) -> type[RunFailure] | None:
    """Return why a slot's work was told to stop, if it was."""
    try:
        slot.stop.check()
    except Interrupted as interrupt:
        return type(interrupt.failure)
    return None
