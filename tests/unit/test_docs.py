"""What the documents say and what the code does, compared: a table that is not checked is wrong by the next change."""

import configparser
import dataclasses
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client.metrics import MetricWrapperBase

import workspace.metrics
from api.errors import STATUS
from devstack import banner
from models.statuses import RunStatus
from orchestrator.config import OrchestratorConfig
from orchestrator.history import SAMPLES
from orchestrator.planner.prompt import MOST_ROSTER
from orchestrator.plans.plan import MAX_DEPTH, MAX_INSTRUCTION, MAX_RATIONALE, MAX_TASKS, MAX_WHY, Plan
from orchestrator.plans.task_estimate import PRIOR_INPUT_SHARE, PRIOR_SAMPLES, PRIOR_SECONDS, PRIOR_TOKENS
from orchestrator.plans.validation import validate
from settings import Settings
from tests.support.routes import administrative, guarded, routes
from workspace.agent_config import AgentConfig, AgentLimits, AgentMemoryConfig
from workspace.events import Envelope, Failure, Payload, Usage
from workspace.health import DEGRADING, ReasonCode
from workspace.memory.memories import InteractionType, Memory, Point, Provenance, VectorSpace
from workspace.memory.transfer import of_line, to_line
from workspace.plans.view import PlanSource

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])

MADE_AT_RUN_TIME = (".devstack/", ".venv/")
NAMES_BESIDE_SETTINGS = {
    # .devstack/env
    *("API_URL", "TOKEN", "ADMIN_TOKEN", "FLOWER_URL", "MODEL_URL", "API_PID", "WORKER_PIDS", "BEAT_PID"),
    # read by one program only
    *("BIND", "FLOWER_BASIC_AUTH", "STANDIN_DELAY", "STANDIN_TOKENS", "CODELAB_TEST_EXTERNAL"),
    # arguments of make, statements of Redis and the kernel
    *("DETACH", "WORKERS", "USER", "ADMIN", "ARGS", "PYTHON", "XADD", "PUBLISH", "SIGTERM", "SIGKILL"),
}


NAMES_OF_WORKSPACES = {"docs/tools.md": "## Risk"}
"""Sections that name files as agents write them, which are not ours."""


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above."""
    level = heading.split(" ", maxsplit=1)[0]
    begin = text.index(f"\n{heading}\n") + len(heading) + 2
    following = re.search(rf"^#{{1,{len(level)}}} ", text[begin:], re.MULTILINE)
    return text[begin : begin + following.start()] if following else text[begin:]


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of a table whose first cell is code, without the rows that are its head."""
    lines = text.splitlines()
    body = [line for line, below in zip(lines, [*lines[1:], ""], strict=True) if not below.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body if line.startswith("| `")]


def code(cell: str) -> list[str]:
    """Return the pieces of a cell that are code."""
    return re.findall(r"`([^`]+)`", cell)


def without_blocks(text: str) -> str:
    """Return the text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_page = pytest.mark.parametrize("path", PAGES, ids=short)


# -- api.md -----------------------------------------------------------------------------------------------------------


def test_the_table_of_errors_is_the_one_of_the_api() -> None:
    told = {row[0].strip("`"): int(row[1]) for row in rows(section(page("api.md"), "## Errors"))}

    assert told == {error.value: status for error, status in STATUS.items()}


def test_the_table_of_resources_has_each_route(app: Flask) -> None:
    told = _told_routes()
    in_default_project = {str(route) for route in guarded(app) if "/projects/<uuid:project_id>/" not in route.rule}
    projects = {str(route) for route in guarded(app) if route.rule == "/my/projects/<uuid:project_id>/"}

    assert told == in_default_project | projects


def test_each_resource_has_both_of_its_addresses(app: Flask) -> None:
    told = _told_routes()
    served = {str(route) for route in routes(app)}
    in_projects = {line.replace("/my/", "/my/projects/{project_id}/") for line in told if "/my/projects/" not in line}

    assert in_projects <= served


def _told_routes() -> set[str]:
    """The routes of the tables of resources, without those of admins; other tables there have no `METHOD /path`."""
    told = {code(row[0])[0] for row in rows(section(page("api.md"), "## Resources"))}
    return {line for line in told if re.match("[A-Z]+ /", line)} - _told_to_admins()


def test_the_table_for_administrators_has_each_route(app: Flask) -> None:
    assert _told_to_admins() == {str(route) for route in administrative(app)}


def _told_to_admins() -> set[str]:
    return {code(row[0])[0] for row in rows(section(page("api.md"), "### For administrators"))}


def test_the_table_of_reasons_has_each_with_its_status() -> None:
    told = {code(row[0])[0]: row[1] for row in rows(section(page("operations.md"), "## Health of workspaces"))}

    assert told == {each: "degraded" if each in DEGRADING else "unhealthy" for each in ReasonCode}


def _fields_of_a_config() -> dict[str, str]:
    """Return the fields of an agent's config, and of its limits, with their defaults as JSON."""
    fields: dict[str, Any] = {
        name: field
        for name, field in AgentConfig.model_fields.items()
        if field.annotation not in {AgentLimits, AgentMemoryConfig}
    }
    fields |= {f"limits.{name}": field for name, field in AgentLimits.model_fields.items()}
    fields |= {f"memory.{name}": field for name, field in AgentMemoryConfig.model_fields.items()}
    shown = {name: "required" if field.is_required() else field.default for name, field in fields.items()}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in shown.items()}


def test_the_table_of_an_agents_config_has_each_field_with_its_default() -> None:
    told = rows(section(page("api.md"), "### An agent's config"))

    assert {code(row[0])[0]: row[1].strip("`") for row in told} == _fields_of_a_config()


def test_the_table_of_the_orchestrators_config_has_each_field_with_its_default() -> None:
    told = rows(section(page("api.md"), "### Orchestrator"))
    expected = {
        name: field.default if isinstance(field.default, str) else json.dumps(field.default)
        for name, field in OrchestratorConfig.model_fields.items()
    }

    assert {code(row[0])[0]: row[1].strip("`").replace("empty", "") for row in told} == expected


# -- orchestration.md -------------------------------------------------------------------------------------------------


def test_the_table_of_sources_has_each() -> None:
    told = rows(section(page("orchestration.md"), "## How a plan is made"))

    assert [code(row[0])[0] for row in told] == [source.value for source in PlanSource]


def test_the_example_of_a_plan_is_one() -> None:
    example = json.loads(re.search(r"```json\n(.*?)```", page("orchestration.md"), re.DOTALL)[1])  # type: ignore[index]

    assert isinstance(validate(example, {task["agent"] for task in example["tasks"]}), Plan)


def test_the_limits_and_assumed_figures_that_are_told_are_those_of_the_code() -> None:
    text = page("orchestration.md")
    limits = dict(re.findall(r"^\| `?([\w ]+?)`? \| (?:1 to )?([\d,]+)(?:, or| characters| \|)", text, re.MULTILINE))
    figures = [(MAX_TASKS, "tasks"), (MAX_DEPTH, "a row of tasks that wait for one another")]
    figures += [(MAX_INSTRUCTION, "instruction"), (MAX_RATIONALE, "rationale"), (MAX_WHY, "why_this_agent")]
    assert {name: f"{value:,}" for value, name in figures}.items() <= limits.items()
    for spread, name in ((PRIOR_SECONDS, "seconds"), (PRIOR_TOKENS, "tokens, four of five of them read")):
        assert f"| {name} | {spread.p50:,.0f} | {spread.p90:,.0f} |" in text
    assert (Decimal("0.8"), 5, 50, 100_000) == (PRIOR_INPUT_SHARE, PRIOR_SAMPLES, SAMPLES, MOST_ROSTER)


# -- events.md --------------------------------------------------------------------------------------------------------


def payloads() -> dict[str, type[Payload]]:
    return {kind.event_type.value: kind for kind in Payload.__subclasses__()}


def test_the_table_of_event_types_has_each_payload_with_its_fields() -> None:
    told = {row[0].strip("`"): code(row[1]) for row in rows(section(page("events.md"), "## Types"))}

    assert told == {name: list(kind.model_fields) for name, kind in payloads().items()}


@pytest.mark.parametrize(("name", "model"), [("usage", Usage), ("error", Failure)])
def test_the_parts_of_payloads_are_told_field_by_field(name: str, model: type[Usage | Failure]) -> None:
    text = section(page("events.md"), "## Types")
    sentence = re.search(rf"`{name}` is (.*?)[.;]", text, re.DOTALL)
    assert sentence is not None

    assert code(sentence[1]) == list(model.model_fields)


def test_the_example_of_an_envelope_is_one() -> None:
    example = json.loads(re.search(r"```json\n(.*?)```", page("events.md"), re.DOTALL)[1])  # type: ignore[index]

    assert re.fullmatch(r"\d+-\d+", example.pop("id"))
    envelope = Envelope.model_validate_json(json.dumps(example))
    payloads()[envelope.event_type].model_validate_json(json.dumps(example["payload"]))


def test_the_reasons_of_a_gap_are_those_of_the_stream() -> None:
    told = {row[0].strip("`") for row in rows(section(page("events.md"), "## Cursor and resume"))}
    source = (ROOT / "api" / "events.py").read_text()
    given = set(re.findall(r'_gap\("(\w+)"\)|StreamGap\(.*reason="(\w+)"\)', source))

    assert {reason for reason in told if "_" in reason} == {first or second for first, second in given}


# -- memory.md --------------------------------------------------------------------------------------------------------


def test_the_page_on_memory_has_each_field_each_type_and_each_provenance() -> None:
    told = rows(section(page("memory.md"), "## What is kept"))
    fields = {field.name for field in dataclasses.fields(Memory)}

    assert {name for row in told for name in code(row[0])} == fields
    meanings = {name: code(row[1]) for row in told for name in code(row[0])}
    assert meanings["interaction_type"] == [kind.value for kind in InteractionType]
    assert meanings["provenance"] == [kind.value for kind in Provenance]


def test_the_example_of_an_exported_memory_can_be_imported() -> None:
    example = re.search(r"```json\n(.*?)```", page("memory.md"), re.DOTALL)[1]  # type: ignore[index]
    told = json.loads(example)

    memory, vector = of_line(example, VectorSpace(told["embedding"]["model"], told["embedding"]["dimensions"]))
    assert vector is not None
    exported = json.loads(to_line(Point(memory, vector), VectorSpace(**_without(told["embedding"], "vector"))))
    assert exported == told | {"provenance": "import"}


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


# -- the other tables -------------------------------------------------------------------------------------------------


def test_the_table_of_metrics_has_each_with_its_type_and_labels() -> None:
    told = {
        row[0].strip("`"): (row[1], code(row[2]))
        for row in rows(section(page("operations.md"), "## Metrics"))
        if row[0].startswith("`codelab_")
    }
    found = [metric for metric in vars(workspace.metrics).values() if isinstance(metric, MetricWrapperBase)]

    assert told == {_exposed(metric): (metric._type, list(metric._labelnames)) for metric in found}


def test_the_kinds_of_what_a_sweep_mends_are_its_steps() -> None:
    told = next(
        row for row in rows(section(page("operations.md"), "## Metrics")) if "codelab_tasks_swept_total" in row[0]
    )
    steps = re.findall(r'^            "(\w+)": ', (ROOT / "wiring" / "sweeping.py").read_text(), re.MULTILINE)

    assert len(steps) > 10
    assert sorted(code(told[4])) == sorted(steps)


def _exposed(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


def test_the_list_of_decisions_has_each() -> None:
    folder = DOCS / "decisions"
    told = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())

    assert told == sorted(path.name for path in folder.glob("[0-9]*.md"))


def test_each_decision_has_its_three_parts_and_its_number() -> None:
    for path in (DOCS / "decisions").glob("[0-9]*.md"):
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]}: "), path.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name


def test_the_changelog_has_the_version_of_the_project() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")

    assert f"## [{parser['metadata']['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_statuses_of_a_run_that_are_told_exist() -> None:
    paragraph = section(page("api.md"), "### A message and its run")
    sentence = re.search(r"A run is (.*?)\.", paragraph, re.DOTALL)
    assert sentence is not None

    assert set(code(sentence[1])) <= {status.value for status in RunStatus}


# -- README.md --------------------------------------------------------------------------------------------------------


def test_the_readme_walks_through_the_calls_that_make_up_prints() -> None:
    printed = banner.EXAMPLES.format(TOKEN="", env_file=".devstack/env").splitlines()
    commands = [line.strip() for line in printed if re.match(r" +(\. |auth=|curl |sid=)", line)]
    assert len(commands) >= 6

    shown = (ROOT / "README.md").read_text()

    assert [command for command in commands if command not in shown] == []


# -- links, paths, names ----------------------------------------------------------------------------------------------


@every_page
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            broken.append(target)

    assert broken == []


def _anchors(path: Path) -> set[str]:
    """Return the anchors that a heading gets on a rendered page."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_paths_that_are_named_exist(path: Path) -> None:
    text = path.read_text()
    if heading := NAMES_OF_WORKSPACES.get(short(path)):
        text = text.replace(section(text, heading), "")
    files = re.findall(r"(?<![\w./$-])((?:[\w.-]+/)*[\w.-]+\.(?:py|md|cfg|toml|yml|lock|sh|example))\b", text)
    folders = re.findall(r"[`\[]((?:[\w.-]+/)+)[`\]]", text)
    missing = {
        name
        for name in (*files, *folders)
        if not name.startswith(MADE_AT_RUN_TIME) and not (ROOT / name).exists() and not (path.parent / name).exists()
    }

    assert missing == set()


@every_page
def test_make_targets_that_are_named_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = path.read_text()
    named = re.findall(r"`(?:[A-Z_]+=\S+ )*make (?:-s )?([a-z]+)", text)
    named += re.findall(r"^(?:[A-Z_]+=\S+ )*make (?:-s )?([a-z]+)", text, re.MULTILINE)

    assert set(named) <= targets


@every_page
def test_options_that_are_named_exist(path: Path) -> None:
    options = {name.upper() for name in Settings.model_fields} | NAMES_BESIDE_SETTINGS
    named = re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", path.read_text())

    assert set(named) <= options


@every_page
def test_python_examples_compile(path: Path) -> None:
    for example in re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        compile(example, short(path), "exec")
