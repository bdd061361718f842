"""Gunicorn's options for the web process, each with its reason."""

import gc
from typing import Any

from settings import bind_address, load_settings
from workspace.logs import configure_logging

_settings = load_settings()

bind = bind_address()
# Event streams are connections that wait: greenlets, thousands of them, in one process. More processes are more
# containers, so that each has metrics of its own.
worker_class = "gevent"
workers = 1
worker_connections = 5_000
backlog = 2_048
# A stream never counts as a hung request; gevent workers only have to keep their loop alive.
timeout = 60
graceful_timeout = 5
keepalive = 75
# Limits of the request's head; its body is limited by the app.
limit_request_line = 4_094
limit_request_fields = 50
limit_request_field_size = 8_190
forwarded_allow_ips = _settings.forwarded_allow_ips
# Gunicorn's control socket would lie in the user's home; the supervisor above controls the process.
control_socket_disable = True
# One structured line a request is written by the app.
accesslog = None


def post_fork(_server: Any, _worker: Any) -> None:
    """Let psycopg2 wait like everything else under gevent: its C code cannot be monkey-patched."""
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()


def post_worker_init(_worker: Any) -> None:
    """Log as JSON once gunicorn has set up its own logging, and let the collector look at what is new only."""
    configure_logging(_settings.log_level)
    # With a thousand streams a full collection stops the process for a third of a second, every few seconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
