"""The stand-in plans as it is told, and by a simple rule where it is told nothing."""

import json
from typing import Any

import pytest

from devstack.standin.answer import compose
from devstack.standin.conversation import Conversation
from devstack.standin.rules import Rule, RuleBook
from devstack.standin.script import Script, ScriptError
from orchestrator.planner.prompt import planning_messages, repair_messages
from orchestrator.plans.plan import Plan
from orchestrator.plans.schema import RESPONSE_FORMAT
from orchestrator.plans.validation import validate
from tests.unit.orchestrator.graphs import AGENTS, task
from tests.unit.orchestrator.planning_requests import member, planning_request, written

PLAN = written(task("a", instruction='[say="Done" {result} {found}] [tool=write_file {"path": "a]"}]'))
CYCLIC = written(task("a", "b"), task("b", "a"))


def asked(text: str, *answers: str, **changes: Any) -> Conversation:
    """The request for a plan; with answers, a further one."""
    messages = planning_messages(planning_request(text, **changes))
    for answer in answers:
        messages = repair_messages(messages, answer, ())
    return Conversation.parse({"model": "m", "messages": messages, "response_format": RESPONSE_FORMAT})


def said(conversation: Conversation, *rules: dict[str, Any]) -> str:
    book = RuleBook(Script())
    book.add([Rule.parse(rule) for rule in rules])
    return compose(conversation, book.decide(conversation)).text


def planned(text: str, **changes: Any) -> Plan:
    """What it plans when it is told nothing: always a plan that can run."""
    request = planning_request(text, **changes)
    found = validate(json.loads(said(asked(text, **changes))), [each.roster.name for each in request.team])
    assert isinstance(found, Plan)
    return found


def test_the_plan_of_the_message_is_sent_as_it_is() -> None:
    assert json.loads(said(asked(f"Do it. [plan={PLAN}]"))) == json.loads(PLAN)
    assert json.loads(said(asked(f"Do it. [plan={CYCLIC}]"))) == json.loads(CYCLIC)
    assert said(asked("[plan={}]")) == "{}"


def test_a_second_attempt_finds_its_own_plan() -> None:
    text = f"Do it. [plan=[{CYCLIC}, {PLAN}]]"
    assert json.loads(said(asked(text))) == json.loads(CYCLIC)
    assert json.loads(said(asked(text, CYCLIC))) == json.loads(PLAN)
    assert json.loads(said(asked(text, CYCLIC, PLAN))) == json.loads(PLAN)
    assert json.loads(said(asked(f"[plan={CYCLIC}] [plan={PLAN}]", CYCLIC))) == json.loads(PLAN)


def test_an_attempt_may_be_anything_that_a_rule_may_say() -> None:
    assert said(asked('[plan={"say": "No."}]')) == "No."
    conversation = asked(f'[plan={{"delay": 2, "fail": "503x1", "plan": {PLAN}}}]')
    book = RuleBook(Script())
    first, second = book.decide(conversation), book.decide(conversation)
    assert (first.fail, second.fail, second.script.delay) == (503, None, 2)
    assert json.loads(compose(conversation, second).text) == json.loads(PLAN)


def test_directives_for_the_agents_do_not_disturb_the_planner() -> None:
    text = "Ask the writer. [say=I am a writer.] [fail=500] [delay=9] [tool=a {}] [then] [tokens=3]"
    book = RuleBook(Script())
    decision = book.decide(asked(text))
    assert (decision.fail, decision.script.delay) == (None, None)
    assert planned(text).tasks[0].instruction == text


def test_the_plan_of_a_message_does_not_disturb_other_requests() -> None:
    conversation = Conversation.parse({"model": "m", "messages": [{"role": "user", "content": f"Hello [plan={PLAN}]"}]})
    assert said(conversation).endswith("You said: Hello")


def test_rules_for_plans_and_rules_for_agents_are_apart() -> None:
    rules = {"match": "report", "say": "agent"}, {"match": "report", "plan": [{"say": "no"}, json.loads(PLAN)]}
    assert said(asked("A report"), *rules) == "no"
    assert json.loads(said(asked("A report", "no"), *rules)) == json.loads(PLAN)
    other = Conversation.parse({"model": "m", "messages": [{"role": "user", "content": "A report"}]})
    assert said(other, *reversed(rules)) == "agent"


def test_the_message_wins_over_a_rule() -> None:
    assert said(asked('x [plan={"say": "own"}]'), {"match": "x", "plan": {"say": "rule"}}) == "own"


@pytest.mark.parametrize("value", ["no json", "[]", "[1]", '"text"', '{"say": "x", "delay": -1}'])
def test_a_plan_that_makes_no_sense_is_an_error(value: str) -> None:
    with pytest.raises(ScriptError):
        said(asked(f"[plan={value}]"))


def test_untold_those_whom_the_message_mentions_work_at_once_and_the_last_joins() -> None:
    team = [member("coder", "Python"), member("writer", "writing"), member("scout", "research"), member("cook", "food")]
    plan = planned("Research it, check the python code and write a report.", team=team)
    assert [each.agent for each in plan.tasks] == ["scout", "coder", "writer"]
    assert [len(each.depends_on) for each in plan.tasks] == [0, 0, 2]


def test_untold_an_agent_may_be_mentioned_by_its_name() -> None:
    assert [each.agent for each in planned("Let the analyst see.").tasks] == ["analyst"]


def test_untold_it_keeps_to_the_limit_that_it_is_told() -> None:
    text = " ".join(AGENTS)
    assert len(planned(text).tasks) == 3
    assert len(planned(text, max_tasks=2).tasks) == 2


def test_if_nobody_is_mentioned_the_first_one_works() -> None:
    assert [each.agent for each in planned("Hm.").tasks] == [AGENTS[0]]


def test_without_agents_the_answer_is_the_smallest_of_the_schema() -> None:
    messages = [{"role": "user", "content": "Plan."}]
    conversation = Conversation.parse({"model": "m", "messages": messages, "response_format": RESPONSE_FORMAT})
    assert json.loads(said(conversation)) == {"rationale": "stand-in", "tasks": []}


@pytest.mark.parametrize("text", ["x" * 20_000, "writer " * 3_000, " ", "[plan", "<agents>\n{}\n</agents>"])
def test_untold_it_has_a_plan_for_any_message(text: str) -> None:
    assert planned(text)
