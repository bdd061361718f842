"""A hint names what changed, and one that cannot be read or sent harms nobody."""

import json
from typing import Any
from uuid import uuid4

import pytest
import redis

from models.statuses import CancelReason
from workspace.broadcast import Broadcaster, Change, Notice, parse_notice
from workspace.names import NODES_CHANNEL, WorkspaceKey

KEY = WorkspaceKey(uuid4(), uuid4())


class Channel:
    """Redis, as far as hints need it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.published: list[tuple[str, str]] = []

    def publish(self, channel: str, data: str) -> None:
        if self.error:
            raise self.error
        self.published.append((channel, data))


def broadcaster(channel: Channel) -> Broadcaster:
    client: Any = channel
    return Broadcaster(client)


@pytest.mark.parametrize("change", Change)
def test_a_hint_arrives_as_it_was_told(change: Change) -> None:
    channel, agent, tasks = Channel(), uuid4(), (uuid4(), uuid4())
    assert broadcaster(channel).tell(change, KEY, agent, task_ids=iter(tasks))
    ((name, data),) = channel.published
    assert name == NODES_CHANNEL
    heard = parse_notice(data.encode())
    assert heard == Notice(
        change=change, user_id=KEY.user_id, project_id=KEY.project_id, agent_id=agent, task_ids=tasks
    )
    assert heard is not None
    assert heard.key == KEY


def test_a_hint_carries_ids_and_a_reason_alone() -> None:
    channel = Channel()
    broadcaster(channel).tell(Change.WORKSPACE_DELETED, KEY)
    fields = {"change", "user_id", "project_id", "agent_id", "task_ids", "reason"}
    assert set(json.loads(channel.published[0][1])) == fields


@pytest.mark.parametrize("reason", [*CancelReason, None])
def test_a_hint_says_why_tasks_are_to_end(reason: CancelReason | None) -> None:
    channel = Channel()
    broadcaster(channel).tell(Change.TASKS_CANCELLED, KEY, task_ids=[uuid4()], reason=reason)
    heard = parse_notice(channel.published[0][1].encode())
    assert heard is not None
    assert heard.reason is reason


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), redis.TimeoutError("silent")])
def test_a_hint_that_does_not_go_out_is_no_error(error: Exception) -> None:
    assert broadcaster(Channel(error)).tell(Change.AGENT_CHANGED, KEY, uuid4()) is False


GOOD = {"change": "agent_changed", "user_id": str(KEY.user_id), "project_id": str(KEY.project_id)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"{" * 10_000,
        json.dumps(GOOD | {"change": "everything"}).encode(),
        json.dumps(GOOD | {"user_id": "1"}).encode(),
        json.dumps(GOOD | {"more": 1}).encode(),
        json.dumps(GOOD | {"task_ids": "all"}).encode(),
        json.dumps(GOOD | {"reason": "a whim"}).encode(),
    ],
)
def test_what_is_no_hint_is_ignored(data: bytes) -> None:
    assert parse_notice(data) is None


def test_a_hint_without_what_may_be_left_out_is_one() -> None:
    heard = parse_notice(json.dumps(GOOD).encode())
    assert heard is not None
    assert (heard.agent_id, heard.task_ids, heard.reason) == (None, (), None)
