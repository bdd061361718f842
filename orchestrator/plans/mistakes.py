"""What is wrong with a plan, said so that a model can repair it and a person can read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from workspace.tools.showing import shown


class MistakeCode(StrEnum):
    """Every kind of mistake."""

    NOT_A_PLAN = "not_a_plan"  # no JSON object at all
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    BAD_ID = "bad_id"
    BAD_TEXT = "bad_text"  # characters that cannot be stored
    EMPTY_TEXT = "empty_text"
    LONG_TEXT = "long_text"
    EMPTY_PLAN = "empty_plan"
    TOO_MANY_TASKS = "too_many_tasks"
    TOO_DEEP = "too_deep"
    DUPLICATE_ID = "duplicate_id"
    UNKNOWN_AGENT = "unknown_agent"
    SELF_DEPENDENCY = "self_dependency"
    DUPLICATE_DEPENDENCY = "duplicate_dependency"
    DANGLING_DEPENDENCY = "dangling_dependency"
    CYCLE = "cycle"
    UNKNOWN_TASK = "unknown_task"  # an edit names a task that the plan has not
    DROPPED_TASK = "dropped_task"  # an edit changes a task that it drops


@dataclass(frozen=True)
class PlanMistake:
    """One mistake."""

    code: MistakeCode
    task_id: str | None
    """The task that it is in, if it is in one that has a well-formed id."""
    text: str
    """A whole sentence. What it quotes of the plan is cut, and its hidden characters are visible."""


Mistakes = tuple[PlanMistake, ...]

MAX_TOLD = 16_000
"""Characters of a list of mistakes: it goes into the prompt of the repair."""


def told(mistakes: Sequence[PlanMistake]) -> str:
    """Return mistakes as a list in Markdown, each on a line. Where they are too many, the last are only counted."""
    lines: list[str] = []
    size = 0
    for place, mistake in enumerate(mistakes):
        line = f"- {mistake.text}"
        size += len(line) + 1
        if size > MAX_TOLD:
            lines.append(f"- And {len(mistakes) - place} more.")
            break
        lines.append(line)
    return "\n".join(lines)


def quoted(text: object) -> str:
    """Return a text of the plan as sentences quote it."""
    return f"`{shown(text)}`"
