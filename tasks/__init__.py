"""The Celery side: the app (`tasks.celery`), the doorbell tasks, and the bootstep that gives each agent its queue."""
