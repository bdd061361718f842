"""How the demo looks: a title for each act, and a line for each thing that happens."""

import json
from collections.abc import Callable, Mapping
from typing import Any

WIDTH = 20
MOST_CHARACTERS = 160
"""Of an argument."""


def title(text: str) -> None:
    """Begin an act."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def line(name: str, text: str = "") -> None:
    """Tell one thing."""
    print(f"  {name:<{WIDTH}} {text}".rstrip(), flush=True)


class Voices:
    """What agents say, piece by piece: one alone as it comes; of several at once, each what it said when it has."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._speaker: str | None = None
        """Whose text is on the line that is not ended."""

    def begin(self, task: str, name: str) -> None:
        """An agent begins a task."""
        self._names[task] = name

    def say(self, task: str, text: str) -> None:
        """Take the next piece of what is said for a task."""
        if len(self._names) > 1:
            self._said[task] = self._said.get(task, "") + text
            return
        if self._speaker != task:
            self.pause()
            text = f"  {self._names.get(task, 'agent'):<{WIDTH}} {text}"
        print(text, end="", flush=True)
        self._speaker = task

    def pause(self) -> None:
        """End the line, if there is one."""
        if self._speaker is not None:
            print()
        self._speaker = None

    def end(self, task: str) -> None:
        """A task is over for now: tell what was said for it, if that was not done yet."""
        name = self._names.pop(task, "agent")
        if said := self._said.pop(task, ""):
            line(name, said)


def about(event: Mapping[str, Any]) -> str:
    """What is worth telling of an event beside its name."""
    tell = _ABOUT.get(event["event_type"])
    return tell(event["payload"]) if tell else ""


def call(payload: Mapping[str, Any]) -> str:
    """A tool call on one line."""
    arguments = (f"{name}={_short(value)}" for name, value in (payload.get("arguments") or {}).items())
    return f"{payload['tool']}({', '.join(arguments)})"


def usage(counted: Mapping[str, Any]) -> str:
    """What a run used."""
    return ", ".join(f"{name} {value}" for name, value in counted.items()) or "not known"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


def _asked(payload: Mapping[str, Any]) -> str:
    return f"{call(payload)}, risk {payload['risk']}" if payload["tool"] else "the plan"


def _joined(separator: str, *parts: object) -> str:
    return separator.join(str(part) for part in parts if part)


_ABOUT: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "approval_required": _asked,
    "approval_resolved": lambda payload: _joined(": ", payload["status"], payload.get("reason")),
    "context_retrieved": lambda payload: f"{len(payload['items'])} memories, {payload['status']}",
    "run_completed": lambda payload: str(payload["status"]),
    "task_completed": lambda payload: str(payload["agent_name"]),
    "task_plan_created": lambda payload: f"{len(payload['plan']['tasks'])} tasks",
    "task_started": lambda payload: _joined(" ", payload["agent_name"], payload.get("plan_task_id")),
    "task_waiting": lambda payload: f"for {payload['reason']}",
    "tool_result": lambda payload: f"{payload['tool']} {payload.get('error_code') or payload['status']}",
}
"""What is told of an event of each type; of the others, nothing."""
