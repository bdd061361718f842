"""In whose name a tool is used: made by the server from the rows of the task, never by the model."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from workspace.names import WorkspaceKey


@dataclass(frozen=True, kw_only=True)
class WorkspaceContext:
    """The task that a tool is used for, and whose it is."""

    user_id: UUID
    project_id: UUID
    session_id: UUID
    run_id: UUID
    task_id: UUID
    agent_id: UUID
    agent_name: str

    @property
    def key(self) -> WorkspaceKey:
        """The workspace, which is all that a tool can reach."""
        return WorkspaceKey(self.user_id, self.project_id)


class CallMark(NamedTuple):
    """Which call of its task a use of a tool is: what is made twice under one mark is made once."""

    call_id: str
    asked_at: datetime


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What a tool looks at while it works: whether it has to stop, and how long it may take."""

    check: Callable[[], None]
    """Raises `workspace.interruptible.Interrupted` when the task was stopped or its time is up; to be called at least
    four times a second by whatever takes longer."""
    seconds_left: Callable[[], float]
    """Until the task's deadline."""
