"""The statements of the ledger: they run with each message, so they are Core, and built and checked once."""

from typing import Any

from sqlalchemy import String, Text, and_, any_, bindparam, cast, func, insert, or_, select, update

from models import Message, Run, Task, User, Workspace
from models.statuses import HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenant_statement import TenantStatement, table_of, tenant
from workspace.names import ORCHESTRATOR
from workspace.user_work import RUNNING, WAITS_FOR_CAP

_runs, _tasks, _users = table_of(Run), table_of(Task), table_of(User)
_messages, _workspaces = table_of(Message), table_of(Workspace)

_hosted = (
    select(_workspaces.c.epoch)
    .where(
        _workspaces.c.user_id == tenant(),
        _workspaces.c.project_id == _tasks.c.project_id,
        _workspaces.c.node_id == bindparam("host_node"),
        _workspaces.c.epoch == bindparam("host_epoch"),
    )
    .exists()
)

# The first statement of a start locks the user's row, so that the second counts what runs without a race; it reads the
# conversation on the way, which costs no round trip of its own. The conversation is that of the task's run.
_wanted = _tasks.alias("wanted")


def _of_task(column: Any) -> Any:
    return select(column).where(_wanted.c.user_id == tenant(), _wanted.c.id == bindparam("task")).scalar_subquery()


# A retry answers the message of an earlier run: what was said after that message is not before it.
_message_of = (
    select(func.coalesce(_runs.c.message_of, _runs.c.id))
    .select_from(_wanted.join(_runs, _runs.c.id == _wanted.c.run_id))
    .where(_runs.c.user_id == tenant(), _wanted.c.user_id == tenant(), _wanted.c.id == bindparam("task"))
    .scalar_subquery()
)

LOCK_USER = TenantStatement(
    select(_messages.c.role, _messages.c.content, _messages.c.run_id)
    .select_from(_users.join(_messages, _messages.c.user_id == _users.c.id))
    .where(
        _users.c.id == tenant(),
        _messages.c.user_id == tenant(),
        _messages.c.session_id == _of_task(_wanted.c.session_id),
        _messages.c.run_id <= _message_of,
        or_(_messages.c.run_id < _message_of, _messages.c.role == MessageRole.USER),
    )
    .order_by(_messages.c.run_id.desc(), _messages.c.id.desc())
    .limit(bindparam("most"))
    .with_for_update(key_share=True, of=_users)
)

_of_started = (
    _tasks.c.session_id,
    _tasks.c.run_id,
    _tasks.c.agent_name,
    _tasks.c.agent_version,
    _tasks.c.attempts,
    _tasks.c.ran_seconds,
    _tasks.c.recalled,
    _tasks.c.plan_task_id,
    _tasks.c.instruction,
    _tasks.c.depends_on,
)
# The orchestrator's own tasks have no agent's id, which refers to a row; on its queue, its project's stands for it.
_of_queue = or_(
    _tasks.c.agent_id == bindparam("agent"),
    and_(_tasks.c.agent_name == ORCHESTRATOR, _tasks.c.project_id == bindparam("agent")),
)
_named = (
    _tasks.c.user_id == tenant(),
    _tasks.c.id == bindparam("task"),
    _tasks.c.project_id == bindparam("project"),
    _of_queue,
)
_startable = (*_named, _tasks.c.status == TaskStatus.QUEUED, _hosted)
_started_task = (
    update(_tasks)
    .where(*_startable, bindparam("most_running") > RUNNING)
    .values(
        status=TaskStatus.RUNNING,
        node_id=bindparam("host_node"),
        epoch=bindparam("host_epoch"),
        started_at=bindparam("now"),
        attempts=_tasks.c.attempts + 1,
    )
    .returning(*_of_started)
    .cte("started_task")
)
_started_run = (
    update(_runs)
    .where(
        _runs.c.user_id == tenant(),
        _runs.c.id == _started_task.c.run_id,
        _runs.c.status == RunStatus.QUEUED,
    )
    .values(status=RunStatus.RUNNING, started_at=func.coalesce(_runs.c.started_at, bindparam("now")))
    .returning(_runs.c.id)
    .cte("started_run")
)
START = TenantStatement(select(_started_task).add_cte(_started_run))

REJOIN = TenantStatement(
    select(*_of_started).where(
        _tasks.c.user_id == tenant(),
        _tasks.c.id == bindparam("task"),
        _of_queue,
        _tasks.c.status == TaskStatus.RUNNING,
        _tasks.c.node_id == bindparam("host_node"),
        _tasks.c.epoch == bindparam("host_epoch"),
    )
)

# A task of a plan that waited for several is still `pending` when its chord is complete; what it waited for has ended,
# and with it all that it depends on.
_before = _tasks.alias("before")
PROMOTE = TenantStatement(
    update(_tasks)
    .where(
        *_named,
        _tasks.c.status == TaskStatus.PENDING,
        func.cardinality(_tasks.c.follows) > 0,
        ~select(_before.c.id)
        .where(
            _before.c.user_id == tenant(),
            _before.c.id == any_(_tasks.c.depends_on),
            _before.c.finished_at.is_(None),
        )
        .exists(),
    )
    .values(status=TaskStatus.QUEUED, sent_at=bindparam("now"), send_count=1)
    .returning(_tasks.c.id)
)

HOLD_BACK = TenantStatement(
    update(_tasks)
    .where(*_startable, bindparam("most_running") <= RUNNING)
    .values(status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP, sent_at=None)
    .returning(_tasks.c.run_id, _tasks.c.session_id, _tasks.c.agent_name)
)

_own_task = (
    _tasks.c.user_id == tenant(),
    _tasks.c.id == bindparam("task"),
    _tasks.c.status == TaskStatus.RUNNING,
    _tasks.c.node_id == bindparam("host_node"),
    _tasks.c.epoch == bindparam("host_epoch"),
    _hosted,
)
_end: dict[str, Any] = {
    "finished_at": bindparam("now"),
    "usage": bindparam("new_usage"),
    "error": bindparam("new_error"),
}

_ended_task = (
    update(_tasks)
    .where(*_own_task)
    .values(status=bindparam("task_status"), recalled=None, **_end)
    .returning(_tasks.c.run_id, _tasks.c.session_id, _tasks.c.project_id, _tasks.c.agent_id, _tasks.c.agent_name)
    .cte("ended_task")
)
_ended_run = (
    update(_runs)
    .where(_runs.c.user_id == tenant(), _runs.c.id == _ended_task.c.run_id, _runs.c.finished_at.is_(None))
    .values(status=bindparam("run_status"), **_end)
    .returning(_runs.c.id)
    .cte("ended_run")
)
_reply = (
    insert(_messages)
    .from_select(
        [
            "user_id",
            "id",
            "project_id",
            "session_id",
            "run_id",
            "role",
            "content",
            "agent_id",
            "agent_name",
            "created_at",
        ],
        select(
            cast(tenant(), _messages.c.user_id.type),
            cast(bindparam("reply"), _messages.c.id.type),
            _ended_task.c.project_id,
            _ended_task.c.session_id,
            _ended_task.c.run_id,
            cast(bindparam("speaker"), String),
            cast(bindparam("text"), Text),
            _ended_task.c.agent_id,
            _ended_task.c.agent_name,
            cast(bindparam("now"), _messages.c.created_at.type),
        ),
    )
    .returning(_messages.c.id)
    .cte("reply")
)
# Both counts are of the moment before this statement, so the task that ends is among those at work.
_outcome = select(_ended_task.c.run_id, RUNNING.label("running"), WAITS_FOR_CAP.label("waits_for_cap"))
SETTLE_WITH_REPLY = TenantStatement(_outcome.add_cte(_ended_run, _reply))
SETTLE = TenantStatement(_outcome.add_cte(_ended_run))

_settled_task = (
    update(_tasks)
    .where(*_own_task)
    .values(status=bindparam("task_status"), recalled=None, result=bindparam("text"), **_end)
    .returning(_tasks.c.run_id)
    .cte("settled_task")
)
SETTLE_TASK = TenantStatement(
    select(_settled_task.c.run_id, RUNNING.label("running"), WAITS_FOR_CAP.label("waits_for_cap"))
)
"""The end of one task of a plan: its run goes on, or ends by what `workspace.plans.standing` finds."""

_requeued_task = (
    update(_tasks)
    .where(*_own_task)
    .values(status=TaskStatus.QUEUED, sent_at=None, node_id=None, epoch=None, ran_seconds=bindparam("ran"))
    .returning(_tasks.c.run_id)
    .cte("requeued_task")
)
_requeued_run = (
    update(_runs)
    .where(
        _runs.c.user_id == tenant(),
        _runs.c.id == _requeued_task.c.run_id,
        _runs.c.status == RunStatus.RUNNING,
        _runs.c.mode == RunMode.DIRECT,
    )
    .values(status=RunStatus.QUEUED)
    .returning(_runs.c.id)
    .cte("requeued_run")
)
REQUEUE = TenantStatement(select(_requeued_task.c.run_id).add_cte(_requeued_run))
CANCEL_REASON = TenantStatement(
    select(_runs.c.cancel_reason).where(
        _runs.c.user_id == tenant(), _runs.c.id == bindparam("run"), _runs.c.cancel_requested_at.is_not(None)
    )
)

END_RUN = TenantStatement(
    update(_runs)
    .where(_runs.c.user_id == tenant(), _runs.c.id == bindparam("run"), _runs.c.finished_at.is_(None))
    .values(status=bindparam("run_status"), **_end)
    .returning(_runs.c.mode)
)

AT_WORK = (TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING)
"""Statuses of tasks for which the next one of their session waits. For a moment a plan may have pending tasks alone."""

_other = _tasks.alias("other")
_next_held = (
    select(_tasks.c.id)
    .where(
        _tasks.c.user_id == tenant(),
        _tasks.c.session_id == bindparam("session"),
        _tasks.c.status == TaskStatus.HELD,
        _tasks.c.held_reason == HeldReason.SESSION,
        ~select(_other.c.id)
        .where(
            _other.c.user_id == tenant(),
            _other.c.session_id == bindparam("session"),
            or_(
                *(_other.c.status == status for status in AT_WORK),
                # Its turn in the session has come; it waits for the user's other work.
                and_(_other.c.status == TaskStatus.HELD, _other.c.held_reason == HeldReason.USER_CAP),
            ),
        )
        .exists(),
    )
    .order_by(_tasks.c.id)
    .limit(1)
    .scalar_subquery()
)
RELEASE = TenantStatement(
    update(_tasks)
    .where(_tasks.c.user_id == tenant(), _tasks.c.id == _next_held, _tasks.c.status == TaskStatus.HELD)
    .values(
        status=TaskStatus.QUEUED,
        held_reason=None,
        sent_at=bindparam("now"),
        send_count=_tasks.c.send_count + 1,
    )
    .returning(_tasks.c.id, _tasks.c.agent_name)
)
