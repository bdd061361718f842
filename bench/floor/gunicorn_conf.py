"""Gunicorn's options for the floor: the same worker as ours, one process."""

from typing import Any

worker_class = "gevent"
workers = 1
worker_connections = 5_000
backlog = 2_048
keepalive = 75
timeout = 60
graceful_timeout = 1
accesslog = None


def post_fork(_server: Any, _worker: Any) -> None:
    """Let psycopg2 wait like everything else under gevent."""
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()
