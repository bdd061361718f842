"""What an agent remembers of a plan is its own task: what it was told to do, and what came of it."""

import pytest
from sqlalchemy import select

from models import Task
from models.statuses import TaskStatus
from models.tenancy import Database
from tests.integration.plans.launched import Launcher
from tests.support.api import ApiClient
from tests.support.launches import Wanted
from tests.support.waiting import eventually
from workspace.names import PLANNING_ID

pytestmark = pytest.mark.stack


def test_each_agent_remembers_its_instruction_and_its_result(user: ApiClient, plans: Launcher) -> None:
    graph = {
        "facts": Wanted("researcher", "Find out about salt. [say=salt is white]"),
        "text": Wanted("writer", "Write about it. [say=a text]", ("facts",)),
    }
    run = plans.launch(user, graph)
    run.settled()

    def remembered(agent: str) -> list[tuple[str, str]]:
        items = user.get(f"agents/{run.agents[agent]['id']}/context/").json()["items"]
        return [(item["interaction_type"], item["text"]) for item in items]

    (facts,) = eventually(lambda: remembered("researcher"), "the memory of the first")
    (text,) = eventually(lambda: remembered("writer"), "the memory of the second")
    assert facts == ("task", "Task: Find out about salt. [say=salt is white]\nResult: salt is white")
    assert text == ("task", "Task: Write about it. [say=a text]\nResult: a text")


def test_what_the_orchestrator_does_itself_is_nobodys_memory(
    user: ApiClient, plans: Launcher, database: Database
) -> None:
    run = plans.launch(user, {"a": Wanted("worker", "[say=a]")})
    run.settled()

    def planning() -> Task | None:
        with database.system_session("a test looks") as session:
            row = session.scalars(select(Task).where(Task.run_id == run.id, Task.plan_task_id == PLANNING_ID)).one()
        return row if row.remembered_at else None

    found = eventually(planning, "the planning task to be seen to")
    assert found.status is TaskStatus.COMPLETED
    assert len(user.get(f"agents/{run.agents['worker']['id']}/context/").json()["items"]) <= 1
