"""Events of the stream itself and of the system behind it."""

from uuid import UUID

from workspace.errors import ErrorCode
from workspace.events.payload import Payload
from workspace.events.types import AlertKind, EventType


class Alert(Payload):
    """Something that should be known although nothing failed yet."""

    event_type = EventType.ALERT

    kind: AlertKind
    detail: str
    agent_id: UUID | None = None
    agent_name: str | None = None


class Heartbeat(Payload):
    """Nothing happened; the connection lives."""

    event_type = EventType.HEARTBEAT


class StreamGap(Payload):
    """Events were missed: read the snapshot, then go on."""

    event_type = EventType.STREAM_GAP

    snapshot_url: str
    reason: str


class StreamError(Payload):
    """The stream ends for the reason given."""

    event_type = EventType.ERROR

    error_code: ErrorCode
    detail: str
