"""A turn in which the model called tools, with what came of them, as the model is shown it again."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from workspace.events import Usage


class WaitReason(StrEnum):
    """What a parked task waits for."""

    APPROVAL = "approval"
    CLIENT_TOOL = "client_tool"


class AnsweredCall(NamedTuple):
    """A call and what the model is told of it."""

    call_id: str
    tool: str
    arguments: str
    """As JSON."""
    answer: str
    """As JSON."""


class Waits(NamedTuple):
    """The rest of a turn waits for a person or a client; the task holds nothing meanwhile."""

    reason: WaitReason
    detail: str


@dataclass(frozen=True, kw_only=True)
class ToolTurn:
    """What the model said, and the calls in its order."""

    number: int
    said: str
    calls: tuple[AnsweredCall, ...]
    usage: Usage

    def messages(self) -> list[dict[str, Any]]:
        """Return it as messages of the OpenAI protocol: what the model said, then each answer."""
        asked = [
            {"id": call.call_id, "type": "function", "function": {"name": call.tool, "arguments": call.arguments}}
            for call in self.calls
        ]
        said = {"role": "assistant", "content": self.said or None, "tool_calls": asked}
        answers = [{"role": "tool", "tool_call_id": call.call_id, "content": call.answer} for call in self.calls]
        return [said, *answers]
