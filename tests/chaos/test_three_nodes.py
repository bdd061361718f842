"""Fifty agents on three nodes: no agent ever works on more than its limit, and everything is answered once.

The time is told beside the ideal and never asserted: it depends on the machine.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from models import Run, Workspace
from models.tenancy import Database
from tests.chaos.conftest import Report
from tests.chaos.scale import Scale
from tests.conftest import MakeUser
from tests.support.api import ApiClient
from tests.support.processes import own_node
from tests.support.rows import user_id
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

USERS = 10
AGENTS = 5
"""Of each user."""
SESSIONS = 8
"""Of each agent: more than its limit, since a session answers one message after the other."""
POSTERS = 8
PATIENCE = 600.0
"""Seconds until the test gives up, far beyond the ideal."""


@dataclass(frozen=True)
class Agent:
    """One agent with its sessions."""

    user: ApiClient
    id: str
    name: str
    limit: int
    sessions: list[str]


@pytest.fixture
def three_nodes(tmp_path: Path) -> Iterator[None]:
    """Two nodes beside the stack's own."""
    with own_node(tmp_path / "second.log") as second, own_node(tmp_path / "third.log") as third:
        second.await_ready()
        third.await_ready()
        yield


def furnish(user: ApiClient) -> list[Agent]:
    made = []
    for number in range(AGENTS):
        limit = random.randint(1, 5)
        agent = user.make_agent(f"agent{number}", concurrency_limit=limit)
        sessions = [user.make_session()["id"] for _ in range(SESSIONS)]
        made.append(Agent(user, agent["id"], f"agent{number}", limit, sessions))
    return made


def finished(database: Database, users: list[UUID]) -> dict[str, int]:
    """Return how many runs have which status."""
    with database.system_session("a test counts runs") as session:
        counted = select(Run.status, func.count()).where(Run.user_id.in_(users)).group_by(Run.status)
        return {str(status): number for status, number in session.execute(counted)}


def last_end(database: Database, users: list[UUID]) -> datetime:
    with database.system_session("a test asks for the end") as session:
        return session.execute(select(func.max(Run.finished_at)).where(Run.user_id.in_(users))).scalar_one()


def hosts(database: Database, users: list[UUID]) -> Counter[str]:
    """Return how many workspaces each node hosts."""
    with database.system_session("a test asks who hosts") as session:
        return Counter(map(str, session.scalars(select(Workspace.node_id).where(Workspace.user_id.in_(users)))))


@pytest.mark.usefixtures("three_nodes")
def test_fifty_agents_on_three_nodes_keep_their_limits(
    scale: Scale, make_user: MakeUser, database: Database, standin: Standin, report: Report
) -> None:
    with ThreadPoolExecutor(POSTERS) as threads:
        agents = [agent for made in threads.map(furnish, [make_user() for _ in range(USERS)]) for agent in made]
    work = [random.choice(agents) for _ in range(scale.crowd)]
    turns = {agent.id: count() for agent in agents}
    chosen = [(agent, agent.sessions[next(turns[agent.id]) % SESSIONS]) for agent in work]

    def post(place: tuple[Agent, str]) -> None:
        agent, session = place
        agent.user.send(session, f"[delay={scale.crowd_delay}] [tokens=4]", agent.name)

    began = time.time()
    with ThreadPoolExecutor(POSTERS) as threads:
        list(threads.map(post, chosen))
    posted = time.time() - began
    users = _owners(database, agents)
    eventually(
        lambda: finished(database, users).get("completed") == scale.crowd or time.time() - began > PATIENCE,
        "the end of every run",
        within=PATIENCE * 2,
        every=0.5,
    )
    took = last_end(database, users).timestamp() - began

    assert finished(database, users) == {"completed": scale.crowd}
    wanted = Counter(agent.id for agent in work)
    seen, totals = standin.most_at_once(), standin.totals()
    assert {agent.id: totals[agent.id] for agent in agents if wanted[agent.id]} == dict(wanted), "a task ran twice"
    over = {agent.id: (seen[agent.id], agent.limit) for agent in agents if seen.get(agent.id, 0) > agent.limit}
    assert not over, f"more at once than the limit: {over}"
    ideal = max(math.ceil(wanted[agent.id] / agent.limit) for agent in agents) * scale.crowd_delay
    spread = sorted(hosts(database, users).values(), reverse=True)
    report.note(
        f"{len(agents)} agents, {scale.crowd} tasks of {scale.crowd_delay:g} s, workspaces by node {spread}: "
        f"{took:.1f} s, ideal {ideal:.1f} s ({took / ideal:.2f} x), the posts alone {posted:.1f} s"
    )


def _owners(database: Database, agents: list[Agent]) -> list[UUID]:
    return [user_id(database, subject) for subject in {agent.user.subject for agent in agents}]
