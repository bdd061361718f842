"""Deleting a session or a project beside the end of its work: both go through, in whichever order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import select, text

from models import Task
from models.statuses import CancelReason
from models.tenancy import Database
from tests.integration.core.moves import ledger, started
from tests.integration.core.world import World
from tests.support.waiting import eventually
from workspace.account_store import ProjectStore
from workspace.cancellation import end_runs
from workspace.chat_store import ChatStore
from workspace.events import Usage

pytestmark = pytest.mark.stack

Delete = Callable[[World], object]


def delete_session(world: World) -> object:
    return ChatStore(world.database).delete(world.key, world.session_id)


def delete_project(world: World) -> object:
    return ProjectStore(world.database).delete(world.key)


def waiting(database: Database) -> int:
    """How many statements wait for a lock in this database."""
    with database.engine.connect() as connection:
        return int(
            connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            ).scalar_one()
        )


@pytest.mark.parametrize("delete", [delete_session, delete_project])
def test_a_deletion_in_the_middle_of_a_finish_waits_for_it(world: World, delete: Delete) -> None:
    task = started(world)
    with ThreadPoolExecutor(2) as threads:
        with world.database.engine.begin() as held:
            # The finish has its task and waits here for its run; the deletion comes in between.
            held.execute(text("SELECT 1 FROM runs WHERE id = :run FOR SHARE"), {"run": task.run_id})
            finish = threads.submit(partial(ledger(world).complete, task, "the answer", Usage()))
            eventually(lambda: waiting(world.database) == 1, "the finish to wait")
            deletion = threads.submit(delete, world)
            eventually(lambda: waiting(world.database) == 2, "the deletion to wait")
        assert finish.result(10) is not None
        deletion.result(10)
    assert world.tasks() == world.messages() == []


@pytest.mark.parametrize("delete", [delete_session, delete_project])
def test_a_deletion_in_the_middle_of_a_cancel_waits_for_it(world: World, delete: Delete) -> None:
    task = started(world)
    with ThreadPoolExecutor(1) as threads:
        with world.database.tenant_session(world.key.user_id) as session:
            session.execute(select(Task.id).where(Task.id == task.id).with_for_update(key_share=True))
            deletion = threads.submit(delete, world)
            eventually(lambda: waiting(world.database) == 1, "the deletion to wait")
            ending = end_runs(session, world.key, [task.run_id], CancelReason.REQUESTED)
            session.commit()
        assert ending.at_work == [task.id]
        deletion.result(10)
    assert world.tasks() == []
