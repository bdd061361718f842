"""The Celery app of the web process: it sends, and it never waits for long."""

from celery import Celery

from settings import Settings
from tasks.broker_options import web_options


def web_sender(settings: Settings) -> Celery:
    """Return an app that only sends, for the web process: it gives up within `redis_timeout` instead of waiting."""
    sender = Celery("codelab-web", set_as_current=False)
    sender.config_from_object("celeryconfig")
    sender.conf.broker_url = settings.broker
    sender.conf.broker_transport_options = web_options(settings)
    return sender
