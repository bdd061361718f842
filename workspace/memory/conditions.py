"""What a filter asks of the payload, for both engines to say in their own words."""

from typing import NamedTuple

from workspace.memory.ids import first_millisecond
from workspace.memory.memories import Filter
from workspace.memory.payload import INTERACTION_TYPE, OUTCOME, OUTCOMES, RUN_ID, SESSION_ID


class Conditions(NamedTuple):
    """All of them must hold."""

    equal: dict[str, str]
    """Fields and their values."""
    since: int | None
    """`created_at` is this or later."""
    before: int | None
    """`created_at` is earlier than this."""


def conditions(where: Filter, *, before: int | None = None) -> Conditions:
    """Return what a filter asks for, and that it was made `before` a millisecond."""
    equal = {
        INTERACTION_TYPE: where.interaction_type.value if where.interaction_type is not None else None,
        OUTCOME: OUTCOMES[where.success] if where.success is not None else None,
        SESSION_ID: str(where.session_id) if where.session_id is not None else None,
        RUN_ID: str(where.run_id) if where.run_id is not None else None,
    }
    ends = [before, first_millisecond(where.until) if where.until is not None else None]
    return Conditions(
        equal={name: value for name, value in equal.items() if value is not None},
        since=first_millisecond(where.since) if where.since is not None else None,
        before=min((end for end in ends if end is not None), default=None),
    )
