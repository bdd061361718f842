"""One sweep: every step once, one sweep at a time in a deployment.

Each step is compare-and-set or harmless when done twice, so two sweeps at once change nothing that one would not.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from models.tenancy import Database
from workspace.metrics import SWEEP_SECONDS, TASKS_SWEPT

log = structlog.get_logger(__name__)

SWEEP_LOCK = 0x636F_6465  # "code"
"""The advisory lock of a sweep: one at a time in a deployment, so that nothing is sent or told twice."""
BATCH = 500
"""Rows a step takes at once: a sweep stays short, the next one goes on."""

Step = Callable[[], int]
"""Mends one kind of loss; returns how many."""


class Sweeper:
    """Runs the steps in their order."""

    def __init__(self, database: Database, steps: Mapping[str, Step]) -> None:
        self._database = database
        self._steps = steps

    def sweep(self) -> Mapping[str, int]:
        """Run every step; a step that fails is logged and does not keep the others from running.

        Returns:
            How many things each step mended; nothing while another sweep is under way.
        """
        with self._database.exclusively(SWEEP_LOCK) as alone:
            return self._sweep() if alone else {}

    def _sweep(self) -> Mapping[str, int]:
        done: Counter[str] = Counter()
        for name, step in self._steps.items():
            with SWEEP_SECONDS.labels(name).time():
                try:
                    done[name] = step()
                except Exception:  # each step stands alone; the next sweep tries again
                    log.exception("sweep_step_failed", step=name)
            TASKS_SWEPT.labels(name).inc(done[name])
        if any(done.values()):
            log.info("swept", **done)
        return done
