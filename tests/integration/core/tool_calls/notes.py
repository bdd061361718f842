"""A harmless tool that keeps what it is told to, and does what a test wants at one of the texts."""

from collections.abc import Callable
from typing import Any

from models import Json
from workspace.tools.registry import Tool, ToolParams, ToolUse


class Text(ToolParams):
    """What to keep."""

    text: str


class Notes:
    """The tool `remember`, which nobody is asked for."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.at: dict[str, Callable[[ToolUse], None]] = {}

    def tool(self) -> Tool:
        return Tool("remember", "Remember a text.", Text, self._remember, client=False)

    def _remember(self, use: ToolUse, params: Any) -> Json:
        self.kept.append(params.text)
        self.at.get(params.text, lambda _: None)(use)
        return {"kept": len(self.kept)}


def remember(text: str) -> str:
    """A call of it, as the stand-in is told of it."""
    return f'[tool=remember {{"text": "{text}"}}]'
