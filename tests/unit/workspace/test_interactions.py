"""What becomes of an ended task in its agent's memory."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from settings import Settings
from workspace.history import estimate_tokens
from workspace.interactions import interaction
from workspace.memory.memories import InteractionType, Provenance
from workspace.names import WorkspaceKey
from workspace.remembering import DueTask, Exchange

ENDED = datetime(2026, 1, 6, 12, tzinfo=UTC)


def due(**changes: Any) -> DueTask:
    values: dict[str, Any] = {
        "task_id": uuid4(),
        "key": WorkspaceKey(uuid4(), uuid4()),
        "session_id": uuid4(),
        "run_id": uuid4(),
        "agent_id": uuid4(),
        "agent_name": "helper",
        "error": None,
        "ended_at": ENDED,
        "config": None,
    }
    return DueTask(**values | changes)


def test_an_answered_message_is_a_success_with_both_texts() -> None:
    task = due()
    made = interaction(task, Exchange("Where is it?", "In the shed."))
    assert made.text == "User: Where is it?\nReply: In the shed."
    assert made.success
    assert (made.interaction_type, made.provenance) == (InteractionType.CONVERSATION, Provenance.RUN)
    assert (made.session_id, made.run_id, made.task_id) == (task.session_id, task.run_id, task.task_id)
    assert made.created_at == ENDED


def test_a_task_of_a_plan_is_told_as_one_and_not_as_what_the_user_said() -> None:
    made = interaction(due(), Exchange("Find the key.", "It is in the shed.", InteractionType.TASK))
    assert made.text == "Task: Find the key.\nResult: It is in the shed."
    assert made.interaction_type is InteractionType.TASK


def test_a_failed_message_says_what_failed() -> None:
    task = due(error={"error_code": "model_error", "detail": "The provider said no.", "retryable": False})
    made = interaction(task, Exchange("Where is it?", ""))
    assert not made.success
    assert made.text == "User: Where is it?\nIt failed: model_error: The provider said no."


def test_the_same_task_makes_the_same_memory() -> None:
    task, said = due(), Exchange("a", "b")
    assert interaction(task, said) == interaction(task, said)
    assert interaction(due(), said).id != interaction(due(), said).id


def test_the_longest_one_fits_into_the_default_budget_of_found_memories() -> None:
    budget = Settings.model_fields["memory_token_budget"].default
    made = interaction(due(), Exchange("q" * 100_000, "a" * 100_000))
    assert estimate_tokens(made.text) <= budget
    assert "q" * 1_000 in made.text
    assert "a" * 1_000 in made.text
