"""The metrics of the whole deployment, for Prometheus: gauges made at each scrape from one count of the rows."""

from collections.abc import Iterable

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from workspace.census import Census

log = structlog.get_logger(__name__)


class _Deployment(Collector):
    def __init__(self, census: Census) -> None:
        self._census = census

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the gauges; without a database there are none, and the process's own are served all the same."""
        try:
            counts = self._census.take()
        except SQLAlchemyError as error:
            log.warning("deployment_not_counted", error=repr(error))
            return
        yield GaugeMetricFamily("codelab_nodes", "Nodes that host workspaces", counts.nodes)
        yield GaugeMetricFamily(
            "codelab_queue_oldest_seconds", "How long the first of the queued tasks has waited", counts.oldest_queued
        )
        yield _by("codelab_workspaces", "Workspaces of the deployment", "state", counts.workspaces)
        yield _by("codelab_agents", "Agents of the deployment", "status", counts.agents)
        yield _by("codelab_tasks", "Tasks of the deployment that have not ended", "status", counts.tasks)


def _by(name: str, text: str, label: str, counts: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def deployment_metrics(census: Census) -> bytes:
    """Return the deployment's gauges in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Deployment(census))
    return generate_latest(registry)
