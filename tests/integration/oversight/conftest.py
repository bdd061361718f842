"""A web process over a database of its own, which no node looks into, and workspaces as a test wants them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis

from models import User
from models.tenancy import Database
from tests.integration.core.conftest import own_database
from tests.integration.core.world import World, make_world
from tests.support.api import ApiClient
from tests.support.processes import own_api
from tests.support.proxy import Proxy
from tests.support.stack import Stack
from workspace.intake import Accepted
from workspace.ledger import Host
from workspace.reports import AgentReport, Reports, WorkspaceReport

__all__ = ["own_database"]


@pytest.fixture(scope="session")
def overseen_url(
    own_database: Database, wire: Proxy, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a web process over that database, which reaches Redis by a way that a test can cut."""
    log = tmp_path_factory.mktemp("overseen") / "api.log"
    url = own_database.engine.url.render_as_string(hide_password=False)
    with own_api(http, log, DATABASE_URL=url, REDIS_URL=wire.url, AGENT_QUEUE_LIMIT=10) as address:
        yield address


@pytest.fixture
def admin(overseen_url: str, http: httpx.Client, stack: Stack) -> ApiClient:
    """An admin."""
    return ApiClient.of(http, url=overseen_url, secret=stack.jwt_secret).as_admin()


@pytest.fixture
def reports(store: redis.Redis) -> Reports:
    """Writes what nodes say."""
    return Reports(store)


@dataclass(frozen=True)
class Estate:
    """One user, and its workspaces by name."""

    client: ApiClient
    """The user's."""
    reports: Reports
    worlds: dict[str, World]

    def slug(self, name: str) -> str:
        return self.worlds[name].key.slug

    def slugs(self, *names: str) -> set[str]:
        return {self.slug(name) for name in names}

    def seen_by_owner(self, name: str) -> dict[str, Any]:
        answer = self.client.inside(str(self.worlds[name].key.project_id)).get("workspace/")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def started(self, name: str) -> Accepted:
        """Have the host of a workspace start a task."""
        world = self.worlds[name]
        accepted = world.accept()
        world.start(accepted, Host(str(world.workspace().node_id), 1))
        return accepted

    def report(self, name: str, **changes: Any) -> WorkspaceReport:
        """Let the host of a workspace speak of it, and of it alone."""
        world = self.worlds[name]
        helper = AgentReport(name="helper", limit=3, running=0, in_hand=0)
        usual = {
            "epoch": 1,
            "cache": 1,
            "hosted_since": time.time() - 60.0,
            "last_used": time.time() - 2.5,
            "suspended": False,
        }
        report = WorkspaceReport(**({"agents": {world.agent_id: helper}} | usual | changes))
        assert self.reports.write(str(world.workspace().node_id), {world.key.slug: report})
        return report


MakeEstate = Callable[..., Estate]


@pytest.fixture
def make_estate(
    own_database: Database, overseen_url: str, http: httpx.Client, stack: Stack, reports: Reports
) -> MakeEstate:
    """A maker of users with workspaces; those whose name begins with `free` have no host, each other one its own."""

    def make(*names: str) -> Estate:
        worlds: dict[str, World] = {}
        owner = None
        for name in names:
            host = None if name.startswith("free") else Host(f"node-{uuid4().hex}", 1)
            worlds[name] = make_world(own_database, user_id=owner, host=host)
            owner = worlds[name].key.user_id
            if host is not None:
                worlds[name].change_workspace(state="initialized", alive_until=None)
        with own_database.system_session("a test looks") as session:
            subject = session.get_one(User, owner).subject
        client = ApiClient.of(http, url=overseen_url, secret=stack.jwt_secret, subject=subject)
        return Estate(client, reports, worlds)

    return make
