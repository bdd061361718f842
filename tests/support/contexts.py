"""The memory of one agent, as its owner reaches it over HTTP."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.api import ApiClient, Json

LINES = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True)
class Context:
    """One agent's memory and its owner."""

    client: ApiClient
    agent_id: str

    @classmethod
    def of_new_agent(cls, client: ApiClient, name: str = "helper") -> "Context":
        """Return the memory of an agent that is made for it."""
        return cls(client, client.make_agent(name)["id"])

    def path(self, rest: str = "") -> str:
        """Return an address below that of the memory."""
        return f"agents/{self.agent_id}/context/{rest}"

    # -- requests --------------------------------------------------------------------------------------------

    def get(self, rest: str = "", **query: Any) -> httpx.Response:
        """Read; the keywords are the query."""
        return self.client.get(self.path(rest), **query)

    def post(self, rest: str = "", **body: Any) -> httpx.Response:
        """Send JSON; the keywords are the body."""
        return self.client.post(self.path(rest), body)

    def delete(self, rest: str = "", **query: Any) -> httpx.Response:
        """Forget; the keywords are the query."""
        return self.client.request("DELETE", self.path(rest), params=query or None)

    def send_lines(self, content: bytes | Iterable[bytes], **headers: str) -> httpx.Response:
        """Send an import."""
        return self.client.request("POST", self.path("import/"), content=content, headers={**LINES, **headers})

    # -- short forms, each of which must succeed -------------------------------------------------------------

    def add(self, *items: Json | str) -> list[Json]:
        """Remember texts, or memories with more fields than that."""
        bodies = [{"text": item} if isinstance(item, str) else item for item in items]
        return list(_expect(201, self.post(items=bodies)).json()["items"])

    def page(self, **query: Any) -> Json:
        """Read a page."""
        page: Json = _expect(200, self.get(**query)).json()
        return page

    def all(self, **query: Any) -> list[Json]:
        """Read every memory that a filter means, the newest first."""
        return [item for page in self.pages(**query) for item in page["items"]]

    def pages(self, **query: Any) -> Iterator[Json]:
        """Read page after page."""
        page = self.page(**{"limit": 100, **query})
        yield page
        while page["next_cursor"] is not None:
            page = self.page(**{"limit": 100, **query}, cursor=page["next_cursor"])
            yield page

    def texts(self, **query: Any) -> list[str]:
        """Read the texts of the memories that a filter means, the newest first."""
        return [item["text"] for item in self.all(**query)]

    def search(self, query: str, **more: Any) -> list[Json]:
        """Look for something, however little it is alike unless `min_score` is given."""
        body = {"min_score": -1, "limit": 100, **more}
        return list(_expect(200, self.post("search/", query=query, **body)).json()["items"])

    def stats(self) -> Json:
        """Read what there is."""
        stats: Json = _expect(200, self.get("stats/")).json()
        return stats

    def export(self) -> bytes:
        """Read everything as lines."""
        return _expect(200, self.get("export/")).content

    def load(self, lines: bytes | Iterable[bytes]) -> Json:
        """Import lines."""
        done: Json = _expect(200, self.send_lines(lines)).json()
        return done


def line(**fields: Any) -> bytes:
    """Return a line of an import."""
    return json.dumps(fields).encode() + b"\n"


def _expect(status: int, response: httpx.Response) -> httpx.Response:
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    return response
