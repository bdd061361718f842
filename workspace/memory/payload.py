"""A memory as the payload of a point: the same in both engines, so that what one wrote the other can read."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from workspace.errors import MemoryUnavailable
from workspace.memory.ids import milliseconds_of
from workspace.memory.memories import InteractionType, Memory, Provenance

INTERACTION_TYPE, OUTCOME, CREATED_AT = "interaction_type", "outcome", "created_at"
SESSION_ID, RUN_ID, TASK_ID = "session_id", "run_id", "task_id"

OUTCOMES: Final = {True: "success", False: "failure"}
"""Words, because the embedded engine's binding takes a truth value for a number, and finds none."""
_UUIDS: Final = (SESSION_ID, RUN_ID, TASK_ID)


def to_payload(memory: Memory) -> dict[str, Any]:
    """Return what is stored beside the vector. `created_at` is there for filters: it is the id's time."""
    payload: dict[str, Any] = {
        "text": memory.text,
        INTERACTION_TYPE: memory.interaction_type.value,
        OUTCOME: OUTCOMES[memory.success],
        CREATED_AT: milliseconds_of(memory.id),
        "provenance": memory.provenance.value,
    }
    ids = {name: getattr(memory, name) for name in _UUIDS}
    return payload | {name: str(id_) for name, id_ in ids.items() if id_ is not None}


def of_payload(id_: object, payload: Mapping[str, Any] | None) -> Memory:
    """Return the memory that a point holds.

    Raises:
        MemoryUnavailable: something else wrote it.
    """
    try:
        if payload is None:
            raise ValueError("no payload")
        return Memory(
            id=UUID(str(id_)),
            text=payload["text"],
            interaction_type=InteractionType(payload[INTERACTION_TYPE]),
            success=payload[OUTCOME] == OUTCOMES[True],
            provenance=Provenance(payload["provenance"]),
            **{name: UUID(payload[name]) for name in _UUIDS if name in payload},
        )
    except (KeyError, ValueError) as error:
        raise MemoryUnavailable(f"The memory holds a point that this system did not write: {id_}.") from error
