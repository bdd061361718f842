"""Projects over HTTP."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.common import RequestModel, ResponseModel, Text
from models import Project


class ProjectRequest(RequestModel):
    """A project to make, or what replaces it."""

    name: Text = Field(min_length=1, max_length=128)
    description: Text = Field("", max_length=10_000)


class ProjectResponse(ResponseModel):
    """A project."""

    id: UUID
    name: str
    description: str
    is_default: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, project: Project) -> Self:
        """Return the response for a row."""
        return cls.model_validate(project, from_attributes=True)
