"""Each line that docs/tools.md tells of risk is what the rules say."""

import json
import re
from pathlib import Path

import pytest

from tests.unit.test_docs import code, section
from workspace.tools.pure_readers import FIND_ALONE, FIND_VALUED, READERS
from workspace.tools.risk import _RULES, INTERPRETERS, RiskLevel, assess
from workspace.tools.trusted_names import TRUSTED_NAMES

RISK = section((Path(__file__).resolve().parents[3] / "docs" / "tools.md").read_text(), "## Risk")


def table(heading: str) -> list[list[str]]:
    """Return the cells of the rows below a heading, without the head of the table."""
    lines = [line for line in section(RISK, heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r" \|", line.strip("|"))] for line in lines[2:]]


EXAMPLES = [
    row for heading in ("### Reading", "### Writing", "### Commands", "### Anything else") for row in table(heading)
]


@pytest.mark.parametrize(("call", "level", "reason"), EXAMPLES, ids=[row[0] for row in EXAMPLES])
def test_each_example_is_what_the_rules_say(call: str, level: str, reason: str) -> None:
    tool, _, params = call.strip("`").partition(" ")

    assert assess(tool, json.loads(params)) == (RiskLevel[level], (reason,))


def test_there_are_examples_of_each_tool_at_each_level_that_it_has() -> None:
    told = {(call.strip("`").partition(" ")[0], level) for call, level, _ in EXAMPLES}

    assert {tool for tool, _ in told} >= set(_RULES)
    for tool in ("write_file", "execute_command"):
        assert {(tool, "MEDIUM"), (tool, "HIGH")} <= told


def test_the_table_of_names_has_each_group() -> None:
    told = [
        (group, why, code(files), code(above))
        for group, why, files, above in table("### Files that are more than text")
    ]

    assert told == [
        (names.group, names.why, list(names.files), [f"{each}/" for each in names.directories])
        for names in TRUSTED_NAMES
    ]


def test_the_table_of_commands_has_each_with_its_options() -> None:
    told = {code(row[0])[0]: [code(cell) for cell in row[1:]] for row in table("### Commands that only read")}

    assert told == {
        command: [
            [f"-{each}" for each in reader.flags],
            [f"-{each} value" for each in reader.valued],
            [*(f"--{each}" for each in reader.long), *(f"--{each}=value" for each in reader.long_valued)],
        ]
        for command, reader in READERS.items()
    }


def test_the_words_of_find_and_the_programs_that_execute_anything_are_told() -> None:
    text = section(RISK, "### Commands that only read")
    expression = re.search(r"an expression of (.*), and with a value each (.*)\.", text)
    programs = re.search(r"execute whatever they are given: (.*)\.", text)
    assert expression is not None
    assert programs is not None

    assert code(expression[1]) == list(FIND_ALONE)
    assert code(expression[2]) == list(FIND_VALUED)
    assert code(programs[1]) == list(INTERPRETERS)


def test_the_table_of_levels_has_each() -> None:
    lines = [line for line in RISK.split("\n### ")[0].splitlines() if re.match(r"\| [A-Z]+ \|", line)]

    assert [line.split()[1] for line in lines] == [level.name for level in RiskLevel]
