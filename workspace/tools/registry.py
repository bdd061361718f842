"""What a tool is: a Python function with a decorator and a pydantic model of its parameters.

    @tool(client=True)
    def read_file(use: ToolUse, params: ReadFile) -> Json:
        '''Read a text file. ...'''            # what the model is told

The function's name is the tool's, its docstring is what the model is told, and the JSON schema of the parameter model
is what the model fills in.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from pydantic import BaseModel, ConfigDict

from models import Json
from workspace.errors import InvalidInput
from workspace.tools.context import CallMark, Clock, WorkspaceContext

if TYPE_CHECKING:
    from workspace.files import WorkspaceFiles
    from workspace.sandbox import Sandbox
    from workspace.tools.memory_port import OwnMemory


class ToolParams(BaseModel):
    """The parameters of a tool; unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(NamedTuple):
    """All that tools can reach; each asks for the workspace that it is used in."""

    files: "WorkspaceFiles"
    sandbox: "Sandbox"
    memory: "OwnMemory"


class ToolUse(NamedTuple):
    """One use of a tool."""

    context: WorkspaceContext
    resources: Resources
    clock: Clock
    call: CallMark


ToolFunction = Callable[[ToolUse, Any], Json]
"""Returns a JSON object that the model is shown; raises `ToolError` for what the model can act on."""


@dataclass(frozen=True)
class Tool:
    """A tool, as it is registered."""

    name: str
    description: str
    params: type[ToolParams]
    function: ToolFunction
    client: bool
    """Whether the owner's client carries it out where a project says so; otherwise it always runs here."""

    @cached_property
    def schema(self) -> Json:
        """The JSON schema of its parameters."""
        schema: Json = _without_titles(self.params.model_json_schema())
        return schema

    @cached_property
    def definition(self) -> Json:
        """What a model is offered, in the form of the OpenAI protocol."""
        function = {"name": self.name, "description": self.description, "parameters": self.schema}
        return {"type": "function", "function": function}


def tool(*, client: bool) -> Callable[[ToolFunction], Tool]:
    """Make a tool of a function.

    Args:
        client: whether the owner's client can carry it out in its stead.
    """

    def register(function: ToolFunction) -> Tool:
        params = get_type_hints(function)["params"]
        return Tool(function.__name__, inspect.cleandoc(function.__doc__ or ""), params, function, client)

    return register


class ToolRegistry:
    """The tools of a deployment, by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {each.name: each for each in tools}

    def find(self, name: str) -> Tool | None:
        """Return the tool of that name, if there is one."""
        return self._tools.get(name)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse names of tools that there are not.

        Raises:
            InvalidInput: one is unknown.
        """
        unknown = sorted(set(names) - self._tools.keys())
        if unknown:
            raise InvalidInput(f"There are no such tools: {', '.join(unknown)}. Known are {', '.join(self.names)}.")

    @property
    def names(self) -> list[str]:
        """The names of all tools, in alphabetical order."""
        return sorted(self._tools)


def _without_titles(schema: Any) -> Any:
    """Leave out the titles that pydantic makes of names: they cost tokens and say nothing."""
    if isinstance(schema, dict):
        kept = {name: value for name, value in schema.items() if name != "title" or isinstance(value, dict)}
        return {name: _without_titles(value) for name, value in kept.items()}
    if isinstance(schema, list):
        return [_without_titles(value) for value in schema]
    return schema
