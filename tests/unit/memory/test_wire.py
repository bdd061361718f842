"""Requests to hosts and their replies: what comes out is what went in, and nothing else is taken for it."""

import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from models import new_id
from tests.support.memories import memory
from workspace.errors import (
    CodelabError,
    DimensionsChanged,
    EmbeddingsUnavailable,
    InvalidInput,
    MemoryUnavailable,
)
from workspace.memory.calls import (
    CALLS,
    Call,
    Clear,
    Count,
    Drop,
    Export,
    ExportedPart,
    Forget,
    ForgetWhere,
    GetStats,
    NumberedLine,
    Op,
    Page,
    Prune,
    Remember,
    Restore,
    Search,
    parts,
)
from workspace.memory.door import MemoryDoor, Pruned, Restored
from workspace.memory.memories import Filter, Found, InteractionType, Stats, VectorSpace
from workspace.memory.store import MemoryPage
from workspace.memory.wire import Malformed, Request, of_reply, to_failure, to_reply, to_request

AGENT: dict[str, Any] = {"agent_name": "coder", "agent_id": new_id()}
NOW = datetime.now(UTC)
WHERE = Filter(
    interaction_type=InteractionType.TOOL, success=False, since=NOW, until=NOW, session_id=uuid4(), run_id=uuid4()
)
TEXT = 'Üñïçödé 日本 😀 \u2028 "quoted"\nin two lines'
STATS = Stats(
    vectors=3, bytes=9, success_rate=0.5, by_type={InteractionType.NOTE: 3}, space=VectorSpace("a-model", 384)
)
EVERY: list[tuple[Call, Any]] = [
    (Remember(**AGENT, memories=[memory(1, text=TEXT, run_id=uuid4()), memory(2, success=False)]), None),
    (Search(**AGENT, query=TEXT, where=WHERE, limit=3, min_score=-0.5, token_budget=9), [Found(memory(1), 0.25)]),
    (Search(**AGENT, query="x"), []),
    (Page(**AGENT, where=WHERE, limit=3, after=new_id(), newest_first=False), MemoryPage([memory(1)], new_id())),
    (Page(**AGENT, limit=3), MemoryPage([], None)),
    (Count(**AGENT), 7),
    (GetStats(**AGENT), STATS),
    (GetStats(**AGENT), Stats(vectors=0, bytes=0, success_rate=None, by_type={}, space=None)),
    (Clear(**AGENT), 7),
    (Forget(**AGENT, ids=[new_id(), new_id()]), None),
    (ForgetWhere(**AGENT, where=WHERE), 7),
    (Prune(**AGENT, older_than=NOW, keep=3, dry_run=True), Pruned(1, 2)),
    (Export(**AGENT, after=new_id()), ExportedPart([TEXT], new_id())),
    (Restore(**AGENT, lines=[NumberedLine(3, TEXT)], now=NOW), Restored(1, 1)),
    (Drop(**AGENT), None),
]


@pytest.mark.parametrize(("call", "value"), EVERY, ids=lambda each: getattr(each, "op", ""))
def test_what_comes_out_is_what_went_in(call: Call, value: Any) -> None:
    request_id = uuid4()
    request = Request(to_request(request_id, call, seconds=5))
    assert (request.request_id, request.op, request.call()) == (request_id, call.op, call)
    assert request.seconds_left == pytest.approx(5, abs=1)
    assert of_reply(call, to_reply(call, value)) == value


def test_each_method_of_the_door_can_be_asked_for() -> None:
    methods = {name for name in vars(MemoryDoor) if not name.startswith("_")}
    assert {op.value for op in Op} == methods
    assert set(CALLS) == set(Op) == {call.op for call, _ in EVERY}


def test_a_request_has_the_four_fields_of_the_contract() -> None:
    told = json.loads(to_request(uuid4(), Count(**AGENT), seconds=5))
    assert set(told) == {"request_id", "op", "args", "deadline"}
    assert told["deadline"] == pytest.approx(time.time() + 5, abs=1)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("Line 7: no text."),
        EmbeddingsUnavailable("no vectors", retry_after=2.5),
        MemoryUnavailable("away", retry_after=1),
        DimensionsChanged(expected=VectorSpace("old", 3), got=VectorSpace("new", 4)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_it_was_raised(error: CodelabError) -> None:
    with pytest.raises(CodelabError) as raised:
        of_reply(Count(**AGENT), to_failure(error))
    back = raised.value
    assert (type(back), back.code, back.detail, back.retry_after) == (
        type(error),
        error.code,
        error.detail,
        error.retry_after,
    )


def test_of_what_nobody_expected_no_detail_leaves_the_host() -> None:
    raw = to_failure(RuntimeError("password"))
    assert b"password" not in raw
    with pytest.raises(CodelabError, match="went wrong"):
        of_reply(Count(**AGENT), raw)


GOOD = json.loads(to_request(uuid4(), Count(**AGENT), seconds=5))


@pytest.mark.parametrize(
    "change",
    [
        {"op": "explode"},
        {"request_id": "1"},
        {"deadline": "soon"},
        {"deadline": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_request_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Request(json.dumps(GOOD | change).encode())


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{}", b"\xff", b'{"op": "count"'], ids=str)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        Request(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"agent_name": "Coder"},
        {"agent_name": "coder\n"},
        {"agent_name": "../coder"},
        {"agent_name": None},
        {"agent_id": "coder"},
        {"user_id": str(uuid4())},
        {"key": [str(uuid4()), str(uuid4())]},
        {"where": {"success": 1}},
        {"where": {"more": 1}},
        {"where": {"since": "yesterday"}},
    ],
    ids=str,
)
def test_arguments_that_nobody_sends_are_refused(change: dict[str, Any]) -> None:
    request = Request(json.dumps(GOOD | {"args": GOOD["args"] | change}).encode())
    with pytest.raises(Malformed):
        request.call()


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"value": "many"}', b'{"value": 1, "more": 1}', b'{"value": null}'])
def test_a_reply_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        of_reply(Count(**AGENT), raw)


def test_things_are_sent_in_parts_and_what_is_too_large_for_any_is_alone() -> None:
    sized = [(size, size) for size in (1, 2, 3, 50, 4, 5, 6, 7)]
    assert list(parts(sized, most=3, most_bytes=12)) == [[1, 2, 3], [50], [4, 5], [6], [7]]
    assert list(parts(sized[:3], most=2, most_bytes=100)) == [[1, 2], [3]]
    assert list(parts([], most=2)) == []
