"""Grants: the owner's standing yes to a class of calls: this tool, these arguments, this risk, here, until then."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from models import ApprovalGrant, ApprovalRequest, Json, new_id, utc_now
from models.tenancy import Database
from workspace.approvals import patterns
from workspace.approvals.advance import WantedGrant
from workspace.errors import InvalidInput, NotFound
from workspace.ledger import StartedTask
from workspace.names import WorkspaceKey
from workspace.paging import Page, PageRequest, fetch_page
from workspace.tools.risk import RiskLevel

MOST_IN_FORCE = 100
"""Grants of a project: each is compared with each call that is not harmless."""
MOST_COMPARED = 4_096
"""Characters of the arguments that count: longer ones are asked for, so that comparing never takes long."""


class GrantScope(StrEnum):
    """Where a grant counts."""

    RUN = "run"
    SESSION = "session"
    PROJECT = "project"


class Remember(NamedTuple):
    """What the owner wants remembered of a yes."""

    scope: GrantScope
    patterns: Json | None
    """By argument; `None`: exactly what was asked for."""
    seconds: int


class Grant(NamedTuple):
    """A grant that is in force."""

    id: UUID
    tool: str
    patterns: Json
    risk: RiskLevel

    def covers(self, tool: str, arguments: Mapping[str, Any], risk: RiskLevel) -> bool:
        """Return whether a call needs no further yes."""
        harmless = patterns.HARMLESS.get(tool, ())
        if len(json.dumps({name: value for name, value in arguments.items() if name not in harmless})) > MOST_COMPARED:
            return False
        return patterns.covers(self.tool, self.patterns, self.risk, tool, arguments, risk)


class Grants:
    """Reads and writes grants, within one tenant at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_task(self, session: Session, task: StartedTask, tools: Collection[str]) -> list[Grant]:
        """Return the grants in force that may cover calls of a task."""
        rows = session.scalars(
            select(ApprovalGrant).where(
                ApprovalGrant.project_id == task.key.project_id,
                ApprovalGrant.tool.in_(tools),
                ApprovalGrant.revoked_at.is_(None),
                ApprovalGrant.expires_at > utc_now(),
                or_(ApprovalGrant.session_id.is_(None), ApprovalGrant.session_id == task.session_id),
                or_(ApprovalGrant.run_id.is_(None), ApprovalGrant.run_id == task.run_id),
            )
        )
        return [Grant(row.id, row.tool, row.patterns, RiskLevel(row.risk)) for row in rows]

    def make(self, session: Session, approval: ApprovalRequest, remember: Remember) -> ApprovalGrant:
        """Write a grant for the class that an approved call stands for, in the caller's transaction.

        Raises:
            InvalidInput: the patterns are malformed or do not cover that very call, or there are too many grants.
        """
        tool, arguments = approval.payload["tool"], approval.payload["arguments"]
        wanted = remember.patterns
        if wanted is None:
            wanted = patterns.default_patterns(tool, arguments)
        patterns.validate(tool, wanted, arguments)
        _check_room(session, approval.project_id, 1)
        grant = ApprovalGrant(
            id=new_id(),
            project_id=approval.project_id,
            session_id=None if remember.scope is GrantScope.PROJECT else approval.session_id,
            run_id=approval.run_id if remember.scope is GrantScope.RUN else None,
            tool=tool,
            patterns=wanted,
            risk=approval.payload["risk"],
            expires_at=utc_now() + timedelta(seconds=remember.seconds),
        )
        session.add(grant)
        return grant

    def make_in_advance(
        self, session: Session, approval: ApprovalRequest, wanted: Sequence[WantedGrant], *, until: datetime
    ) -> list[ApprovalGrant]:
        """Write grants for the run of an approved plan, in the caller's transaction, which has checked them.

        Raises:
            InvalidInput: there are too many grants.
        """
        _check_room(session, approval.project_id, len(wanted))
        grants = [
            ApprovalGrant(
                id=new_id(),
                project_id=approval.project_id,
                session_id=approval.session_id,
                run_id=approval.run_id,
                tool=each.tool,
                patterns=each.patterns,
                risk=each.most.value,
                expires_at=until,
            )
            for each in wanted
        ]
        session.add_all(grants)
        return grants

    def page(self, key: WorkspaceKey, request: PageRequest) -> Page[ApprovalGrant]:
        """Return a page of a project's grants, ended ones included."""
        with self._database.tenant_session(key.user_id) as session:
            query = select(ApprovalGrant).where(ApprovalGrant.project_id == key.project_id)
            return fetch_page(session, query, ApprovalGrant, request)

    def withdraw(self, key: WorkspaceKey, grant_id: UUID) -> None:
        """Take a grant back; what runs under it goes on, what comes is asked for again.

        Raises:
            NotFound: no such grant in the project.
        """
        with self._database.tenant_session(key.user_id) as session:
            grant = session.scalars(
                select(ApprovalGrant)
                .where(ApprovalGrant.id == grant_id, ApprovalGrant.project_id == key.project_id)
                .with_for_update(key_share=True)
            ).one_or_none()
            if grant is None:
                raise NotFound
            grant.revoked_at = grant.revoked_at or utc_now()
            session.commit()


def _check_room(session: Session, project_id: UUID, more: int) -> None:
    """Refuse grants beyond what a project may have in force.

    Raises:
        InvalidInput: there is no room for these.
    """
    in_force = session.scalar(
        select(func.count(ApprovalGrant.id)).where(
            ApprovalGrant.project_id == project_id,
            ApprovalGrant.revoked_at.is_(None),
            ApprovalGrant.expires_at > utc_now(),
        )
    )
    if (in_force or 0) + more > MOST_IN_FORCE:
        raise InvalidInput(f"The project may have {MOST_IN_FORCE} grants in force, and has {in_force}.")
