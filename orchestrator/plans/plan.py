"""A plan as a model returns it: its form and its bounds. Whether it makes sense is for `validation` to say."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_TASKS = 30
"""Tasks of a plan, its closing task not counted."""
MAX_DEPTH = 10
"""Tasks that wait for one another in a row."""
MAX_RATIONALE = 4_000
MAX_INSTRUCTION = 8_000
MAX_WHY = 1_000

TASK_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
"""Ids stand in the names of Celery tasks and chords, where `.` and `>` separate them. None begins with `_`: such ids
are for tasks that the system itself adds."""

BAD_TEXT = "bad_text"
EMPTY_TEXT = "empty_text"


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(BAD_TEXT, "has a lone surrogate") from None
    if "\x00" in text:
        raise PydanticCustomError(BAD_TEXT, "has a NUL character")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError(EMPTY_TEXT, "is empty")
    return text


Text = Annotated[str, AfterValidator(_storable)]
TaskId = Annotated[str, Field(pattern=TASK_ID)]


class PlannedTask(BaseModel):
    """One task of a plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: TaskId = Field(description="A short name, unique in the plan: letters, digits, - and _, at most 40.")
    agent: Text = Field(description="The name of the agent that does it, exactly as listed.")
    instruction: Annotated[Text, AfterValidator(_not_blank)] = Field(
        max_length=MAX_INSTRUCTION, description="What the agent has to do, in full: it sees no other instruction."
    )
    # Not strict, as JSON has no tuples; its texts are strict all the same.
    depends_on: tuple[Text, ...] = Field(
        strict=False, description="The ids of the tasks whose results it needs; empty if it needs none."
    )
    why_this_agent: Text = Field(max_length=MAX_WHY, description="One sentence on why this agent is the right one.")


class Plan(BaseModel):
    """The task graph of an orchestrated run."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rationale: Text = Field(max_length=MAX_RATIONALE, description="In a few sentences, why the work is cut like this.")
    tasks: tuple[PlannedTask, ...] = Field(
        strict=False,
        min_length=1,
        max_length=MAX_TASKS,
        description=f"1 to {MAX_TASKS} tasks; at most {MAX_DEPTH} that wait for one another in a row.",
    )
