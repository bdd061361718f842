"""Every name that travels: task names, queue names, Redis keys and channels, memory collections.

Lower layers name tasks and queues and never import a task's function. Each tenant key starts with
`user{id}:project{id}:`; ids are UUIDs, so no pattern or prefix can reach a neighbour.
"""

import re
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class TaskName(StrEnum):
    """The Celery tasks, by the name they are sent under."""

    RUN_AGENT_TASK = "codelab.run_agent_task"
    ARRIVE = "codelab.arrive"
    PLACE_WORKSPACE = "codelab.place_workspace"
    REMOVE_FILES = "codelab.remove_files"
    REMOVE_MEMORY = "codelab.remove_memory"
    SWEEP = "codelab.sweep"


class QueueName(StrEnum):
    """The queues that every node shares."""

    PLACEMENT = "placement"
    CONTROL = "control"
    MAINTENANCE = "maintenance"


class WorkspaceKey(NamedTuple):
    """What a workspace is known by: one user's one project."""

    user_id: UUID
    project_id: UUID

    @property
    def slug(self) -> str:
        """The name in admin views: `user{uuid}_project{uuid}`."""
        return f"user{self.user_id}_project{self.project_id}"

    @classmethod
    def of_slug(cls, slug: str) -> "WorkspaceKey":
        """Return the key that a slug names.

        Raises:
            ValueError: it is no slug.
        """
        match = _SLUG.fullmatch(slug)
        if match is None:
            raise ValueError(slug)
        return cls(UUID(match[1]), UUID(match[2]))

    @property
    def prefix(self) -> str:
        """What every Redis key of this tenant starts with."""
        return f"user{self.user_id}:project{self.project_id}:"

    def agent_queue(self, agent_name: str) -> str:
        """Return the name of an agent's own Celery queue; the orchestrator has one as well."""
        if agent_name == ORCHESTRATOR:
            return f"orchestrator.user{self.user_id}.project{self.project_id}"
        return f"agent.user{self.user_id}.project{self.project_id}.{agent_name}"

    @property
    def requests_queue(self) -> str:
        """The name of the queue by which other processes ask the workspace's host."""
        return f"workspace.user{self.user_id}.project{self.project_id}"

    @property
    def lease(self) -> str:
        """The key whose value is the node that hosts the workspace now."""
        return f"{self.prefix}lease"

    def task_wait(self, task_id: UUID) -> str:
        """Return the key under which a running task says what it waits for."""
        return f"{self.prefix}task:{task_id}:wait"

    def session_events(self, session_id: UUID) -> str:
        """Return the key of a session's event buffer, which is its pub/sub channel's name as well."""
        return f"{self.prefix}session:{session_id}:events"

    def agent_config(self, agent_id: UUID) -> str:
        """Return the key of an agent's cached config."""
        return f"{self.prefix}agent:{agent_id}:config"

    def memory_repeat(self, agent_id: UUID, name: str) -> str:
        """Return the key under which a client's name for what an agent is to remember is kept."""
        return f"{self.prefix}agent:{agent_id}:memory-repeat:{name}"

    def embedding(self, digest: str) -> str:
        """Return the key of a text's cached embedding. Within a tenant: a hit tells that the text was seen before."""
        return f"{self.prefix}embedding:{digest}"

    def plan(self, digest: str) -> str:
        """Return the key of a cached plan; for the same reason within a tenant."""
        return f"{self.prefix}plan:{digest}"


class Collection(NamedTuple):
    """The vector collection that holds one agent's memory."""

    key: WorkspaceKey
    agent_name: str
    agent_id: UUID
    """Which of the agents that had this name, one after the other. Ids sort by the time that an agent was made."""

    @property
    def name(self) -> str:
        """The name in the vector store: `user{uuid}_project{uuid}_{agent}_context`.

        Raises:
            ValueError: the agent's name is none.
        """
        if AGENT_NAME.fullmatch(self.agent_name) is None:
            raise ValueError(self.agent_name)
        return f"{self.key.slug}_{self.agent_name}_context"

    @classmethod
    def of_name(cls, name: str, agent_id: UUID) -> "Collection":
        """Return the collection that a name stands for, of the agent that it was made for.

        Raises:
            ValueError: it stands for none.
        """
        match = _COLLECTION.fullmatch(name)
        if match is None:
            raise ValueError(name)
        return cls(WorkspaceKey(UUID(match[1]), UUID(match[2])), match[3], agent_id)


ORCHESTRATOR = "@orchestrator"
"""Stands for an agent's name in the tasks that the orchestrator does itself. No agent can have it."""
ORCHESTRATOR_LIMIT = 2
"""Tasks of its own that the orchestrator of a project has at work at once."""

PLANNING_ID = "_planning"
"""The id, within a run, of the task that makes the plan."""
CLOSING_ID = "_closing"
"""That of the task which ends the run. Ids of planned tasks begin with a letter or a digit."""

NODES_CHANNEL = "nodes:broadcast"
"""The pub/sub channel on which every node hears of changed agents. It carries ids and versions only."""

ALERTS_LIST = "alerts"
"""The list of the newest alerts of all processes, in Redis."""

LEASES_SINCE = "leases:since"
"""Since when this Redis has its data, in milliseconds: until a TTL later, a missing lease may be a lost one."""

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SLUG = re.compile(f"user({_UUID})_project({_UUID})")


def node_reports(node_id: str) -> str:
    """Return the key of what a node last said of its workspaces: a hash of reports by slug."""
    return f"reports:{node_id}"


def reply_list(request_id: UUID) -> str:
    """Return the key of the list in which the reply to a request is put. Only who asked knows the id."""
    return f"reply:{request_id}"


AGENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""Names stand in queue and collection names."""
_COLLECTION = re.compile(f"user({_UUID})_project({_UUID})_({AGENT_NAME.pattern})_context")


def join_id(run_id: UUID, dependent: str) -> str:
    """Return the Celery group id of the chord that a task of a plan waits for."""
    return f"{run_id}.{dependent}"


def arrival_id(run_id: UUID, dependency: str, dependent: str) -> str:
    """Return the Celery task id of a part of that chord: the same whenever it is sent, so that it counts once."""
    return f"{run_id}.{dependency}>{dependent}"
