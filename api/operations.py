"""What operators ask: is the process alive, is it ready, what does it measure. No tenant data here."""

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.deployment_metrics import deployment_metrics
from api.http import web

operations = Blueprint("operations", __name__)


@operations.get("/health", strict_slashes=False)
def health() -> Response:
    """Say that the process answers."""
    return jsonify({"status": "ok"})


@operations.get("/ready", strict_slashes=False)
def ready() -> tuple[Response, int]:
    """Say whether this process can do its work: 200, or 503 with what is out of reach.

    It tells the nodes that host workspaces, too, which it does not need for its own work.
    """
    checks = {"database": _check_database(), "redis": _check_redis()}
    well = all(result == "ok" for result in checks.values())
    answer = {
        "status": "ready" if well else "not_ready",
        "checks": checks,
        "workspaces": _workspaces(checks["database"]),
    }
    return jsonify(answer), 200 if well else 503


@operations.get("/metrics", strict_slashes=False)
def metrics() -> Response:
    """Return this process's metrics for Prometheus, and what the deployment has."""
    return Response(generate_latest() + deployment_metrics(web().census), content_type=CONTENT_TYPE_LATEST)


def _check_database() -> str:
    try:
        with web().database.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except Exception as error:  # whatever it is, the answer is the same: not ready
        return type(error).__name__
    return "ok"


def _workspaces(database: str) -> dict[str, int] | None:
    if database != "ok":
        return None
    try:
        counts = web().census.take()
    except SQLAlchemyError:
        return None
    return {"nodes": counts.nodes, **counts.workspaces}


def _check_redis() -> str:
    try:
        web().redis.ping()
    except Exception as error:  # as above
        return type(error).__name__
    return "ok"
