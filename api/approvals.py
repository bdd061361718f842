"""`approvals/`: what agents ask their owner, the answers, and what the owner need not be asked again."""

from uuid import UUID

from flask import Response

from api.http import Resource, key, no_content, web, workspace
from api.schemas.approvals import (
    ApprovalMetricsResponse,
    ApprovalQuery,
    ApprovalResponse,
    BatchItem,
    BatchRequest,
    BatchResponse,
    ConfirmRequest,
    ExtendRequest,
    GrantResponse,
)
from api.schemas.common import Listing, PageQuery

approvals = Resource("approvals")


class ApprovalListing(Listing[ApprovalResponse]):
    """A part of a project's approvals."""


class GrantListing(Listing[GrantResponse]):
    """A part of a project's grants."""


@approvals.on("GET", "/approvals/", answers=ApprovalListing)
def list_approvals(query: ApprovalQuery) -> ApprovalListing:
    """List approvals, those that wait for an answer and the history."""
    page = web().approvals.history.page(workspace().key, query.page(), query.filter())
    items = [ApprovalResponse.of(approval) for approval in page.items]
    return ApprovalListing(items=items, total=page.total, next_cursor=page.next_cursor)


@approvals.on("GET", "/approvals/metrics/", answers=ApprovalMetricsResponse)
def get_approval_metrics() -> ApprovalMetricsResponse:
    """Read how the approvals of a project went: rates of yes and of silence, and how fast the answers came."""
    return ApprovalMetricsResponse.of(web().approvals.history.metrics(workspace().key))


@approvals.on("GET", "/approvals/<uuid:approval_id>/", answers=ApprovalResponse)
def get_approval(approval_id: UUID) -> ApprovalResponse:
    """Read an approval with the exact arguments."""
    return ApprovalResponse.of(web().approvals.history.get(key(), approval_id))


@approvals.on("POST", "/approvals/<uuid:approval_id>/confirm/", answers=ApprovalResponse)
def confirm_approval(approval_id: UUID, json: ConfirmRequest) -> ApprovalResponse:
    """Answer. An answer counts once: the next one gets 409, and so does one that comes after the deadline.

    A yes to a plan may come with `edits` of it, and with `grants` for its tools.
    """
    if answer := json.plan_answer():
        return ApprovalResponse.of(web().plan_answers.approve(key(), approval_id, answer, reason=json.reason))
    remember = json.remember.remember() if json.remember else None
    return ApprovalResponse.of(
        web().approvals.confirm(key(), approval_id, json.decision, reason=json.reason, remember=remember)
    )


@approvals.on("POST", "/approvals/<uuid:approval_id>/extend/", answers=ApprovalResponse)
def extend_approval(approval_id: UUID, json: ExtendRequest) -> ApprovalResponse:
    """Take more time for an answer."""
    return ApprovalResponse.of(web().approvals.extend(key(), approval_id, json.seconds))


@approvals.on("POST", "/approvals/batch/", answers=BatchResponse)
def confirm_approvals(json: BatchRequest) -> BatchResponse:
    """Give the same answer to several approvals; each stands for itself."""
    outcomes = web().approvals.confirm_batch(workspace().key, json.ids, json.decision, json.reason)
    return BatchResponse(items=[BatchItem.of(outcome) for outcome in outcomes])


@approvals.on("GET", "/approvals/grants/", answers=GrantListing)
def list_grants(query: PageQuery) -> GrantListing:
    """List the standing yeses of a project, ended ones included."""
    page = web().approvals.grants.page(workspace().key, query.page())
    items = [GrantResponse.of(grant) for grant in page.items]
    return GrantListing(items=items, total=page.total, next_cursor=page.next_cursor)


@approvals.on("DELETE", "/approvals/grants/<uuid:grant_id>/", answers=None, status=204)
def withdraw_grant(grant_id: UUID) -> Response:
    """Take a standing yes back."""
    web().approvals.grants.withdraw(key(), grant_id)
    return no_content()
