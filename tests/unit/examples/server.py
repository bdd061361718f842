"""A small HTTP server that speaks as much of the API as the example client uses, with faults on demand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from docs.examples.tool_client import digest

Json = dict[str, Any]
Answer = tuple[int, Json]
Step = Json | Callable[[], object]
"""What happens in a stream: an event is sent, or something is done."""

PROJECT, SESSION = str(uuid4()), str(uuid4())
TOKEN = "the-token"
PREFIX = f"/my/projects/{PROJECT}"
EVENTS = f"{PREFIX}/chat/{SESSION}/events/"
NOT_FOUND = 404, {"detail": "Not found.", "error_code": "not_found"}
DROP = 0
"""As a status: what was asked for is done, and the connection is closed without an answer."""

WAIT_SECONDS = 30

_numbers = count(1)


def event(kind: str, **payload: Any) -> Json:
    """An event; its id grows by itself."""
    return {"id": f"{next(_numbers):09}-0", "event_type": kind, "session_id": SESSION, "payload": payload}


HEARTBEAT = event("heartbeat") | {"id": None}
GAP = event("stream_gap", snapshot_url="/") | {"id": None}


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    """What the server has, and what it was asked for."""

    streams: list[list[Step]] = field(default_factory=list)
    """One connection each; behind the last of them the session is gone."""
    approvals: dict[str, Json] = field(default_factory=dict)
    tool_calls: dict[str, Json] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, list[int]] = field(default_factory=dict)
    """Statuses that come first, by the end of the path."""
    tool_execution: str = "client"
    seen: list[Seen] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    """Paths, once their answer was sent."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add_approval(self, tool: str = "write_file", arguments: Json | None = None, *, status: str = "pending") -> str:
        """Let a call wait for its owner; returns the approval's id."""
        identifier = str(uuid4())
        payload = {"tool": tool, "arguments": arguments or {}, "risk": "medium", "reasons": ["writes a"]}
        payload["agent_name"] = "writer"
        self.approvals[identifier] = {"id": identifier, "type": "tool", "status": status, "payload": payload}
        return identifier

    def add_call(self, tool: str, arguments: Json, *, status: str = "running", execution: str = "client") -> str:
        """Let a call wait for the client; returns its id."""
        identifier = str(uuid4())
        told = {"tool": tool, "arguments": arguments, "digest": digest(tool, arguments)}
        self.tool_calls[identifier] = {"id": identifier, "status": status, "execution": execution, **told}
        return identifier

    def required(self, identifier: str, **more: Any) -> Json:
        """The event that tells of an approval."""
        payload = {"approval_id": identifier, "arguments_complete": True, **self.approvals[identifier]["payload"]}
        return event("approval_required", **(payload | more))

    def requested(self, identifier: str, **more: Any) -> Json:
        """The event that tells of a call for the client."""
        told = {name: self.tool_calls[identifier][name] for name in ("tool", "arguments", "digest")}
        return event("tool_request", tool_call_id=identifier, arguments_complete=True, **(told | more))

    def starts(self, identifier: str) -> Callable[[], object]:
        """The call begins to wait for the client."""
        return lambda: self.tool_calls[identifier].update(status="running")

    def caught_up(self) -> None:
        """Wait until the client has asked for all that waits: what comes now, it learns from events only."""
        with self.changed:
            assert self.changed.wait_for(lambda: f"{PREFIX}/tool-calls/" in self.answered, WAIT_SECONDS)

    def sent(self, method: str, end: str) -> list[Seen]:
        """The requests to addresses that end like this."""
        return [each for each in self.seen if each.method == method and each.path.endswith(end)]

    def answer(self, request: Seen) -> Answer:
        """Answer one request that is not for the stream."""
        match request.method, request.path.removeprefix(PREFIX).strip("/").split("/"):
            case "GET", path:
                return self._read(path, request.query)
            case "POST", ["chat", "sessions"]:
                return 201, {"id": SESSION}
            case "POST", ["approvals", identifier, "confirm"]:
                return self._confirm(self.approvals[identifier], request.body)
            case "POST", ["tool-calls", identifier, "result"]:
                return self._take(self.tool_calls[identifier], request.body)
        return NOT_FOUND

    def _read(self, path: list[str], query: dict[str, str]) -> Answer:
        match path:
            case [""]:
                return 200, {"id": PROJECT, "tool_execution": self.tool_execution}
            case ["approvals"]:
                return _page(self.approvals, query)
            case ["tool-calls"]:
                return _page(self.tool_calls, query)
            case ["approvals", identifier] if identifier in self.approvals:
                return 200, self.approvals[identifier]
            case ["tool-calls", identifier] if identifier in self.tool_calls:
                return 200, self.tool_calls[identifier]
        return NOT_FOUND

    def _confirm(self, approval: Json, body: Json) -> Answer:
        if approval["status"] != "pending":
            return 409, {"detail": "It is decided already.", "error_code": "approval_already_decided"}
        approval |= {"status": {"approve": "approved", "reject": "rejected"}[body["decision"]], **body}
        return 200, approval

    def _take(self, call: Json, body: Json) -> Answer:
        if self.results.setdefault(call["id"], body) != body or call["execution"] != "client":
            return 409, {"detail": "It has another result.", "error_code": "conflict"}
        call["status"] = "succeeded" if "output" in body else "failed"
        return 200, call


def _page(rows: dict[str, Json], query: dict[str, str]) -> Answer:
    """One row a page, so that whoever reads lists has to turn pages."""
    wanted = {name: query[name] for name in ("status", "execution") if name in query}
    found = [row for row in rows.values() if wanted.items() <= row.items()]
    begin = int(query.get("cursor", "0"))
    more = str(begin + 1) if begin + 1 < len(found) else None
    return 200, {"items": found[begin : begin + 1], "total": len(found), "next_cursor": more}


class Server(ThreadingHTTPServer):
    """Serves one `Api`."""

    def __init__(self, api: Api) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.api = api


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        api = self.server.api
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Seen(self.command, parts.path, query, dict(self.headers.items()), json.loads(body) if body else None)
        api.seen.append(request)
        faults = next((statuses for end, statuses in api.faults.items() if parts.path.endswith(end)), [])
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"detail": "Unauthorized.", "error_code": "unauthorized"})
        elif faults:
            self._fail(faults.pop(0), request)
        elif parts.path == EVENTS and api.streams:
            self._stream(api.streams.pop(0))
        else:
            self._answer(*api.answer(request))
        with api.changed:
            api.answered.append(parts.path)
            api.changed.notify_all()

    def _fail(self, status: int, request: Seen) -> None:
        if status == DROP:
            self.server.api.answer(request)
            self.close_connection = True
        else:
            self._answer(status, {"detail": f"Told to fail with {status}.", "error_code": "overloaded"})

    def _answer(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After", "0")
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, steps: list[Step]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for step in steps:
            if callable(step):
                step()
            else:
                line = json.dumps(step).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        # No last chunk: the connection breaks, as connections do.
        self.close_connection = True


@contextmanager
def serve(api: Api) -> Iterator[str]:
    """Serve on a port of this machine; gives the address."""
    with Server(api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
