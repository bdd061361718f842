"""One answer to many questions: each stands for itself."""

import pytest

from tests.integration.approvals.steps import Json, append, ask, confirmed, content_of, make_agent
from tests.support.answers import refused
from tests.support.api import ApiClient

pytestmark = pytest.mark.stack


def batch(user: ApiClient, ids: list[str], decision: str = "approve", **more: object) -> list[Json]:
    answer = user.post("approvals/batch/", {"ids": ids, "decision": decision, **more})
    assert answer.status_code == 200, answer.text
    items: list[Json] = answer.json()["items"]
    return items


def test_tasks_that_wait_are_answered_together(user: ApiClient) -> None:
    make_agent(user, concurrency_limit=2)
    waiting = [ask(user, append(f"{number}.txt", "x")) for number in range(4)]
    waiting.append(ask(user, f"{append('a.txt', 'x')} {append('b.txt', 'x')}", count=2))
    ids = [approval for one in waiting for approval in one.ids]
    items = batch(user, [*ids, ids[0]], reason="all of them")
    assert [item["id"] for item in items] == ids, "in their order, each once"
    for item in items:
        assert (item["status"], item["error_code"], item["detail"]) == ("approved", None, None)
    for one in waiting:
        one.completed()
        for approval in one.ids:
            assert one.now(approval)["reason"] == "all of them"
    for name in ("0", "3", "a", "b"):
        assert content_of(user, f"{name}.txt") == "x"


def test_what_cannot_be_answered_any_more_keeps_no_other_from_it(user: ApiClient) -> None:
    make_agent(user)
    decided, open_one = (ask(user, append(f"{number}.txt", "x")) for number in range(2))
    confirmed(user, decided.id)
    first, second = batch(user, [decided.id, open_one.id], "reject", reason="not now")
    assert (first["status"], first["error_code"]) == (None, "approval_already_decided")
    assert (second["status"], second["error_code"]) == ("rejected", None)
    decided.completed()
    open_one.completed()
    assert decided.now()["status"] == "approved"


def test_a_batch_has_a_limit_and_ids(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    for ids in ([], [one.id] * 101, [one.id, "no id"], one.id):
        refused(user.post("approvals/batch/", {"ids": ids, "decision": "approve"}))
    refused(user.post("approvals/batch/", {"ids": [one.id], "decision": "approve", "remember": {"scope": "run"}}))
    assert one.now() == one.approvals[0]
