"""The judge of the fault tests finds each kind of fault: records that are as they should be, with one thing changed."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.verdict import RECOVERY_LIMIT, Evidence, Heard, Sent, Verdict, judge

COMPLETED = Sent(
    run_id="run-1",
    agent_id="agent-1",
    content="[say=reply 1]",
    expected="reply 1",
    status="completed",
    replies=("reply 1",),
)
LOST_WITH_ITS_NODE = Sent(
    run_id="run-2",
    agent_id="agent-1",
    content="[say=reply 2]",
    expected="reply 2",
    status="failed",
    error_code="worker_lost",
)
TOLD = Heard(status="completed", text="reply 1")
GOOD = Evidence(
    sent=[COMPLETED],
    heard={"run-1": TOLD},
    limits={"agent-1": 2},
    seen_at_once={"agent-1": 2},
    served={COMPLETED.content: 1},
    costs_running_work=False,
    may_drop_text=False,
    dropped=(),
    recovery=3.0,
)


def verdict(*, run: dict[str, Any] | None = None, heard: Heard | None = TOLD, **changes: Any) -> Verdict:
    """The verdict about good evidence with one thing changed."""
    heard_of = {} if heard is None else {"run-1": heard}
    return judge(replace(GOOD, **({"sent": [replace(COMPLETED, **(run or {}))], "heard": heard_of} | changes)))


def test_good_evidence_is_without_fault() -> None:
    found = verdict()
    assert found.faults == []
    assert (found.messages, found.completed, found.whole) == (1, 1, 1)
    assert (found.worker_lost, found.lost, found.doubled, found.over_limit) == (0, 0, 0, 0)


@pytest.mark.parametrize("status", ["planning", "queued", "running", "waiting"])
def test_a_run_that_did_not_end_is_lost(status: str) -> None:
    found = verdict(run={"status": status, "replies": ()}, heard=None)
    assert found.lost == 1
    assert len(found.faults) == 1


def test_a_completed_run_without_a_reply_is_lost() -> None:
    assert verdict(run={"replies": ()}).lost == 1


def test_a_second_reply_is_a_doubled_message() -> None:
    assert verdict(run={"replies": ("reply 1", "reply 1")}).doubled == 1


def test_a_second_task_is_a_doubled_message() -> None:
    assert verdict(run={"tasks": 2}).doubled == 1


def test_a_second_answer_of_the_model_is_a_doubled_message() -> None:
    found = verdict(served={COMPLETED.content: 2})
    assert found.doubled == 1
    assert len(found.faults) == 1


def test_one_message_that_is_doubled_in_two_ways_counts_once() -> None:
    found = verdict(run={"replies": ("reply 1", "reply 1")}, served={COMPLETED.content: 2})
    assert found.doubled == 1
    assert len(found.faults) == 2


def test_a_reply_of_another_message_is_a_fault() -> None:
    assert any("wrong" in fault for fault in verdict(run={"replies": ("reply 7",)}).faults)


def test_a_run_may_be_lost_with_its_node_only_where_the_fault_excuses_it() -> None:
    heard = {"run-2": Heard(status="failed")}
    excused = judge(replace(GOOD, sent=[LOST_WITH_ITS_NODE], heard=heard, costs_running_work=True))
    assert excused.faults == []
    assert (excused.worker_lost, excused.lost) == (1, 0)
    assert judge(replace(GOOD, sent=[LOST_WITH_ITS_NODE], heard=heard)).faults


@pytest.mark.parametrize("change", [{"error_code": "internal_error"}, {"status": "cancelled"}])
def test_any_other_failure_is_a_fault_of_the_system(change: dict[str, str]) -> None:
    run = replace(LOST_WITH_ITS_NODE, **change)
    heard = {"run-2": Heard(status=run.status)}
    found = judge(replace(GOOD, sent=[run], heard=heard, costs_running_work=True))
    assert len(found.faults) == 1
    assert found.worker_lost == 0


def test_a_failed_run_with_a_reply_was_done_twice() -> None:
    run = replace(LOST_WITH_ITS_NODE, replies=("reply 2",))
    found = judge(replace(GOOD, sent=[run], heard={"run-2": Heard(status="failed")}, costs_running_work=True))
    assert found.doubled == 1


def test_an_agent_above_its_limit_is_found() -> None:
    assert verdict(seen_at_once={"agent-1": 3}).over_limit == 1


def test_a_slow_recovery_is_found() -> None:
    assert verdict(recovery=RECOVERY_LIMIT + 0.1).faults
    assert not verdict(recovery=RECOVERY_LIMIT - 0.1).faults


@pytest.mark.parametrize(
    "heard",
    [
        None,
        Heard(status=None),
        Heard(status="failed", text="reply 1"),
        Heard(status="completed", text="reply 1", contradictions=("failed",)),
        Heard(status="completed", text="reply 1reply 1"),
        Heard(status="completed", text="reply"),
        Heard(status="completed", text=None),
    ],
)
def test_a_stream_that_does_not_tell_the_truth_is_found(heard: Heard | None) -> None:
    assert verdict(heard=heard).faults


@pytest.mark.parametrize("excuse", [{"may_drop_text": True}, {"dropped": {"run-1"}}])
def test_missing_text_is_excused_only_where_it_could_not_be_kept_or_published(excuse: dict[str, Any]) -> None:
    missing = Heard(status="completed", text=None)
    assert verdict(heard=missing, **excuse).faults == []
    assert verdict(heard=missing, dropped={"run-2"}).faults
    assert verdict(heard=Heard(status="completed", text="rep"), **excuse).faults, "wrong text is not missing text"
    assert verdict(heard=Heard(status=None), **excuse).faults, "an end has to be told all the same"
