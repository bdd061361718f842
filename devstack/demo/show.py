"""How the demo looks: a title for each act, and a line for each thing that happens."""

import json
from collections.abc import Mapping
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


class Flow:
    """Text that comes piece by piece, in one line."""

    def __init__(self) -> None:
        self._flows = False

    def add(self, text: str) -> None:
        """Print the next piece."""
        print(text if self._flows else f"  {'agent':<{WIDTH}} {text}", end="", flush=True)
        self._flows = True

    def end(self) -> None:
        """End the line, if there is one."""
        if self._flows:
            print()
        self._flows = False


def about(event: Mapping[str, Any]) -> str:
    """What is worth telling of an event beside its name."""
    payload = event["payload"]
    match event["event_type"]:
        case "approval_required":
            return f"{call(payload)}, risk {payload['risk']}"
        case "approval_resolved":
            return ": ".join(str(part) for part in (payload["status"], payload.get("reason")) if part)
        case "tool_result":
            return f"{payload['tool']} {payload.get('error_code') or payload['status']}"
        case "context_retrieved":
            return f"{len(payload['items'])} memories, {payload['status']}"
        case "task_waiting":
            return f"for {payload['reason']}"
        case _:
            return ""


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
