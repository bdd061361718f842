"""What the web tells every node: an agent changed, was deleted, or its workspace is gone.

The message is a hint that makes a change take effect at once; the rows are read again by whoever acts on it, and each
node compares what it hosts with the rows every few seconds, so a lost hint costs time, not truth.
"""

from collections.abc import Iterable
from enum import StrEnum
from uuid import UUID

import redis
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from models.statuses import CancelReason
from workspace.names import NODES_CHANNEL, WorkspaceKey

log = structlog.get_logger(__name__)


class Change(StrEnum):
    """What happened."""

    AGENT_NEEDED = "agent_needed"  # a first message is on its queue
    AGENT_CHANGED = "agent_changed"
    AGENT_DELETED = "agent_deleted"
    WORKSPACE_DELETED = "workspace_deleted"
    WORKSPACE_RESET = "workspace_reset"  # its rows have a new epoch
    WORKSPACE_CLOSING = "workspace_closing"  # its owner wants it closed
    MEMORY_NEEDED = "memory_needed"  # a request about agents' memory is on the workspace's queue
    TASKS_CANCELLED = "tasks_cancelled"  # their rows are gone, settled or marked


class Notice(BaseModel):
    """One hint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: Change
    user_id: UUID
    project_id: UUID
    agent_id: UUID | None = None
    task_ids: tuple[UUID, ...] = ()
    reason: CancelReason | None = None
    """Why the tasks are to end; none: their rows are gone."""

    @property
    def key(self) -> WorkspaceKey:
        """The workspace it speaks of."""
        return WorkspaceKey(self.user_id, self.project_id)


class Broadcaster:
    """Sends hints; a failure is logged and left to the nodes' own comparison."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def tell(
        self,
        change: Change,
        key: WorkspaceKey,
        agent_id: UUID | None = None,
        *,
        task_ids: Iterable[UUID] = (),
        reason: CancelReason | None = None,
    ) -> bool:
        """Send one hint; returns whether it went out."""
        notice = Notice(
            change=change,
            user_id=key.user_id,
            project_id=key.project_id,
            agent_id=agent_id,
            task_ids=tuple(task_ids),
            reason=reason,
        )
        try:
            self._client.publish(NODES_CHANNEL, notice.model_dump_json())
        except redis.RedisError as error:
            log.warning("notice_not_sent", change=change, error=repr(error))
            return False
        return True


def parse_notice(data: bytes) -> Notice | None:
    """Return the hint in `data`, or `None` (logged) if it is none."""
    try:
        return Notice.model_validate_json(data)
    except ValidationError as error:
        log.warning("notice_malformed", error=str(error))
        return None
