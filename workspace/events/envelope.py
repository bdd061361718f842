"""The envelope in which each event is stored and sent."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from models.base import utc_now
from workspace.events.payload import Payload
from workspace.events.types import EventType
from workspace.names import WorkspaceKey


class Envelope(BaseModel):
    """An event as it is stored and sent, but for its `id`, which the buffer gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: EventType
    session_id: UUID
    run_id: UUID | None
    task_id: UUID | None
    payload: dict[str, object]
    timestamp: datetime


class Event(Envelope):
    """An event as a reader gets it."""

    id: str | None = Field(description="null for `heartbeat`, `stream_gap` and `error`, which no cursor can name")


class EventScope(BaseModel):
    """Whose stream an event goes to, and which run and task it speaks of."""

    model_config = ConfigDict(frozen=True)

    key: WorkspaceKey
    session_id: UUID
    run_id: UUID | None = None
    task_id: UUID | None = None

    def event(self, payload: Payload) -> bytes:
        """Return the envelope of `payload` as JSON without an id, as the buffer keeps it."""
        return encode(self.session_id, self.run_id, self.task_id, payload)


def encode(session_id: UUID, run_id: UUID | None, task_id: UUID | None, payload: Payload) -> bytes:
    """Return an envelope as JSON bytes, without an id."""
    run = f'"{run_id}"' if run_id else "null"
    task = f'"{task_id}"' if task_id else "null"
    head = f'{{"event_type":"{payload.event_type}","session_id":"{session_id}","run_id":{run},"task_id":{task},'
    return f'{head}"payload":{payload.model_dump_json()},"timestamp":"{utc_now().isoformat()}"}}'.encode()


def with_id(event_id: str | None, body: bytes) -> bytes:
    """Return the JSON of an envelope with its id in front; `None` for events that no cursor can name."""
    head = f'{{"id":"{event_id}",' if event_id is not None else '{"id":null,'
    return head.encode() + body[1:]
