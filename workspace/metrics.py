"""The Prometheus metrics of web and node, in one place so that their names are chosen once."""

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)

EVENTS_PUBLISHED = Counter("codelab_events_published_total", "Events stored and sent")
EVENTS_DROPPED = Counter("codelab_events_dropped_total", "Events that could not be published")
PUBLISH_SECONDS = Histogram("codelab_event_publish_seconds", "Time of one publishing call", buckets=_FAST)

STREAMS_ACTIVE = Gauge("codelab_streams_active", "Open event streams")
STREAMS_OPENED = Counter("codelab_streams_opened_total", "Event streams opened", ["format"])
STREAMS_LOST = Counter("codelab_streams_lost_total", "Event streams that ended without their client's wish", ["reason"])
STREAM_EVENTS_SENT = Counter("codelab_stream_events_sent_total", "Events delivered to readers")
STREAM_LATENCY = Histogram(
    "codelab_stream_delivery_seconds", "From an event's id to its hand-over to the first reader", buckets=_FAST
)
STREAM_BUFFER_FILL = Histogram(
    "codelab_stream_replay_events",
    "Events read from the buffer at a stream's start",
    buckets=(0, 1, 10, 100, 500, 1000),
)
STREAM_BACKLOG = Histogram(
    "codelab_stream_backlog_events", "Events waiting for one reader when it is served", buckets=(1, 2, 5, 20, 100, 1000)
)
WAITS_ACTIVE = Gauge("codelab_waits_active", "Messages whose senders wait for the answer in their request")
STREAM_GAPS = Counter("codelab_stream_gaps_total", "Gaps told to readers", ["reason"])

AUTHENTICATIONS = Counter("codelab_authentications_total", "Tokens checked", ["result"])
REQUEST_SECONDS = Histogram("codelab_http_request_seconds", "HTTP requests", ["endpoint", "status"], buckets=_SLOW)

MESSAGES_ACCEPTED = Counter("codelab_messages_accepted_total", "Messages accepted", ["mode"])
PUBLISH_FAILURES = Counter("codelab_task_publish_failures_total", "Tasks that stay for the sweeper to send")
TASKS_SETTLED = Counter("codelab_tasks_settled_total", "Tasks that ended", ["status"])
RUNS_CANCELLED = Counter("codelab_runs_cancelled_total", "Runs ended before their answer", ["reason"])
TASKS_RUNNING = Gauge("codelab_tasks_running", "Tasks that this node works on")
TASK_SECONDS = Histogram("codelab_task_seconds", "Running time of a task", buckets=_SLOW)
MODEL_FIRST_TOKEN = Histogram("codelab_model_first_token_seconds", "From a model call to its first text", buckets=_SLOW)
MODEL_RETRIES = Counter("codelab_model_retries_total", "Model calls made again", ["reason"])
TASKS_SWEPT = Counter("codelab_tasks_swept_total", "What the sweeper mended", ["kind"])
CACHE_LOOKUPS = Counter("codelab_agent_cache_lookups_total", "Agent configs asked for", ["result"])
CACHE_OVERFLOWS = Counter(
    "codelab_agent_cache_overflows_total", "Agent configs that left the memory before their time because it was full"
)
ALERTS = Counter("codelab_alerts_total", "Alerts raised", ["kind"])
AGENT_PROBES = Counter("codelab_agent_probes_total", "Models looked up for agents in error", ["result"])
AGENTS_RECOVERED = Counter("codelab_agents_recovered_total", "Agents in error whose model was found to answer again")
WORKSPACES_HOSTED = Gauge("codelab_workspaces_hosted", "Workspaces that this node hosts")
AGENTS_ATTACHED = Gauge("codelab_agents_attached", "Agent queues that this node consumes")
SWEEP_SECONDS = Histogram("codelab_sweep_step_seconds", "Time of a step of the sweep", ["step"], buckets=_FAST)
WORKSPACES_RECOVERED = Counter("codelab_workspaces_recovered_total", "Workspaces taken over from a node that was lost")
WORKSPACES_LOST = Counter("codelab_workspaces_lost_total", "Workspaces that this node lost to another one")
WORKSPACES_SUSPENDED = Counter(
    "codelab_workspaces_suspended_total", "Workspaces that this node let go of because it could not renew its claim"
)
WORKSPACES_CLOSED = Counter("codelab_workspaces_closed_total", "Workspaces closed", ["reason"])
LEASE_RENEWALS = Counter("codelab_lease_renewals_total", "Renewals of a node's leases", ["result"])

MEMORY_SECONDS = Histogram(
    "codelab_memory_seconds", "Time of an operation on agents' memory, embedding included", ["operation"], buckets=_FAST
)
MEMORY_FAILURES = Counter("codelab_memory_failures_total", "Operations on memory that failed", ["operation"])
MEMORY_PRUNED = Counter("codelab_memory_pruned_total", "Memories forgotten because there were too many")
MEMORY_REQUEST_SECONDS = Histogram(
    "codelab_memory_request_seconds", "From a question to a workspace's host to its reply", ["op"], buckets=_FAST
)
MEMORY_REQUESTS = Counter(
    "codelab_memory_requests_total", "Questions to workspaces' hosts, by those who ask", ["op", "outcome"]
)
MEMORY_REQUESTS_SERVED = Counter(
    "codelab_memory_requests_served_total", "Questions that came to this node as a host", ["op", "outcome"]
)
REQUEST_QUEUES_OPEN = Gauge("codelab_request_queues_open", "Workspaces whose requests this node consumes")
MEMORY_RECALLS = Counter("codelab_memory_recalls_total", "Looks into memory before an answer", ["outcome"])
MEMORY_RECALL_SECONDS = Histogram(
    "codelab_memory_recall_seconds", "Time that a look into memory held an answer up", buckets=_FAST
)
INTERACTIONS_REMEMBERED = Counter(
    "codelab_interactions_remembered_total", "Answered or failed messages that were seen to", ["outcome"]
)
INTERACTIONS_DUE = Gauge(
    "codelab_interactions_due", "Ended tasks of this node's workspaces that are not remembered yet"
)
INTERACTIONS_DUE_AGE = Gauge("codelab_interactions_due_age_seconds", "For how long the oldest of these has waited")
MEMORY_AVAILABLE = Gauge("codelab_memory_available", "Whether this node's memory answered when it was last asked")
MEMORY_COLLECTIONS = Gauge(
    "codelab_memory_collections", "Collections of the workspaces that this node hosts", ["state"]
)
MEMORY_VECTORS = Gauge("codelab_memory_vectors", "Memories in the collections that this node has open")
MEMORY_BYTES = Gauge("codelab_memory_bytes", "Disk space of the collections of the workspaces that this node hosts")
EMBEDDING_LOOKUPS = Counter("codelab_embedding_lookups_total", "Texts whose vectors were looked for", ["result"])

PLANS_MADE = Counter("codelab_plans_made_total", "Plans of messages without a target", ["source"])
PLANNING_FAILURES = Counter(
    "codelab_planning_failures_total",
    "Messages for which the model made no plan, and a simple one was used",
    ["reason"],
)
ANSWER_FAILURES = Counter(
    "codelab_answer_failures_total",
    "Answers that the model should have put together from several results, which were put one under the other",
    ["reason"],
)
PLANNING_SECONDS = Histogram("codelab_planning_seconds", "Time until there was a plan", ["source"], buckets=_SLOW)
PLAN_CACHE_LOOKUPS = Counter("codelab_plan_cache_lookups_total", "Plans looked for in the cache", ["result"])
ESTIMATE_RATIO = Histogram(
    "codelab_estimate_ratio",
    "What a task or a plan took, by the median of its estimate",
    ["kind", "figure"],
    buckets=(0.1, 0.25, 0.5, 0.8, 1, 1.25, 2, 4, 10),
)

TOOL_CALLS = Counter("codelab_tool_calls_total", "Tools carried out here", ["tool", "outcome"])
TOOL_SECONDS = Histogram("codelab_tool_seconds", "Time of a tool", ["tool"], buckets=_SLOW)
CLIENT_CALLS = Counter("codelab_client_tool_calls_total", "Tools that owners' clients were asked for", ["outcome"])
TASKS_PARKED = Counter("codelab_tasks_parked_total", "Tasks that began to wait for a person or a client", ["reason"])
APPROVALS_ASKED = Counter("codelab_approvals_asked_total", "Approvals asked for", ["type", "risk"])
APPROVALS_RESOLVED = Counter(
    "codelab_approvals_resolved_total",
    "Approvals that are no longer open: the rates of yes, no and silence come of these",
    ["type", "status"],
)
APPROVAL_SECONDS = Histogram(
    "codelab_approval_response_seconds", "From the question to the owner's answer", ["type"], buckets=_SLOW
)
APPROVALS_SPARED = Counter("codelab_approvals_spared_total", "Calls that a grant covered")
