"""The controls of the stand-in model.

They belong to the whole stack, so tests that use them leave rules for their own agents or words only, and count by the
agent's id, which is a key of the witness.
"""

from typing import Any

import httpx


class Standin:
    """The stand-in's `_control` addresses."""

    def __init__(self, http: httpx.Client, model_url: str) -> None:
        self._http = http
        self._model_url = model_url
        self._url = model_url.removesuffix("/v1") + "/_control"

    def rules(self, *rules: dict[str, Any]) -> None:
        """Add rules; the first that matches counts."""
        self._http.post(f"{self._url}/rules", json=list(rules)).raise_for_status()

    def reset(self) -> None:
        """Remove all rules and forget all counts."""
        for part in ("rules", "witness", "requests"):
            self._http.delete(f"{self._url}/{part}").raise_for_status()

    def witness(self, agent_id: str) -> dict[str, int]:
        """Return how many requests of an agent there are, were at most, and were in all."""
        keys: dict[str, dict[str, int]] = self._http.get(f"{self._url}/witness").raise_for_status().json()["keys"]
        return keys.get(agent_id, {"current": 0, "max": 0, "total": 0})

    def most_at_once(self) -> dict[str, int]:
        """Return how many requests there were at most, for each agent."""
        keys = self._http.get(f"{self._url}/witness").raise_for_status().json()["keys"]
        return {agent: counts["max"] for agent, counts in keys.items()}

    def totals(self) -> dict[str, int]:
        """Return how many requests there were in all, for each agent."""
        keys = self._http.get(f"{self._url}/witness").raise_for_status().json()["keys"]
        return {agent: counts["total"] for agent, counts in keys.items()}

    def forget_calls(self) -> None:
        """Forget all requests, so that `calls` holds those of one test."""
        self._http.delete(f"{self._url}/requests").raise_for_status()

    def calls(self) -> list[dict[str, Any]]:
        """Return all requests that are kept; `served` says whether one was answered to its end."""
        response = self._http.get(f"{self._url}/requests", params={"limit": 1_000})
        found: list[dict[str, Any]] = response.raise_for_status().json()["requests"]
        assert len(found) < 1_000, "there were more requests than the stand-in keeps"
        return found

    def requests(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the last requests' bodies, the newest last."""
        response = self._http.get(f"{self._url}/requests", params={"limit": limit})
        found: list[dict[str, Any]] = response.raise_for_status().json()["requests"]
        return [request.get("body", request) for request in found]

    def embeddings(self, limit: int = 200) -> list[list[str]]:
        """Return the texts of the last requests for embeddings, the newest last."""
        response = self._http.get(f"{self._url}/embeddings", params={"limit": limit})
        found: list[dict[str, Any]] = response.raise_for_status().json()["requests"]
        return [request["body"]["input"] for request in found]

    def usage_of(self, body: dict[str, Any]) -> dict[str, int]:
        """Return the usage of a request, by asking once more."""
        whole = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
        response = self._http.post(f"{self._model_url}/chat/completions", json=whole)
        usage: dict[str, int] = response.raise_for_status().json()["usage"]
        return usage
