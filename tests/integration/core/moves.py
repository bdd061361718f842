"""Accepting and starting with the parts themselves, each with the limits that a test wants."""

from typing import Any
from uuid import UUID

from tests.integration.core.world import HOST, World
from workspace.idempotency import Repeated
from workspace.intake import Accepted, Intake, NewMessage, OnBusy
from workspace.ledger import Host, Ledger, StartedTask


def accept(
    world: World,
    session_id: UUID | None = None,
    *,
    agent: str = "helper",
    on_busy: OnBusy = OnBusy.ENQUEUE,
    queue_limit: int = 1_000,
    cap: int = 1_000,
) -> Accepted:
    """Accept one message."""
    message = NewMessage(session_id=session_id or world.session_id, content="hello", agent_name=agent, on_busy=on_busy)
    accepted = Intake(world.database, queue_limit=queue_limit, user_task_cap=cap).accept(world.key, message)
    assert not isinstance(accepted, Repeated)
    return accepted


def ledger(world: World, *, cap: int = 1_000) -> Ledger:
    """The ledger of a node."""
    return Ledger(world.database, history_messages=10, user_task_cap=cap)


def start(world: World, accepted: Accepted, host: Host = HOST) -> StartedTask:
    """Start an accepted task, which must be possible."""
    started = ledger(world).start(accepted.task_id, world.key, accepted.target.agent_id, host)
    assert isinstance(started, StartedTask)
    return started


def started(world: World, session_id: UUID | None = None, **options: Any) -> StartedTask:
    """Accept a message and start its task."""
    return start(world, accept(world, session_id, **options))
