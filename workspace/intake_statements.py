"""The statements of the intake: they run with each message, so they are Core, and built and checked once.

No parameter has a column's name: SQLAlchemy would take it for that column's own.
"""

from typing import Any, Final

from sqlalchemy import and_, bindparam, func, insert, or_, select

from models import ChatSession, Message, Project, Run, Task, UserAgent, Workspace
from models.statuses import TaskStatus
from models.tenant_statement import TenantStatement, table_of, tenant
from workspace.names import ORCHESTRATOR
from workspace.user_work import RUNNING, WAITS_FOR_CAP

_agents, _sessions, _workspaces = table_of(UserAgent), table_of(ChatSession), table_of(Workspace)
_runs, _tasks, _messages, _projects = table_of(Run), table_of(Task), table_of(Message), table_of(Project)

_of_project = (
    _sessions.c.user_id == tenant(),
    _workspaces.c.user_id == tenant(),
    _sessions.c.id == bindparam("session"),
    _sessions.c.project_id == bindparam("project"),
)

LOCK_AGENT: Final = TenantStatement(
    select(
        _agents.c.id,
        _agents.c.name,
        _agents.c.version,
        _workspaces.c.node_id,
        _workspaces.c.epoch,
    )
    .select_from(
        _sessions.join(_agents, _agents.c.project_id == _sessions.c.project_id).join(
            _workspaces, _workspaces.c.project_id == _sessions.c.project_id
        )
    )
    .where(*_of_project, _agents.c.user_id == tenant(), _agents.c.name == bindparam("wanted_agent"))
    # Locked against other messages, not against rows that refer to them.
    .with_for_update(key_share=True, of=[_sessions, _agents])
)
"""Locks the session and the agent of a message."""

LOCK_PROJECT: Final = TenantStatement(
    select(
        _workspaces.c.node_id,
        _workspaces.c.epoch,
        select(_agents.c.id)
        .where(_agents.c.user_id == tenant(), _agents.c.project_id == bindparam("project"))
        .exists()
        .label("has_agents"),
    )
    .select_from(
        _projects.join(_sessions, _sessions.c.project_id == _projects.c.id).join(
            _workspaces, _workspaces.c.project_id == _projects.c.id
        )
    )
    .where(*_of_project, _projects.c.user_id == tenant())
    # The project stands for its orchestrator, which has no row. It comes first, as it does where a project is deleted.
    .with_for_update(key_share=True, of=[_projects, _sessions])
)
"""Locks the session of a message that names nobody, and the project whose orchestrator it goes to."""

# The share lock waits for a finish of the session's run that is under way and then sees its result; a finish that comes
# later waits for this transaction and then sees the task held here.
_active = (
    select(_runs.c.id)
    .where(
        _runs.c.user_id == tenant(),
        _runs.c.session_id == bindparam("session"),
        _runs.c.finished_at.is_(None),
    )
    .limit(1)
    .with_for_update(read=True)
    .cte("active")
)


def _load_of(whose: Any) -> TenantStatement:
    """Return the statement that tells what a session and a queue have to do.

    Args:
        whose: which tasks are of the queue.
    """
    return TenantStatement(
        select(
            select(_active.c.id).exists().label("is_busy"),
            select(func.count(_tasks.c.id))
            .where(
                _tasks.c.user_id == tenant(),
                whose,
                or_(_tasks.c.status == TaskStatus.QUEUED, _tasks.c.status == TaskStatus.HELD),
            )
            .scalar_subquery()
            .label("waiting"),
            RUNNING.label("running"),
            WAITS_FOR_CAP.label("waits_for_cap"),
        )
    )


LOAD_OF_AGENT: Final = _load_of(_tasks.c.agent_id == bindparam("consumer"))
LOAD_OF_ORCHESTRATOR: Final = _load_of(
    and_(_tasks.c.agent_name == ORCHESTRATOR, _tasks.c.project_id == bindparam("consumer"))
)

_work = {
    "user_id": tenant(),
    "project_id": bindparam("project"),
    "session_id": bindparam("session"),
    "created_at": bindparam("now"),
    "usage": bindparam("no_usage"),
}
_new_run = (
    insert(_runs)
    .values(
        **_work,
        id=bindparam("run"),
        mode=bindparam("run_mode"),
        status=bindparam("run_status"),
        idempotency_key=bindparam("given_key"),
        idempotency_digest=bindparam("given_digest"),
        receipt=bindparam("first_receipt"),
    )
    .returning(_runs.c.id)
    .cte("new_run")
)
_new_message = (
    insert(_messages)
    .values(
        user_id=tenant(),
        id=bindparam("message"),
        project_id=bindparam("project"),
        session_id=bindparam("session"),
        run_id=bindparam("run"),
        role=bindparam("speaker"),
        content=bindparam("text"),
        created_at=bindparam("now"),
    )
    .returning(_messages.c.id)
    .cte("new_message")
)
ACCEPT: Final = TenantStatement(
    insert(_tasks)
    .values(
        **_work,
        id=bindparam("task"),
        run_id=bindparam("run"),
        agent_id=bindparam("agent"),
        agent_name=bindparam("wanted_agent"),
        agent_version=bindparam("wanted_version"),
        plan_task_id=bindparam("place_in_plan"),
        depends_on=bindparam("none_before"),
        follows=bindparam("none_before"),
        status=bindparam("task_status"),
        held_reason=bindparam("why_held"),
        sent_at=bindparam("sent"),
        send_count=bindparam("sends"),
        attempts=bindparam("no_attempts"),
    )
    .add_cte(_new_run, _new_message)
)
"""Writes message, run and task."""
