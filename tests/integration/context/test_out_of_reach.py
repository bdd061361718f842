"""What is answered while a memory cannot be reached: 503 with a reason, and never a part of it as if that were all."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis

from api.app import create_app
from api.limits import limiter
from api.rate_storage import OneTripStorage
from bootstrap import build_web
from settings import load_settings
from tests.conftest import MakeUser
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.contexts import Context, line
from tests.support.proxy import Proxy
from tests.support.stack import Stack
from workspace.manager import WorkerSpaceManager
from workspace.memory.agent_memories import AgentMemories
from workspace.memory.edge.store import QdrantEdgeStore

pytestmark = pytest.mark.stack

LONG = "word " * 3_000
MANY = 600
"""Memories of such texts are more than the kernel keeps for a reader that does not read."""


class Inner:
    """The API in this process, over the stack's database, with an engine of its own."""

    def __init__(self, secret: str, directory: Path) -> None:
        self.store = QdrantEdgeStore(directory)
        self._secret = secret
        self._subject = f"test|{uuid4().hex}"
        self._closing = ExitStack()
        self._closing.callback(self.store.close)

    def context(self, **options: Any) -> Context:
        """Return the memory of a user's only agent, by an API with settings of its own."""
        settings = load_settings().model_copy(update=options)
        web = build_web(settings)
        clients = [web.redis, web.subscriber, redis.Redis.from_url(settings.cache), web.agents._cache._shared._client]
        memories = AgentMemories(settings, clients[2], store=self.store)
        self._closing.callback(memories.close)
        manager = WorkerSpaceManager(web.manager._services._replace(memories=memories))
        app = create_app(replace(web, manager=manager))
        limits = limiter.storage
        assert isinstance(limits, OneTripStorage)
        for each in (web.database, *clients, limits.get_connection()):
            self._closing.callback(each.close)
        http = self._closing.enter_context(httpx.Client(transport=httpx.WSGITransport(app=app)))
        client = ApiClient.of(http, url="http://inner", secret=self._secret, subject=self._subject)
        agents = client.get("agents/").json()["items"]
        return Context(client, agents[0]["id"]) if agents else Context.of_new_agent(client)

    def close(self) -> None:
        """End everything."""
        self._closing.close()


@pytest.fixture
def inner(stack: Stack, tmp_path: Path) -> Iterator[Inner]:
    made = Inner(stack.jwt_secret, tmp_path)
    yield made
    made.close()


def _attempts(context: Context) -> dict[str, httpx.Response]:
    """Ask for everything."""
    return {
        "list": context.get(),
        "search": context.post("search/", query="x"),
        "add": context.post(items=[{"text": "x"}]),
        "clear": context.delete(),
        "forget": context.delete(run_id=str(uuid4())),
        "prune": context.post("prune/", keep=1),
        "stats": context.get("stats/"),
        "export": context.get("export/"),
        "import": context.send_lines(line(text="x")),
    }


def test_a_memory_out_of_reach_is_told_at_every_address(inner: Inner) -> None:
    context = inner.context()
    (added,) = context.add("something")
    inner.store.close()
    answers = _attempts(context) | {"forget one": context.delete(f"{added['id']}/")}
    for answer in answers.values():
        error(answer, 503, "memory_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1


def test_another_embedding_is_told_and_the_memory_can_be_carried_over(inner: Inner) -> None:
    inner.context().add("the owner prefers tabs", "the owner drinks tea")
    changed = inner.context(embedding_dimensions=16)

    for answer in _attempts_that_embed(changed):
        detail = error(answer, 503, "memory_unavailable")["detail"]
        assert "stand-in-embedding (384 dimensions)" in detail
        assert "export it, clear it and import it again" in detail

    exported = changed.export()
    assert changed.delete().json() == {"deleted": 2}
    assert changed.load(exported) == {"stored": 2, "embedded": 2}
    assert changed.search("the owner prefers tabs")[0]["text"] == "the owner prefers tabs"
    assert changed.stats()["embedding"] == {"model": "stand-in-embedding", "dimensions": 16}


def _attempts_that_embed(context: Context) -> list[httpx.Response]:
    return [
        context.post("search/", query="x"),
        context.post(items=[{"text": "x"}]),
        context.send_lines(line(text="x")),
    ]


def test_without_embeddings_what_needs_none_goes_on(inner: Inner) -> None:
    context = inner.context()
    context.add("something")
    dead = inner.context(openai_base_url="http://127.0.0.1:1/v1", model_max_attempts=1)
    for answer in _attempts_that_embed(dead):
        error(answer, 503, "memory_unavailable")
    assert dead.texts() == ["something"]
    assert dead.load(context.export()) == {"stored": 1, "embedded": 0}


@pytest.fixture
def far(make_user: MakeUser, wired_url: str) -> Iterator[Context]:
    """A large memory, whose web process has a way to Redis that can be cut, for a reader with little room."""
    context = Context.of_new_agent(make_user())
    for start in range(0, MANY, 50):
        context.load(b"".join(line(text=f"{number} {LONG}") for number in range(start, start + 50)))
    options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)]
    transport = httpx.HTTPTransport(socket_options=options)
    with httpx.Client(transport=transport, trust_env=False, timeout=60) as http:
        yield replace(context, client=replace(context.client, url=wired_url, http=http))


def test_a_client_can_tell_a_part_of_an_export_from_the_whole(far: Context, wire: Proxy) -> None:
    client = far.client
    assert len(far.export().splitlines()) == MANY  # the control
    received: list[bytes] = []
    try:
        with (
            client.http.stream(
                "GET", client.url + client.path(far.path("export/")), headers=client.authorization
            ) as answer,
            pytest.raises(httpx.RemoteProtocolError),
        ):
            assert answer.status_code == 200
            for chunk in answer.iter_raw():
                received.append(chunk)
                wire.cut()
    finally:
        wire.mend()
    *whole, last = b"".join(received).splitlines()
    assert 0 < len(whole) < MANY
    assert json.loads(last)["error"]["error_code"] == "memory_unavailable"
    refused = far.send_lines(whole[0] + b"\n" + last + b"\n")
    assert error(refused, 422, "validation_error", more={"line", "stored"})["line"] == 2


def test_an_import_that_loses_the_memory_halfway_can_be_sent_again(far: Context, wire: Proxy) -> None:
    far.delete()
    lines = [line(text=f"{number} {LONG}", created_at="2026-01-01T00:00:00Z") for number in range(150)]

    def chunks() -> Iterator[bytes]:
        yield b"".join(lines[:70])
        wire.cut()
        yield b"".join(lines[70:])

    try:
        error(far.send_lines(chunks()), 503, "memory_unavailable")
    finally:
        wire.mend()
    assert far.page()["total"] < 150
    assert far.load(b"".join(lines))["stored"] == 150
    assert far.page()["total"] == 150
