"""Several calls in one turn: what may run does at once, the rest waits, and the model gets all results together."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.approvals.steps import (
    Asked,
    Json,
    append,
    ask,
    calls_of,
    confirm,
    confirmed,
    content_of,
    error_codes,
    make_agent,
    read,
    requests_for,
    told,
    tool,
)
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.streams import Event

pytestmark = pytest.mark.stack

INVALID = tool("write_file", path="c.txt")
UNKNOWN = tool("fly")
OPEN = ["awaiting_approval", "succeeded", "failed", "awaiting_approval", "failed"]
DONE = ["succeeded", "succeeded", "failed", "succeeded", "failed"]


def ask_for_five(user: ApiClient) -> Asked:
    """Two calls need a yes, one reads, and two are none."""
    make_agent(user)
    seed = ask(user, append("seed.txt", "seed"))
    confirmed(user, seed.id)
    seed.completed()
    calls = (append("a.txt", "a"), read("seed.txt"), INVALID, append("b.txt", "b"), UNKNOWN)
    return ask(user, f"{' '.join(calls)} [then] [say=done]", count=2)


def statuses(one: Asked) -> list[str]:
    return [call["status"] for call in calls_of(one.user, one.run_id)]


def outcome(one: Asked, standin: Standin) -> tuple[list[Json], list[Event]]:
    """Wait for the end; return what the model was told, and the events."""
    one.completed()
    assert len(requests_for(standin, one.content)) == 2, "the model was asked before all results were there"
    with one.user.events(one.accepted["events_url"]) as stream:
        return told(standin, one.content), stream.until("run_completed")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_answers_may_come_in_any_order(user: ApiClient, standin: Standin, order: tuple[int, int]) -> None:
    one = ask_for_five(user)
    assert statuses(one) == OPEN
    (request,) = requests_for(standin, one.content)
    assert len([m for m in request["messages"] if m["role"] == "tool"]) == 0
    first, last = (one.ids[place] for place in order)
    with user.events(one.accepted["events_url"]) as stream:
        stream.until("task_waiting")
        confirmed(user, first)
        stream.until("task_waiting")
        expected = OPEN.copy()
        expected[3 * order[0]] = "succeeded"
        assert statuses(one) == expected, "what was approved waits for nothing"
        assert user.run(one.run_id)["why"]["approval_ids"] == [last]
        confirmed(user, last)
    results, events = outcome(one, standin)
    assert statuses(one) == DONE
    assert error_codes(results) == [None, None, "invalid_arguments", None, "unknown_tool"]
    assert results[1]["output"]["content"] == "seed"
    assert [results[place]["output"]["path"] for place in (0, 3)] == ["a.txt", "b.txt"]
    assert [event.payload["attempt"] for event in events if event.type == "task_started"] == [1, 2, 3]
    assert sum(event.type == "tool_result" for event in events) == 5
    assert (content_of(user, "a.txt"), content_of(user, "b.txt")) == ("a", "b")


def test_answers_may_come_at_once_and_differ(user: ApiClient, standin: Standin) -> None:
    one = ask_for_five(user)
    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(lambda a: confirm(user, *a), zip(one.ids, ("approve", "reject"), strict=True))
    assert [answer.status_code for answer in answers] == [200, 200]
    results, _ = outcome(one, standin)
    assert error_codes(results) == [None, None, "invalid_arguments", "rejected", "unknown_tool"]
    assert (content_of(user, "a.txt"), content_of(user, "b.txt")) == ("a", None)


def test_two_calls_of_one_id_are_two_calls(user: ApiClient, standin: Standin) -> None:
    make_agent(user)
    call = '[tool={"name": "write_file", "id": "same", "arguments": {"path": "%s", "content": "x", "mode": "append"}}]'
    one = ask(user, f"{call % 'a.txt'} {call % 'b.txt'} [then] {call % 'a.txt'} [then] [say=done]", count=2)
    confirmed(user, one.ids[0])
    confirmed(user, one.ids[1], "reject")
    with user.events(one.accepted["events_url"]) as stream:
        while (question := stream.until("approval_required")[-1].payload)["approval_id"] in one.ids:
            pass
    confirmed(user, question["approval_id"])
    one.completed()
    assert len({call["call_id"] for call in calls_of(user, one.run_id)}) == 3
    assert error_codes(told(standin, one.content)) == [None, "rejected", None]
    assert (content_of(user, "a.txt"), content_of(user, "b.txt")) == ("xx", None)
