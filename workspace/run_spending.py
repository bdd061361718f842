"""What a run used so far beside one of its tasks: its budget is for all of them together."""

from sqlalchemy import select

from models import Task, TaskTurn
from models.tenancy import Database
from workspace.events import Usage
from workspace.ledger import StartedTask
from workspace.usage import NO_USAGE, total


class RunSpending:
    """Adds up what other tasks of a run used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def elsewhere(self, task: StartedTask) -> Usage:
        """Return what the other tasks of a task's run used until now, as far as the rows have it.

        That of a task which ended is on its row. One that goes on has a row for each of its turns with tools.
        """
        others = (Task.run_id == task.run_id, Task.id != task.id)
        with self._database.tenant_session(task.key.user_id) as session:
            ended = session.scalars(select(Task.usage).where(*others, Task.finished_at.is_not(None))).all()
            turns = session.scalars(
                select(TaskTurn.usage)
                .join(Task, Task.id == TaskTurn.task_id)
                .where(*others, Task.finished_at.is_(None))
            ).all()
        used = NO_USAGE
        for each in (*ended, *turns):
            used = total(used, Usage.model_validate(each))
        return used
