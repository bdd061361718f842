"""Whether this node's memory answers: one alert for each outage, and a gauge."""

import threading

import structlog

from workspace.alerts import Alerts
from workspace.errors import MemoryUnavailable
from workspace.events import AlertKind
from workspace.memory.store import ContextStore
from workspace.metrics import MEMORY_AVAILABLE

log = structlog.get_logger(__name__)


class MemoryWatch:
    """Knows whether the store answered when it was last asked."""

    def __init__(self, store: ContextStore, alerts: Alerts, *, node_id: str) -> None:
        self._store = store
        self._alerts = alerts
        self._node_id = node_id
        self._lock = threading.Lock()
        self._is_away = False

    def look(self) -> bool:
        """Ask the store, and tell of an outage that begins or ends; returns whether it answered."""
        try:
            self._store.check()
        except MemoryUnavailable as error:
            self._note(error.detail)
            return False
        self._note(None)
        return True

    def _note(self, trouble: str | None) -> None:
        with self._lock:
            was_away, self._is_away = self._is_away, trouble is not None
        MEMORY_AVAILABLE.set(trouble is None)
        if trouble is not None and not was_away:
            self._alerts.raise_alert(AlertKind.MEMORY_UNAVAILABLE, detail=trouble, node_id=self._node_id)
        if trouble is None and was_away:
            log.info("memory_is_back")
