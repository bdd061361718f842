"""Whether a task is still its node's: what everything that a node writes of a task is compared with."""

from sqlalchemy import ColumnElement, and_, exists

from models import Task, Workspace
from models.statuses import TaskStatus
from workspace.ledger import StartedTask


def is_own(task: StartedTask) -> ColumnElement[bool]:
    """Return the criterion that a task is at work on the node which started it, under a claim that counts still."""
    hosted = exists().where(
        Workspace.project_id == Task.project_id,
        Workspace.node_id == task.host.node_id,
        Workspace.epoch == task.host.epoch,
    )
    return and_(
        Task.status == TaskStatus.RUNNING,
        Task.node_id == task.host.node_id,
        Task.epoch == task.host.epoch,
        hosted,
    )
