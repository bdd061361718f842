"""What the sweeper is given in these tests: real rows and leases, and something that writes down what it tells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import redis

from models import utc_now
from models.statuses import TaskStatus
from models.tenancy import Database
from tests.integration.core.conftest import TTL
from tests.integration.core.world import HOST, PLENTY, World, make_world
from workspace.broadcast import Change
from workspace.cancellation import Cancellation
from workspace.claims import Claims
from workspace.endings import Endings
from workspace.events import AlertKind, EventScope, Payload, Usage
from workspace.intake import Accepted
from workspace.leases import Leases
from workspace.ledger import QueuedTask
from workspace.names import WorkspaceKey
from workspace.plans.afterwards import PlanAfterwards
from workspace.plans.edges import Arrival, FollowUps, Join
from workspace.sweeping.lost_hosts import LostHosts
from workspace.sweeping.outbox import Outbox
from workspace.sweeping.overdue import Overdue
from workspace.sweeping.plans import StuckPlans
from workspace.sweeping.sweeper import Step, Sweeper
from workspace.sweeping.untold import Untold
from workspace.user_cap import UserCap

USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
RUN_MAX_AGE, STUCK_AFTER, TASK_DEADLINE = 86_400.0, 600.0, 900.0
"""Seconds."""


@dataclass
class Parts:
    """Stands for the bus, the publisher, the broadcaster and the broker, and writes down what each is told."""

    sent: list[UUID] = field(default_factory=list)
    queues: list[tuple[WorkspaceKey, str]] = field(default_factory=list)
    placed: list[WorkspaceKey] = field(default_factory=list)
    told: list[tuple[EventScope, tuple[Payload, ...]]] = field(default_factory=list)
    hints: list[tuple[Change, WorkspaceKey, list[UUID]]] = field(default_factory=list)
    alerts: list[UUID] = field(default_factory=list)
    lengths: dict[str, int] = field(default_factory=dict)
    hand: dict[str, int] = field(default_factory=dict)
    opened: list[Join] = field(default_factory=list)
    arrived: list[Arrival] = field(default_factory=list)
    counted: list[Join] = field(default_factory=list)
    """Chords that have a counter."""
    over: list[UUID] = field(default_factory=list)
    broker_answers: bool = True
    redis_answers: bool = True
    meanwhile: Callable[[], object] = lambda: None

    # The bus.

    def send_task_to_agent(self, key: WorkspaceKey, agent_name: str, task_id: UUID) -> bool:
        self.meanwhile()
        if self.broker_answers:
            self.sent.append(task_id)
            self.queues.append((key, agent_name))
        return self.broker_answers

    def request_placement(self, key: WorkspaceKey) -> bool:
        self.placed.append(key)
        return self.broker_answers

    # The publisher and the broadcaster.

    def publish(self, scope: EventScope, *payloads: Payload) -> object:
        self.meanwhile()
        if self.redis_answers:
            self.told.append((scope, payloads))
        return object() if self.redis_answers else None

    def tell(self, change: Change, key: WorkspaceKey, *, task_ids: Sequence[UUID] = (), reason: object = None) -> bool:
        self.hints.append((change, key, list(task_ids)))
        return True

    # The edges of plans.

    def open(self, joins: Sequence[Join]) -> None:
        self.opened += joins

    def send(self, follow_ups: FollowUps) -> None:
        self.sent += [task.id for task in follow_ups.queued]
        self.arrived += follow_ups.arrivals

    def lost(self, joins: Sequence[Join]) -> list[Join]:
        return [join for join in joins if join not in self.counted]

    # The broker and the nodes.

    def queue_length(self, name: str) -> int:
        return self.lengths.get(name, 0)

    def in_hand(self, tasks: Sequence[QueuedTask]) -> dict[str, int]:
        queues = {task.key.agent_queue(task.agent_name) for task in tasks}
        return {queue: count for queue, count in self.hand.items() if queue in queues}

    # Operators.

    def raise_alert(self, kind: AlertKind, *, key: WorkspaceKey, detail: str, **facts: Any) -> bool:
        assert detail.endswith(".")
        if kind is AlertKind.STUCK_TASK:
            self.alerts.append(facts["task_id"])
        return True


@dataclass(frozen=True)
class Deployment:
    """A database and a Redis, with what sweeps them."""

    database: Database
    client: redis.Redis
    parts: Parts
    cap: int = PLENTY

    def world(self, **options: Any) -> World:
        """A workspace whose host lives."""
        made = make_world(self.database, **options)
        self.client.set(made.key.lease, HOST.node_id)  # it is renewed again and again
        return made

    def lapse(self, world: World) -> None:
        """Let the lease of a host lapse, which renews it no more."""
        self.client.delete(world.key.lease)

    # -- its parts -------------------------------------------------------------------------------------------

    def claims(self, node_id: str = "sweeper", client: redis.Redis | None = None) -> Claims:
        return Claims(self.database, Leases(client or self.client, ttl=TTL), node_id=node_id)

    @property
    def user_cap(self) -> UserCap:
        return UserCap(self.database, cap=self.cap)

    def lost_hosts(self, client: redis.Redis | None = None) -> LostHosts:
        told: Any = self.parts
        return LostHosts(
            database=self.database,
            claims=self.claims(client=client),
            leases=Leases(client or self.client, ttl=TTL),
            bus=told,
            publisher=told,
            user_cap=self.user_cap,
            alerts=told,
            afterwards=self.afterwards(),
        )

    def afterwards(self) -> PlanAfterwards:
        told: Any = self.parts
        return PlanAfterwards(publisher=told, bus=told, edges=told, announce=self.parts.over.append)

    def outbox(self) -> Outbox:
        told: Any = self.parts
        return Outbox(
            database=self.database,
            bus=told,
            user_cap=self.user_cap,
            queue_length=self.parts.queue_length,
            in_hand=self.parts.in_hand,
        )

    def overdue(self) -> Overdue:
        told: Any = self.parts
        endings = Endings(
            database=self.database,
            publisher=told,
            broadcaster=told,
            bus=told,
            user_cap=self.user_cap,
            afterwards=self.afterwards(),
        )
        return Overdue(
            database=self.database,
            cancellation=Cancellation(self.database),
            endings=endings,
            end_tasks=self.lost_hosts().fail_overdue,
            alerts=told,
            run_max_age=RUN_MAX_AGE,
            stuck_after=STUCK_AFTER,
            task_deadline=TASK_DEADLINE,
        )

    def untold(self) -> Untold:
        told: Any = self.parts
        return Untold(self.database, told)

    def steps(self, client: redis.Redis | None = None) -> dict[str, Step]:
        """The steps of a sweep, as `bootstrap` puts them together."""
        lost_hosts, outbox, overdue = self.lost_hosts(client), self.outbox(), self.overdue()
        return {
            "expired": overdue.end_old_runs,
            "overdue": overdue.end_overdue,
            "buried": lost_hosts.bury,
            "lost": lost_hosts.fail_lost,
            "released": outbox.release_held,
            "uncapped": outbox.release_capped,
            "unstuck": StuckPlans(self.database, self.parts).promote,
            "reopened": StuckPlans(self.database, self.parts).reopen,
            "placed": lost_hosts.place,
            "sent": outbox.send,
            "announced": self.untold().announce,
            "stuck": overdue.tell_stuck,
        }

    def sweep(self, client: redis.Redis | None = None) -> dict[str, int]:
        """Sweep once; returns what was mended."""
        return mended(Sweeper(self.database, self.steps(client)).sweep())


def mended(done: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in done.items() if count}


def ago(seconds: float) -> datetime:
    return utc_now() - timedelta(seconds=seconds)


def queue(world: World, agent: str = "helper") -> str:
    return world.key.agent_queue(agent)


def queued(world: World, *, seconds: float | None, count: int) -> Accepted:
    """A queued task, last sent so long ago."""
    accepted = world.accept(world.session())
    world.change_task(accepted.task_id, sent_at=None if seconds is None else ago(seconds), send_count=count)
    return accepted


def behind_nothing(world: World) -> Accepted:
    """A task that its session holds though nothing of it is at work any more."""
    first, second = world.accept(), world.accept()
    world.change_task(first.task_id, status=TaskStatus.CANCELLED)
    return second
