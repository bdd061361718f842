"""A small conversation with a running stack, shown as it streams. It knows the API only: HTTP, JSON, event lines.

Each act is a function that gets the `Stage`, prints what happens, and raises `DemoError` if it went wrong.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from devstack.environment import STANDIN_MODEL, of_user
from settings import Settings

READ_SECONDS = 60.0
"""Heartbeats come every 30 s: a stream that is silent for longer is broken."""

RUN_SECONDS = 300.0

END_OF_RUN = {"run_completed", "run_failed", "run_cancelled"}

QUESTION = "Hello! In two sentences: who are you, and what can you help me with?"


class DemoError(Exception):
    """An act did not go as it should."""


@dataclass(frozen=True)
class Stage:
    """What every act works with."""

    client: httpx.Client
    """Knows the API's address and the token."""
    model: str
    """Name of the model, or empty for the API's own default."""
    project: str = ""
    """Prefix of the project's paths."""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the API and return what it answers.

        Raises:
            DemoError: it answered with an error.
        """
        response = self.client.request(method, path, json=body)
        if response.is_error:
            raise DemoError(f"{method} {path} answered {response.status_code}: {response.text.strip()}")
        return response.json()

    def events(self, url: str) -> Iterator[dict[str, Any]]:
        """The events of a session, from the place that `url` names on.

        Raises:
            DemoError: the stream was refused.
        """
        with self.client.stream("GET", url, headers={"Accept": "application/x-ndjson"}) as response:
            if response.is_error:
                raise DemoError(f"GET {url} answered {response.status_code}: {response.read().decode().strip()}")
            for line in response.iter_lines():
                if line.strip():
                    yield json.loads(line)


def direct_message(stage: Stage) -> None:
    """One message to one agent."""
    _title("A message to an agent")
    agent = {"name": "helper", "system_prompt": "You are a friendly assistant. Answer briefly."}
    if stage.model:
        agent["model"] = stage.model
    stage.call("POST", f"{stage.project}/agents/", agent)
    _line("agent", "helper")
    session = stage.call("POST", f"{stage.project}/chat/sessions/", {})["id"]
    _line("session", session)
    _line("you", QUESTION)
    message = {"content": QUESTION, "target_agent": "helper"}
    accepted = stage.call("POST", f"{stage.project}/chat/{session}/message/", message)
    _line("accepted", f"run {accepted['run_id']}, {accepted['status']}")
    _follow(stage, accepted)
    _title("What is stored")
    stored = stage.call("GET", f"{stage.project}/chat/{session}/messages/")
    for item in stored["items"]:
        _line(item["role"], item["content"])
    if not any(item["role"] == "assistant" and item["content"] for item in stored["items"]):
        raise DemoError("the run has completed, but no reply is stored")
    run = stage.call("GET", f"{stage.project}/runs/{accepted['run_id']}")
    _line("usage", _usage(run.get("usage") or {}))


ACTS: tuple[Callable[[Stage], None], ...] = (direct_message,)


def _follow(stage: Stage, accepted: Mapping[str, Any]) -> None:
    """Print a run's events until its last; the text deltas flow into one line."""
    flowing = False
    deadline = time.monotonic() + RUN_SECONDS
    for event in stage.events(accepted["events_url"]):
        if time.monotonic() > deadline:
            raise DemoError(f"the run did not end within {RUN_SECONDS:.0f} s")
        kind = event["event_type"]
        if kind == "heartbeat" or event.get("run_id") not in (None, accepted["run_id"]):
            continue
        text = str(event["payload"].get("text") or "") if kind == "task_progress" else ""
        if text:
            print(text if flowing else f"  {'agent':<16} {text}", end="", flush=True)
            flowing = True
            continue
        if flowing:
            print()
            flowing = False
        _line(kind, "")
        if kind == "run_completed":
            return
        if kind in END_OF_RUN:
            raise DemoError(f"{kind}: {json.dumps(event['payload'])}")
    raise DemoError("the event stream ended before the run did")


def _usage(usage: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in usage.items()) or "not known"


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def _line(name: str, text: str) -> None:
    print(f"  {name:<16} {text}".rstrip(), flush=True)


def _introduce(environment: Mapping[str, str]) -> None:
    model = environment.get("DEFAULT_MODEL") or Settings.model_fields["default_model"].default
    if environment.get("OPENAI_API_KEY") == STANDIN_MODEL:
        print("\nThe answers come from the STAND-IN model: a scripted server, not a language model.")
        print("Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own (Ollama, vLLM), to talk to a real one.")
    else:
        print(f"\nThe answers come from {model} at {urlsplit(environment['OPENAI_BASE_URL']).netloc}.")


def perform(stage: Stage, acts: tuple[Callable[[Stage], None], ...] = ACTS) -> None:
    """Make a project for the demo, and run all acts in it."""
    project = stage.call("POST", "/my/projects/", {"name": f"demo-{int(time.time())}"})
    inside = Stage(stage.client, stage.model, f"/my/projects/{project['id']}")
    for act in acts:
        act(inside)


def main() -> int:
    """Run the demo against the stack named in the environment."""
    environment = of_user()
    _introduce(environment)
    client = httpx.Client(
        base_url=environment["API_URL"],
        headers={"Authorization": f"Bearer {environment['TOKEN']}"},
        timeout=httpx.Timeout(10.0, read=READ_SECONDS),
        # The API is on this machine: no proxy of the user's has a part in it.
        trust_env=False,
    )
    try:
        with client:
            perform(Stage(client, environment.get("DEFAULT_MODEL", "")))
    except (DemoError, httpx.HTTPError) as error:
        print(f"\nerror: the demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\nThat was the demo.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
