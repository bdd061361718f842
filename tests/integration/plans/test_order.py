"""Plans of any shape run each task once, as soon as what it waits for has ended."""

import pytest

from models.statuses import RunStatus, TaskStatus
from tests.integration.plans.launched import Launcher, chain, in_order
from tests.support.api import ApiClient
from tests.support.launches import Wanted, random_tasks
from tests.support.standin import Standin
from workspace.plans.briefs import CLOSING, OPENING

pytestmark = pytest.mark.stack

AGENTS = ("analyst", "researcher", "writer")


@pytest.mark.parametrize(("count", "seed"), [(3, 1), (7, 2), (12, 3), (20, 4), (25, 5), (30, 6)])
def test_each_task_of_a_random_graph_runs_once_and_in_order(
    user: ApiClient, plans: Launcher, count: int, seed: int
) -> None:
    run = plans.launch(user, random_tasks(count, seed, AGENTS))
    tasks = run.settled()
    assert {task.status for task in tasks.values()} == {TaskStatus.COMPLETED}
    assert {name: task.result for name, task in tasks.items()} == {name: f"result of {name}" for name in tasks}
    in_order(tasks)
    run.closing_is_due()


def test_a_task_begins_the_moment_its_last_dependency_ends(user: ApiClient, plans: Launcher) -> None:
    """Not with the level that it is on, and not with the next sweep."""
    graph = {
        "slow": Wanted("worker", "[delay=4]"),
        "a": Wanted("worker"),
        "b": Wanted("worker"),
        "join": Wanted("worker", after=("a", "b")),
        "next": Wanted("worker", after=("join",)),
    }
    run = plans.launch(user, graph)
    done = run.becomes("next", TaskStatus.COMPLETED)
    tasks = run.tasks()
    assert tasks["slow"].status is TaskStatus.RUNNING
    before = max(tasks[name].finished_at for name in ("a", "b"))  # type: ignore[type-var]
    assert before is not None
    assert done.finished_at is not None
    assert (done.finished_at - before).total_seconds() < 2
    assert run.row().status is RunStatus.RUNNING
    run.settled()


def test_an_agent_is_told_its_instruction_the_request_and_what_its_task_builds_upon(
    user: ApiClient, plans: Launcher, standin: Standin
) -> None:
    graph = {
        "facts": Wanted("researcher", "[say=the sea is salty]"),
        "other": Wanted("researcher", "[say=nothing to do with it]"),
        "text": Wanted("writer", "Write about the facts.", ("facts",)),
    }
    run = plans.launch(user, graph)
    run.settled()
    calls = [one for one in standin.requests(100) if "Write about the facts." in str(one["messages"][-1]["content"])]
    (told,) = [one["messages"][-1]["content"] for one in calls]
    assert told.endswith("Write about the facts.")
    inside = told[told.index(OPENING) : told.index(CLOSING)]
    assert "Do all of it." in inside
    assert "the sea is salty" in inside
    assert "nothing to do with it" not in told


def test_results_are_no_messages_of_the_session(user: ApiClient, plans: Launcher) -> None:
    run = plans.launch(user, chain(("a", "[say=one]"), ("b", "[say=two]")))
    run.settled()
    assert [message["content"] for message in user.messages(run.session)][:1] == ["Do all of it."]
    assert not {"one", "two"} - {"two"} & {message["content"] for message in user.messages(run.session)}


def test_the_stream_tells_of_each_task_by_its_name_in_the_plan(user: ApiClient, plans: Launcher) -> None:
    session = user.make_session()["id"]
    with user.events(session, cursor="0") as stream:
        run = plans.launch(user, chain(("a", "[say=one]"), ("b", "[say=two]")), session=session)
        run.settled()
        # Planning, and both of its tasks.
        seen = [event for _ in range(3) for event in stream.until("task_completed")]
    started = [event.payload["plan_task_id"] for event in seen if event.type == "task_started"]
    assert started == ["a", "b"]
