"""Answers, silence, cancels and deliveries come in any order, some of them at once: what must hold holds after each."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from models import ApprovalRequest, ToolCall, utc_now
from models.statuses import (
    ApprovalStatus,
    Decision,
    RunStatus,
    TaskStatus,
    ToolCallStatus,
    ToolExecution,
)
from models.tenancy import Database
from tests.integration.core.tool_calls.lone_node import LoneNode
from tests.integration.core.tool_calls.moves import Moves, noted
from tests.integration.core.world import HOST, make_world, together
from workspace.errors import RequestError
from workspace.intake import Accepted

pytestmark = pytest.mark.stack

LONG_AGO = timedelta(hours=1)


@pytest.fixture
def moves(own_database: Database) -> Iterator[Moves]:
    with noted(own_database.engine) as moves:
        yield moves


class Course:
    """One run with tools, and all that can happen to it."""

    def __init__(self, node: LoneNode, turns: list[list[str]], *, client: bool) -> None:
        self.node = node
        node.world = make_world(node.web.database)
        node.events.set(node.world.key.lease, HOST.node_id)
        node.use_tools()
        self.files = 0
        self.cancelled = False
        if client:
            node.use_client()
        said = "[then]".join("".join(self._call(kind) for kind in turn) for turn in turns)
        self.accepted: Accepted = node.say(f"{said}[then][say=done]")

    def _call(self, kind: str) -> str:
        if kind == "read":
            return '[tool=read_file {"path": "a.txt"}]'
        self.files += 1
        return f'[tool=write_file {{"path": "{self._file(self.files)}", "content": "once\\n", "mode": "append"}}]'

    def _file(self, number: int) -> str:
        return f"{self.node.world.key.project_id.hex}-{number}.txt"

    # -- what can happen -------------------------------------------------------------------------------------

    def deliver(self, _: int) -> None:
        if self.node.outgoing.tasks:
            self.node.deliver(self.node.outgoing.tasks.pop(0))

    def deliver_again(self, _: int) -> None:
        self.node.deliver(self.accepted.task_id)

    def approve(self, number: int) -> None:
        if approval := self._one(self.node.approvals(ApprovalStatus.PENDING), number):
            self.node.decide(approval.id)

    def reject(self, number: int) -> None:
        if approval := self._one(self.node.approvals(ApprovalStatus.PENDING), number):
            self.node.decide(approval.id, Decision.REJECT)

    def say_nothing(self, number: int) -> None:
        if approval := self._one(self.node.approvals(ApprovalStatus.PENDING), number):
            self._overdue(ApprovalRequest, approval.id)
            self.node.sweep()

    def answer(self, number: int) -> None:
        if call := self._one(self._with_the_client(), number):
            self.node.answer(call.id)

    def answer_differently(self, number: int) -> None:
        if call := self._one([call for call in self.node.calls() if call.execution is ToolExecution.CLIENT], number):
            self.node.answer(call.id, {"number": number})

    def stay_away(self, number: int) -> None:
        if call := self._one(self._with_the_client(), number):
            self._overdue(ToolCall, call.id)
            self.node.sweep()

    def cancel(self, _: int) -> None:
        self.cancelled = True
        self.node.cancel(self.accepted.run_id)

    def switch(self, number: int) -> None:
        self.node.use_client(list(ToolExecution)[number % 2])

    def sweep(self, _: int) -> None:
        self.node.sweep()

    def _one(self, found: list[Any], number: int) -> Any:
        return found[number % len(found)] if found else None

    def _with_the_client(self) -> list[ToolCall]:
        return [
            call
            for call in self.node.calls()
            if call.execution is ToolExecution.CLIENT and call.status is ToolCallStatus.RUNNING
        ]

    def _overdue(self, kind: type[Any], row: UUID) -> None:
        self.node.world._change(update(kind).where(kind.id == row).values(expires_at=utc_now() - LONG_AGO))

    def do(self, acts: list[tuple[str, int]]) -> None:
        """Let these happen at the same moment."""
        calls: list[Callable[[], Any]] = [partial(getattr(self, name), number) for name, number in acts]
        for result in together(calls):
            assert result is None or isinstance(result, RequestError), repr(result)

    # -- what must hold --------------------------------------------------------------------------------------

    def check(self, moves: Moves) -> None:
        task, run = self.node.task(), self.node.world.run(self.accepted.run_id)
        calls, approvals = self.node.calls(), self.node.approvals()
        illegal = [move for move in moves.taken() if not move.is_legal]
        assert illegal == []
        open_calls = [call for call in calls if not call.status.is_final]
        if task.status is TaskStatus.WAITING:
            assert open_calls
            assert ToolCallStatus.REQUESTED not in {call.status for call in open_calls}
            assert run.status is RunStatus.WAITING
        if task.status.is_final:
            assert open_calls == []
            assert ApprovalStatus.PENDING not in {each.status for each in approvals}
            assert run.status.is_final
        assert task.status is not TaskStatus.RUNNING
        pending = {each.tool_call_id for each in approvals if each.status is ApprovalStatus.PENDING}
        assert pending == {call.id for call in calls if call.status is ToolCallStatus.AWAITING_APPROVAL}
        self._check_uses(calls, approvals)
        self._check_told(calls)

    def _check_uses(self, calls: list[ToolCall], approvals: list[ApprovalRequest]) -> None:
        approved = Counter(each.tool_call_id for each in approvals if each.status is ApprovalStatus.APPROVED)
        for call in calls:
            if call.tool == "write_file" and call.execution is ToolExecution.SERVER:
                written = self.node.written(call.arguments["path"])
                done = call.status is ToolCallStatus.SUCCEEDED
                assert written == ("once\n" if done else None), call.status
            if call.tool == "write_file" and call.started_at is not None:
                assert approved[call.id] == 1
        assert all(count == 1 for count in approved.values())

    def _check_told(self, calls: list[ToolCall]) -> None:
        told = Counter(
            (each["event_type"], each["payload"].get("approval_id") or each["payload"].get("tool_call_id"))
            for each in self.node.told("tool_request", "tool_result", "approval_required", "approval_resolved")
        )
        assert all(count == 1 for count in told.values()), told
        asked = {call.id for call in calls if call.execution is ToolExecution.CLIENT and call.started_at is not None}
        assert asked == {UUID(which) for kind, which in told if kind == "tool_request"}

    def finish(self) -> None:
        """Let everybody answer until nothing is left."""
        for _ in range(30):
            task = self.node.task()
            if task.status.is_final:
                break
            if task.status is TaskStatus.QUEUED:
                self.node.deliver(task.id)
            if not self.cancelled:
                self.do([("approve", 0)])
                self.do([("answer", 0)])
        run = self.node.world.run(self.accepted.run_id)
        event(run.status)
        texts = [message.content for message in self.node.world.messages()[1:]]
        if run.status is RunStatus.COMPLETED:
            assert texts == ["done"]
        else:
            assert (self.cancelled, run.status) == (True, RunStatus.CANCELLED)


ACTS = (
    "deliver",
    "deliver",
    "deliver_again",
    "approve",
    "approve",
    "reject",
    "say_nothing",
    "answer",
    "answer",
    "answer_differently",
    "stay_away",
    "cancel",
    "switch",
    "sweep",
)
some_turns = st.lists(st.lists(st.sampled_from(["read", "write"]), min_size=1, max_size=3), min_size=1, max_size=2)
an_act = st.tuples(st.sampled_from(ACTS), st.integers(0, 2))
some_acts = st.lists(st.lists(an_act, min_size=1, max_size=3), max_size=8)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(turns=some_turns, client=st.booleans(), acts=some_acts)
@example(
    turns=[["write", "write"]],
    client=True,
    acts=[[("deliver", 0)], [("approve", 0), ("approve", 1)], [("deliver", 0), ("deliver_again", 0)], [("answer", 1)]],
)
@example(
    turns=[["write", "read"]],
    client=False,
    acts=[[("deliver", 0), ("cancel", 0)], [("approve", 0), ("cancel", 0), ("deliver", 0)]],
)
@example(
    turns=[["read", "write"], ["write"]],
    client=True,
    acts=[[("deliver", 0)], [("answer", 0), ("say_nothing", 0), ("stay_away", 0)], [("switch", 0), ("deliver", 0)]],
)
def test_in_any_order_what_must_hold_holds(
    lone: LoneNode, moves: Moves, turns: list[list[str]], client: bool, acts: list[list[tuple[str, int]]]
) -> None:
    lone.outgoing.tasks.clear()
    moves.taken()
    course = Course(lone, turns, client=client)
    for at_once in acts:
        course.do(at_once)
        course.check(moves)
    course.finish()
    course.check(moves)


def test_an_illegal_move_is_noted(lone: LoneNode, moves: Moves) -> None:
    """The notes are what the test above trusts."""
    lone.answered('[tool=write_file {"path": "a", "content": "x"}]')
    assert all(move.is_legal for move in moves.taken())
    lone.change_call(lone.call().id, status=ToolCallStatus.SUCCEEDED)
    (move,) = moves.taken()
    assert (move.table, move.old, move.new) == ("tool_calls", "awaiting_approval", "succeeded")
    assert not move.is_legal
