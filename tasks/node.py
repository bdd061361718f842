"""A node: one Celery worker process, the workspaces that it hosts, and the work that comes to it."""

import os
import threading
from collections.abc import Callable, Mapping
from uuid import UUID

import redis
import structlog
from prometheus_client import start_http_server

from tasks.attached_agent import Refusal, Slot
from tasks.ears import Ears
from tasks.hearing import Hearing
from tasks.housekeeping import Housekeeping, beside
from tasks.keeper import Keeper
from tasks.memory_upkeep import MemoryUpkeep
from tasks.node_parts import NodeParts
from tasks.upkeep import Upkeep
from workspace.errors import WorkerShutdown
from workspace.ledger import Host
from workspace.metrics import WORKSPACES_HOSTED
from workspace.names import ORCHESTRATOR, WorkspaceKey
from workspace.space import UserWorkerSpace

log = structlog.get_logger(__name__)

LAST_RITES = 4.0
"""Seconds that work which was told to stop gets before the process ends without it, and that giving away gets then."""
HAND_OVER_INTERVAL = 0.25
"""Seconds between two looks, while the node is stopping, for workspaces in which nothing runs any more."""


class Node:
    """Hosts workspaces and runs the tasks of their agents."""

    def __init__(self, parts: NodeParts) -> None:
        self.node_id = parts.claims.node_id
        self.queues = parts.queues
        self.requests = parts.requests
        self.cache = parts.cache
        self.manager = parts.manager
        self._parts = parts
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._finished = threading.Event()
        self._sweeping = threading.Lock()
        self._upkeep = Upkeep(parts, host=self.host)
        self._keeper = Keeper(
            settings=parts.settings,
            claims=parts.claims,
            leases=parts.leases,
            hosted=lambda: [space.host for space in self.manager.hosted() if space.host],
            is_busy=lambda key: self.queues.running_of(key) > 0,
            resumed=lambda: self._housekeeping.hurry("attach"),
        )
        self._ears = Ears(parts.subscriber, hear=Hearing(parts).hear, catch_up=self.reconcile)
        memory = MemoryUpkeep(parts, hosts=lambda: [space.host for space in self.manager.hosted() if space.host])
        self._housekeeping = Housekeeping([*self._upkeep.chores(), *memory.chores()])

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node's own threads, and serve its metrics where that is set."""
        if self._parts.settings.node_metrics_port:
            start_http_server(self._parts.settings.node_metrics_port, addr=self._parts.settings.node_metrics_address)
        self._keeper.start()
        self._ears.start()
        self._housekeeping.start()
        self._parts.rememberer.start()
        # The first command need not wait for it, and whoever reads the log learns whether there will be one.
        beside("sandbox_probe", self._parts.sandbox.probe)

    def begin_shutdown(self) -> None:
        """Host nothing more; give running work its grace, then tell it to stop.

        Workspaces in which nothing runs, or nothing any more, have a new host meanwhile.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        threading.Thread(target=self._hand_over, name="node-hand-over", daemon=True).start()
        grace = self._parts.settings.node_shutdown_grace
        _later(grace, self.queues.stop_all, WorkerShutdown())
        _later(grace + LAST_RITES, self._end)

    def finish_shutdown(self) -> None:
        """Give the workspaces away and ask for new hosts for those with work."""
        self._stopping.set()
        self._ended.set()
        try:
            for part in (self._keeper, self._ears, self._housekeeping, self._parts.rememberer):
                part.stop()
            self.requests.stop()
            for key in [*self.manager.cleanup_all(), *self._parts.claims.release_all()]:
                self._parts.bus.request_placement(key)
            self._parts.announcements.flush()
            self._parts.memories.close()
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
                for key in self.manager.cleanup_all(sparing=self._is_busy):
                    self._parts.bus.request_placement(key)
            except Exception:  # what is not handed over now is at the end
                log.exception("hand_over_failed")

    def _is_busy(self, key: WorkspaceKey) -> bool:
        return self.queues.running_of(key) > 0 or self.requests.at_work(key)

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
            is_hosted = self.manager.get_or_create(key).initialize()
        except redis.RedisError as error:
            log.warning("workspace_not_claimed", **_ids(key), error=repr(error))
            return False
        finally:
            WORKSPACES_HOSTED.set(len(self.manager.hosted()))
        if is_hosted:
            self.requests.open_if_asked(key)
        return is_hosted

    def reconcile(self) -> None:
        """Compare what is hosted and attached with the rows, and mend the difference."""
        self._upkeep.reconcile()

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
            if self._execute(slot, self._parts.claims.host(tenure.epoch)):
                tenure.touch()
                return True
            log.info("message_without_work", task_id=str(task_id), queue=queue_name)
            return self._refuse(task_id, queue_name)
        finally:
            self.queues.leave(slot)

    def _execute(self, slot: Slot, host: Host) -> bool:
        agent = slot.queue
        if agent.agent_name == ORCHESTRATOR:
            return self._parts.orchestrator_run.execute(slot.task_id, agent.key, host, slot.stop)
        return self._parts.task_run.execute(slot.task_id, agent.key, agent.agent_id, host, slot)

    def _refuse(self, task_id: UUID, queue_name: str) -> bool:
        """Deal with a message that starts nothing under this node's claim; returns whether nobody has a use for it.

        A task that still waits, on this queue, waits for the claim's heir: another node, or this one after a reset.
        """
        waiting = self._parts.claims.belongs_on(task_id, queue_name)
        agent = self.queues.find(queue_name)
        space = self.manager.get(agent.key) if agent else None
        if waiting and space and space.host:
            self._upkeep.compare(space.host, self._parts.claims.own([space.key]))
        log.info("message_refused", task_id=str(task_id), queue=queue_name, goes_back=waiting)
        return not waiting

    @property
    def why_no_commands(self) -> str | None:
        """Why agents can run no commands on this node, as far as that was tried; `None`: they can."""
        return self._parts.sandbox.known_reason

    def queue_length(self, queue_name: str) -> int:
        """Return how many messages wait on a queue."""
        return self._parts.broker.length(queue_name)

    def remove_files(self, key: WorkspaceKey) -> bool:
        """Remove the files of a project that was deleted; returns whether it was."""
        return self._parts.orphaned_files.remove(key)

    def remove_memory(self, key: WorkspaceKey) -> int:
        """Remove what deleted agents of a project remembered; returns how many collections."""
        return self._parts.orphaned_memory.remove(key)

    def sweep(self) -> Mapping[str, int]:
        """Mend what was lost anywhere; returns how much of what."""
        if not self._sweeping.acquire(blocking=False):
            return {}  # the one before still runs: something is slow, and two would make it slower
        try:
            return self._parts.sweeper.sweep()
        finally:
            self._sweeping.release()


def _later(seconds: float, call: Callable[..., object], *arguments: object) -> None:
    timer = threading.Timer(seconds, call, arguments)
    timer.daemon = True
    timer.start()


def _ids(key: WorkspaceKey) -> dict[str, str]:
    return {"user_id": str(key.user_id), "project_id": str(key.project_id)}
