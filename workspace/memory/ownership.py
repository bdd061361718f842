"""Whose a collection is, where agents had one name one after the other.

A collection is named after its agent's name, and keeps the id of the agent that it was made for. Ids sort by the time
that an agent was made, so of two agents of one name the one with the lesser id was deleted.
"""

from enum import Enum, auto
from typing import Final
from uuid import UUID

NOBODY: Final = UUID(int=0)
"""Whose a collection is that does not tell: earlier than every agent."""


class Standing(Enum):
    """What a collection is to the agent that asks for it."""

    OWN = auto()
    LEFTOVER = auto()  # of an agent that was deleted: it is removed, and counts as missing
    OVERTAKEN = auto()  # of a later agent: the one that asks was deleted, and has no say any more


def standing(asking: UUID, stored: UUID) -> Standing:
    """Return what a collection that was made for the agent `stored` is to the agent `asking`."""
    if stored in (asking, NOBODY):
        return Standing.OWN
    return Standing.LEFTOVER if stored < asking else Standing.OVERTAKEN
