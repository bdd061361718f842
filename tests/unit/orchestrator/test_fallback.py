"""Without a planner there is still a plan: a short row of agents that the request mentions."""

import random
import string
import time
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plans.fallback import MOST_TASKS, MOST_WORDS, fallback_plan
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import MAX_INSTRUCTION, MAX_WHY, Plan
from orchestrator.plans.roster import RosterAgent
from orchestrator.plans.validation import validate

RESEARCHER = RosterAgent("researcher", ("web research", "finding sources"), ("search_context",))
WRITER = RosterAgent("writer", ("writing reports",), ("write_file",))
CODER = RosterAgent("coder", ("Python", "tests", "debugging"), ("execute_command", "write_file"))
ROSTER = (WRITER, CODER, RESEARCHER)


def agents(request: str, *roster: RosterAgent) -> list[str]:
    return [task.agent for task in fallback_plan(request, roster or ROSTER).tasks]


def test_the_agents_come_in_the_order_in_which_the_request_mentions_what_they_can() -> None:
    assert agents("Research battery prices, then write a report.") == ["researcher", "writer"]
    assert agents("Write a report. Then research what is missing.") == ["writer", "researcher"]


def test_they_work_one_after_the_other() -> None:
    plan = fallback_plan("Research it, write a report and debug the Python tests.", ROSTER)
    graph = PlanGraph.of(plan)
    assert graph.depth == len(graph) == 3
    assert [task.depends_on for task in plan.tasks] == [(), ("step-1",), ("step-2",)]


def test_each_has_the_whole_request_and_the_last_one_answers_it() -> None:
    request = "Research battery prices, then write a report."
    first, last = fallback_plan(request, ROSTER).tasks
    assert first.instruction == f"Do your part of this request; others go on with it.\n\nThe request:\n\n{request}"
    assert last.instruction == (
        f"Answer this request in full. Build on the result of the task before.\n\nThe request:\n\n{request}"
    )


def test_the_reason_for_an_agent_names_its_capabilities_that_are_mentioned() -> None:
    (task,) = fallback_plan("Debug these tests", ROSTER).tasks
    assert task.agent == "coder"
    assert task.why_this_agent == "The request mentions what it is capable of: tests, debugging."


def test_an_agent_may_be_mentioned_by_its_name() -> None:
    (task,) = fallback_plan("Ask the coder.", ROSTER).tasks
    assert task.agent == "coder"
    assert task.why_this_agent == "The request mentions it by its name."


def test_if_none_is_mentioned_the_one_that_can_most_answers_alone() -> None:
    (task,) = fallback_plan("Hello!", ROSTER).tasks
    assert task.agent == "coder"
    assert task.instruction.startswith("Answer this request in full.\n")
    assert task.why_this_agent == "The request mentions no agent's capabilities; no other agent has more of them."
    assert agents("Hello!", RosterAgent("a", ("x y",)), RosterAgent("b", ("x y",), ("read_file",))) == ["b"]


def test_of_agents_for_the_same_only_the_first_works() -> None:
    assert agents("Research it", RosterAgent("r2", ("research",)), RosterAgent("r1", ("research",))) == ["r2"]


def test_the_agent_that_more_is_mentioned_of_is_preferred() -> None:
    broad = RosterAgent("broad", ("research", "reports"))
    assert agents("Research it for a report", RosterAgent("narrow", ("research",)), broad) == ["broad"]


def test_there_are_few_tasks_however_many_agents_are_mentioned() -> None:
    roster = tuple(RosterAgent(f"agent{number}", (f"skill{number}",)) for number in range(9))
    request = " ".join(f"skill{number}" for number in range(9))
    assert len(agents(request, *roster)) == MOST_TASKS


@pytest.mark.parametrize(
    ("request_text", "capability"),
    [
        ("WRITE it", "writing"), ("summary", "summarise"), ("testing", "test"), ("SQL", "sql"),
        ("Übersetze das", "übersetzen"),
    ],
)  # fmt: skip
def test_forms_of_a_word_are_alike(request_text: str, capability: str) -> None:
    assert agents(request_text, RosterAgent("a", ("x", "y", "z")), RosterAgent("b", (capability,))) == ["b"]


@pytest.mark.parametrize(
    ("request_text", "capability"),
    [("with you and me", "working with you"), ("a c", "c"), ("api", "apt"), ("gpt4o", "gpt4x"), ("planet", "port")],
)
def test_words_that_mean_nothing_or_something_else_are_not_alike(request_text: str, capability: str) -> None:
    other = RosterAgent("a", ("x", "y", "z"))
    assert agents(request_text, other, RosterAgent("b", (capability,))) == ["a"]


def may_be_forms_of_one(one: str, other: str) -> bool:
    if one == other or not (one.isalpha() and other.isalpha()):
        return one == other
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return common >= max(4, min(len(one), len(other)) - 1)


_like_words = st.from_regex(r"ab{0,3}[abc]{1,6}[1a]?", fullmatch=True)


@given(_like_words, _like_words)
@settings(max_examples=500)
def test_words_are_alike_that_have_all_but_the_last_letter_of_the_shorter_one(one: str, other: str) -> None:
    chosen = agents(one, RosterAgent("x", ("1", "2", "3")), RosterAgent("y", (other,)))
    assert (chosen == ["y"]) is may_be_forms_of_one(one, other)


def test_a_plan_for_the_longest_request_to_many_capable_agents_is_there_at_once() -> None:
    draw = random.Random(1)
    words = ["".join(["abcd", *draw.choices(string.ascii_lowercase, k=2)]) for _ in range(20_000)]
    roster = [
        RosterAgent(f"agent{number}", tuple(" ".join(draw.sample(words, 9)) for _ in range(64))) for number in range(20)
    ]
    request = " ".join(words)[:100_000]
    began = time.process_time()
    fallback_plan(request, roster)
    assert time.process_time() - began < 10.0, "each word with each would take minutes"


def test_of_a_long_request_the_first_and_the_last_words_count() -> None:
    filler = ["and"] * MOST_WORDS
    assert agents(" ".join(["research", *filler, "report"])) == ["researcher", "writer"]
    assert agents(" ".join([*filler, "research", *filler])) == ["coder"], "which can most"


def test_a_request_that_is_too_long_loses_its_middle() -> None:
    request = "Research this: " + "x" * 100_000 + " and write a report."
    plan = fallback_plan(request, ROSTER)
    for task in plan.tasks:
        assert MAX_INSTRUCTION - 1 <= len(task.instruction) <= MAX_INSTRUCTION
        assert "Research this: xxx" in task.instruction
        assert task.instruction.endswith("xxx and write a report.")
        assert "\n[...]\n" in task.instruction


def test_without_an_agent_there_is_no_plan() -> None:
    with pytest.raises(ValueError, match="needs an agent"):
        fallback_plan("Hello!", ())


storable = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=64)
rosters = st.lists(
    st.builds(
        RosterAgent,
        st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True),
        st.lists(storable.filter(bool), max_size=4).map(tuple),
        st.lists(st.sampled_from(["read_file", "write_file"]), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda agent: agent.name,
)


@given(storable.filter(bool), rosters, st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_the_plan_is_valid_for_any_request_and_any_roster(text: str, roster: list[RosterAgent], times: int) -> None:
    request = " ".join([text, *(name for agent in roster for name in (agent.name, *agent.capabilities))] * times)
    plan = fallback_plan(request, roster)
    assert validate(plan.model_dump(mode="json"), [agent.name for agent in roster]) == plan
    assert 1 <= len(plan.tasks) <= MOST_TASKS
    assert plan == fallback_plan(request, roster)


def test_long_capabilities_leave_room_for_the_reason() -> None:
    agent = RosterAgent("a", tuple(f"skill {number} " + "x" * 50 for number in range(64)))
    (task,) = fallback_plan("I need a skill", [agent]).tasks
    assert len(task.why_this_agent) < MAX_WHY
    assert isinstance(validate({"rationale": "", "tasks": [task.model_dump(mode="json")]}, ["a"]), Plan)


def test_hidden_characters_of_capabilities_leave_room_for_the_reason() -> None:
    agent = RosterAgent("a", tuple(f"skill{number} " + "\u00ad\ue000" * 28 for number in range(5)))
    (task,) = fallback_plan(" ".join(f"skill{number}" for number in range(5)), [agent]).tasks
    assert isinstance(validate({"rationale": "", "tasks": [task.model_dump(mode="json")]}, ["a"]), Plan)


@pytest.mark.parametrize(
    ("most", "chosen"), [(1, ["coder"]), (2, ["writer", "coder"]), (30, ["researcher", "writer", "coder"])]
)
def test_a_project_may_allow_fewer_tasks_and_the_agents_that_more_is_mentioned_of_stay(
    most: int, chosen: list[str]
) -> None:
    request = "Research it, write reports, debug the Python tests."
    assert [task.agent for task in fallback_plan(request, ROSTER, most=most).tasks] == chosen
