"""The floor's Celery app: one plain queue, settings like ours where they cost something."""

from celery import Celery

from bench.floor.options import BROKER_URL

ANSWER = "floor.answer"

app = Celery("floor", broker=BROKER_URL, include=["bench.floor.worker"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_disable_rate_limits=True,
    broker_connection_retry_on_startup=True,
    task_default_queue="floor",
)
