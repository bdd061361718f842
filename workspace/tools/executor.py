"""`ToolExecutor`: the one door between agents and every resource."""

import time
from collections.abc import Collection, Mapping
from typing import Any

import structlog
from pydantic import ValidationError

from models import Json
from workspace.interruptible import Interrupted
from workspace.metrics import TOOL_CALLS, TOOL_SECONDS
from workspace.tools.context import CallMark, Clock, WorkspaceContext
from workspace.tools.errors import ToolError, ToolErrorCode
from workspace.tools.registry import Resources, Tool, ToolParams, ToolRegistry, ToolUse
from workspace.tools.results import ToolResult, as_answer

log = structlog.get_logger("audit.tools")

SHOWN_MISTAKES = 5
"""Of arguments with more, the model is told the first ones."""


class ToolExecutor:
    """Finds a tool, checks what it is given, and uses it in the name of one task."""

    def __init__(self, registry: ToolRegistry, resources: Resources, *, output_limit: int) -> None:
        """Take what it needs.

        Args:
            output_limit: bytes of JSON that one result may have.
        """
        self._registry = registry
        self._resources = resources
        self._output_limit = output_limit

    def offered(self, allowed: Collection[str]) -> list[Json]:
        """Return the definitions of the tools that an agent may use, as its model is offered them."""
        return [tool.definition for tool in self._registry if tool.name in allowed]

    def check(self, name: str, params: Mapping[str, Any], allowed: Collection[str]) -> tuple[Tool, ToolParams]:
        """Return a tool with its checked parameters.

        Raises:
            ToolError: there is no such tool for this agent, or the parameters do not fit.
        """
        tool = self._registry.find(name) if name in allowed else None
        if tool is None:
            known = ", ".join(sorted(each for each in self._registry.names if each in allowed)) or "none"
            raise ToolError(ToolErrorCode.UNKNOWN_TOOL, f"There is no such tool; there are: {known}.")
        try:
            return tool, tool.params.model_validate_json(as_answer(dict(params)), strict=True)
        except ValidationError as error:
            raise ToolError(ToolErrorCode.INVALID_ARGUMENTS, _mistakes(error)) from error

    def execute(
        self,
        context: WorkspaceContext,
        name: str,
        params: Mapping[str, Any],
        *,
        allowed: Collection[str],
        clock: Clock,
        call: CallMark,
    ) -> ToolResult:
        """Use a tool; whatever goes wrong in it is a result.

        Raises:
            Interrupted: the task had to stop in the middle.
        """
        began = time.monotonic()
        result = ToolResult.failure(ToolErrorCode.CANCELLED, "The task was stopped.")
        try:
            result = self._execute(context, name, params, allowed=allowed, clock=clock, call=call)
        finally:
            seconds = time.monotonic() - began
            TOOL_CALLS.labels(self._label(name), result.error_code or "ok").inc()
            TOOL_SECONDS.labels(self._label(name)).observe(seconds)
            # The audit log: whose task did what with which outcome. Arguments and outputs may hold secrets: they are
            # in the owner's rows alone.
            log.info(
                "tool_used",
                user_id=str(context.user_id),
                project_id=str(context.project_id),
                run_id=str(context.run_id),
                task_id=str(context.task_id),
                agent_id=str(context.agent_id),
                tool=name,
                outcome=result.error_code or "ok",
                seconds=round(seconds, 4),
            )
        return result

    def _execute(
        self,
        context: WorkspaceContext,
        name: str,
        params: Mapping[str, Any],
        *,
        allowed: Collection[str],
        clock: Clock,
        call: CallMark,
    ) -> ToolResult:
        try:
            tool, checked = self.check(name, params, allowed)
            return self._limited(tool.function(ToolUse(context, self._resources, clock, call), checked))
        except ToolError as error:
            return ToolResult.of_error(error)
        except Interrupted:
            raise
        except Exception:  # the border of a tool: the agent is told, the log has the reason
            log.exception("tool_crashed", tool=name, task_id=str(context.task_id))
            return ToolResult.failure(ToolErrorCode.INTERNAL_ERROR, "The tool failed unexpectedly.")

    def _limited(self, output: Json) -> ToolResult:
        size = len(as_answer(output).encode("utf-8", "replace"))
        if size > self._output_limit:
            return ToolResult.failure(
                ToolErrorCode.TOO_LARGE,
                f"The result has {size} bytes, at most {self._output_limit} are returned: ask for less at once.",
            )
        return ToolResult.success(output)

    def _label(self, name: str) -> str:
        return name if self._registry.find(name) else "unknown"


def _mistakes(error: ValidationError) -> str:
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)[:SHOWN_MISTAKES]
    return "; ".join(f"{'.'.join(map(str, mistake['loc'])) or 'arguments'}: {mistake['msg']}" for mistake in mistakes)
