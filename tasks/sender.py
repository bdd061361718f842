"""The Celery app of the web process: it sends, and it never waits for long."""

from celery import Celery

from settings import Settings


def web_sender(settings: Settings) -> Celery:
    """Return an app that only sends, for the web process: it gives up within `redis_timeout` instead of waiting."""
    sender = Celery("codelab-web", set_as_current=False)
    sender.config_from_object("celeryconfig")
    options = {
        "socket_timeout": settings.redis_timeout,
        "socket_connect_timeout": settings.redis_timeout,
        # kombu tries to connect again until this many seconds have passed.
        "connect_retries_timeout": settings.redis_timeout / 2,
        "interval_start": 0.05,
        "max_retries": 1,
    }
    sender.conf.broker_url = settings.broker
    sender.conf.broker_transport_options = {**sender.conf.broker_transport_options, **options}
    return sender
