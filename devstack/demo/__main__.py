"""The program that `make demo` runs once the stack is up: the acts, one after the other, in a project of their own."""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from devstack.demo.acts import ACTS, Act
from devstack.demo.stage import READ_SECONDS, DemoError, Stage
from devstack.environment import STANDIN_MODEL, of_user
from settings import Settings


def perform(stage: Stage, acts: tuple[Act, ...] = ACTS) -> None:
    """Make a project for the demo, and run all acts in it."""
    project = stage.call("POST", "/my/projects/", {"name": f"demo-{int(time.time())}"})
    inside = replace(stage, project=f"/my/projects/{project['id']}")
    for act in acts:
        act(inside)


def standin_of(environment: Mapping[str, str]) -> str:
    """Address of the stand-in's controls, or empty if the stack talks to a real model."""
    if environment.get("OPENAI_API_KEY") != STANDIN_MODEL:
        return ""
    return environment["MODEL_URL"].removesuffix("/v1") + "/_control"


def _introduce(environment: Mapping[str, str]) -> None:
    model = environment.get("DEFAULT_MODEL") or Settings.model_fields["default_model"].default
    if standin_of(environment):
        print("\nThe answers come from the STAND-IN model: a scripted server, not a language model.")
        print("Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own (Ollama, vLLM), to talk to a real one.")
    else:
        print(f"\nThe answers come from {model} at {urlsplit(environment['OPENAI_BASE_URL']).netloc}.")


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
            perform(Stage(client, environment.get("DEFAULT_MODEL", ""), standin=standin_of(environment)))
    except (DemoError, httpx.HTTPError) as error:
        print(f"\nerror: the demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\nThat was the demo.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
