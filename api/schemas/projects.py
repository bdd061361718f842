"""Projects over HTTP."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.common import RequestModel, ResponseModel, Text
from models import Project
from models.statuses import ToolExecution
from workspace.account_store import ProjectContent


class ProjectRequest(RequestModel):
    """A project to make, or what replaces it."""

    name: Text = Field(min_length=1, max_length=128)
    description: Text = Field("", max_length=10_000)
    tool_execution: ToolExecution = Field(
        ToolExecution.SERVER,
        description="`client`: file and command tools are carried out by the caller's own program, which is asked by "
        "`tool_request` events; what it changes counts from the next turn of a model on",
    )

    @property
    def content(self) -> ProjectContent:
        """What is asked for."""
        return ProjectContent(self.name, self.description, self.tool_execution)


class ProjectResponse(ResponseModel):
    """A project."""

    id: UUID
    name: str
    description: str
    is_default: bool
    tool_execution: ToolExecution
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, project: Project) -> Self:
        """Return the response for a row."""
        return cls.model_validate(project, from_attributes=True)
