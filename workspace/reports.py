"""What nodes say of their workspaces: a hash for each node in Redis, written every few seconds, gone when it is silent.

It is for people who look at the system. Nothing is decided by it: who hosts a workspace stands in its row.
"""

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Self, cast
from uuid import UUID

import redis
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from workspace.errors import Unavailable
from workspace.names import node_reports

log = structlog.get_logger(__name__)

LIFETIME: Final = timedelta(seconds=15)
"""A node that wrote nothing for this long has no reports: five of its renewals."""


class AgentReport(BaseModel):
    """An agent whose queue is attached."""

    model_config = ConfigDict(frozen=True)

    name: str
    limit: int
    running: int
    in_hand: int
    """Messages taken from its queue that wait for a slot."""


class WorkspaceReport(BaseModel):
    """One hosted workspace. Fields that a newer node adds are ignored."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    agents: dict[UUID, AgentReport]
    cache: int
    """Agent configs of the workspace in the node's memory."""
    hosted_since: float
    """On the wall clock, in seconds, as is the next: what does not change is not written again."""
    last_used: float
    suspended: bool

    @property
    def idle_seconds(self) -> float:
        """For how long nothing was done in it."""
        return max(time.time() - self.last_used, 0.0)

    def encode(self) -> bytes:
        """Return it as it is stored."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """Return the report in `data`, or `None` (logged) if it is none."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            log.warning("report_malformed", error=str(error))
            return None


class Reports:
    """Writes one node's reports, and reads those of any."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._written: dict[str, dict[str, bytes]] = {}
        """By node, what it is known to have stored."""

    def write(self, node_id: str, reports: Mapping[str, WorkspaceReport]) -> bool:
        """Replace a node's reports by slug in one round trip, sending what changed; returns whether they are stored.

        Only if less was stored than was thought, because it expired or was lost, all is sent again.
        """
        known = self._written.pop(node_id, {})
        encoded = {slug: report.encode() for slug, report in reports.items()}
        changed = {slug: data for slug, data in encoded.items() if known.get(slug) != data}
        try:
            if self._store(node_id, changed, known.keys() - encoded.keys()) != len(encoded):
                self._client.delete(node_reports(node_id))
                self._store(node_id, encoded, ())
        except redis.RedisError as error:
            log.warning("reports_not_written", error=repr(error))
            return False
        self._written[node_id] = encoded
        return True

    def _store(self, node_id: str, reports: dict[str, bytes], gone: Iterable[str]) -> int:
        """Return how many reports the node has after this."""
        name = node_reports(node_id)
        with self._client.pipeline(transaction=False) as pipe:
            if reports:
                pipe.hset(name, mapping=cast(dict[Any, Any], reports))
            if gone := list(gone):
                pipe.hdel(name, *gone)
            pipe.pexpire(name, LIFETIME)
            pipe.hlen(name)
            return int(pipe.execute()[-1])

    def read(self, node_ids: Iterable[str]) -> dict[str, dict[str, WorkspaceReport]]:
        """Return the reports of nodes by slug, in one round trip; a silent node has none.

        Raises:
            Unavailable: Redis is out of reach.
        """
        nodes = sorted(set(node_ids))
        if not nodes:
            return {}
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for node_id in nodes:
                    pipe.hgetall(node_reports(node_id))
                found: list[Any] = pipe.execute()
        except redis.RedisError as error:
            raise Unavailable from error
        return {node_id: _decoded(fields) for node_id, fields in zip(nodes, found, strict=True)}

    def read_one(self, node_id: str, slug: str) -> WorkspaceReport | None:
        """Return what a node says of one workspace, if it does.

        Raises:
            Unavailable: Redis is out of reach.
        """
        try:
            data: Any = self._client.hget(node_reports(node_id), slug)
        except redis.RedisError as error:
            raise Unavailable from error
        return WorkspaceReport.decode(data) if data is not None else None


def _decoded(fields: Mapping[bytes, bytes]) -> dict[str, WorkspaceReport]:
    reports = ((slug.decode(), WorkspaceReport.decode(data)) for slug, data in fields.items())
    return {slug: report for slug, report in reports if report is not None}
