"""Alerts: what an operator, and sometimes a client, should know although nothing failed yet.

Each is a line of the log, a count, an entry of a short list in Redis that any web process can show, and an event where
a session is concerned. The same alert of the same workspace is raised once a minute; how often it was held back
meanwhile is told with the next one.
"""

import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import redis
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from models.base import utc_now
from workspace.event_publisher import EventPublisher
from workspace.events import Alert, AlertKind, EventScope
from workspace.metrics import ALERTS
from workspace.names import ALERTS_LIST, WorkspaceKey
from workspace.seldom import Seldom

log = structlog.get_logger(__name__)

ALERT_INTERVAL = 60.0
"""Seconds between two alerts of one kind and workspace."""
REMEMBERED = 10_000
"""Kinds and workspaces of which it is known when they were last raised."""
KEPT = 200
KEPT_SECONDS = 7 * 86_400

Fact = str | int | float | bool | UUID | None


class AlertRecord(BaseModel):
    """An alert as it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: AlertKind
    detail: str
    user_id: UUID | None
    project_id: UUID | None
    session_id: UUID | None
    run_id: UUID | None
    facts: dict[str, str | int | float | bool | None]
    held_back: int
    """How often it was not raised since the one before."""
    timestamp: datetime


class Alerts:
    """Raises alerts. Whatever Redis does, it never fails the work that raises one."""

    def __init__(
        self, client: redis.Redis, publisher: EventPublisher, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._publisher = publisher
        self._seldom = Seldom(ALERT_INTERVAL, size=REMEMBERED, clock=clock)

    def raise_alert(
        self,
        kind: AlertKind,
        *,
        key: WorkspaceKey | None = None,
        session_id: UUID | None = None,
        run_id: UUID | None = None,
        detail: str,
        **facts: Fact,
    ) -> bool:
        """Raise an alert, unless the same was raised within the last minute; returns whether it was raised.

        Args:
            kind: what it is about.
            key: the workspace concerned; none: the whole process.
            session_id: whose stream is told of it as well; needs `key`.
            run_id: the run concerned.
            detail: a sentence for people. Never a tenant's text: it is logged.
            facts: numbers and ids; `agent_id` and `agent_name` are told to the session's stream, too.
        """
        held_back = self._seldom.ask((kind, key))
        if held_back is None:
            return False
        ALERTS.labels(kind).inc()
        record = AlertRecord(
            kind=kind,
            detail=detail,
            user_id=key.user_id if key else None,
            project_id=key.project_id if key else None,
            session_id=session_id,
            run_id=run_id,
            facts={name: str(fact) if isinstance(fact, UUID) else fact for name, fact in facts.items()},
            held_back=held_back,
            timestamp=utc_now(),
        )
        log.warning("alert", **record.model_dump(mode="json", exclude={"timestamp"}))
        self._keep(record)
        if key is not None and session_id is not None:
            self._publisher.publish(EventScope(key=key, session_id=session_id, run_id=run_id), _told(record))
        return True

    def recent(self, limit: int = KEPT) -> list[AlertRecord]:
        """Return the newest alerts of all processes, the newest first.

        Raises:
            redis.RedisError: Redis is out of reach.
        """
        if limit <= 0:
            return []
        records = []
        for data in self._client.lrange(ALERTS_LIST, 0, min(limit, KEPT) - 1):
            try:
                records.append(AlertRecord.model_validate_json(data))
            except ValidationError:
                log.warning("alert_malformed")
        return records

    def _keep(self, record: AlertRecord) -> None:
        try:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.lpush(ALERTS_LIST, record.model_dump_json())
                pipe.ltrim(ALERTS_LIST, 0, KEPT - 1)
                pipe.expire(ALERTS_LIST, KEPT_SECONDS)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("alert_not_kept", kind=record.kind, error=repr(error))


def _told(record: AlertRecord) -> Alert:
    agent_id, agent_name = record.facts.get("agent_id"), record.facts.get("agent_name")
    return Alert(
        kind=record.kind,
        detail=record.detail,
        agent_id=UUID(str(agent_id)) if agent_id is not None else None,
        agent_name=str(agent_name) if agent_name is not None else None,
    )
