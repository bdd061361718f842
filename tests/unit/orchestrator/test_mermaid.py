"""The diagram of a plan is one, whatever a model wrote into the plan."""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.statuses import TaskStatus
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.mermaid import MAX_LABEL, escaped, mermaid
from orchestrator.plans.plan import Plan
from orchestrator.plans.reduction import reduced
from tests.unit.orchestrator.graphs import plan_of, plans, task

LABEL = r"(?:[^\W_]| |#[0-9]+;)*"
NODE = re.compile(rf'    (n[0-9]+)\["({LABEL}<br/>{LABEL})"\]')
EDGE = re.compile(r"    (n[0-9]+) --> (n[0-9]+)")
CLASS_DEF = re.compile(r"    classDef ([a-z]+) fill:#[0-9a-f]{6},stroke:#[0-9a-f]{6}")
CLASS = re.compile(r"    class (n[0-9]+(?:,n[0-9]+)*) ([a-z]+)")

NASTY = [
    'say "no"]; click n0 "javascript:alert(1)"',
    "a]\nclick n0 call alert()",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "`# heading` **bold** _it_ 1. list - list",
    "%%{init: {'theme': 'dark'}}%% and %% a comment",
    "#quot; &lt;b&gt; #35; ﬂ°°60¶ß",
    "{a} (b) [c] >d] ((e)) --> n0 ==> n1 -.-> n2 ~~~ n3",
    "subgraph end\nend\nstyle n0 fill:#f00;",
    "classDef x fill:#f00; ::: class n0 x",
    "fa:fa-ban fab:fa-twitter $$\\frac{1}{2}$$ @{ shape: circle }",
    "right \u202e to left, \u200b nothing, \x07 bell, a\r\nb\u2028c",
    "---\ntitle: x\n---",
    "💥 and 100 % €",
]


def parse(text: str) -> tuple[dict[str, str], list[tuple[str, str]], dict[str, str]]:
    """Read a diagram by the small grammar that it keeps to: labels as they are shown, edges, classes."""
    first, *lines = text.removesuffix("\n").split("\n")
    assert first == "graph TD"
    labels: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    classes: dict[str, str] = {}
    defined = set()
    for line in lines:
        if match := NODE.fullmatch(line):
            labels[match[1]] = html.unescape(re.sub(r"#([0-9]+);", r"&#\1;", match[2]))
        elif match := EDGE.fullmatch(line):
            edges.append((match[1], match[2]))
        elif match := CLASS_DEF.fullmatch(line):
            defined.add(match[1])
        elif match := CLASS.fullmatch(line):
            assert match[2] in defined
            classes |= dict.fromkeys(match[1].split(","), match[2])
        else:
            pytest.fail(f"not in the grammar: {line!r}")
    assert {node for edge in edges for node in edge} | set(classes) <= set(labels)
    return labels, edges, classes


def plan_with(*instructions: str) -> Plan:
    tasks = [task(f"t{number}", instruction=instruction) for number, instruction in enumerate(instructions)]
    return Plan.model_validate({"rationale": "", "tasks": tasks})


def test_a_plan_is_drawn_as_a_graph() -> None:
    plan = plan_of({"write": ["find"], "find": []}, find="researcher")
    assert mermaid(plan) == (
        "graph TD\n"
        '    n0["write#58; writer<br/>Do it#46;"]\n'
        '    n1["find#58; researcher<br/>Do it#46;"]\n'
        "    n1 --> n0\n"
    )


def test_statuses_are_seen_as_classes() -> None:
    plan = plan_of({"a": [], "b": [], "c": ["a", "b"]})
    statuses = {"a": TaskStatus.COMPLETED, "b": TaskStatus.COMPLETED, "c": TaskStatus.PENDING}
    assert parse(mermaid(plan, statuses))[2] == {"n0": "completed", "n1": "completed"}
    assert parse(mermaid(plan, statuses | {"c": TaskStatus.RUNNING}))[2]["n2"] == "running"


def test_every_status_is_one_that_a_diagram_can_show() -> None:
    plan = plan_of({status.value: [] for status in TaskStatus})
    seen = parse(mermaid(plan, {status.value: status for status in TaskStatus}))[2]
    plain = {TaskStatus.PENDING, TaskStatus.HELD, TaskStatus.QUEUED}
    assert set(seen.values()) == set(TaskStatus) - plain


@given(plans(most=12), st.dictionaries(st.sampled_from(["t0", "t1", "t2"]), st.sampled_from(TaskStatus)))
@settings(max_examples=50, deadline=None)
def test_a_diagram_has_each_task_and_each_edge_of_the_reduction(plan: Plan, statuses: dict[str, TaskStatus]) -> None:
    labels, edges, _ = parse(mermaid(plan, statuses))
    graph = reduced(PlanGraph.of(plan))
    names = {f"n{place}": node for place, node in enumerate(graph.nodes)}
    assert [label.split(":")[0] for label in labels.values()] == list(graph.nodes)
    assert sorted((names[one], names[other]) for one, other in edges) == sorted(
        (each, node) for node in graph.nodes for each in graph.dependencies[node]
    )
    assert mermaid(plan, statuses) == mermaid(plan, statuses)


@pytest.mark.parametrize("text", NASTY)
def test_no_text_of_a_model_is_syntax(text: str) -> None:
    diagram = mermaid(plan_with(text, "x"))
    labels, edges, classes = parse(diagram)
    assert list(labels) == ["n0", "n1"]
    assert (edges, classes) == ([], {})
    assert not re.search(r"[`%{}();]", re.sub(r"#[0-9]+;", "", diagram))


@pytest.mark.parametrize("text", [text for text in NASTY if len(text) <= MAX_LABEL and text.isprintable()])
def test_a_nasty_text_is_shown_as_it_was_written(text: str) -> None:
    assert parse(mermaid(plan_with(text)))[0]["n0"].endswith("<br/>" + text)


def test_hidden_characters_are_shown() -> None:
    assert parse(mermaid(plan_with("a\u202eb \x07")))[0]["n0"].endswith("<br/>a\\u202eb \\x07")


def test_a_long_instruction_is_cut_and_stands_on_one_line() -> None:
    label = parse(mermaid(plan_with("word\n\n" * 100)))[0]["n0"]
    shown = label.partition("<br/>")[2]
    assert shown == ("word " * 100)[: MAX_LABEL - 1] + "…"


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_stays_text(text: str) -> None:
    assert re.fullmatch(LABEL, escaped(text))
    escaped(text).encode()
