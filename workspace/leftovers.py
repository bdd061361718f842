"""What a run leaves behind that is ended while no node works on it: what its agent said so far, and what that cost.

A task that waits was at work before: its stream has shown what the agent said, and the provider has counted it.
"""

from collections.abc import Collection
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import Message, Run, Task, TaskTurn, new_id
from models.statuses import MessageRole
from workspace.events import MessageCreated, Usage
from workspace.usage import total


class KeptText(NamedTuple):
    """A message that was made of what an agent had said; it has to be told of."""

    session_id: UUID
    run_id: UUID
    task_id: UUID
    message: Message

    def event(self) -> MessageCreated:
        """Return what its session is told."""
        return MessageCreated(
            message_id=self.message.id,
            role=self.message.role,
            content=self.message.content,
            agent_id=self.message.agent_id,
            agent_name=self.message.agent_name,
        )


def keep_text(session: Session, tasks: Collection[UUID]) -> list[KeptText]:
    """Write what the agents of these tasks said as messages, in the caller's transaction."""
    rows = session.execute(
        select(
            Task.id,
            Task.project_id,
            Task.session_id,
            Task.run_id,
            Task.agent_id,
            Task.agent_name,
            TaskTurn.said,
        )
        .join(TaskTurn, TaskTurn.task_id == Task.id)
        # What agents of a plan say is no message: the closing answer is.
        .where(Task.id.in_(tasks), Task.plan_task_id.is_(None), TaskTurn.said != "")
        .order_by(Task.id, TaskTurn.number)
    ).all()
    kept = []
    for task_id, turns in groupby(rows, attrgetter("id")):
        of, *more = turns
        message = Message(
            id=new_id(),
            project_id=of.project_id,
            session_id=of.session_id,
            run_id=of.run_id,
            role=MessageRole.ASSISTANT,
            content="\n\n".join(turn.said for turn in (of, *more)),
            agent_id=of.agent_id,
            agent_name=of.agent_name,
        )
        session.add(message)
        kept.append(KeptText(of.session_id, of.run_id, task_id, message))
    return kept


def keep_usage(session: Session, runs: Collection[UUID]) -> None:
    """Let runs that end here have the usage of their tasks, in the caller's transaction."""
    rows = session.execute(
        select(Task.run_id, Task.usage).where(Task.run_id.in_(runs), Task.attempts > 0).order_by(Task.run_id)
    ).all()
    for run_id, tasks in groupby(rows, attrgetter("run_id")):
        used = Usage()
        for task in tasks:
            used = total(used, Usage.model_validate(task.usage))
        session.execute(
            update(Run)
            .where(Run.id == run_id)
            .values(usage=used.model_dump(mode="json"))
            .execution_options(synchronize_session=False)
        )
