"""Tools and their calls over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.schemas.common import PageQuery, RequestModel, ResponseModel, Text
from models import ToolCall
from models.statuses import ToolCallStatus, ToolExecution
from workspace.tools.client_calls import CallFilter, ClientAnswer, client_result
from workspace.tools.registry import Tool


class ToolResponse(ResponseModel):
    """A tool that an agent's config may name."""

    name: str
    description: str
    parameters: dict[str, Any] = Field(description="JSON schema")
    client: bool = Field(description="whether it is carried out by the client in projects that say so")

    @classmethod
    def of(cls, tool: Tool) -> Self:
        """Return the response for a tool."""
        return cls(name=tool.name, description=tool.description, parameters=tool.schema, client=tool.client)


class ToolsResponse(ResponseModel):
    """All tools."""

    items: list[ToolResponse]


class ToolCallQuery(PageQuery):
    """Which tool calls are wanted."""

    status: ToolCallStatus | None = None
    execution: ToolExecution | None = None
    tool: Text | None = Field(None, max_length=64)
    session_id: UUID | None = None
    run_id: UUID | None = None
    task_id: UUID | None = None

    def filter(self) -> CallFilter:
        """Return it as the store takes it."""
        return CallFilter(
            status=self.status,
            execution=self.execution,
            tool=self.tool,
            session_id=self.session_id,
            run_id=self.run_id,
            task_id=self.task_id,
        )


class ToolCallResponse(ResponseModel):
    """One call of a tool, from intent to result."""

    id: UUID
    call_id: str = Field(description="the model's name for it")
    session_id: UUID
    run_id: UUID
    task_id: UUID
    agent_id: UUID | None
    agent_name: str
    turn: int
    position: int
    tool: str
    arguments: dict[str, Any]
    digest: str = Field(description="SHA-256 of the tool and its exact arguments")
    risk: str
    execution: ToolExecution
    status: ToolCallStatus
    grant_id: UUID | None = Field(description="the standing yes that it runs under")
    result: dict[str, Any] | None = Field(description="what the model is told: `{ok, output}` or `{ok, error}`")
    created_at: datetime
    started_at: datetime | None
    expires_at: datetime | None = Field(description="until when the client may answer")
    finished_at: datetime | None

    @classmethod
    def of(cls, call: ToolCall) -> Self:
        """Return the response for a row."""
        return cls.model_validate(call, from_attributes=True)


class ClientError(RequestModel):
    """Why the client did not do it."""

    code: Annotated[Text, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    detail: Text = Field(min_length=1, max_length=10_000)


class ResultRequest(RequestModel):
    """What came of a tool that the client carried out: an output, or an error."""

    digest: Text | None = Field(
        None, max_length=64, description="of the `tool_request`: refused if the call is another one"
    )
    output: dict[str, Any] | None = None
    error: ClientError | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.output is None) == (self.error is None):
            raise ValueError("give an output or an error")
        return self

    def answer(self) -> ClientAnswer:
        """Return it as the ledger takes it."""
        error = (self.error.code, self.error.detail) if self.error else None
        return ClientAnswer(result=client_result(self.output, error), digest=self.digest)
