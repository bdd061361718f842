"""An alert is counted, kept for any process to show, and told to the session that it concerns, once a minute."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import redis
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bootstrap import redis_client
from models import utc_now
from settings import load_settings
from tests.support.api import ApiClient
from tests.support.clock import Clock
from tests.support.proxy import Proxy, proxy
from workspace.alerts import ALERT_INTERVAL, KEPT, KEPT_SECONDS, AlertRecord, Alerts
from workspace.event_publisher import EventPublisher
from workspace.events import AlertKind
from workspace.names import ALERTS_LIST, WorkspaceKey

pytestmark = pytest.mark.stack

KIND = AlertKind.STUCK_TASK


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def alerts(store: redis.Redis, publisher: EventPublisher, clock: Clock) -> Alerts:
    return Alerts(store, publisher, clock=clock)


@pytest.fixture
def key() -> WorkspaceKey:
    return WorkspaceKey(uuid4(), uuid4())


def of(key: WorkspaceKey, records: list[AlertRecord]) -> list[AlertRecord]:
    """Those of one test: the list is everybody's."""
    return [record for record in records if (record.user_id, record.project_id) == key]


def count(kind: AlertKind = KIND) -> float:
    return REGISTRY.get_sample_value("codelab_alerts_total", {"kind": kind}) or 0.0


def test_an_alert_is_logged_counted_and_kept_with_its_facts(alerts: Alerts, key: WorkspaceKey) -> None:
    session, run, task = uuid4(), uuid4(), uuid4()
    before, began = count(), utc_now()
    with capture_logs() as logs:
        assert alerts.raise_alert(
            KIND, key=key, session_id=session, run_id=run, detail="It stands.", task=task, age=7.5
        )
    assert count() - before == 1
    (record,) = of(key, alerts.recent())
    assert began <= record.timestamp <= utc_now()
    told = {"kind": "stuck_task", "detail": "It stands.", "held_back": 0, "facts": {"task": str(task), "age": 7.5}}
    ids = {"user_id": key.user_id, "project_id": key.project_id, "session_id": session, "run_id": run}
    assert record.model_dump(exclude={"timestamp"}) == told | ids
    (line,) = logs
    assert line == told | {name: str(each) for name, each in ids.items()} | {"event": "alert", "log_level": "warning"}


def test_an_alert_may_concern_no_workspace(alerts: Alerts) -> None:
    fact = str(uuid4())
    assert alerts.raise_alert(AlertKind.WORKER_LOST, detail="A node fell silent.", node_id=fact)
    (record,) = [each for each in alerts.recent() if each.facts.get("node_id") == fact]
    assert (record.user_id, record.project_id, record.session_id, record.run_id) == (None,) * 4


def test_the_same_alert_is_raised_once_a_minute_and_says_how_often_it_was_not(
    alerts: Alerts, key: WorkspaceKey, clock: Clock
) -> None:
    before = count()
    assert [alerts.raise_alert(KIND, key=key, detail="again") for _ in range(4)] == [True, False, False, False]
    clock.now = ALERT_INTERVAL
    assert alerts.raise_alert(KIND, key=key, detail="again") is True
    assert [record.held_back for record in of(key, alerts.recent())] == [3, 0]
    assert count() - before == 2


def test_kinds_and_workspaces_do_not_hold_each_other_back(alerts: Alerts, key: WorkspaceKey) -> None:
    other = WorkspaceKey(key.user_id, uuid4())
    raised = [(kind, each) for kind in AlertKind for each in (key, other, None)]
    assert all(alerts.raise_alert(kind, key=each, detail="one") for kind, each in raised)
    assert not any(alerts.raise_alert(kind, key=each, detail="two") for kind, each in raised)


def test_the_newest_are_kept_and_shown_first(alerts: Alerts, store: redis.Redis, key: WorkspaceKey) -> None:
    for number in range(KEPT + 5):
        alerts.raise_alert(KIND, key=WorkspaceKey(key.user_id, uuid4()), detail=f"number {number}")
    assert store.llen(ALERTS_LIST) == KEPT
    assert 0 < store.ttl(ALERTS_LIST) <= KEPT_SECONDS
    shown = [record.detail for record in alerts.recent(10_000) if record.user_id == key.user_id]
    assert len(alerts.recent(10_000)) == KEPT
    newest = [f"number {KEPT + 4 - number}" for number in range(len(shown))]
    assert shown == newest
    assert [record.detail for record in alerts.recent(3) if record.user_id == key.user_id] == shown[:3]
    assert alerts.recent(0) == alerts.recent(-1) == []


def test_what_is_no_alert_is_not_shown(alerts: Alerts, store: redis.Redis, key: WorkspaceKey) -> None:
    alerts.raise_alert(KIND, key=key, detail="before")
    store.lpush(ALERTS_LIST, b"\xff", b"[]", b'{"kind":"unheard of"}')
    assert [record.detail for record in of(key, alerts.recent())] == ["before"]


@pytest.fixture
def wire() -> Iterator[Proxy]:
    """A way to Redis that a test can cut."""
    with proxy(load_settings().redis_url) as running:
        yield running


def test_a_redis_that_is_away_fails_nobodys_work(wire: Proxy, key: WorkspaceKey) -> None:
    with redis_client(load_settings(), url=wire.url) as client:
        alerts = Alerts(client, EventPublisher(client, buffer_size=10, buffer_ttl=10))
        wire.cut()
        with capture_logs() as logs:
            assert alerts.raise_alert(KIND, key=key, session_id=uuid4(), detail="unheard")
        assert [line["event"] for line in logs] == ["alert", "alert_not_kept", "events_dropped"]
        with pytest.raises(redis.RedisError):
            alerts.recent()


# -- an agent's queue ------------------------------------------------------------------------------------------------


def test_the_message_that_almost_fills_a_queue_raises_an_alert_in_its_session(user: ApiClient, alerts: Alerts) -> None:
    agent = user.make_agent(concurrency_limit=1)
    session = user.make_session()["id"]
    first = user.send(session, "[silent=60]")
    limit = load_settings().agent_queue_limit
    accepted = [user.send(session, "hello") for _ in range(limit - 12)]
    with user.events(first["events_url"]) as stream:
        told = stream.until("alert")[-1].body
    (crossing,) = [one for one in accepted if one["queue_position"] + 1 == 80 * limit // 100]
    assert (told["session_id"], told["run_id"]) == (session, crossing["run_id"])
    detail = "80 of at most 100 tasks wait for the agent."
    ours = {"agent_id": agent["id"], "agent_name": "helper"}
    assert told["payload"] == {"kind": "queue_almost_full", "detail": detail, **ours}
    (record,) = [one for one in alerts.recent() if one.run_id == UUID(crossing["run_id"])]
    assert record.facts == {**ours, "waiting": 80, "limit": 100}
    assert str(record.session_id) == session
    assert not [one for one in alerts.recent() if one.session_id == record.session_id and one != record]
    assert user.delete(f"agents/{agent['id']}/").status_code == 204
