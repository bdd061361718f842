"""A node: one Celery worker process, the workspaces that it hosts, and the work that comes to it."""

import os
import threading
from collections.abc import Callable, Mapping
from uuid import UUID

import redis
import structlog
from prometheus_client import start_http_server

from settings import Settings
from tasks.agent_queues import AgentQueues, Refusal
from tasks.ears import Ears
from tasks.housekeeping import Chore, Housekeeping, beside
from tasks.keeper import Keeper
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_health import AgentHealth, Attached
from workspace.announcements import Announcements
from workspace.broadcast import Change, Notice
from workspace.broker_queues import BrokerQueues
from workspace.cancellation import failure_of
from workspace.claims import Claims
from workspace.direct_run import DirectRun
from workspace.errors import AgentDeleted, Cancelled, WorkerShutdown
from workspace.hosted_space import HostedSpace
from workspace.leases import Leases
from workspace.manager import WorkerSpaceManager
from workspace.metrics import WORKSPACES_HOSTED
from workspace.names import WorkspaceKey
from workspace.reports import AgentReport, Reports, WorkspaceReport
from workspace.space import UserWorkerSpace
from workspace.sweeping import Sweeper
from workspace.sweeping.lost_hosts import LostHosts

log = structlog.get_logger(__name__)

RECONCILE_INTERVAL = 10.0
"""Seconds between two comparisons of the attached agents with their rows, for hints that were lost."""
ANNOUNCE_INTERVAL = 1.0
CANCEL_INTERVAL = 1.0
"""Seconds between two looks for runs whose end was asked for: the hint comes at once, this is for the lost ones."""
ATTACH_INTERVAL = 3.0
LAST_RITES = 4.0
"""Seconds that work which was told to stop gets before the process ends without it, and that giving away gets then."""
HAND_OVER_INTERVAL = 0.25
"""Seconds between two looks, while the node is stopping, for workspaces in which nothing runs any more."""
IDLE_LOOKS = 20
"""How often an idle time is looked at while it passes."""


class Node:
    """Hosts workspaces and runs the tasks of their agents."""

    def __init__(
        self,
        *,
        settings: Settings,
        queues: AgentQueues,
        claims: Claims,
        leases: Leases,
        manager: WorkerSpaceManager,
        direct_run: DirectRun,
        sweeper: Sweeper,
        lost_hosts: LostHosts,
        bus: AgentBus,
        cache: AgentCache,
        health: AgentHealth,
        announcements: Announcements,
        broker: BrokerQueues,
        reports: Reports,
        subscriber: redis.Redis,
    ) -> None:
        self.node_id = claims.node_id
        self.queues = queues
        self.cache = cache
        self.manager = manager
        self._settings = settings
        self._claims = claims
        self._direct_run = direct_run
        self._sweeper = sweeper
        self._lost_hosts = lost_hosts
        self._bus = bus
        self._health = health
        self._announcements = announcements
        self._broker = broker
        self._reports = reports
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._finished = threading.Event()
        self._sweeping = threading.Lock()
        self._suspects: set[UUID] = set()
        """Tasks that seemed to run nowhere at the last look."""
        self._keeper = Keeper(
            settings=settings,
            claims=claims,
            leases=leases,
            hosted=lambda: [space.host for space in manager.hosted() if space.host],
            is_busy=lambda key: queues.running_of(key) > 0,
            resumed=lambda: self._housekeeping.hurry("attach"),
        )
        self._ears = Ears(subscriber, hear=self._hear, catch_up=self._reconcile)
        self._housekeeping = Housekeeping(self._chores())

    def _chores(self) -> list[Chore]:
        idle = min(self._settings.workspace_idle_timeout, self._settings.agent_idle_timeout)
        return [
            Chore("announce", ANNOUNCE_INTERVAL, self._announcements.flush),
            Chore("cancel", CANCEL_INTERVAL, self._stop_cancelled),
            Chore("attach", ATTACH_INTERVAL, self._attach_needed),
            Chore("reconcile", RECONCILE_INTERVAL, self._reconcile),
            Chore("disown", RECONCILE_INTERVAL, self._disown),
            Chore("check_agents", ANNOUNCE_INTERVAL, lambda: self._health.tick(self._checked_agents)),
            Chore("report", self._settings.node_lease_renewal, self._report),
            Chore("close_idle", max(idle / IDLE_LOOKS, 0.5), self._close_idle),
        ]

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node's own threads, and serve its metrics where that is set."""
        if self._settings.node_metrics_port:
            start_http_server(self._settings.node_metrics_port, addr=self._settings.node_metrics_address)
        self._keeper.start()
        self._ears.start()
        self._housekeeping.start()

    def begin_shutdown(self) -> None:
        """Host nothing more; give running work its grace, then tell it to stop.

        Workspaces in which nothing runs, or nothing any more, have a new host meanwhile.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        threading.Thread(target=self._hand_over, name="node-hand-over", daemon=True).start()
        grace = self._settings.node_shutdown_grace
        _later(grace, self.queues.stop_all, WorkerShutdown())
        _later(grace + LAST_RITES, self._end)

    def finish_shutdown(self) -> None:
        """Give the workspaces away and ask for new hosts for those with work."""
        self._stopping.set()
        self._ended.set()
        try:
            for part in (self._keeper, self._ears, self._housekeeping):
                part.stop()
            for key in [*self.manager.cleanup_all(), *self._claims.release_all()]:
                self._bus.request_placement(key)
            self._announcements.flush()
            log.info("node_stopped", node_id=self.node_id)
        finally:
            self._finished.set()

    def _end(self) -> None:
        """End the process although a thread hangs, which can not be ended otherwise, or a store is silent."""
        hangs = not self._ended.is_set()
        if hangs:
            log.error("node_ends_with_work_in_hand", running=len(self.queues.running()))
            threading.Thread(target=self.finish_shutdown, name="node-finish", daemon=True).start()
        is_finished = self._finished.wait(LAST_RITES)
        if hangs or not is_finished:
            os._exit(os.EX_SOFTWARE)

    def _hand_over(self) -> None:
        while not self._ended.wait(HAND_OVER_INTERVAL):
            try:
                for key in self.manager.cleanup_all(sparing=lambda key: self.queues.running_of(key) > 0):
                    self._bus.request_placement(key)
            except Exception:  # what is not handed over now is at the end
                log.exception("hand_over_failed")

    # -- hosting ---------------------------------------------------------------------------------------------

    def hosted(self) -> list[UserWorkerSpace]:
        """Return the workspaces that this node hosts now."""
        return self.manager.hosted()

    def host(self, key: WorkspaceKey) -> bool:
        """Host a workspace, unless another living node does; returns whether this node hosts it now."""
        if self._stopping.is_set():
            # Another node may take it; the sweeper asks again in any case.
            return False
        try:
            return self.manager.get_or_create(key).initialize()
        except redis.RedisError as error:
            log.warning("workspace_not_claimed", **_ids(key), error=repr(error))
            return False
        finally:
            WORKSPACES_HOSTED.set(len(self.manager.hosted()))

    # -- work ------------------------------------------------------------------------------------------------

    def run_task(self, task_id: UUID, queue_name: str, message_id: str) -> bool:
        """Run a task that came by an agent's queue.

        Returns:
            False when the message has to go back: every slot is taken, or the task waits for another host than this
            node; True when it is dealt with, which includes messages that are not for this queue, are told twice, or
            are of no task.
        """
        agent = self.queues.find(queue_name)
        space = self.manager.get(agent.key) if agent else None
        tenure = space.host.tenure if space and space.host else None
        if agent is None or tenure is None or tenure.suspended:
            return self._refuse(task_id, queue_name)
        slot = self.queues.enter(agent, task_id, message_id)
        if slot is Refusal.FULL:
            return False
        if isinstance(slot, Refusal):
            # It is told twice; or it was parked, has its answer, and has not quite left its slot of before.
            return self._refuse(task_id, queue_name)
        try:
            tenure.touch()
            host = self._claims.host(tenure.epoch)
            if self._direct_run.execute(task_id, agent.key, agent.agent_id, host, slot):
                tenure.touch()
                return True
            log.info("message_without_work", task_id=str(task_id), queue=queue_name)
            return self._refuse(task_id, queue_name)
        finally:
            self.queues.leave(slot)

    def _refuse(self, task_id: UUID, queue_name: str) -> bool:
        """Deal with a message that starts nothing under this node's claim; returns whether nobody has a use for it.

        A task that still waits, on this queue, waits for the claim's heir: another node, or this one after a reset.
        """
        waiting = self._claims.belongs_on(task_id, queue_name)
        agent = self.queues.find(queue_name)
        space = self.manager.get(agent.key) if agent else None
        if waiting and space and space.host:
            self._compare(space.host, self._claims.own([space.key]))
        log.info("message_refused", task_id=str(task_id), queue=queue_name, goes_back=waiting)
        return not waiting

    def queue_length(self, queue_name: str) -> int:
        """Return how many messages wait on a queue."""
        return self._broker.length(queue_name)

    def sweep(self) -> Mapping[str, int]:
        """Mend what was lost anywhere; returns how much of what."""
        if not self._sweeping.acquire(blocking=False):
            return {}  # the one before still runs: something is slow, and two would make it slower
        try:
            return self._sweeper.sweep()
        finally:
            self._sweeping.release()

    # -- chores ----------------------------------------------------------------------------------------------

    def _hosts(self) -> dict[WorkspaceKey, HostedSpace]:
        return {space.key: space.host for space in self.manager.hosted() if space.host}

    def _attach_needed(self) -> None:
        """Attach agents with work whose hint was lost, or that were let go at the moment they were needed."""
        hosts = self._hosts()
        attached = {agent.agent_id for agent in self.queues.attached()}
        for agent in self._claims.agents_with_work(hosts):
            if agent.agent_id not in attached:
                hosts[agent.key].attach(agent)

    def _stop_cancelled(self) -> None:
        for task_id, run in self._claims.cancelling().items():
            if run.cancel_reason is not None:
                key = WorkspaceKey(run.user_id, run.project_id)
                self.queues.stop_tasks(key, [task_id], failure_of(run.cancel_reason))

    def _disown(self) -> None:
        """End tasks that the rows say run here and that do not.

        The answer to the commit of a start was lost, or an outcome could not be written at all: nobody else would ever
        touch such a row while this node lives. Two looks, so that a task between its start and its slot is not taken
        for one.
        """
        suspects = self._claims.running() - self.queues.running()
        for task_id in suspects & self._suspects:
            log.error("task_disowned", task_id=str(task_id))
            self._lost_hosts.fail_one(task_id, self.node_id)
        self._suspects = suspects - self._suspects

    def _reconcile(self) -> None:
        """Compare what is hosted and attached with the rows."""
        hosts = self._hosts()
        own = self._claims.own()
        for host in hosts.values():
            self._compare(host, own)
        for key in own.keys() - hosts.keys():
            self.host(key)  # its row names this node, which lost sight of it
        attached = self.queues.attached()
        rows = {agent.agent_id: agent for agent in self._claims.agents([agent.agent_id for agent in attached])}
        for agent in attached:
            row = rows.get(agent.agent_id)
            if row is None:
                self.queues.detach(agent.agent_id, AgentDeleted())
            elif not self._serves(agent.key):
                # It was attached at the moment that its workspace was given away or suspended.
                log.warning("agent_without_host", queue=agent.queue_name)
                self.queues.detach(agent.agent_id, None)
            else:
                self.queues.change_limit(agent.agent_id, row.limit)

    def _serves(self, key: WorkspaceKey) -> bool:
        """Whether the agents of a workspace may be consumed here now."""
        space = self.manager.get(key)
        tenure = space.host.tenure if space and space.host else None
        return tenure is not None and not tenure.suspended and not tenure.closing

    def _compare(self, host: HostedSpace, own: Mapping[WorkspaceKey, int]) -> None:
        """See that a workspace is hosted under the epoch of its row."""
        tenure = host.tenure
        if tenure is not None and not tenure.closing and own.get(host.key) != tenure.epoch:
            log.warning("workspace_differs_from_its_row", **_ids(host.key), epoch=tenure.epoch)
            host.open()  # which reads the row again: a claim may have changed it between the two looks

    def _checked_agents(self) -> list[Attached]:
        """Return the agents to check, with their models, and take over what their rows say of their health."""
        attached = self._claims.agents([agent.agent_id for agent in self.queues.attached()])
        unwell = self._claims.unwell_agents(self._hosts())
        rows = {row.agent_id: row for row in [*attached, *unwell]}.values()
        for row in rows:
            self._health.learn(row.agent_id, row.status, row.status_reason)
        return [Attached(row.key, row.agent_id, row.model or self._settings.default_model) for row in rows]

    def _report(self) -> None:
        """Say what is hosted here, for people who look."""
        agents: dict[WorkspaceKey, dict[UUID, AgentReport]] = {}
        for agent in self.queues.attached():
            agents.setdefault(agent.key, {})[agent.agent_id] = AgentReport(
                name=agent.agent_name, limit=agent.limit, running=len(agent.running), in_hand=agent.in_hand
            )
        reports: dict[str, WorkspaceReport] = {}
        for key, host in self._hosts().items():
            tenure = host.tenure
            if tenure is not None:
                reports[key.slug] = WorkspaceReport(
                    epoch=tenure.epoch,
                    agents=agents.get(key, {}),
                    cache=self.cache.size(key),
                    hosted_since=tenure.wall_since,
                    last_used=tenure.wall_used,
                    suspended=tenure.suspended,
                )
        self._reports.write(self.node_id, reports)

    def _close_idle(self) -> None:
        """Let go of agents, and close workspaces, that nobody used for long."""
        for agent in self.queues.idle(self._settings.agent_idle_timeout):
            self.queues.detach(agent.agent_id, None)
        for key, host in self._hosts().items():
            tenure = host.tenure
            if tenure is None or tenure.closing or self.queues.running_of(key):
                continue
            if tenure.idle_seconds >= (tenure.settings.idle_timeout_seconds or self._settings.workspace_idle_timeout):
                beside("closing", host.close, "idle")
        WORKSPACES_HOSTED.set(len(self.manager.hosted()))

    # -- what is told ----------------------------------------------------------------------------------------

    def _hear(self, notice: Notice) -> None:
        if notice.change in {Change.AGENT_CHANGED, Change.AGENT_DELETED} and notice.agent_id is not None:
            self.cache.invalidate(notice.key, notice.agent_id)
        space = self.manager.get(notice.key)
        host = space.host if space and space.hosted else None
        if host is None:
            return
        if notice.agent_id is not None:
            self._hear_of_agent(notice.change, notice.agent_id, host)
        else:
            self._hear_of_workspace(notice, host)

    def _hear_of_agent(self, change: Change, agent_id: UUID, host: HostedSpace) -> None:
        match change:
            case Change.AGENT_DELETED:
                host.detach(agent_id, AgentDeleted())
            case Change.AGENT_NEEDED:
                host.attach_by_id(agent_id)
            case Change.AGENT_CHANGED:
                if any(agent.agent_id == agent_id for agent in self.queues.attached_to(host.key)):
                    host.attach_by_id(agent_id)
            case _:
                log.warning("notice_malformed", change=change)

    def _hear_of_workspace(self, notice: Notice, host: HostedSpace) -> None:
        match notice.change:
            case Change.WORKSPACE_DELETED:
                host.lose(AgentDeleted("The project was deleted."))
                self.cache.clear(notice.key)
                self.manager.forget(notice.key)
            case Change.WORKSPACE_RESET:
                beside("reset", host.reset, Cancelled("The workspace was reset."))
            case Change.WORKSPACE_CLOSING:
                beside("closing", host.close, "asked")
            case Change.TASKS_CANCELLED:
                reason = failure_of(notice.reason) if notice.reason else Cancelled()
                self.queues.stop_tasks(notice.key, notice.task_ids, reason)
            case _:
                log.warning("notice_malformed", change=notice.change)


def _later(seconds: float, call: Callable[..., object], *arguments: object) -> None:
    timer = threading.Timer(seconds, call, arguments)
    timer.daemon = True
    timer.start()


def _ids(key: WorkspaceKey) -> dict[str, str]:
    return {"user_id": str(key.user_id), "project_id": str(key.project_id)}
