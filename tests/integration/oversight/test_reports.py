"""What nodes say of their workspaces, written to a real Redis and read back."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from tests.support.proxy import Proxy
from tests.support.stack import Stack
from workspace.errors import Unavailable
from workspace.names import WorkspaceKey, node_reports
from workspace.reports import AgentReport, Reports, WorkspaceReport

pytestmark = pytest.mark.stack


def report(**changes: Any) -> WorkspaceReport:
    agents = {uuid4(): AgentReport(name="helper", limit=3, running=1, in_hand=2)}
    usual = {"epoch": 1, "cache": 1, "hosted_since": 1000.0, "last_used": 1060.5, "suspended": False}
    return WorkspaceReport(**({"agents": agents} | usual | changes))


def slug() -> str:
    return WorkspaceKey(uuid4(), uuid4()).slug


@pytest.fixture
def node() -> str:
    return f"node-{uuid4().hex}"


@pytest.fixture
def reports(store: redis.Redis) -> Reports:
    return Reports(store)


def test_what_is_written_is_read(reports: Reports, node: str) -> None:
    written = {slug(): report(), slug(): report(suspended=True)}
    assert reports.write(node, written)
    assert reports.read([node, "nobody"]) == {node: written, "nobody": {}}
    for name, each in written.items():
        assert reports.read_one(node, name) == each
    assert reports.read_one(node, slug()) is None
    assert reports.read_one("nobody", slug()) is None
    assert reports.read([]) == {}


def test_it_is_gone_when_its_node_is_silent(reports: Reports, node: str, store: redis.Redis) -> None:
    reports.write(node, {slug(): report()})
    assert 10_000 < store.pttl(node_reports(node)) <= 15_000


def test_a_workspace_that_left_is_taken_out_and_the_others_stay(reports: Reports, node: str) -> None:
    stays, leaves = slug(), slug()
    first = report()
    reports.write(node, {stays: first, leaves: report()})
    reports.write(node, {stays: first})
    assert reports.read([node])[node] == {stays: first}
    reports.write(node, {})
    assert reports.read([node])[node] == {}


def test_only_what_changed_is_sent(reports: Reports, node: str, store: redis.Redis) -> None:
    same, changing = slug(), slug()
    first = report()
    reports.write(node, {same: first, changing: report()})
    store.hset(node_reports(node), same, report(epoch=99).encode())
    later = report(epoch=2)
    reports.write(node, {same: first, changing: later})
    found = reports.read([node])[node]
    assert (found[same].epoch, found[changing]) == (99, later)


def test_everything_is_sent_again_when_it_was_lost(reports: Reports, node: str, store: redis.Redis) -> None:
    written = {slug(): report(), slug(): report()}
    reports.write(node, written)
    store.delete(node_reports(node))
    reports.write(node, written)
    assert reports.read([node])[node] == written
    assert store.pttl(node_reports(node)) > 0


def test_what_another_start_left_behind_is_replaced(reports: Reports, node: str, store: redis.Redis) -> None:
    Reports(store).write(node, {slug(): report()})
    written = {slug(): report()}
    reports.write(node, written)
    assert reports.read([node])[node] == written


def test_what_is_no_report_is_left_out(reports: Reports, node: str, store: redis.Redis) -> None:
    good = slug()
    written = report()
    reports.write(node, {good: written})
    store.hset(node_reports(node), mapping={slug(): "nonsense", slug(): '{"epoch": "x"}'})
    assert reports.read([node])[node] == {good: written}


def test_what_a_newer_node_adds_is_ignored() -> None:
    written = report()
    assert WorkspaceReport.decode(written.encode()[:-1] + b',"new":1}') == written


@pytest.fixture
def cut(stack: Stack, wire: Proxy) -> Iterator[Reports]:
    """Reports whose Redis is away."""
    with redis.Redis.from_url(wire.url, retry=None, socket_timeout=0.4) as client:
        wire.cut()
        yield Reports(client)
        wire.mend()


def test_without_redis_nothing_is_written_and_reading_says_so(cut: Reports, node: str) -> None:
    assert cut.write(node, {slug(): report()}) is False
    with pytest.raises(Unavailable):
        cut.read([node])
    with pytest.raises(Unavailable):
        cut.read_one(node, slug())


def test_all_is_written_when_redis_is_back(cut: Reports, node: str, wire: Proxy, reports: Reports) -> None:
    written = {slug(): report()}
    wire.mend()
    assert cut.write(node, written)
    wire.cut()
    assert cut.write(node, written) is False
    wire.mend()
    assert cut.write(node, written)
    assert reports.read([node])[node] == written
