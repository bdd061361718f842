"""What the acts of the demo work with: the API, and the stand-in model where there is one."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

READ_SECONDS = 60.0
"""Heartbeats come every 30 s: a stream that is silent for longer is broken."""


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
    standin: str = ""
    """Address of the stand-in model's controls; empty with a real model, which says and does what it likes."""

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

    def prompt(self, *rules: Mapping[str, Any]) -> None:
        """Tell the stand-in how to answer the act's messages, so that these need not say it; a real model is not told.

        Raises:
            DemoError: the stand-in refused a rule.
        """
        if not self.standin:
            return
        # Without the token, which is none of the model's business.
        response = httpx.post(f"{self.standin}/rules", json=rules, trust_env=False)
        if response.is_error:
            raise DemoError(f"the stand-in answered {response.status_code}: {response.text.strip()}")
