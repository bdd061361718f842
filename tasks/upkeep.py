"""What a node sees to at regular times: that rows and memory say the same, and that nothing idle is kept."""

from collections.abc import Callable, Mapping
from uuid import UUID

import structlog

from tasks.housekeeping import Chore, beside
from tasks.node_parts import NodeParts
from workspace.agent_health import Attached
from workspace.cancellation import failure_of
from workspace.errors import AgentDeleted
from workspace.hosted_space import HostedSpace
from workspace.metrics import WORKSPACES_HOSTED
from workspace.names import WorkspaceKey
from workspace.reports import AgentReport, WorkspaceReport

log = structlog.get_logger(__name__)

RECONCILE_INTERVAL = 10.0
"""Seconds between two comparisons of the attached agents with their rows, for hints that were lost."""
ANNOUNCE_INTERVAL = 1.0
CANCEL_INTERVAL = 1.0
"""Seconds between two looks for runs whose end was asked for: the hint comes at once, this is for the lost ones."""
ATTACH_INTERVAL = 3.0
IDLE_LOOKS = 20
"""How often an idle time is looked at while it passes."""


class Upkeep:
    """The chores of a node."""

    def __init__(self, parts: NodeParts, *, host: Callable[[WorkspaceKey], bool]) -> None:
        """Take what it needs.

        Args:
            host: hosts a workspace here.
        """
        self._parts = parts
        self._host = host
        self._suspects: set[UUID] = set()
        """Tasks that seemed to run nowhere at the last look."""

    def chores(self) -> list[Chore]:
        """Return the chores with their intervals."""
        settings = self._parts.settings
        idle = min(settings.workspace_idle_timeout, settings.agent_idle_timeout)
        return [
            Chore("announce", ANNOUNCE_INTERVAL, self._parts.announcements.flush),
            Chore("cancel", CANCEL_INTERVAL, self._stop_cancelled),
            Chore("attach", ATTACH_INTERVAL, self._attach_needed),
            Chore("requests", ANNOUNCE_INTERVAL, self._parts.requests.look),
            Chore("reconcile", RECONCILE_INTERVAL, self.reconcile),
            Chore("disown", RECONCILE_INTERVAL, self._disown),
            Chore("check_agents", ANNOUNCE_INTERVAL, lambda: self._parts.health.tick(self._checked_agents)),
            Chore("report", settings.node_lease_renewal, self._report),
            Chore("close_idle", max(idle / IDLE_LOOKS, 0.5), self._close_idle),
        ]

    def _hosts(self) -> dict[WorkspaceKey, HostedSpace]:
        return {space.key: space.host for space in self._parts.manager.hosted() if space.host}

    def _attach_needed(self) -> None:
        """Attach agents with work whose hint was lost, or that were let go at the moment they were needed."""
        hosts = self._hosts()
        attached = {agent.agent_id for agent in self._parts.queues.attached()}
        for agent in self._parts.claims.agents_with_work(hosts):
            if agent.agent_id not in attached:
                hosts[agent.key].attach(agent)

    def _stop_cancelled(self) -> None:
        for task_id, run in self._parts.claims.cancelling().items():
            if run.cancel_reason is not None:
                key = WorkspaceKey(run.user_id, run.project_id)
                self._parts.queues.stop_tasks(key, [task_id], failure_of(run.cancel_reason))

    def _disown(self) -> None:
        """End tasks that the rows say run here and that do not.

        The answer to the commit of a start was lost, or an outcome could not be written at all: nobody else would ever
        touch such a row while this node lives. Two looks, so that a task between its start and its slot is not taken
        for one.
        """
        suspects = self._parts.claims.running() - self._parts.queues.running()
        for task_id in suspects & self._suspects:
            log.error("task_disowned", task_id=str(task_id))
            self._parts.lost_hosts.fail_one(task_id, self._parts.claims.node_id)
        self._suspects = suspects - self._suspects

    def reconcile(self) -> None:
        """Compare what is hosted and attached with the rows."""
        hosts = self._hosts()
        own = self._parts.claims.own()
        for host in hosts.values():
            self.compare(host, own)
        for key in own.keys() - hosts.keys():
            self._host(key)  # its row names this node, which lost sight of it
        attached = self._parts.queues.attached()
        rows = {agent.agent_id: agent for agent in self._parts.claims.agents([agent.agent_id for agent in attached])}
        for agent in attached:
            row = rows.get(agent.agent_id)
            if row is None:
                self._parts.queues.detach(agent.agent_id, AgentDeleted())
            elif not self._serves(agent.key):
                # It was attached at the moment that its workspace was given away or suspended.
                log.warning("agent_without_host", queue=agent.queue_name)
                self._parts.queues.detach(agent.agent_id, None)
            else:
                self._parts.queues.change_limit(agent.agent_id, row.limit)

    def _serves(self, key: WorkspaceKey) -> bool:
        """Whether the agents of a workspace may be consumed here now."""
        space = self._parts.manager.get(key)
        tenure = space.host.tenure if space and space.host else None
        return tenure is not None and not tenure.suspended and not tenure.closing

    def compare(self, host: HostedSpace, own: Mapping[WorkspaceKey, int]) -> None:
        """See that a workspace is hosted under the epoch of its row."""
        tenure = host.tenure
        if tenure is not None and not tenure.closing and own.get(host.key) != tenure.epoch:
            log.warning("workspace_differs_from_its_row", **_ids(host.key), epoch=tenure.epoch)
            host.open()  # which reads the row again: a claim may have changed it between the two looks

    def _checked_agents(self) -> list[Attached]:
        """Return the agents to check, with their models, and take over what their rows say of their health."""
        attached = self._parts.claims.agents([agent.agent_id for agent in self._parts.queues.attached()])
        unwell = self._parts.claims.unwell_agents(self._hosts())
        rows = {row.agent_id: row for row in [*attached, *unwell] if not row.is_orchestrator}.values()
        for row in rows:
            self._parts.health.learn(row.agent_id, row.status, row.status_reason)
        return [Attached(row.key, row.agent_id, row.model or self._parts.settings.default_model) for row in rows]

    def _report(self) -> None:
        """Say what is hosted here, for people who look."""
        agents: dict[WorkspaceKey, dict[UUID, AgentReport]] = {}
        for agent in self._parts.queues.attached():
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
                    cache=self._parts.cache.size(key),
                    hosted_since=tenure.wall_since,
                    last_used=tenure.wall_used,
                    suspended=tenure.suspended,
                )
        self._parts.reports.write(self._parts.claims.node_id, reports)

    def _close_idle(self) -> None:
        """Let go of agents, and close workspaces, that nobody used for long."""
        for agent in self._parts.queues.idle(self._parts.settings.agent_idle_timeout):
            self._parts.queues.detach(agent.agent_id, None)
        for key, host in self._hosts().items():
            tenure = host.tenure
            if tenure is None or tenure.closing or self._parts.queues.running_of(key):
                continue
            if tenure.idle_seconds >= (
                tenure.settings.idle_timeout_seconds or self._parts.settings.workspace_idle_timeout
            ):
                beside("closing", host.close, "idle")
        WORKSPACES_HOSTED.set(len(self._parts.manager.hosted()))


def _ids(key: WorkspaceKey) -> dict[str, str]:
    return {"user_id": str(key.user_id), "project_id": str(key.project_id)}
