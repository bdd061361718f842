"""How well a workspace is, by what its rows and its host say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.statuses import AgentStatus, WorkspaceState
from workspace.health import DEGRADING, AgentFacts, Health, HealthStatus, ReasonCode, WorkspaceFacts, judge
from workspace.names import WorkspaceKey
from workspace.reports import WorkspaceReport

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LIMIT = 10
REPORT = WorkspaceReport(epoch=1, agents={}, cache=0, hosted_since=1_000, last_used=1_060, suspended=False)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def agent(**changes: Any) -> AgentFacts:
    return AgentFacts(**({"agent_id": uuid4(), "name": "helper", "status": AgentStatus.READY, "limit": 3} | changes))


def facts(*agents: AgentFacts, **changes: Any) -> WorkspaceFacts:
    """A workspace that a node has had ready for an hour."""
    usual: dict[str, Any] = {
        "key": WorkspaceKey(UUID(int=1), UUID(int=2)),
        "state": WorkspaceState.INITIALIZED,
        "node_id": "node",
        "epoch": 1,
        "settings": {},
        "created_at": ago(7_200),
        "initialized_at": ago(3_600),
        "alive_until": None,
    }
    return WorkspaceFacts(**(usual | changes), agents=agents)


def unused(**changes: Any) -> dict[str, Any]:
    return {"node_id": None, "state": WorkspaceState.NOT_INITIALIZED, "initialized_at": None} | changes


def look(seen: WorkspaceFacts, report: WorkspaceReport | None = REPORT, *, reports_known: bool = True) -> Health:
    return judge(seen, report, reports_known=reports_known, queue_limit=LIMIT, now=NOW)


def codes(health: Health) -> list[ReasonCode]:
    return [reason.code for reason in health.reasons]


def test_a_workspace_that_is_hosted_and_works_is_healthy() -> None:
    busy = agent(running=3, running_since=ago(5), queued=8, queued_since=ago(100))
    assert look(facts(busy)) == (HealthStatus.HEALTHY, ())


@pytest.mark.parametrize(
    "state",
    [WorkspaceState.NOT_INITIALIZED, WorkspaceState.CLEANED, WorkspaceState.SHUTDOWN, WorkspaceState.CLEANING],
)
def test_a_workspace_that_nobody_uses_is_healthy(state: WorkspaceState) -> None:
    assert look(facts(agent(), **unused(state=state)), None) == (HealthStatus.HEALTHY, ())


SPEAKING = REPORT.model_copy(update={"suspended": True})
UNHEALTHY = {
    ReasonCode.WORKSPACE_ERROR: (facts(state=WorkspaceState.ERROR), REPORT),
    ReasonCode.HOST_SILENT: (facts(), None),
    ReasonCode.NO_HOST: (facts(agent(queued=1, queued_since=ago(21)), **unused()), None),
    ReasonCode.STUCK_TASK: (facts(agent(running=1, running_since=ago(601))), REPORT),
    ReasonCode.HOST_SUSPENDED: (facts(), SPEAKING),
}
DEGRADED = {
    ReasonCode.AGENT_ERROR: facts(agent(status=AgentStatus.ERROR)),
    ReasonCode.QUEUE_ALMOST_FULL: facts(agent(queued=5, held=4, queued_since=ago(1))),
    ReasonCode.CLOSING: facts(agent(held=1), state=WorkspaceState.SHUTDOWN),
}


@pytest.mark.parametrize("code", UNHEALTHY)
def test_each_reason_alone_makes_it_unhealthy(code: ReasonCode) -> None:
    health = look(*UNHEALTHY[code])
    assert (health.status, codes(health)) == (HealthStatus.UNHEALTHY, [code])


@pytest.mark.parametrize("code", DEGRADED)
def test_each_lesser_reason_alone_degrades_it(code: ReasonCode) -> None:
    health = look(DEGRADED[code])
    assert (health.status, codes(health)) == (HealthStatus.DEGRADED, [code])


def test_every_code_is_tried_here() -> None:
    assert set(UNHEALTHY) | set(DEGRADED) | {ReasonCode.REPORTS_UNAVAILABLE} == set(ReasonCode)
    assert set(ReasonCode) - set(UNHEALTHY) == DEGRADING


def test_the_agent_is_named() -> None:
    for seen in (DEGRADED[ReasonCode.AGENT_ERROR], UNHEALTHY[ReasonCode.STUCK_TASK][0]):
        (reason,) = look(seen).reasons
        assert "helper" in reason.detail


@pytest.mark.parametrize(
    "seen",
    [
        facts(agent(running=1, running_since=ago(600))),
        facts(agent(queued=8, queued_since=ago(1))),
        facts(state=WorkspaceState.SHUTDOWN),
        facts(state=WorkspaceState.CLEANING),
    ],
)
def test_what_is_just_within_the_bounds_is_healthy(seen: WorkspaceFacts) -> None:
    assert look(seen).status is HealthStatus.HEALTHY


def test_tasks_that_have_not_waited_long_may_wait_for_a_host() -> None:
    assert look(facts(agent(queued=1, queued_since=ago(20)), **unused()), None).status is HealthStatus.HEALTHY


def test_held_tasks_do_not_wait_for_a_host() -> None:
    assert look(facts(agent(held=5), **unused()), None).status is HealthStatus.HEALTHY


@pytest.mark.parametrize(
    "new",
    [
        facts(initialized_at=ago(15)),
        facts(alive_until=NOW + timedelta(seconds=1)),
        facts(state=WorkspaceState.INITIALIZING),
    ],
    ids=["ready for less than a report's lifetime", "speaks by its row", "not ready yet"],
)
def test_a_host_that_may_not_have_reported_yet_is_not_silent(new: WorkspaceFacts) -> None:
    assert look(new, None).status is HealthStatus.HEALTHY


@pytest.mark.parametrize(
    "old", [facts(initialized_at=ago(15.1)), facts(alive_until=NOW), facts(initialized_at=None, alive_until=ago(9))]
)
def test_a_host_that_should_have_reported_is_silent(old: WorkspaceFacts) -> None:
    assert codes(look(old, None)) == [ReasonCode.HOST_SILENT]


def test_tasks_wait_for_a_host_that_does_not_get_ready_or_fell_silent() -> None:
    waiting = agent(queued=1, queued_since=ago(21))
    assert codes(look(facts(waiting, state=WorkspaceState.INITIALIZING), None)) == [ReasonCode.NO_HOST]
    assert codes(look(facts(waiting), None)) == [ReasonCode.HOST_SILENT, ReasonCode.NO_HOST]
    assert look(facts(waiting)).status is HealthStatus.HEALTHY


def test_no_host_is_taken_for_silent_where_reports_cannot_be_read() -> None:
    health = look(facts(), None, reports_known=False)
    assert (health.status, codes(health)) == (HealthStatus.DEGRADED, [ReasonCode.REPORTS_UNAVAILABLE])
    assert look(facts(**unused()), None, reports_known=False).status is HealthStatus.HEALTHY


# Whatever comes -----------------------------------------------------------------------------------------------------

times = st.none() | st.floats(-1_000, 1_000).map(ago)
agents = st.builds(
    AgentFacts,
    agent_id=st.uuids(),
    name=st.sampled_from(["one", "two"]),
    status=st.sampled_from([AgentStatus.READY, AgentStatus.ERROR]),
    limit=st.integers(1, 50),
    running=st.integers(0, 50),
    queued=st.integers(0, 20),
    held=st.integers(0, 20),
    queued_since=times,
    running_since=times,
)
seen_workspaces = st.builds(
    lambda team, **changes: facts(*team, **changes),
    st.lists(agents, max_size=4),
    state=st.sampled_from(WorkspaceState),
    node_id=st.none() | st.just("node"),
    initialized_at=times,
    alive_until=times,
)
seen_reports = st.none() | st.builds(
    lambda suspended: REPORT.model_copy(update={"suspended": suspended}), st.booleans()
)


@given(seen_workspaces, seen_reports, st.booleans())
def test_the_status_follows_from_the_reasons(
    seen: WorkspaceFacts, report: WorkspaceReport | None, reports_known: bool
) -> None:
    health = look(seen, report, reports_known=reports_known)
    severe = [code for code in codes(health) if code not in DEGRADING]
    expected = HealthStatus.UNHEALTHY if severe else HealthStatus.DEGRADED if health.reasons else HealthStatus.HEALTHY
    assert health.status is expected
    assert all(reason.detail for reason in health.reasons)


@given(seen_workspaces, agents, seen_reports)
def test_one_more_agent_never_makes_it_better(
    seen: WorkspaceFacts, another: AgentFacts, report: WorkspaceReport | None
) -> None:
    more = look(replace(seen, agents=(*seen.agents, another)), report)
    assert set(codes(look(seen, report))) <= set(codes(more))


@given(seen_workspaces, seen_reports)
def test_a_report_never_makes_its_host_silent(seen: WorkspaceFacts, report: WorkspaceReport | None) -> None:
    if report is not None or seen.node_id is None:
        assert ReasonCode.HOST_SILENT not in codes(look(seen, report))


@given(seen_workspaces)
def test_without_agents_and_host_only_the_state_matters(seen: WorkspaceFacts) -> None:
    health = look(replace(seen, agents=(), node_id=None), None)
    assert (health.status is HealthStatus.HEALTHY) == (seen.state is not WorkspaceState.ERROR)
