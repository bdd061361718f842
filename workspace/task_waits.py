"""What a running task waits for at this moment, told through Redis: it is of interest only while it lasts."""

import time
from uuid import UUID

import redis
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from workspace.names import WorkspaceKey

log = structlog.get_logger(__name__)


class TaskWait(BaseModel):
    """A wait that ends by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    attempt: int
    until: float
    """On the wall clock, in seconds."""


class TaskWaits:
    """Writes and reads waits; a failure costs an explanation, never work."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def tell(self, key: WorkspaceKey, task_id: UUID, *, reason: str, attempt: int, seconds: float) -> None:
        """Say that a task waits for the model, for some seconds."""
        wait = TaskWait(reason=reason, attempt=attempt, until=time.time() + seconds)
        try:
            self._client.set(key.task_wait(task_id), wait.model_dump_json(), px=max(int(seconds * 1000), 1))
        except redis.RedisError as error:
            log.warning("wait_not_told", task_id=str(task_id), error=repr(error))

    def read(self, key: WorkspaceKey, task_id: UUID) -> TaskWait | None:
        """Return what a task waits for, if it said so."""
        try:
            value = self._client.get(key.task_wait(task_id))
        except redis.RedisError as error:
            log.warning("wait_not_read", task_id=str(task_id), error=repr(error))
            return None
        try:
            return TaskWait.model_validate_json(value) if isinstance(value, bytes) else None
        except ValidationError:
            return None
