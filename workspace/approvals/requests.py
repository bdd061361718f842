"""Asking: which calls of a turn need their owner's yes, and the rows that ask for it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import ApprovalRequest, Json, new_id, utc_now
from models.statuses import ApprovalStatus, ApprovalType
from settings import Settings
from workspace.approvals.grants import Grants
from workspace.approvals.timeouts import ApprovalTimeouts
from workspace.events import ApprovalRequired
from workspace.ledger import StartedTask
from workspace.metrics import APPROVALS_ASKED, APPROVALS_SPARED
from workspace.tools.excerpts import excerpt
from workspace.tools.risk import Risk, RiskLevel

MOST_OPEN_IN_RUN = 32
"""Questions of one run that are open at once; what a person looks through in the time that there is."""
MOST_ASKED_IN_RUN = 100
MOST_OPEN_OF_USER = 200
"""A model that asks and asks must not bury what matters under its questions."""


class AskedTool(NamedTuple):
    """A tool call that may need a yes."""

    id: UUID
    tool: str
    arguments: Json
    digest: str
    risk: Risk


class Free(NamedTuple):
    """Nobody has to be asked."""

    grant_id: UUID | None
    """The standing yes that covers it, if that is why."""


class TooOften(NamedTuple):
    """The owner is not asked: for the very same as often as may be, or for too much altogether."""

    why: str


class _Room(NamedTuple):
    """How much the owner may be asked yet."""

    in_run: int
    open_in_run: int
    open_of_user: int

    @property
    def left(self) -> int:
        return min(
            MOST_ASKED_IN_RUN - self.in_run,
            MOST_OPEN_IN_RUN - self.open_in_run,
            MOST_OPEN_OF_USER - self.open_of_user,
        )


Verdict = Free | TooOften | ApprovalRequest


class ApprovalRequests:
    """Writes the questions of a turn, in the transaction that writes the turn."""

    def __init__(self, settings: Settings, grants: Grants) -> None:
        self._most_asks = settings.approval_asks
        self._timeouts = ApprovalTimeouts(settings.approval_timeout_medium, settings.approval_timeout_high)
        self._grants = grants

    def request_tool_approvals(self, session: Session, task: StartedTask, calls: Sequence[AskedTool]) -> list[Verdict]:
        """Decide for each call whether its owner has to be asked, and ask.

        Returns:
            In the order of the calls: that nobody has to be asked, that it was asked too often, or the new request,
            which the caller adds to the session after the call's own row.
        """
        doubtful = [call for call in calls if call.risk.level is not RiskLevel.LOW]
        if not doubtful:
            return [Free(None) for _ in calls]
        asks = self._asks(session, task.run_id, {call.digest for call in doubtful})
        grants = self._grants.of_task(session, task, {call.tool for call in doubtful})
        left = self._room(session, task.run_id).left
        verdicts: list[Verdict] = []
        for call in calls:
            if call.risk.level is RiskLevel.LOW:
                verdicts.append(Free(None))
                continue
            grant = next((each for each in grants if each.covers(call.tool, call.arguments, call.risk.level)), None)
            if grant is not None:
                APPROVALS_SPARED.inc()
                verdicts.append(Free(grant.id))
                continue
            asked = asks.get(call.digest, 0)
            if asked >= self._most_asks:
                verdicts.append(TooOften(f"Your user was asked for exactly this {asked} times in this run."))
                continue
            if left <= 0:
                verdicts.append(TooOften("Your user has as many questions to answer as one may have."))
                continue
            left -= 1
            asks[call.digest] = asked + 1
            verdicts.append(self._request(task, call, asked + 1))
        return verdicts

    def _asks(self, session: Session, run_id: UUID, digests: set[str]) -> dict[str, int]:
        """Return how often the owner was asked for each of these in this run."""
        rows = session.execute(
            select(ApprovalRequest.digest, func.count(ApprovalRequest.id))
            .where(ApprovalRequest.run_id == run_id, ApprovalRequest.digest.in_(digests))
            .group_by(ApprovalRequest.digest)
        ).all()
        return {row[0]: row[1] for row in rows}

    def _room(self, session: Session, run_id: UUID) -> _Room:
        pending = ApprovalRequest.status == ApprovalStatus.PENDING
        here = ApprovalRequest.run_id == run_id
        in_run, open_in_run = session.execute(
            select(func.count(ApprovalRequest.id), func.count(ApprovalRequest.id).filter(pending)).where(here)
        ).one()
        open_of_user = session.scalar(select(func.count(ApprovalRequest.id)).where(pending)) or 0
        return _Room(in_run, open_in_run, open_of_user)

    def _request(self, task: StartedTask, call: AskedTool, ask: int) -> ApprovalRequest:
        now = utc_now()
        timeout = self._timeouts.of(call.risk.level)
        assert timeout is not None  # nobody is asked for what is harmless
        APPROVALS_ASKED.labels(ApprovalType.TOOL.value, call.risk.level.value).inc()
        return ApprovalRequest(
            id=new_id(),
            project_id=task.key.project_id,
            session_id=task.session_id,
            run_id=task.run_id,
            task_id=task.id,
            tool_call_id=call.id,
            type=ApprovalType.TOOL,
            payload={
                "tool": call.tool,
                "arguments": call.arguments,
                "risk": call.risk.level.value,
                "reasons": list(call.risk.reasons),
                "agent_id": str(task.agent_id),
                "agent_name": task.agent_name,
                "ask": ask,
            },
            digest=call.digest,
            created_at=now,
            timeout=timeout,
            expires_at=now + timedelta(seconds=timeout),
        )


def required(approval: ApprovalRequest) -> ApprovalRequired:
    """Return the event that asks."""
    payload = approval.payload
    arguments, complete = excerpt(payload["arguments"])
    return ApprovalRequired(
        approval_id=approval.id,
        type=approval.type,
        tool_call_id=approval.tool_call_id,
        tool=payload["tool"],
        arguments=arguments,
        arguments_complete=complete,
        risk=payload["risk"],
        reasons=tuple(payload["reasons"]),
        agent_id=UUID(payload["agent_id"]) if payload["agent_id"] else None,
        agent_name=payload["agent_name"],
        ask=payload["ask"],
        timeout=approval.timeout,
        expires_at=approval.expires_at,
    )
