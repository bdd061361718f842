"""A node: one Celery worker process, the workspaces that it hosts and the threads that keep them true.

Two small threads of its own: `beat` renews the node's claim on its workspaces and compares what is attached with the
rows; `ears` listens for hints of changes, so that they take effect at once.
"""

import threading
import time
from collections.abc import Mapping
from uuid import UUID

import redis
import structlog
from prometheus_client import start_http_server

from settings import Settings
from tasks.agent_queues import AgentQueues, Refusal
from tasks.hosting import Hosting
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_health import AgentHealth
from workspace.announcements import Announcements
from workspace.broadcast import Change, Notice, parse_notice
from workspace.broker_queues import BrokerQueues
from workspace.direct_run import DirectRun
from workspace.errors import AgentDeleted, Cancelled, RunFailure, WorkerLost, WorkerShutdown
from workspace.metrics import WORKSPACES_HOSTED
from workspace.names import NODES_CHANNEL, WorkspaceKey
from workspace.sweeper import Sweeper

log = structlog.get_logger(__name__)

RECONCILE_INTERVAL = 10.0
"""Seconds between two comparisons of the attached agents with their rows, for hints that were lost."""
ANNOUNCE_INTERVAL = 1.0


class HostedWorkspace:
    """What this node knows of a workspace that it hosts."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.hosted_since = time.monotonic()
        self.last_used = time.monotonic()


class Node:
    """Hosts workspaces and runs the tasks of their agents."""

    def __init__(
        self,
        *,
        node_id: str,
        settings: Settings,
        queues: AgentQueues,
        hosting: Hosting,
        direct_run: DirectRun,
        sweeper: Sweeper,
        bus: AgentBus,
        cache: AgentCache,
        health: AgentHealth,
        announcements: Announcements,
        broker: BrokerQueues,
        subscriber: redis.Redis,
    ) -> None:
        self.node_id = node_id
        self.queues = queues
        self.cache = cache
        self._settings = settings
        self._hosting = hosting
        self._direct_run = direct_run
        self._sweeper = sweeper
        self._bus = bus
        self._health = health
        self._announcements = announcements
        self._broker = broker
        self._subscriber = subscriber
        self._hosted: dict[WorkspaceKey, HostedWorkspace] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._sweeping = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._steady_since = time.monotonic()
        """Since when the database answers."""
        self._suspects: set[UUID] = set()
        """Tasks that seemed to run nowhere at the last look."""

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node's own threads, and serve its metrics where that is set."""
        if self._settings.node_metrics_port:
            start_http_server(self._settings.node_metrics_port, addr=self._settings.node_metrics_address)
        for name, body in (("beat", self._beat), ("ears", self._listen)):
            thread = threading.Thread(target=body, name=f"node-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def begin_shutdown(self) -> None:
        """Give running work its grace, then tell it to stop."""
        grace = threading.Timer(self._settings.node_shutdown_grace, self.queues.stop_all, [WorkerShutdown()])
        grace.daemon = True
        grace.start()

    def finish_shutdown(self) -> None:
        """Give the workspaces away and ask for new hosts for those with work."""
        self._stopping.set()
        self._announcements.flush()
        for key in self._hosting.release_all():
            self._bus.request_placement(key)
        log.info("node_stopped", node_id=self.node_id)

    # -- hosting ---------------------------------------------------------------------------------------------

    def hosted(self) -> Mapping[WorkspaceKey, HostedWorkspace]:
        """Return what this node hosts now."""
        with self._lock:
            return dict(self._hosted)

    def host(self, key: WorkspaceKey) -> bool:
        """Host a workspace, unless another living node does; returns whether this node hosts it now."""
        if self._stopping.is_set():
            return False
        with self._lock:
            epoch = self._hosting.claim(key)
            if epoch is None:
                self._drop(key, WorkerLost())
                return False
            known = self._hosted.get(key)
            if known is None or known.epoch != epoch:
                self._hosted[key] = HostedWorkspace(epoch)
                WORKSPACES_HOSTED.set(len(self._hosted))
                log.info("workspace_hosted", user_id=str(key.user_id), project_id=str(key.project_id), epoch=epoch)
        self._attach_where_needed([key])
        return True

    def _attach_where_needed(self, keys: list[WorkspaceKey]) -> None:
        attached = {agent.agent_id for agent in self.queues.attached()}
        for agent in self._hosting.agents_with_work(keys):
            if agent.agent_id not in attached:
                self._attach(agent.agent_id)

    def _attach(self, agent_id: UUID) -> None:
        """Attach one agent of a hosted workspace, or take over its row's present limit."""
        for agent in self._hosting.agents([agent_id]):
            with self._lock:
                if agent.key in self._hosted:
                    self._health.learn(agent.agent_id, agent.status, agent.status_reason)
                    self.queues.attach(agent.key, agent.agent_id, agent.agent_name, agent.limit)

    def _drop(self, key: WorkspaceKey, reason: RunFailure) -> None:
        """Stop hosting a workspace at once: consumers cancelled, running work stopped."""
        with self._lock:
            if self._hosted.pop(key, None) is None:
                return
            WORKSPACES_HOSTED.set(len(self._hosted))
            for agent in self.queues.attached():
                if agent.key == key:
                    self.queues.detach(agent.agent_id, reason)
        log.warning("workspace_dropped", user_id=str(key.user_id), project_id=str(key.project_id), code=reason.code)

    # -- work ------------------------------------------------------------------------------------------------

    def run_task(self, task_id: UUID, queue_name: str, message_id: str) -> bool:
        """Run a task that came by an agent's queue.

        Returns:
            False when the message has to go back because every slot is taken; True when it is dealt with, which
            includes messages that are not for this queue, are told twice, or are of no task.
        """
        agent = self.queues.find(queue_name)
        hosted = self._hosted.get(agent.key) if agent else None
        if agent is None or hosted is None:
            log.warning("message_refused", task_id=str(task_id), queue=queue_name, reason="not attached here")
            return True
        slot = self.queues.enter(agent, task_id, message_id)
        if isinstance(slot, Refusal):
            return slot is Refusal.DUPLICATE
        try:
            hosted.last_used = time.monotonic()
            host = self._hosting.host(hosted.epoch)
            if not self._direct_run.execute(task_id, agent.key, agent.agent_id, host, slot):
                log.info("message_without_work", task_id=str(task_id), queue=queue_name)
        finally:
            self.queues.leave(slot)
        return True

    def queue_length(self, queue_name: str) -> int:
        """Return how many messages wait on a queue."""
        return self._broker.length(queue_name)

    def sweep(self) -> Mapping[str, int]:
        """Mend what was lost anywhere; returns how much of what.

        After the database was away every node's claim looks lapsed until it has been renewed, so nobody is taken for
        lost before each had the time for that.
        """
        settled = time.monotonic() - self._steady_since > self._settings.node_lease_renewal + ANNOUNCE_INTERVAL
        if not self._sweeping.acquire(blocking=False):
            return {}  # the one before still runs: something is slow, and two would make it slower
        try:
            return self._sweeper.sweep(judge_nodes=settled)
        finally:
            self._sweeping.release()

    # -- the two threads -------------------------------------------------------------------------------------

    def _beat(self) -> None:
        renewed = reconciled = time.monotonic()
        while not self._stopping.wait(ANNOUNCE_INTERVAL):
            now = time.monotonic()
            try:
                self._announcements.flush()
                if now - renewed >= self._settings.node_lease_renewal:
                    self._renew()
                    renewed = now
                if now - reconciled >= RECONCILE_INTERVAL:
                    reconciled = now
                    self._reconcile()
            except Exception:  # the database is away: keep the thread, try again
                log.exception("node_beat_failed")
                self._steady_since = time.monotonic()

    def _renew(self) -> None:
        # What is hosted is read before the rows are: a workspace claimed in between is in the rows alone.
        hosted = self.hosted()
        ours = self._hosting.renew()
        for key in hosted:
            if key not in ours:
                self._drop(key, WorkerLost())
        for key in ours.difference(hosted):
            self.host(key)
        self._attach_where_needed(list(self.hosted()))

    def _disown(self) -> None:
        """End tasks that the rows say run here and that do not.

        The answer to the commit of a start was lost, or an outcome could not be written at all: nobody else would ever
        touch such a row while this node lives. Two looks, so that a task between its start and its slot is not taken
        for one.
        """
        suspects = self._hosting.running() - self.queues.running()
        for task_id in suspects & self._suspects:
            log.error("task_disowned", task_id=str(task_id))
            self._sweeper.fail_one(task_id, self.node_id)
        self._suspects = suspects - self._suspects

    def _reconcile(self) -> None:
        self._disown()
        attached = self.queues.attached()
        rows = {agent.agent_id: agent for agent in self._hosting.agents([agent.agent_id for agent in attached])}
        for agent in attached:
            row = rows.get(agent.agent_id)
            if row is None:
                self.queues.detach(agent.agent_id, AgentDeleted())
            else:
                self.queues.attach(row.key, row.agent_id, row.agent_name, row.limit)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._subscriber.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(NODES_CHANNEL)
                    self._reconcile()  # what was said while nobody listened
                    while not self._stopping.is_set():
                        message = channel.get_message(timeout=1.0)
                        if message is not None:
                            self._hear(message["data"])
            except redis.RedisError as error:
                log.warning("node_ears_lost", error=repr(error))
                self._stopping.wait(1.0)
            except Exception:
                log.exception("node_ears_failed")
                self._stopping.wait(1.0)

    def _hear(self, data: bytes) -> None:
        notice = parse_notice(data)
        if notice is None or notice.key not in self._hosted:
            return
        try:
            self._act(notice)
        except Exception:  # the database is away: the comparison with the rows will find it
            log.exception("notice_failed", change=notice.change)

    def _act(self, notice: Notice) -> None:
        if notice.change is Change.WORKSPACE_DELETED:
            self._drop(notice.key, AgentDeleted("The project was deleted."))
        elif notice.change is Change.TASKS_CANCELLED:
            self.queues.stop_tasks(notice.key, notice.task_ids, Cancelled())
        elif notice.agent_id is None:
            log.warning("notice_malformed", change=notice.change)
        elif notice.change is Change.AGENT_DELETED:
            self.cache.invalidate(notice.agent_id)
            self.queues.detach(notice.agent_id, AgentDeleted())
        elif notice.change is Change.AGENT_NEEDED:
            self._attach(notice.agent_id)
        else:
            self.cache.invalidate(notice.agent_id)
            if any(agent.agent_id == notice.agent_id for agent in self.queues.attached()):
                self._attach(notice.agent_id)
