"""Statuses carry their legal moves: what is written beside them is all that may happen."""

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import statuses
from models.statuses import (
    AgentStatus,
    ApprovalStatus,
    IllegalTransition,
    MessageRole,
    RunStatus,
    Status,
    TaskStatus,
    ToolCallStatus,
    WorkspaceState,
)

MOVING = [TaskStatus, RunStatus, ToolCallStatus, ApprovalStatus, WorkspaceState]
MEMBERS = [member for each in MOVING for member in each]

a_kind = st.sampled_from(MOVING)
a_pair = a_kind.flatmap(lambda kind: st.tuples(st.sampled_from(list(kind)), st.sampled_from(list(kind))))


def test_every_status_that_moves_is_tested_here() -> None:
    found = {each for each in vars(statuses).values() if isinstance(each, type) and issubclass(each, Status)}
    assert found - {Status} == set(MOVING)


@pytest.mark.parametrize("kind", MOVING)
def test_every_member_has_its_moves_written_down(kind: type[Status]) -> None:
    assert set(statuses._MOVES[kind]) == set(kind)
    for member in kind:
        assert member.following <= set(kind)


FINAL = {
    TaskStatus: {"completed", "failed", "skipped", "cancelled"},
    RunStatus: {"completed", "partial", "failed", "cancelled"},
    ToolCallStatus: {"succeeded", "failed", "rejected", "expired", "unknown"},
    ApprovalStatus: {"approved", "rejected", "expired", "cancelled"},
    WorkspaceState: set(),
}


@pytest.mark.parametrize("kind", MOVING)
def test_ends_are_these_and_nothing_follows_them(kind: type[Status]) -> None:
    assert {member.value for member in kind if member.is_final} == FINAL[kind]
    for member in kind:
        assert member.is_final == (not member.following)
        for other in kind:
            if member.is_final:
                with pytest.raises(IllegalTransition):
                    member.check_move(other)


@pytest.mark.parametrize("kind", MOVING)
def test_active_and_final_are_all_there_is(kind: type[Status]) -> None:
    assert set(kind.active()) | {member for member in kind if member.is_final} == set(kind)
    assert not [member for member in kind.active() if member.is_final]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: f"{type(member).__name__}.{member}")
def test_an_end_can_be_reached_from_everywhere(member: Status) -> None:
    """Work that can not end would wait for ever; a workspace ends where it can be made anew."""
    reached, waiting = {member}, [member]
    while waiting:
        for after in waiting.pop().following - reached:
            reached.add(after)
            waiting.append(after)
    if isinstance(member, WorkspaceState):
        assert WorkspaceState.INITIALIZING in reached
    else:
        assert any(each.is_final for each in reached)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (TaskStatus, {TaskStatus.PENDING, TaskStatus.HELD, TaskStatus.QUEUED}),
        (RunStatus, {RunStatus.PLANNING, RunStatus.QUEUED}),
        (ToolCallStatus, {ToolCallStatus.REQUESTED}),
        (ApprovalStatus, {ApprovalStatus.PENDING}),
        (WorkspaceState, {WorkspaceState.NOT_INITIALIZED}),
    ],
)
def test_every_status_can_be_reached_from_a_first_one(kind: type[Status], first: set[Status]) -> None:
    reached = set(first)
    while new := {after for member in reached for after in member.following} - reached:
        reached |= new
    assert reached == set(kind)


@given(pair=a_pair)
def test_expected_before_and_following_say_the_same(pair: tuple[Status, Status]) -> None:
    before, after = pair
    assert (before in type(after).expected_before(after)) == (after in before.following)


@given(pair=a_pair)
def test_a_move_is_checked_as_it_is_written(pair: tuple[Status, Status]) -> None:
    before, after = pair
    if after in before.following:
        before.check_move(after)
    else:
        with pytest.raises(IllegalTransition, match=f"{type(before).__name__}: {before} -> {after}"):
            before.check_move(after)


@given(pair=a_pair)
def test_no_status_follows_itself(pair: tuple[Status, Status]) -> None:
    assert pair[0] not in pair[0].following


def test_a_status_of_another_kind_never_follows() -> None:
    """`completed` is one word in several enums, and StrEnum members of one value are equal as strings."""
    with pytest.raises(IllegalTransition):
        TaskStatus.COMPLETED.check_move(RunStatus.COMPLETED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TaskStatus.QUEUED, TaskStatus.COMPLETED),  # nobody worked on it
        (TaskStatus.HELD, TaskStatus.RUNNING),  # it is never published
        (TaskStatus.PENDING, TaskStatus.RUNNING),
        (TaskStatus.WAITING, TaskStatus.RUNNING),  # it is sent again first
        (TaskStatus.RUNNING, TaskStatus.SKIPPED),
        (RunStatus.RUNNING, RunStatus.PLANNING),
        (ToolCallStatus.AWAITING_APPROVAL, ToolCallStatus.SUCCEEDED),
        (ToolCallStatus.RUNNING, ToolCallStatus.AWAITING_APPROVAL),
        (ApprovalStatus.EXPIRED, ApprovalStatus.APPROVED),
        (ApprovalStatus.APPROVED, ApprovalStatus.REJECTED),
    ],
)
def test_these_moves_must_never_become_legal(before: Status, after: Status) -> None:
    with pytest.raises(IllegalTransition):
        before.check_move(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TaskStatus.QUEUED, TaskStatus.RUNNING),
        (TaskStatus.RUNNING, TaskStatus.QUEUED),  # a node that shuts down gives it back
        (TaskStatus.QUEUED, TaskStatus.HELD),  # over the user's cap when it starts
        (TaskStatus.HELD, TaskStatus.QUEUED),
        (TaskStatus.RUNNING, TaskStatus.WAITING),
        (TaskStatus.WAITING, TaskStatus.QUEUED),
        (ToolCallStatus.RUNNING, ToolCallStatus.UNKNOWN),
    ],
)
def test_these_moves_are_what_the_system_lives_by(before: Status, after: Status) -> None:
    before.check_move(after)


def test_names_on_the_wire_stay() -> None:
    """Contract 18; a client's code compares with these."""
    assert [each.value for each in TaskStatus] == [
        "pending", "held", "queued", "running", "waiting", "completed", "failed", "skipped", "cancelled",
    ]  # fmt: skip
    assert [each.value for each in RunStatus] == [
        "planning", "queued", "running", "waiting", "completed", "partial", "failed", "cancelled",
    ]  # fmt: skip
    assert [each.value for each in ToolCallStatus] == [
        "requested", "awaiting_approval", "running", "succeeded", "failed", "rejected", "expired", "unknown",
    ]  # fmt: skip
    assert [each.value for each in ApprovalStatus] == ["pending", "approved", "rejected", "expired", "cancelled"]
    assert [each.value for each in WorkspaceState] == [
        "not_initialized", "initializing", "initialized", "in_use", "cleaning", "cleaned", "error", "shutdown",
    ]  # fmt: skip
    assert [each.value for each in AgentStatus] == ["ready", "busy", "error"]
    assert [each.value for each in MessageRole] == ["user", "assistant", "system", "tool"]


def test_every_value_fits_its_column() -> None:
    for each in vars(statuses).values():
        if isinstance(each, type) and issubclass(each, StrEnum):
            assert all(len(member.value) <= 32 for member in each)
