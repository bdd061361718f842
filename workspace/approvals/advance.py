"""Grants that are given in advance, with the yes to a plan: there is no call yet to compare their patterns with.

So they are compared with what the tool takes: a pattern that no call could ever match is refused, not kept in vain.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models import Json
from workspace.approvals.patterns import EQUALS, HARMLESS, malformed
from workspace.tools.registry import Tool, ToolRegistry
from workspace.tools.risk import RiskLevel, highest_risk
from workspace.tools.showing import shown


class WantedGrant(NamedTuple):
    """A standing yes that an owner wants to give to calls of a tool."""

    tool: str
    patterns: Json
    risk: RiskLevel | None = None
    """The most that a call may risk to be covered; `None`: the most that the tool can."""

    @property
    def most(self) -> RiskLevel:
        """The highest risk that it is good for."""
        return self.risk or highest_risk(self.tool)


def mistakes(wanted: WantedGrant, registry: ToolRegistry, usable: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with a grant, a sentence each.

    Args:
        wanted: the grant.
        registry: the tools that there are.
        usable: the tools that the agents of the plan have.
    """
    tool = registry.find(wanted.tool)
    if tool is None or tool.name not in usable:
        yield f"No agent of the plan has a tool `{shown(wanted.tool)}`."
    elif highest_risk(tool.name) is RiskLevel.LOW:
        yield f"`{tool.name}` only needs a yes where it would be refused all the same."
    elif wanted.risk is RiskLevel.LOW:
        yield "What is of low risk needs no yes, so a grant for it covers nothing."
    elif problem := malformed(tool.name, wanted.patterns):
        yield problem
    else:
        yield from _unmatchable(tool, wanted.patterns)


def _unmatchable(tool: Tool, patterns: Mapping[str, Any]) -> Iterator[str]:
    """Yield why well-formed patterns can match no call of a tool."""
    parameters: Mapping[str, Json] = tool.schema["properties"]
    for name, pattern in patterns.items():
        if name not in parameters:
            yield f"`{shown(name)}`: the tool has no such argument."
        elif not _may_be(pattern, parameters[name].get("type")):
            yield f"`{name}`: it takes a value of another type."
    harmless = HARMLESS.get(tool.name, ())
    for name in tool.schema.get("required", ()):
        if name not in patterns and name not in harmless:
            yield f"`{name}` has to be named."


def _may_be(pattern: Any, kind: object) -> bool:
    """Whether a pattern can match a value of a JSON type; of what has several, anything may be one."""
    value = pattern[EQUALS] if isinstance(pattern, Mapping) else pattern
    match kind:
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, Sequence) and not isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer" | "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True
