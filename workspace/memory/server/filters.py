"""Filters in the words of the server."""

from qdrant_client import models

from workspace.memory import payload as fields
from workspace.memory.conditions import conditions
from workspace.memory.memories import Filter


def condition(where: Filter, *, before: int | None = None) -> models.Filter | None:
    """Return a filter as the server wants it; `None` if it means everything."""
    all_of_it = must(where, before=before)
    return models.Filter(must=all_of_it) if all_of_it else None


def must(where: Filter, *, before: int | None = None) -> list[models.Condition]:
    """Return all that has to hold."""
    asked = conditions(where, before=before)
    found: list[models.Condition] = [equals(name, value) for name, value in asked.equal.items()]
    if asked.since is not None or asked.before is not None:
        span = models.Range(gte=asked.since, lt=asked.before)
        found.append(models.FieldCondition(key=fields.CREATED_AT, range=span))
    return found


def equals(name: str, value: str | int) -> models.FieldCondition:
    """Return that a field has a value."""
    return models.FieldCondition(key=name, match=models.MatchValue(value=value))
