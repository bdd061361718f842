"""`why` of a run: what it waits for at this moment."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

import pytest
from sqlalchemy import update

from models import Run, Task, utc_now
from models.statuses import RunStatus, TaskStatus
from models.tenancy import Database
from tests.integration.runs.steps import Json, calls, cancelled, key_of, runs_of
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.idempotency import Repeated
from workspace.intake import Accepted, Intake, NewMessage
from workspace.sweeping.sweeper import SWEEP_LOCK

pytestmark = pytest.mark.stack

FIELDS = {"code", "detail", "agent_name", "queue_position", "run_id", "retry_in", "approval_ids", "tool_call_ids"}


def why(user: ApiClient, accepted: Json) -> Json:
    found: Json = user.run(accepted["run_id"])["why"]
    assert set(found) == FIELDS
    assert found["detail"]
    return found


def without_node(user: ApiClient, database: Database, session: str) -> Accepted:
    """Accept a message and tell no node of it, as if the web process had ended right after the commit."""
    message = NewMessage(session_id=UUID(session), content="[say=found]", agent_name="helper")
    accepted = Intake(database, queue_limit=100, user_task_cap=30).accept(key_of(user, database), message)
    assert not isinstance(accepted, Repeated)
    return accepted


@contextmanager
def no_sweeps(database: Database) -> Iterator[None]:
    """While this lasts nothing is mended."""
    with ExitStack() as lock:

        def taken() -> bool:
            if lock.enter_context(database.exclusively(SWEEP_LOCK)):
                return True
            lock.close()
            return False

        eventually(taken, "the sweep to end")
        yield


def test_a_run_behind_another_one_of_its_session_names_it(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    first = user.send(session, "[silent=60]")
    calls(standin, agent, 1)
    second, third = (user.send(session, "hello") for _ in range(2))
    for behind in (second, third):
        found = why(user, behind)
        assert (found["code"], found["run_id"], found["agent_name"]) == ("session", first["run_id"], "helper")
        assert found["queue_position"] is found["retry_in"] is None
    assert why(user, first)["code"] == "model"
    for one in (third, second, first):
        cancelled(user, one["run_id"])
    assert user.wait_for_run(first, status="cancelled")["why"] is None


def test_a_queued_run_tells_its_place_on_the_queue_of_its_agent(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=1)
    blocker = user.send(user.make_session()["id"], "[silent=60]")
    calls(standin, agent, 1)
    waiting = [user.send(user.make_session()["id"], "[say=yes]") for _ in range(3)]
    for place, accepted in enumerate(waiting):
        found = why(user, accepted)
        assert (found["code"], found["queue_position"], found["agent_name"]) == ("agent_slot", place, "helper")
        assert "1 of 1 at work" in found["detail"]
        assert found["run_id"] is found["retry_in"] is None
    cancelled(user, waiting[0]["run_id"])
    assert why(user, waiting[2])["queue_position"] == 1
    cancelled(user, blocker["run_id"])
    for accepted in waiting[1:]:
        assert user.wait_for_run(accepted)["why"] is None


def test_a_run_whose_model_is_away_tells_when_it_is_asked_again(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, f"[fail=503x9] [retry_after=15] {session}")
    eventually(lambda: why(user, accepted)["code"] == "model_backoff", "the model's back-off")
    first = why(user, accepted)
    assert 0 < first["retry_in"] <= 15
    assert "http_503" in first["detail"]
    assert "attempt 2" in first["detail"]
    eventually(lambda: why(user, accepted)["retry_in"] < first["retry_in"], "the time to pass")
    cancelled(user, accepted["run_id"])
    assert user.wait_for_run(accepted, status="cancelled")["why"] is None


def test_a_run_of_a_workspace_that_nobody_hosts_says_so_and_is_found(user: ApiClient, database: Database) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    with no_sweeps(database):
        accepted = without_node(user, database, session)
        found = why(user, {"run_id": str(accepted.run_id)})
        assert (found["code"], found["agent_name"]) == ("no_host", "helper")
    user.wait_for_run(str(accepted.run_id))
    assert user.messages(session)[-1]["content"] == "found"


def test_a_run_that_is_stopping_says_so_and_ends_as_cancelled_when_its_node_is_lost(
    user: ApiClient, database: Database
) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    with no_sweeps(database):
        accepted = without_node(user, database, session)
        _start_elsewhere(database, accepted)
        behind = user.send(session, "[say=after it]")
        run = cancelled(user, str(accepted.run_id))
        assert (run["status"], run["why"]["code"]) == ("running", "cancelling")
        assert run["cancel_requested_at"] is not None
    ended = user.wait_for_run(str(accepted.run_id), status="cancelled")
    assert (ended["error"]["error_code"], ended["why"]) == ("cancelled", None)
    user.wait_for_run(behind)


def _start_elsewhere(database: Database, accepted: Accepted) -> None:
    """Write what a node writes at a start; the node does not exist."""
    now = utc_now()
    with database.system_session("a test makes rows") as session:
        for statement in (
            update(Task)
            .where(Task.id == accepted.task_id)
            .values(status=TaskStatus.RUNNING, node_id="lost", epoch=1, started_at=now),
            update(Run).where(Run.id == accepted.run_id).values(status=RunStatus.RUNNING, started_at=now),
        ):
            session.execute(statement.execution_options(synchronize_session=False))
        session.commit()


def test_runs_in_a_list_do_not_explain_themselves(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    sent = [user.send(session, "[delay=0.5]") for _ in range(2)]
    for run in runs_of(user, session):
        assert "why" not in run
        assert "tasks" not in run
    for accepted in sent:
        assert user.wait_for_run(accepted)["why"] is None
