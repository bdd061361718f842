"""The form in which a model is asked for a plan: by JSON schema, unless its server does not know such requests."""

import time
from collections.abc import Callable

import structlog

from models import Json
from orchestrator.plans.schema import RESPONSE_FORMAT

log = structlog.get_logger(__name__)

REMEMBERED = 3_600.0
"""Seconds after which a model is asked by schema again: its server may be another one by then."""


class PlanForms:
    """Remembers which models refuse a schema. Safe to share between threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._without: dict[str, float] = {}
        """Until when, by model; of those only that made a plan without, so there are no more than the server has."""

    def of(self, model: str) -> Json | None:
        """Return the `response_format` of a request to a model."""
        return None if self._clock() < self._without.get(model, 0.0) else RESPONSE_FORMAT

    def refused(self, model: str) -> None:
        """Note that a model makes plans only without a schema. The system prompt tells the form as well."""
        log.warning("plan_schema_refused", model=model)
        self._without[model] = self._clock() + REMEMBERED
