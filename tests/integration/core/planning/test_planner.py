"""Every message gets a plan in time, whatever its model does; only who ends the run ends planning."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from models.statuses import MessageRole
from orchestrator.planner.model_planner import ModelPlanner
from orchestrator.planning import Planned, PlanningRequest
from orchestrator.plans.fallback import fallback_plan
from orchestrator.plans.plan import Plan
from orchestrator.plans.schema import RESPONSE_FORMAT
from tests.integration.core.planning.conftest import MakePlanner
from tests.support.standin import Standin
from tests.unit.orchestrator.graphs import task
from tests.unit.orchestrator.planning_requests import in_a_row, planning_request, said, written
from workspace.errors import Cancelled, DeadlineExceeded, RunFailure, WorkerShutdown
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.plans.view import PlanSource
from workspace.usage import NO_USAGE

pytestmark = pytest.mark.stack

Counted = Callable[..., float]

GOOD = written(task("a"), task("b", "a"))
CYCLIC = written(task("a", "b"), task("b", "a"))
SOON = 1.5
"""Seconds that a busy machine may take for what takes no time."""


def watch(stop: StopSignal | None = None, *, seconds: float = 60) -> Watch:
    return Watch(stop or StopSignal(), deadline=time.monotonic() + seconds, on_wait=lambda: 1.0)


def planned(planner: ModelPlanner, request: PlanningRequest, *, within: float = 30) -> Planned:
    began = time.monotonic()
    found = planner.plan(request, watch())
    assert time.monotonic() - began < within
    return found


def simple(request: PlanningRequest) -> Plan:
    return fallback_plan(request.conversation[-1].content, [each.roster for each in request.team])


def calls(standin: Standin, request: PlanningRequest) -> list[dict[str, object]]:
    """The requests to the model for the plans of a project."""
    key = str(request.key.project_id)
    return [call["body"] for call in standin.calls() if call["key"] == key]


@pytest.fixture(autouse=True)
def _forget(standin: Standin) -> None:
    standin.forget_calls()


# -- the model's plan ------------------------------------------------------------------------------------------------


def test_the_models_plan_is_asked_for_by_schema_and_used(
    planner: ModelPlanner, standin: Standin, counted: Counted
) -> None:
    request = planning_request(f"Do it. [plan={GOOD}]", model="some-model", temperature=0.5)
    found = planned(planner, request)
    assert (found.source, found.plan) == (PlanSource.MODEL, Plan.model_validate_json(GOOD))
    (call,) = calls(standin, request)
    assert call["response_format"] == RESPONSE_FORMAT
    assert (call["model"], call["temperature"]) == ("some-model", 0.5)
    assert found.usage.prompt_tokens > 0
    assert found.usage.completion_tokens == len(json.dumps(json.loads(GOOD)).split())
    assert counted("plans_made_total", source="model") == 1
    assert counted("planning_seconds_count", source="model") == 1


def test_without_a_model_of_its_own_a_project_plans_with_the_default_one(
    make_planner: MakePlanner, standin: Standin
) -> None:
    request = planning_request(f"[plan={GOOD}]")
    with make_planner(default_model="the-default") as planner:
        planned(planner, request)
    assert [call["model"] for call in calls(standin, request)] == ["the-default"]


def test_a_plan_with_mistakes_is_repaired_once_and_both_calls_are_paid_for(
    planner: ModelPlanner, standin: Standin, counted: Counted
) -> None:
    request = planning_request(f"Do it. [plan=[{CYCLIC}, {GOOD}]]")
    found = planned(planner, request)
    assert (found.source, found.plan) == (PlanSource.REPAIRED, Plan.model_validate_json(GOOD))
    first, second = calls(standin, request)
    messages = second["messages"]
    assert isinstance(messages, list)
    assert messages[:2] == first["messages"]
    assert json.loads(messages[2]["content"]) == json.loads(CYCLIC)
    assert "These tasks wait for one another, each for the next one: `a` -> `b` -> `a`." in messages[3]["content"]
    assert found.usage.prompt_tokens == sum(standin.usage_of(call)["prompt_tokens"] for call in (first, second))
    assert counted("plans_made_total", source="repaired") == 1


def test_a_server_that_refuses_schemas_is_asked_without_and_not_with_one_again(
    planner: ModelPlanner, standin: Standin
) -> None:
    words = f"Here it is: {GOOD}"
    request = planning_request(f'Do it. [plan={{"fail": 400}}] [say={words}]', cache_plans=False)
    for _ in range(2):
        found = planned(planner, request)
        assert (found.source, found.plan) == (PlanSource.MODEL, Plan.model_validate_json(GOOD))
    assert ["response_format" in call for call in calls(standin, request)] == [True, False, False]


def test_a_model_that_makes_no_plan_without_a_schema_is_asked_with_one_the_next_time(
    planner: ModelPlanner, standin: Standin
) -> None:
    request = planning_request('Do it. [plan={"fail": 400}] [say=I would rather not.]')
    for _ in range(2):
        assert planned(planner, request).source is PlanSource.FALLBACK
    assert ["response_format" in call for call in calls(standin, request)] == [True, False, False] * 2


def test_a_model_that_refuses_in_either_form_is_asked_by_schema_the_next_time(
    planner: ModelPlanner, standin: Standin
) -> None:
    request = planning_request('Do it. [plan={"fail": 400}] [fail=400]')
    for _ in range(2):
        assert planned(planner, request).source is PlanSource.FALLBACK
    assert ["response_format" in call for call in calls(standin, request)] == [True, False, True, False]


def test_an_answer_that_is_no_json_is_repaired(planner: ModelPlanner) -> None:
    found = planned(planner, planning_request(f'[plan=[{{"say": "I would rather not."}}, {GOOD}]]'))
    assert found.source is PlanSource.REPAIRED


def test_a_second_plan_with_mistakes_is_the_last_one(planner: ModelPlanner, standin: Standin, counted: Counted) -> None:
    request = planning_request(f"Let the writer do it. [plan=[{CYCLIC}, {CYCLIC}, {GOOD}]]")
    found = planned(planner, request)
    assert (found.source, found.plan) == (PlanSource.FALLBACK, simple(request))
    assert len(calls(standin, request)) == 2
    assert found.usage.completion_tokens == 2 * len(json.dumps(json.loads(CYCLIC)).split())
    assert counted("planning_failures_total", reason="mistakes") == 1
    assert counted("plans_made_total", source="fallback") == 1


def test_more_tasks_than_the_project_allows_are_a_mistake(planner: ModelPlanner, standin: Standin) -> None:
    request = planning_request(f"Do it. [plan=[{in_a_row(3)}, {in_a_row(2)}]]", max_tasks=2)
    assert len(planned(planner, request).plan.tasks) == 2
    _, second = calls(standin, request)
    assert "The plan has 3 tasks; 2 are allowed." in str(second["messages"])


def test_the_simple_plan_keeps_to_the_projects_limit_as_well(planner: ModelPlanner) -> None:
    request = planning_request("analyst, researcher and writer [plan={}]", max_tasks=2)
    found = planned(planner, request)
    assert found.source is PlanSource.FALLBACK
    assert len(found.plan.tasks) == 2
    assert len(simple(request).tasks) == 3


def test_directives_for_the_agents_do_not_reach_the_planner(planner: ModelPlanner) -> None:
    instruction = '[say=Done] [delay=30] [fail=503] [tool=write_file {"path": "a]"}]'
    found = planned(planner, planning_request(f"[plan={written(task('a', instruction=instruction))}] [fail=500]"))
    assert found.source is PlanSource.MODEL
    assert found.plan.tasks[0].instruction == instruction


def test_what_was_said_before_is_shown_and_is_not_planned_for(planner: ModelPlanner, standin: Standin) -> None:
    before = said(MessageRole.USER, f"Earlier [plan={CYCLIC}]"), said(MessageRole.ASSISTANT, "An answer.")
    request = planning_request(f"Now this. [plan={GOOD}]", *before)
    assert planned(planner, request).source is PlanSource.MODEL
    (call,) = calls(standin, request)
    messages = call["messages"]
    assert isinstance(messages, list)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert '{"by": "assistant", "text": "An answer."}' in messages[0]["content"]


def test_without_a_team_there_is_nothing_to_plan(planner: ModelPlanner) -> None:
    with pytest.raises(ValueError, match="needs an agent"):
        planner.plan(planning_request(team=()), watch())


# -- the simple plan -------------------------------------------------------------------------------------------------


def test_a_failure_that_passes_is_not_the_end_of_planning(planner: ModelPlanner) -> None:
    found = planned(planner, planning_request(f'[plan={{"fail": "503x1", "plan": {GOOD}}}]'))
    assert found.source is PlanSource.MODEL


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('{"fail": 503}', "unavailable"),
        ('{"fail": 503, "retry_after": 0.3}', "timeout"),
        ('{"fail": 429, "retry_after": 4}', "timeout"),
        ('{"fail": 429, "retry_after": 400}', "unavailable"),
        ('{"fail": 400}] [fail=400', "refused"),
        ('{"fail": 401}', "refused"),
        ('{"silent": 30}', "timeout"),
        (f'{{"gap": 0.1, "say": "{"word " * 500}"}}', "timeout"),
        ('{"break": 1}', "timeout"),
    ],
    ids=["failing", "failing for longer", "busy", "busy for long", "refusing", "locked", "silent", "slow", "breaking"],
)
def test_a_message_gets_a_simple_plan_in_time_whatever_its_provider_does(
    make_planner: MakePlanner, counted: Counted, script: str, reason: str
) -> None:
    request = planning_request(f"Let the writer do it. [plan={script}]")
    with make_planner(planning_timeout=1.0, model_backoff_max=20.0) as planner:
        found = planned(planner, request, within=1.0 + SOON)
    assert (found.source, found.plan, found.usage) == (PlanSource.FALLBACK, simple(request), NO_USAGE)
    assert counted("planning_failures_total", reason=reason) == 1
    assert counted("plans_made_total", source="fallback") == 1


def test_a_pause_that_would_end_too_late_is_not_waited_for(make_planner: MakePlanner) -> None:
    with make_planner(planning_timeout=20.0, model_backoff_max=60.0) as planner:
        found = planned(planner, planning_request('[plan={"fail": 503, "retry_after": 30}]'), within=SOON)
    assert found.source is PlanSource.FALLBACK


def test_a_model_that_is_not_there_costs_no_message_its_plan(make_planner: MakePlanner) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        with make_planner(openai_base_url=url, planning_timeout=1.0) as planner:
            assert planned(planner, planning_request(), within=1.0 + SOON).source is PlanSource.FALLBACK


@contextmanager
def a_server_that_lets_nobody_in() -> Iterator[str]:
    with socket.socket() as busy, socket.socket() as first:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        first.connect(busy.getsockname())
        yield f"http://127.0.0.1:{busy.getsockname()[1]}/v1"


def test_a_connection_that_does_not_come_about_is_given_up_in_time(make_planner: MakePlanner) -> None:
    with (
        a_server_that_lets_nobody_in() as url,
        make_planner(openai_base_url=url, planning_timeout=0.5, model_connect_timeout=20.0) as planner,
    ):
        assert planned(planner, planning_request(), within=0.5 + SOON).source is PlanSource.FALLBACK


def test_the_calls_that_were_answered_are_paid_for_also_if_the_plan_is_simple(make_planner: MakePlanner) -> None:
    with make_planner(planning_timeout=1.0) as planner:
        found = planned(planner, planning_request(f'[plan=[{CYCLIC}, {{"silent": 30}}]]'), within=1.0 + SOON)
    assert found.source is PlanSource.FALLBACK
    assert found.usage.completion_tokens == len(json.dumps(json.loads(CYCLIC)).split())


# -- who ends the run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Cancelled(), WorkerShutdown()], ids=["cancel", "shutdown"])
@pytest.mark.parametrize(
    "script",
    ['{"silent": 30}', f'{{"gap": 0.1, "say": "{"word " * 500}"}}', '{"fail": 503, "retry_after": 5}'],
    ids=["silent", "slow", "failing"],
)
def test_who_ends_the_run_ends_planning_within_a_second(
    make_planner: MakePlanner, counted: Counted, reason: RunFailure, script: str
) -> None:
    stop = StopSignal()
    request = planning_request(f"[plan={script}]")
    told: list[float] = []

    def tell() -> None:
        told.append(time.monotonic())
        stop.stop(reason)

    with make_planner(planning_timeout=20.0, model_backoff_max=20.0) as planner:
        teller = threading.Timer(0.5, tell)
        teller.start()
        with pytest.raises(Interrupted) as caught:
            planner.plan(request, watch(stop))
        teller.join()
    assert caught.value.failure is reason
    assert time.monotonic() - told[0] < SOON
    assert counted("plans_made_total", source="fallback") == 0


def test_the_end_of_the_tasks_own_time_is_no_end_of_planning_only(make_planner: MakePlanner) -> None:
    with make_planner(planning_timeout=20.0) as planner, pytest.raises(Interrupted) as caught:
        planner.plan(planning_request('[plan={"silent": 30}]'), watch(seconds=0.4))
    assert isinstance(caught.value.failure, DeadlineExceeded)


def test_a_run_that_was_ended_before_is_not_planned(planner: ModelPlanner, standin: Standin) -> None:
    stop = StopSignal()
    stop.stop(Cancelled())
    request = planning_request(f"[plan={GOOD}]")
    with pytest.raises(Interrupted):
        planner.plan(request, watch(stop))
    assert calls(standin, request) == []
