"""Celery's options, each with its reason. Values that a deployment may change come from `settings`."""

from kombu.entity import Exchange, Queue

from settings import load_settings
from tasks import amqp_transport, redis_transport
from tasks.broker_options import node_options
from tasks.plan_routes import to_agent_queue
from workspace.names import QueueName, TaskName

_settings = load_settings()
_direct = Exchange("")
amqp_transport.use()
redis_transport.use()

broker_url = _settings.broker
result_backend = _settings.result_backend

# Messages carry ids only, and a pickle from a stranger would be code.
accept_content = ["json"]
result_accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

# The rows are the results. A chord counts its parts all the same.
task_ignore_result = True
# Pool threads share the backend's connections; without it each thread opens some of its own.
result_backend_thread_safe = True
# Nobody deletes the counters of a plan that was cancelled, or of what it skipped, and one user may make a million of
# them a day. A plan may wait for a person for longer than this: the sweeper makes a counter anew that is gone.
result_chord_expires = 3600
# A store that is silent or away delays a plan by seconds, no more: what it does not count is found by the sweeper.
redis_socket_timeout = 5.0
redis_socket_connect_timeout = 2.0
result_backend_transport_options = {
    "retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
}

# A message is acknowledged when its work has ended, so a channel's unacknowledged messages are the work in hand and its
# prefetch count is the agent's concurrency limit. A second delivery is harmless: a start is one compare-and-set.
task_acks_late = True
worker_prefetch_multiplier = 1
# Agents' prefetch counts are set by `tasks.agent_queues` after a reconnect; Celery's own reduction would fight it.
worker_enable_prefetch_count_reduction = False
# A model call survives the broker: its result goes to Postgres.
worker_cancel_long_running_tasks_on_connection_loss = False
# The rate limiter's token buckets cost time for each message and nothing here uses them.
worker_disable_rate_limits = True

# Every queue is known by name: a misspelt one raises instead of swallowing messages.
task_create_missing_queues = False
task_default_queue = QueueName.MAINTENANCE.value
task_default_exchange = ""
task_default_routing_key = QueueName.MAINTENANCE.value
task_queues = tuple(Queue(name.value, _direct, routing_key=name.value) for name in QueueName)
_shared = {
    TaskName.ARRIVE.value: {"queue": QueueName.CONTROL.value},
    TaskName.PLACE_WORKSPACE.value: {"queue": QueueName.PLACEMENT.value},
    TaskName.REMOVE_FILES.value: {"queue": QueueName.MAINTENANCE.value},
    TaskName.REMOVE_MEMORY.value: {"queue": QueueName.MAINTENANCE.value},
    TaskName.SWEEP.value: {"queue": QueueName.MAINTENANCE.value},
}
# Bodies of chords name their agent's queue by its routing key.
task_routes = (to_agent_queue, _shared)

# A broker that is away at start is waited for, and later for as long as it takes.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_connection_timeout = 2.0
broker_transport_options = node_options(_settings.broker)
# RabbitMQ tells by heartbeats that it lives. A node that heard none for twice as long connects again; the default of
# two minutes would leave it deaf for four.
broker_heartbeat = 15
# RabbitMQ closes a single channel, for instance when a message stayed unacknowledged for longer than it allows. The
# node connects again, with the rules of every reconnect; by default it would end.
broker_channel_error_retry = True

# Flower shows tasks from these; they are sent in batches, once a second.
worker_send_task_events = True
# Logging belongs to `workspace.logging`.
worker_hijack_root_logger = False
worker_redirect_stdouts = False

timezone = "UTC"
beat_schedule = {
    "sweep": {
        "task": TaskName.SWEEP.value,
        "schedule": _settings.sweep_interval,
        # A sweep that no node took before the next one is not worth doing.
        "options": {"expires": _settings.sweep_interval},
    },
}
