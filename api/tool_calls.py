"""`tools/` and `tool-calls/`: what agents may do, what they did, and the results of what the client did for them."""

from uuid import UUID

from api.http import Resource, key, web, workspace
from api.schemas.common import Listing
from api.schemas.tool_calls import (
    ResultRequest,
    ToolCallQuery,
    ToolCallResponse,
    ToolResponse,
    ToolsResponse,
)

tool_calls = Resource("tool_calls")


class ToolCallListing(Listing[ToolCallResponse]):
    """A part of a project's tool calls."""


@tool_calls.on("GET", "/tools/", answers=ToolsResponse)
def list_tools() -> ToolsResponse:
    """List the tools that an agent's config may name."""
    workspace()
    return ToolsResponse(items=[ToolResponse.of(tool) for tool in web().tools])


@tool_calls.on("GET", "/tool-calls/", answers=ToolCallListing)
def list_tool_calls(query: ToolCallQuery) -> ToolCallListing:
    """List tool calls: `execution=client&status=running` are those that wait for the client."""
    page = web().tool_calls.page(workspace().key, query.page(), query.filter())
    items = [ToolCallResponse.of(call) for call in page.items]
    return ToolCallListing(items=items, total=page.total, next_cursor=page.next_cursor)


@tool_calls.on("GET", "/tool-calls/<uuid:call_id>/", answers=ToolCallResponse)
def get_tool_call(call_id: UUID) -> ToolCallResponse:
    """Read a tool call with its exact arguments and its result."""
    return ToolCallResponse.of(web().tool_calls.get(key(), call_id))


@tool_calls.on("POST", "/tool-calls/<uuid:call_id>/result/", answers=ToolCallResponse)
def answer_tool_call(call_id: UUID, json: ResultRequest) -> ToolCallResponse:
    """Answer a `tool_request`. Sending the same again changes nothing; another answer gets 409."""
    return ToolCallResponse.of(web().tool_calls.answer(key(), call_id, json.answer()))
