"""Runs whose end was not told: the event could not be published, or its node died between the commit and the event."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Text, cast, func, select

from models import Message, Run, utc_now
from models.statuses import MessageRole
from models.tenancy import Database
from workspace.announcements import mark_announced
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, Failure, Payload, Usage
from workspace.names import WorkspaceKey
from workspace.plans.view import PlanOutcome
from workspace.sweeping.sweeper import BATCH
from workspace.terminal_event import terminal_event

UNANNOUNCED_AFTER = timedelta(seconds=10)
"""A node writes down every second what it told; this leaves it time to."""


class Untold:
    """Tells what was not told."""

    def __init__(self, database: Database, publisher: EventPublisher) -> None:
        self._database = database
        self._publisher = publisher

    def announce(self) -> int:
        """Publish the end of each run whose terminal event did not go out."""
        reply = (
            select(func.max(cast(Message.id, Text)))
            .where(
                Message.session_id == Run.session_id, Message.run_id == Run.id, Message.role == MessageRole.ASSISTANT
            )
            .correlate(Run)
            .scalar_subquery()
        )
        with self._database.system_session("unannounced runs") as session:
            rows = session.execute(
                select(Run, reply)
                .where(Run.announced_at.is_(None), Run.finished_at < utc_now() - UNANNOUNCED_AFTER)
                .order_by(Run.finished_at)
                .limit(BATCH)
            ).all()
        told: list[UUID] = []
        for run, message_id in rows:
            if not self._tell(run, message_id):
                break  # Redis is away; the rest would only wait for it, too
            told.append(run.id)
        mark_announced(self._database, told)
        return len(told)

    def _tell(self, run: Run, message_id: str | None) -> bool:
        scope = EventScope(key=WorkspaceKey(run.user_id, run.project_id), session_id=run.session_id, run_id=run.id)
        return self._publisher.publish(scope, _terminal_event(run, message_id)) is not None


def _terminal_event(run: Run, message_id: str | None) -> Payload:
    return terminal_event(
        run.mode,
        run.status,
        error=Failure.model_validate(run.error) if run.error else None,
        usage=Usage.model_validate(run.usage),
        outcome=PlanOutcome.model_validate(run.outcome) if run.outcome is not None else None,
        message_id=UUID(message_id) if message_id else None,
    )
