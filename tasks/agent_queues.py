"""One Celery queue an agent, with the broker itself keeping the agent's limit.

Each attached agent has a channel of its own, whose prefetch count is the agent's concurrency limit. Tasks are
acknowledged late, so the broker never hands out more than the limit. Channels live on the worker's event loop; other
threads reach them through `call_soon`.

A channel that is opened again (the broker was away, the agent's limit changed) starts with the limit less what still
runs from before, and is given the rest as that ends.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any
from uuid import UUID

import structlog
from kombu.common import ignore_errors

from tasks.admission import Admission, on_settled
from tasks.attached_agent import AttachedAgent, Refusal, Slot
from tasks.channel_pool import ChannelPool
from tasks.settling import settle_by_channel
from workspace.agent_bus import agent_queue
from workspace.errors import RunFailure
from workspace.metrics import AGENTS_ATTACHED, TASKS_RUNNING
from workspace.names import WorkspaceKey

log = structlog.get_logger(__name__)


class AgentQueues:
    """The agents attached to this node. Every method may be called from any thread."""

    def __init__(self, admission: Admission, *, most_attached: int = 200) -> None:
        """Take the node's admission, and how many agents of one user may be attached while they do nothing."""
        self._admission = admission
        self._most_attached = most_attached
        self._lock = threading.RLock()
        self._by_id: dict[UUID, AttachedAgent] = {}
        self._by_queue: dict[str, AttachedAgent] = {}
        self._departed: dict[UUID, AttachedAgent] = {}
        """Agents that were detached with work running, which counts towards their limit when they come back."""
        self._of_workspace: dict[WorkspaceKey, dict[UUID, AttachedAgent]] = {}
        """Both kinds by workspace: a node may host thousands, and asks for each of them."""
        self._held: set[UUID] = set()
        """The tasks that hold a slot, those of agents detached meanwhile included."""
        self._worker: Any = None
        self._channels: ChannelPool | None = None

    # -- what is attached ------------------------------------------------------------------------------------

    def attach(self, key: WorkspaceKey, agent_id: UUID, agent_name: str, limit: int) -> None:
        """Begin to consume an agent's queue, or take over a changed limit at once."""
        with self._lock:
            agent = self._by_id.get(agent_id)
            if agent is None:
                agent = self._departed.pop(agent_id, None) or AttachedAgent(key, agent_id, agent_name, limit)
                agent.last_used = time.monotonic()
                self._by_id[agent_id] = agent
                self._by_queue[agent.queue_name] = agent
                self._of_workspace.setdefault(key, {})[agent_id] = agent
                log.info("agent_attached", queue=agent.queue_name, limit=limit)
            agent.limit = limit
            AGENTS_ATTACHED.set(len(self._by_id))
            surplus = self._surplus_beside(agent)
        self._soon(self._adjust, agent)
        if surplus is not None:
            self.detach(surplus.agent_id, None)

    def _surplus_beside(self, agent: AttachedAgent) -> AttachedAgent | None:
        """Return the agent of the same user that did nothing for the longest time, if there are too many of them.

        Each attached agent costs connections to the broker, which one user could take from all others.
        """
        others = [each for each in self._by_id.values() if each.key.user_id == agent.key.user_id and each is not agent]
        idle = [each for each in others if not each.running and not each.delivered]
        return min(idle, key=lambda each: each.last_used) if idle and len(others) >= self._most_attached else None

    def detach(self, agent_id: UUID, reason: RunFailure | None) -> None:
        """Stop consuming an agent's queue; with a reason, stop its running work as well."""
        with self._lock:
            agent = self._by_id.pop(agent_id, None)
            if agent is None:
                return
            if self._by_queue.get(agent.queue_name) is agent:  # it may be another one's of the same name by now
                del self._by_queue[agent.queue_name]
            AGENTS_ATTACHED.set(len(self._by_id))
            slots = tuple(agent.running.values())
            if slots:
                self._departed[agent_id] = agent
            else:
                self._forget(agent)
        log.info("agent_detached", queue=agent.queue_name, running=len(slots))
        if reason is not None:
            _stop(slots, reason)
        self._soon(self._close, agent)

    def change_limit(self, agent_id: UUID, limit: int) -> None:
        """Take over a limit at once, if the agent is still attached."""
        with self._lock:
            agent = self._by_id.get(agent_id)
            if agent is None:
                return
            agent.limit = limit
            if agent.prefetch == agent.free_for_channel():
                return  # asked for every agent every few seconds: the loop looks at all channels each time it is woken
        self._soon(self._adjust, agent)

    def stop_all(self, reason: RunFailure) -> None:
        """Tell all running work to stop."""
        _stop(self._slots(), reason)

    def stop_workspace(self, key: WorkspaceKey, reason: RunFailure) -> None:
        """Tell all running work of a workspace to stop, that of detached agents included."""
        _stop(self._slots(key), reason)

    def stop_tasks(self, key: WorkspaceKey, task_ids: Collection[UUID], reason: RunFailure) -> None:
        """Tell these tasks of one workspace to stop, where they run here."""
        _stop([slot for slot in self._slots(key) if slot.task_id in task_ids], reason)

    def _slots(self, key: WorkspaceKey | None = None) -> list[Slot]:
        with self._lock:
            every = [*self._by_id.values(), *self._departed.values()] if key is None else self._known(key)
            return [slot for agent in every for slot in agent.running.values()]

    def _known(self, key: WorkspaceKey) -> list[AttachedAgent]:
        return list(self._of_workspace.get(key, {}).values())

    def _forget(self, agent: AttachedAgent) -> None:
        agents = self._of_workspace.get(agent.key, {})
        agents.pop(agent.agent_id, None)
        if not agents:
            self._of_workspace.pop(agent.key, None)

    def attached_to(self, key: WorkspaceKey) -> list[AttachedAgent]:
        """Return the agents of a workspace that are attached now."""
        with self._lock:
            return [agent for agent in self._known(key) if agent.agent_id in self._by_id]

    def running_of(self, key: WorkspaceKey) -> int:
        """Return how many tasks of a workspace are at work here, those of detached agents included."""
        return len(self._slots(key))

    def idle(self, seconds: float) -> list[AttachedAgent]:
        """Return the agents that did nothing for so long and have nothing in hand."""
        before = time.monotonic() - seconds
        with self._lock:
            return [
                agent
                for agent in self._by_id.values()
                if agent.last_used < before and not agent.running and not agent.delivered
            ]

    def is_consumed(self, agent_id: UUID) -> bool:
        """Return whether this node takes messages from an agent's queue now."""
        with self._lock:
            agent = self._by_id.get(agent_id)
            return agent is not None and agent.consumer is not None

    def running(self) -> set[UUID]:
        """Return the tasks that hold a slot."""
        with self._lock:
            return set(self._held)

    def attached(self) -> list[AttachedAgent]:
        """Return the agents attached now."""
        with self._lock:
            return list(self._by_id.values())

    # -- a task enters and leaves ----------------------------------------------------------------------------

    def find(self, queue_name: str) -> AttachedAgent | None:
        """Return the agent of a queue, if it is attached."""
        with self._lock:
            return self._by_queue.get(queue_name)

    def enter(self, agent: AttachedAgent, task_id: UUID, message_id: str) -> Slot | Refusal:
        """Take a slot for a task that came by a message, unless it holds one, all are taken, or the agent is gone."""
        with self._lock:
            if self._by_id.get(agent.agent_id) is not agent:
                return Refusal.DETACHED
            if task_id in agent.running:
                return Refusal.DUPLICATE
            if len(agent.running) >= agent.limit:
                return Refusal.FULL
            slot = Slot(agent, task_id, agent.generation)
            agent.running[task_id] = slot
            agent.last_used = time.monotonic()
            self._held.add(task_id)
        self._admission.enter(message_id)
        TASKS_RUNNING.inc()
        return slot

    def leave(self, slot: Slot) -> None:
        """Give the slot back."""
        with self._lock:
            slot.queue.running.pop(slot.task_id, None)
            slot.queue.last_used = time.monotonic()
            self._held.discard(slot.task_id)
            if not slot.queue.running and self._departed.pop(slot.queue.agent_id, None) is not None:
                self._forget(slot.queue)
            came_by_an_earlier_channel = slot.generation != slot.queue.generation
        TASKS_RUNNING.dec()
        self._admission.leave()
        self._wake()
        if came_by_an_earlier_channel:
            self._soon(self._adjust, slot.queue)

    @property
    def channels(self) -> ChannelPool | None:
        """The channels of this life of the worker's consumer, for others that consume beside the agents."""
        return self._channels

    # -- on the worker's loop --------------------------------------------------------------------------------

    def connected(self, worker: Any) -> None:
        """Open a channel for each attached agent: the worker's consumer (re)started on a new connection."""
        self.release_connections()
        with self._lock:
            self._worker = worker
            self._channels = ChannelPool(worker)
            self._admission.forget()
            agents = tuple(self._by_id.values())
            for agent in (*agents, *self._departed.values()):  # those may come back, to a channel of this connection
                agent.consumer = None
                agent.prefetch = agent.delivered = 0
                agent.generation += 1
        for agent in agents:
            self._guarded(self._adjust, agent)

    def disconnected(self) -> None:
        """Take no more work: the connection is lost, or the node is stopping and keeps it for acknowledgements."""
        with self._lock:
            worker, self._worker = self._worker, None
            consumers = [agent.consumer for agent in self._by_id.values() if agent.consumer is not None]
        if worker is None:
            return
        if worker.connection is None:
            # It is lost. What is left of the others is given up before it is asked anything: it may not answer.
            self.release_connections()
        for consumer in consumers:
            ignore_errors(worker, consumer.cancel)

    def release_connections(self) -> None:
        """Close the connections beside the worker's own: they are lost, or nothing is left to acknowledge."""
        channels, self._channels = self._channels, None
        if channels is not None:
            channels.close()

    def _wake(self) -> None:
        """Let the loop admit what waits."""
        worker = self._worker
        if worker is not None:
            worker.call_soon(self._admission.admit_waiting)

    def _soon(self, call: Callable[[AttachedAgent], None], agent: AttachedAgent) -> None:
        worker = self._worker
        if worker is not None:
            worker.call_soon(self._guarded, call, agent)

    def _guarded(self, call: Callable[[AttachedAgent], None], agent: AttachedAgent) -> None:
        """Run on the loop, where a lost connection must surface to the worker's own reconnect and nothing else may."""
        worker = self._worker
        if worker is None:
            return
        try:
            call(agent)
        except worker.connection.connection_errors as error:
            log.warning("agent_channel_lost", queue=agent.queue_name, error=repr(error))
            raise
        except Exception:
            log.exception("agent_channel_failed", queue=agent.queue_name)

    def _adjust(self, agent: AttachedAgent) -> None:
        """Bring the agent's channel to its prefetch count; none at all when nothing may be handed out."""
        if self._worker is None or self._by_id.get(agent.agent_id) is not agent:
            return
        wanted = agent.free_for_channel()
        if wanted <= 0 and agent.prefetch:
            # On every broker a prefetch count of 0 means no limit. A channel that handed out work of its own is
            # brought down to the lowered limit by closing it: what it handed out counts as an earlier channel's.
            self._close(agent)
            return
        if wanted == agent.prefetch or wanted <= 0:
            return
        if agent.consumer is not None and self._worker.connection.transport.driver_type != "redis":
            # AMQP's basic_qos reaches new consumers only.
            self._close(agent)
            wanted = agent.free_for_channel()
            if wanted <= 0:
                return
        if agent.consumer is None:
            self._open(agent, wanted)
        else:
            agent.consumer.qos(prefetch_count=wanted)
        agent.prefetch = wanted

    def _open(self, agent: AttachedAgent, prefetch: int) -> None:
        worker = self._worker
        channels = self._channels
        assert channels is not None
        channel = channels.open()
        try:
            channel.basic_qos(0, prefetch, False)
            consumer = worker.app.amqp.TaskConsumer(
                channel, queues=[agent_queue(agent.queue_name)], on_decode_error=worker.on_decode_error
            )
            consumer.on_message = self._gate(agent, worker.create_task_handler())
            consumer.consume()
            self._watch_queue(agent, channel)
        except BaseException:
            ignore_errors(worker, channels.release, channel)
            raise
        agent.consumer = consumer

    def _gate(self, agent: AttachedAgent, handle: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return what a channel of this generation does with a delivery."""
        generation = agent.generation

        def is_current() -> bool:
            return agent.generation == generation

        def settled() -> None:
            if is_current():
                agent.delivered -= 1

        def on_message(message: Any) -> None:
            agent.delivered += 1
            settle_by_channel(message, is_current=is_current, reopen=lambda: self._guarded(self._reopen, agent))
            on_settled(message, settled)
            self._admission.deliver(agent.key.user_id, message, handle, is_current)

        return on_message

    def _watch_queue(self, agent: AttachedAgent, channel: Any) -> None:
        """Have the end of the queue cost this agent its channel, and no other agent anything.

        RabbitMQ tells consumers when their queue is deleted, which happens with the agent. It is not opened here
        again, as that would make the queue anew: if the agent lives, the next comparison with the rows attaches it.
        """
        generation = agent.generation

        def gone(_tag: str) -> None:
            if agent.generation == generation:
                log.info("agent_queue_gone", queue=agent.queue_name)
                self._soon(self._close, agent)

        if self._worker.connection.transport.driver_type == "amqp":
            channel.cancel_callbacks.update(dict.fromkeys(channel.callbacks, gone))

    def _reopen(self, agent: AttachedAgent) -> None:
        """Open the channel anew, so that the broker counts what runs: all of it came by an earlier channel then."""
        self._close(agent)
        self._adjust(agent)

    def _close(self, agent: AttachedAgent) -> None:
        consumer, agent.consumer, agent.prefetch = agent.consumer, None, 0
        with self._lock:
            agent.generation += 1
            agent.delivered = 0
        if consumer is not None and self._channels is not None:
            consumer.cancel()
            self._channels.release(consumer.channel)


def _stop(slots: Iterable[Slot], reason: RunFailure) -> None:
    for slot in slots:
        slot.stop.stop(reason)
