"""Exports under way: of one user a few at once, and none of them keeps its place beyond its end, however that comes."""

from collections.abc import Iterator
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import context as module
from api.turns import Turns
from workspace.errors import MemoryUnavailable, Unavailable

PATH = f"/{uuid4()}"


class Space:
    """Somebody's workspace with one agent's memory."""

    def __init__(self) -> None:
        self.user_id = uuid4()

    def get_agent(self, _: UUID) -> SimpleNamespace:
        return SimpleNamespace(agent=SimpleNamespace(name="helper"))

    def get_agent_context_store(self, _: UUID) -> "Space":
        return self

    def export(self) -> Iterator[str]:
        return iter(["x" * 70_000] * 3)


class BrokenSpace(Space):
    def export(self) -> Iterator[str]:
        yield "x" * 70_000
        raise MemoryUnavailable


@pytest.fixture
def turns() -> Turns:
    return Turns(2)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, turns: Turns) -> FlaskClient:
    app = Flask("exports")
    app.testing = True
    app.extensions[module.EXPORTS] = turns
    app.add_url_rule("/<uuid:agent_id>", view_func=module.export_memories, methods=["GET"])
    become(monkeypatch, Space())
    return app.test_client()


def become(monkeypatch: pytest.MonkeyPatch, space: Space) -> None:
    monkeypatch.setattr(module, "workspace", lambda: space)
    monkeypatch.setattr(module, "account", lambda: space)


def test_a_user_reads_a_few_at_once_and_another_one_does_not_wait(
    client: FlaskClient, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [client.get(PATH) for _ in range(2)]
    with pytest.raises(Unavailable):
        client.get(PATH)
    assert len(turns) == 1
    become(monkeypatch, Space())
    assert len(client.get(PATH, buffered=True).data) == 210_000
    for each in slow:
        each.close()
    assert len(turns) == 0


def test_no_end_of_an_export_keeps_its_place(
    client: FlaskClient, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.head(PATH).close()
    client.get(PATH).close()
    assert len(client.get(PATH, buffered=True).data) == 210_000
    become(monkeypatch, BrokenSpace())
    broken = client.get(PATH)
    with pytest.raises(MemoryUnavailable):
        _ = broken.data
    broken.close()
    assert len(turns) == 0
