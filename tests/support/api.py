"""A client of the API that speaks for one user, with short forms of what most tests need."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx

from tests.support.streams import EventStream
from tests.support.tokens import mint
from tests.support.waiting import PATIENCE, eventually

FINAL = {"completed", "partial", "failed", "cancelled"}
"""The statuses in which a run stays."""

Json = dict[str, Any]


def new_subject() -> str:
    """Return a user's name that no other test has."""
    return f"test|{uuid4().hex}"


@dataclass(frozen=True, kw_only=True)
class ApiClient:
    """One user, at one address of the API."""

    http: httpx.Client
    """Shared by all users of a test run; it knows no address and no token."""
    url: str
    secret: str
    subject: str
    token: str
    prefix: str = "/my"
    """`/my`: the default project; `/my/projects/{id}`: that one."""

    @classmethod
    def of(cls, http: httpx.Client, *, url: str, secret: str, subject: str | None = None) -> "ApiClient":
        """Return a client of the user `subject`, or of a user whom nobody has seen before."""
        subject = subject or new_subject()
        return cls(http=http, url=url, secret=secret, subject=subject, token=mint(secret, subject))

    # -- the same user elsewhere -----------------------------------------------------------------------------

    def inside(self, project_id: str) -> "ApiClient":
        """Return this user's client for one of its projects."""
        return replace(self, prefix=f"/my/projects/{project_id}")

    def at(self, url: str) -> "ApiClient":
        """Return this user's client for another process of the API."""
        return replace(self, url=url)

    def with_token(self, **changes: Any) -> "ApiClient":
        """Return this user's client with another token; `changes` are claims."""
        return replace(self, token=mint(self.secret, self.subject, **changes))

    def as_admin(self) -> "ApiClient":
        """Return this user's client with a token of an admin."""
        return self.with_token(role="admin")

    # -- requests --------------------------------------------------------------------------------------------

    @property
    def authorization(self) -> dict[str, str]:
        """The header that speaks for the user."""
        return {"Authorization": f"Bearer {self.token}"}

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request. A path that begins with `/` is absolute, any other one is of the project."""
        headers = self.authorization | dict(options.pop("headers", {}))
        return self.http.request(method, self.url + self.path(path), headers=headers, **options)

    def path(self, path: str) -> str:
        """Return the absolute path."""
        return path if path.startswith("/") else f"{self.prefix}/{path}"

    def get(self, path: str, **query: Any) -> httpx.Response:
        """Read; the keywords are the query."""
        return self.request("GET", path, params=query or None)

    def post(self, path: str, body: Any) -> httpx.Response:
        """Send JSON by POST."""
        return self.request("POST", path, json=body)

    def put(self, path: str, body: Any) -> httpx.Response:
        """Send JSON by PUT."""
        return self.request("PUT", path, json=body)

    def delete(self, path: str) -> httpx.Response:
        """Delete."""
        return self.request("DELETE", path)

    # -- short forms, each of which must succeed -------------------------------------------------------------

    def make_project(self, name: str = "a project", description: str = "") -> Json:
        """Make a project."""
        return _expect(201, self.post("/my/projects/", {"name": name, "description": description}))

    def make_agent(self, name: str = "helper", **config: Any) -> Json:
        """Make an agent."""
        return _expect(201, self.post("agents/", {"name": name, **config}))

    def make_session(self, title: str | None = None) -> Json:
        """Begin a session."""
        return _expect(201, self.post("chat/sessions/", {"title": title}))

    def send(self, session_id: str, content: str, agent: str = "helper") -> Json:
        """Send a message; returns what the 202 says."""
        return _expect(202, self.post(f"chat/{session_id}/message/", {"content": content, "target_agent": agent}))

    def run(self, run_id: str) -> Json:
        """Read a run."""
        return _expect(200, self.get(f"runs/{run_id}/"))

    def messages(self, session_id: str, **query: Any) -> list[Json]:
        """Read a session's messages, all of them."""
        return list(_expect(200, self.get(f"chat/{session_id}/messages/", limit=100, **query))["items"])

    def wait_for_run(self, accepted: Mapping[str, Any] | str, *, status: str = "completed") -> Json:
        """Wait until a run has ended and return it.

        Raises:
            AssertionError: it ended otherwise than with `status`, or not in time.
        """
        run_id = accepted if isinstance(accepted, str) else accepted["run_id"]

        def ended() -> Json | None:
            run = self.run(run_id)
            return run if run["status"] in FINAL else None

        run = eventually(ended, f"the end of run {run_id}", within=PATIENCE * 2, every=0.05)
        assert run["status"] == status, run
        return run

    def answered(self, session_id: str, content: str, agent: str = "helper") -> Json:
        """Send a message, wait for its answer, and return what the 202 said."""
        accepted = self.send(session_id, content, agent)
        self.wait_for_run(accepted)
        return accepted

    @contextmanager
    def events(
        self,
        where: str,
        *,
        cursor: str | None = None,
        header: str | None = None,
        sse: bool = False,
        receive_buffer: int | None = None,
    ) -> Iterator[EventStream]:
        """Open the stream of a session and close it at the end of the block.

        Args:
            where: the session's id, or an `events_url`.
            cursor: `last_event_id` in the query.
            header: `Last-Event-ID`.
            sse: server-sent events instead of NDJSON.
            receive_buffer: bytes that the kernel keeps for a reader which does not read.
        """
        path = where if where.startswith("/") else self.path(f"chat/{where}/events/")
        if cursor is not None:
            path += f"?last_event_id={cursor}"
        headers = dict(self.authorization)
        if header is not None:
            headers["Last-Event-ID"] = header
        if sse:
            headers["Accept"] = "text/event-stream"
        stream = EventStream.open(self.url + path, headers, receive_buffer=receive_buffer)
        with stream:
            yield stream


def _expect(status: int, response: httpx.Response) -> Json:
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    body: Json = response.json()
    return body
