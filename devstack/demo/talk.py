"""One message to an agent: sent, followed to the end of its run, and answered."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from devstack.demo import show
from devstack.demo.stage import DemoError, Stage

RUN_SECONDS = 300.0

END_OF_TASK = {"task_completed", "task_failed", "task_cancelled", "task_waiting"}
END_OF_RUN = {"run_completed", "run_failed", "run_cancelled"}

Event = Mapping[str, Any]
React = Callable[[Event], None]


@dataclass(frozen=True)
class Answered:
    """What came of a message."""

    run_id: str
    reply: str
    events: tuple[Event, ...]

    def told(self, kind: str) -> list[Mapping[str, Any]]:
        """The payloads of all events of a kind."""
        return [event["payload"] for event in self.events if event["event_type"] == kind]


def hire(stage: Stage, name: str, system_prompt: str, tools: tuple[str, ...] = ()) -> str:
    """Make an agent and a session with it; returns the session's id."""
    agent: dict[str, Any] = {"name": name, "system_prompt": system_prompt, "tools": tools}
    if stage.model:
        agent["model"] = stage.model
    stage.call("POST", f"{stage.project}/agents/", agent)
    show.line("agent", f"{name}, with {', '.join(tools)}" if tools else name)
    session = str(stage.call("POST", f"{stage.project}/chat/sessions/", {})["id"])
    show.line("session", session)
    return session


def say(stage: Stage, session: str, agent: str, content: str, react: React = lambda _: None) -> Answered:
    """Send a message to an agent and show what happens until it is answered; `react` may act on each event.

    Raises:
        DemoError: the run did not complete, or there is no answer.
    """
    return _send(stage, session, {"content": content, "target_agent": agent}, react)


def ask(stage: Stage, session: str, content: str, react: React = lambda _: None) -> Answered:
    """Send a message that names no agent, so that it is planned, and show what happens until it is answered.

    Raises:
        DemoError: the run did not complete, or there is no answer.
    """
    return _send(stage, session, {"content": content}, react)


def _send(stage: Stage, session: str, message: Mapping[str, str], react: React) -> Answered:
    show.line("you", message["content"])
    accepted = stage.call("POST", f"{stage.project}/chat/{session}/message/", message)
    show.line("accepted", f"run {accepted['run_id']}, {accepted['status']}")
    events = _follow(stage, accepted, react)
    stored = stage.call("GET", f"{stage.project}/chat/{session}/messages/")["items"]
    reply = next((item["content"] for item in reversed(stored) if item["role"] == "assistant"), "")
    if not reply:
        raise DemoError("the run has completed, but no reply is stored")
    return Answered(accepted["run_id"], reply, events)


def _follow(stage: Stage, accepted: Mapping[str, Any], react: React) -> tuple[Event, ...]:
    """Print a run's events until its last; the text deltas of an agent flow into a line."""
    voices, seen = show.Voices(), []
    deadline = time.monotonic() + RUN_SECONDS
    for event in stage.events(accepted["events_url"]):
        if time.monotonic() > deadline:
            raise DemoError(f"the run did not end within {RUN_SECONDS:.0f} s")
        kind = event["event_type"]
        if kind == "heartbeat" or event.get("run_id") not in (None, accepted["run_id"]):
            continue
        text = str(event["payload"].get("text") or "") if kind == "task_progress" else ""
        if text:
            voices.say(event["task_id"], text)
            continue
        voices.pause()
        if kind == "task_started":
            voices.begin(event["task_id"], event["payload"]["agent_name"])
        elif kind in END_OF_TASK:
            voices.end(event["task_id"])
        show.line(kind, show.about(event))
        seen.append(event)
        if kind == "run_completed":
            return tuple(seen)
        if kind in END_OF_RUN:
            raise DemoError(f"{kind}: {json.dumps(event['payload'])}")
        react(event)
    raise DemoError("the event stream ended before the run did")
