"""Where the answer of a run comes from."""

from models.statuses import TaskStatus
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.outcome import NoAnswer, SynthesisOf, TheTextOf, answer_from

LETTERS = {"c": TaskStatus.COMPLETED, "f": TaskStatus.FAILED, "s": TaskStatus.SKIPPED}
TREE = {"a": [], "b": ["a"], "c": ["a"], "d": ["b"], "e": ["c"]}


def statuses(letters: str) -> dict[str, TaskStatus]:
    """Statuses of tasks a, b, c ... by letters."""
    return {chr(ord("a") + place): LETTERS[letter] for place, letter in enumerate(letters)}


def answer(edges: dict[str, list[str]], letters: str) -> object:
    return answer_from(PlanGraph(edges), statuses(letters))


def test_a_single_last_tasks_text_is_the_answer_itself() -> None:
    assert answer({"a": [], "b": ["a"]}, "cc") == TheTextOf("b")
    assert answer({"a": []}, "c") == TheTextOf("a")


def test_of_several_last_tasks_one_answer_is_written() -> None:
    assert answer(TREE, "ccccc") == SynthesisOf(("d", "e"))


def test_where_something_failed_what_each_branch_came_to_is_put_together() -> None:
    assert answer(TREE, "ccfcs") == SynthesisOf(("d",))
    assert answer(TREE, "cccff") == SynthesisOf(("b", "c"))
    assert answer({"a": [], "b": ["a"]}, "cf") == SynthesisOf(("a",))


def test_without_a_result_there_is_no_answer() -> None:
    assert answer(TREE, "fssss") == NoAnswer()
