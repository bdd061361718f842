"""Nodes whose ways to their stores a test can take away, and who hosts what."""

import signal
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
from sqlalchemy import select

from models import User, Workspace
from models.tenancy import Database
from tests.support.processes import OwnNode, own_api
from tests.support.proxy import Proxy, proxy
from tests.support.stack import Stack


@dataclass(frozen=True)
class Ways:
    """A process's only ways to its stores."""

    redis: Proxy
    postgres: Proxy

    def mend(self) -> None:
        """Bring both stores back."""
        self.redis.mend()
        self.postgres.mend()

    @property
    def options(self) -> dict[str, str]:
        """The settings that lead a process along these ways."""
        return {"REDIS_URL": self.redis.url, "DATABASE_URL": self.postgres.url}


@contextmanager
def ways(stack: Stack) -> Iterator[Ways]:
    """Run a proxy in front of each store for the length of a block."""
    with proxy(stack.redis_url) as to_redis, proxy(stack.database_url) as to_postgres:
        yield Ways(to_redis, to_postgres)


@dataclass(frozen=True)
class Member:
    """A node of the cluster."""

    node: OwnNode
    ways: Ways


class Cluster:
    """The nodes beside the stack's own, and one web process, all behind proxies. A node that was lost is replaced."""

    def __init__(self, stack: Stack, database: Database, http: httpx.Client, logs: Path) -> None:
        self._stack = stack
        self._database = database
        self._http = http
        self._logs = logs
        self._numbers = count(1)
        self._members: list[Member] = []
        self._opened = ExitStack()

    def fill(self, number: int) -> None:
        """Have this many nodes that run."""
        self._members = [member for member in self._members if member.node.is_running]
        started = [self._start() for _ in range(number - len(self._members))]
        for member in started:
            member.node.await_ready()

    def _start(self) -> Member:
        reached = self._opened.enter_context(ways(self._stack))
        member = Member(OwnNode(self._logs / f"node{next(self._numbers)}.log", reached.options), reached)
        self._members.append(member)
        return member

    @contextmanager
    def web(self) -> Iterator[tuple[str, Ways]]:
        """Run one more web process behind proxies."""
        with ways(self._stack) as reached:
            log = self._logs / f"api{next(self._numbers)}.log"
            with own_api(self._http, log, **reached.options) as url:
                yield url, reached

    def busiest(self, subjects: Collection[str]) -> Member | None:
        """Return the node that hosts most workspaces of these users, `None` if none of the cluster's hosts any."""
        with self._database.system_session("a test asks who hosts") as session:
            owners = select(User.id).where(User.subject.in_(subjects))
            nodes = session.scalars(select(Workspace.node_id).where(Workspace.user_id.in_(owners))).all()
        hosted = Counter(
            index for node_id in nodes for index, each in enumerate(self._members) if each.node.is_called(node_id)
        )
        return self._members[hosted.most_common(1)[0][0]] if hosted else None

    def logs(self) -> list[Path]:
        """Return the logs of all nodes: these, those that were lost, and the stack's own."""
        return [*self._logs.glob("node*.log"), *self._stack.directory.glob("logs/worker*.log")]

    def close(self) -> None:
        """End all nodes: told together, they end together."""
        for member in self._members:
            member.ways.mend()
            if member.node.is_running:
                member.node.tell(signal.SIGCONT)
                member.node.tell(signal.SIGTERM)
        for member in self._members:
            member.node.end()
        self._opened.close()
