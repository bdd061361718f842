"""The Celery app, found by `celery -A tasks`. It reads its options when it is first used, not at import."""

from typing import Any

from celery import Celery, signals

from bootstrap import build_node
from settings import load_settings
from tasks import inspection  # noqa: F401  # `celery inspect` knows the commands of modules that are imported
from tasks.agent_queues_step import AgentQueuesStep
from workspace.logs import configure_logging

app = Celery("codelab", include=["tasks.doorbells"])
app.config_from_object("celeryconfig")
app.steps["consumer"].add(AgentQueuesStep)


@signals.setup_logging.connect
def _log_as_json(**_: Any) -> None:
    """Take Celery's logging over: connecting to this signal keeps Celery from configuring its own."""
    configure_logging(load_settings().log_level)


@signals.celeryd_init.connect
def _build_node(instance: Any, **_: Any) -> None:
    """Build the node before the worker's bootsteps start."""
    try:
        app.node = build_node(app, name=instance.hostname)
    except Exception as error:
        # Celery logs what a signal's receiver raises and goes on; a worker without a node must not start.
        raise SystemExit(f"The node could not be built: {error}") from error


@signals.worker_ready.connect
def _start_node(**_: Any) -> None:
    app.node.start()


@signals.worker_shutting_down.connect
def _begin_shutdown(**_: Any) -> None:
    app.node.begin_shutdown()


@signals.worker_shutdown.connect
def _finish_shutdown(**_: Any) -> None:
    app.node.finish_shutdown()
