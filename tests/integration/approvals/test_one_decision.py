"""An approval is decided once, whoever asks how often at the same moment, and what was decided happens once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from models import ApprovalRequest, Run
from models.tenancy import Database
from settings import load_settings
from tests.integration.approvals.steps import (
    append,
    approvals_of,
    ask,
    calls_of,
    confirm,
    content_of,
    make_agent,
    only,
)
from tests.integration.core.world import together
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.locks import row_held
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def taken(answers: list[httpx.Response | Exception]) -> httpx.Response:
    """Return the one answer that was taken; all others must have come too late."""
    winners = []
    for answer in answers:
        assert isinstance(answer, httpx.Response), answer
        if answer.status_code == 200:
            winners.append(answer)
        else:
            error(answer, 409, "approval_already_decided")
    (winner,) = winners
    return winner


def test_of_fifty_yeses_at_once_one_counts_and_the_tool_runs_once(user: ApiClient, database: Database) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "once"))
    with ThreadPoolExecutor(1) as thread:
        # As many as a web process works on at once have begun before the first of them can end.
        with row_held(database, ApprovalRequest, one.id) as hold:
            answers = thread.submit(together, [partial(confirm, user, one.id)] * 50)
            hold.await_waiting(load_settings().user_requests_at_once)
        winner = taken(answers.result())
    one.completed()
    assert one.now() == winner.json()
    assert content_of(user, "log.txt") == "once"
    (call,) = calls_of(user, one.run_id)
    assert call["status"] == "succeeded"
    assert len(approvals_of(user, run_id=one.run_id)) == 1
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    only(events, "approval_resolved")
    only(events, "tool_result")
    assert Counter(event.type for event in events)["task_started"] == 2


def test_of_a_yes_and_a_no_at_once_exactly_one_wins(user: ApiClient) -> None:
    make_agent(user)
    with ThreadPoolExecutor(4) as threads:
        questions = list(threads.map(lambda n: ask(user, append(f"{n}.txt", "x")), range(5)))
    tries = [(one, decision) for one in questions for decision in ("approve", "reject")]
    answers = together([partial(confirm, user, one.id, decision) for one, decision in tries])
    for number, one in enumerate(questions):
        winner = taken(answers[2 * number : 2 * number + 2]).json()
        one.completed()
        assert one.now() == winner
        (call,) = calls_of(user, one.run_id)
        written = content_of(user, f"{number}.txt")
        if winner["decision"] == "approve":
            assert (winner["status"], call["status"], written) == ("approved", "succeeded", "x")
        else:
            assert (winner["status"], call["status"], written) == ("rejected", "rejected", None)


def test_an_answer_while_its_task_is_being_parked_is_not_lost(user: ApiClient, database: Database) -> None:
    make_agent(user)
    content = f"[delay=1] {append('log.txt', 'once')}"
    session = user.make_session()["id"]
    accepted = user.send(session, content)
    eventually(lambda: user.run(accepted["run_id"])["status"] == "running", "the run to start")
    with ThreadPoolExecutor(1) as thread:
        # The node has looked at the calls and is about to write that the task waits, when the answer comes.
        with row_held(database, Run, accepted["run_id"]) as hold:
            hold.await_waiting()
            (approval,) = approvals_of(user, run_id=accepted["run_id"])
            answer = thread.submit(confirm, user, approval["id"])
            eventually(lambda: answer.done() or hold.waiting() == 2, "the answer to meet the node")
        assert answer.result().status_code == 200
    user.wait_for_run(accepted)
    assert content_of(user, "log.txt") == "once"


def test_answers_in_the_moment_of_the_question_all_count(user: ApiClient) -> None:
    make_agent(user, concurrency_limit=8)

    def answer_at_once(number: int) -> str:
        session = user.make_session()["id"]
        content = append(f"{number}.txt", "x")
        accepted = user.send(session, content)
        with user.events(accepted["events_url"]) as stream:
            question = stream.until("approval_required")[-1].payload["approval_id"]
            assert confirm(user, question).status_code == 200
            stream.until("run_completed")
        return str(accepted["run_id"])

    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(answer_at_once, range(12)))
    for number, run_id in enumerate(runs):
        user.wait_for_run(run_id)
        assert [call["status"] for call in calls_of(user, run_id)] == ["succeeded"]
        if number % 4 == 0:
            assert content_of(user, f"{number}.txt") == "x"
