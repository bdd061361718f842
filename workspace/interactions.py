"""What an ended task leaves behind in its agent's memory: one text of what was asked and what came of it."""

from models import Json
from workspace.memory.ids import memory_id
from workspace.memory.memories import InteractionType, Memory, Provenance
from workspace.remembering import DueTask, Exchange

MOST_ASKED = 1_500
MOST_ANSWERED = 2_000
"""Characters. Together they fit into the 1000 tokens that found memories may take by default: what does not is never
shown to a model."""
CUT = " [...]"

_LABELS = {InteractionType.CONVERSATION: ("User", "Reply"), InteractionType.TASK: ("Task", "Result")}


def interaction(task: DueTask, exchange: Exchange) -> Memory:
    """Return the memory of a task; the same one each time, so that to store it again is harmless."""
    asked_by, answered_by = _LABELS[exchange.kind]
    came = f"{answered_by}: {_cut(exchange.answered, MOST_ANSWERED)}"
    if task.error is not None:
        came = f"It failed: {_cut(_reason(task.error), MOST_ANSWERED)}"
    return Memory(
        id=memory_id(task.ended_at, str(task.task_id), "interaction"),
        text=f"{asked_by}: {_cut(exchange.asked, MOST_ASKED)}\n{came}",
        interaction_type=exchange.kind,
        success=task.error is None,
        session_id=task.session_id,
        run_id=task.run_id,
        task_id=task.task_id,
        provenance=Provenance.RUN,
    )


def _reason(error: Json) -> str:
    return f"{error.get('error_code', 'unknown')}: {error.get('detail', '')}"


def _cut(text: str, most: int) -> str:
    text = text.strip()
    return text if len(text) <= most else text[: most - len(CUT)] + CUT
