"""A workspace whose row names a node that does not host it, as it is after a claim whose answer was lost."""

import pytest
from sqlalchemy import update

from models import Workspace
from models.statuses import WorkspaceState
from models.tenancy import Database
from tests.conftest import MakeUser
from tests.integration.runs.steps import key_of
from tests.support.waiting import eventually
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack


def row(database: Database, key: WorkspaceKey) -> Workspace:
    with database.system_session("a test looks") as session:
        return session.get_one(Workspace, tuple(key))


@pytest.mark.parametrize("when", ["before it is found", "after it is found"])
def test_its_node_hosts_it_and_its_messages_are_answered(make_user: MakeUser, database: Database, when: str) -> None:
    neighbour, user = make_user(), make_user()
    neighbour.make_agent()
    neighbour.answered(neighbour.make_session()["id"], "[say=hosted]")
    node_id = row(database, key_of(neighbour, database)).node_id
    user.make_agent()
    session = user.make_session()["id"]
    key = key_of(user, database)
    with database.system_session("a test makes rows") as change:
        change.execute(
            update(Workspace)
            .where(Workspace.project_id == key.project_id)
            .values(node_id=node_id, epoch=7, state=WorkspaceState.INITIALIZING)
            .execution_options(synchronize_session=False)
        )
        change.commit()
    if when == "after it is found":
        eventually(lambda: row(database, key).state is WorkspaceState.INITIALIZED, "its node to host it", within=30)
    user.answered(session, "[say=found]")
    assert (row(database, key).node_id, row(database, key).epoch) == (node_id, 7)
    assert row(database, key).state is WorkspaceState.INITIALIZED
