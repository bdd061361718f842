"""Whether a JSON value has the form of a plan; if not, every place where it has not.

What can be read of it is handed on as drafts, so that a plan with a missing field is still checked for cycles: a model
has one round to repair it, and should hear of everything in that one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.plans.mistakes import MistakeCode, PlanMistake, quoted
from orchestrator.plans.plan import BAD_TEXT, EMPTY_TEXT, MAX_TASKS, TASK_ID, Plan, PlannedTask

_WELL_FORMED_ID = re.compile(TASK_ID)


@dataclass(frozen=True)
class DraftTask:
    """What can be read of a task, well-formed or not."""

    number: int
    """Its place in the plan, from 1."""
    id: str | None
    agent: str | None
    depends_on: tuple[str, ...]

    @property
    def well_formed_id(self) -> str | None:
        """Its id, if it is one: others are quoted in sentences, and go nowhere else."""
        return self.id if self.id is not None and _WELL_FORMED_ID.fullmatch(self.id) else None

    @property
    def label(self) -> str:
        """What sentences call it."""
        return f"task {self.number}" if self.id is None else f"task {quoted(self.id)}"


def drafts(value: object) -> tuple[DraftTask, ...]:
    """Return what can be read of the tasks of any JSON value."""
    tasks = value.get("tasks") if isinstance(value, Mapping) else None
    if not isinstance(tasks, list):
        return ()
    return tuple(_draft(number, task) for number, task in enumerate(tasks, start=1) if isinstance(task, Mapping))


def _draft(number: int, task: Mapping[str, Any]) -> DraftTask:
    depends_on = task.get("depends_on")
    return DraftTask(
        number=number,
        id=_text(task.get("id")),
        agent=_text(task.get("agent")),
        depends_on=tuple(each for each in depends_on if isinstance(each, str)) if isinstance(depends_on, list) else (),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def mistakes_of_form(value: object) -> Iterator[PlanMistake]:
    """Yield where a JSON value has not the form of a plan."""
    if not isinstance(value, Mapping):
        yield PlanMistake(MistakeCode.NOT_A_PLAN, None, "The plan has to be a JSON object.")
        return
    for error in _errors(Plan, value):
        # What is within its tasks, and their number, is looked at below: the validator leaves off at the first of
        # too many, and does not count those that are malformed.
        if len(error["loc"]) <= 1 and error["type"] not in {"too_short", "too_long"}:
            yield _mistake(error, None, "the plan")
    tasks = value.get("tasks")
    if isinstance(tasks, list):
        yield from _mistakes_of_tasks(tasks)


def _mistakes_of_tasks(tasks: list[object]) -> Iterator[PlanMistake]:
    if not tasks:
        yield PlanMistake(MistakeCode.EMPTY_PLAN, None, "The plan has no task.")
    if len(tasks) > MAX_TASKS:
        text = f"The plan has {len(tasks)} tasks; {MAX_TASKS} are allowed."
        yield PlanMistake(MistakeCode.TOO_MANY_TASKS, None, text)
    for number, task in enumerate(tasks, start=1):
        draft = _draft(number, task if isinstance(task, Mapping) else {})
        for error in _errors(PlannedTask, task):
            yield _mistake(error, draft.well_formed_id, draft.label)


def _errors(model: type[BaseModel], value: object) -> list[ErrorDetails]:
    try:
        model.model_validate(value)
    except ValidationError as invalid:
        return invalid.errors(include_url=False)
    return []


_CODES = {
    "missing": MistakeCode.MISSING_FIELD,
    "extra_forbidden": MistakeCode.UNKNOWN_FIELD,
    "string_pattern_mismatch": MistakeCode.BAD_ID,
    "string_too_long": MistakeCode.LONG_TEXT,
    "string_unicode": MistakeCode.BAD_TEXT,
    BAD_TEXT: MistakeCode.BAD_TEXT,
    EMPTY_TEXT: MistakeCode.EMPTY_TEXT,
}
"""Any other error of the validator is a wrong type."""

_EXPECTED = {"string_type": "a text", "tuple_type": "a list", "model_type": "an object"}


def _mistake(error: ErrorDetails, task_id: str | None, label: str) -> PlanMistake:
    code = _CODES.get(error["type"], MistakeCode.WRONG_TYPE)
    name = ".".join(map(str, error["loc"]))
    where = f"{quoted(name)} of {label}" if name else label
    return PlanMistake(code, task_id, _sentence(code, error, where))


def _sentence(code: MistakeCode, error: ErrorDetails, where: str) -> str:
    bounds = error.get("ctx", {})
    match code:
        case MistakeCode.MISSING_FIELD:
            text = f"{where} is missing"
        case MistakeCode.UNKNOWN_FIELD:
            text = f"{where} is a field that plans do not have"
        case MistakeCode.BAD_ID:
            text = f"{where} is {quoted(error['input'])}, which does not match {bounds['pattern']}"
        case MistakeCode.BAD_TEXT:
            text = f"{where} has a character that cannot be stored"
        case MistakeCode.EMPTY_TEXT:
            text = f"{where} is empty"
        case MistakeCode.LONG_TEXT:
            text = f"{where} has {len(error['input'])} characters; {bounds['max_length']} are allowed"
        case _:
            text = f"{where} has to be {_EXPECTED.get(error['type'], 'something else')}"
    return f"{text[0].upper()}{text[1:]}."
