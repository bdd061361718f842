"""Names on the wire are for ever: the JSON schema of every event is held by a snapshot.

After a wanted change, renew it and look at its difference before it is committed:

    .venv/bin/python -m tests.unit.workspace.test_events
"""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workspace import events
from workspace.errors import ErrorCode
from workspace.events import Envelope, EventScope, EventType, Failure, Payload, TaskProgress, Usage, encode, with_id
from workspace.names import WorkspaceKey

SNAPSHOT = Path(__file__).with_name("events.schema.json")
RENEW = """The events' schema is not what its snapshot says.
A client in the field knows the old one: a field or a type may be added, none may change its name or meaning or go.
If this change is meant: `.venv/bin/python -m tests.unit.workspace.test_events`, and commit the difference."""

PAYLOADS = {kind.event_type: kind for kind in Payload.__subclasses__()}


def schema() -> dict[str, Any]:
    """Return the schema of the envelope and of each payload."""
    return {
        "envelope": Envelope.model_json_schema(mode="serialization"),
        "payloads": {
            str(event_type): PAYLOADS[event_type].model_json_schema(mode="serialization")
            for event_type in sorted(PAYLOADS)
        },
    }


def as_text(value: dict[str, Any]) -> str:
    """Return it as the snapshot file holds it."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_schema_is_what_its_snapshot_says() -> None:
    assert SNAPSHOT.exists(), RENEW
    assert as_text(schema()) == SNAPSHOT.read_text(), RENEW


def test_every_type_has_a_payload() -> None:
    assert set(PAYLOADS) == set(EventType)
    assert len(PAYLOADS) == len(Payload.__subclasses__()), "two payloads have one type"


def test_the_types_are_those_of_the_design() -> None:
    assert {each.value for each in EventType} == {
        "message_created", "direct_agent_call", "agent_status_changed", "task_plan_created", "plan_request",
        "task_started", "task_progress", "task_completed", "task_failed", "task_skipped", "task_cancelled",
        "task_waiting", "tool_request",
        "tool_result", "approval_required", "approval_expiring", "approval_extended", "approval_resolved",
        "context_retrieved",
        "run_completed", "run_failed", "run_cancelled", "alert", "error", "heartbeat", "stream_gap",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [*Payload.__subclasses__(), Usage, Failure, Envelope])
def test_what_goes_over_the_wire_is_frozen_and_forbids_unknown_fields(kind: Any) -> None:
    assert kind.model_config["frozen"] is True
    assert kind.model_config["extra"] == "forbid"
    with pytest.raises(ValidationError):
        kind.model_validate({"unknown": 1})


@pytest.mark.parametrize("kind", Payload.__subclasses__())
def test_every_payload_says_what_it_tells(kind: type[Payload]) -> None:
    assert kind.__doc__
    assert kind.__doc__.strip().endswith(".")


def test_no_package_but_this_one_makes_payloads() -> None:
    assert {kind.__module__.rpartition(".")[0] for kind in Payload.__subclasses__()} == {events.__name__}


ids = st.none() | st.uuids()
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(session=st.uuids(), run=ids, task=ids, text=texts)
def test_an_encoded_event_is_its_envelope(session: UUID, run: UUID | None, task: UUID | None, text: str) -> None:
    """The envelope is put together by hand, because that is faster: it must be JSON all the same, and the same."""
    payload = TaskProgress(text=text, offset=0, turn=1, attempt=1)
    body = encode(session, run, task, payload)
    assert b"\n" not in body
    assert b"\r" not in body
    envelope = Envelope.model_validate_json(body)
    assert (envelope.session_id, envelope.run_id, envelope.task_id) == (session, run, task)
    assert envelope.event_type is EventType.TASK_PROGRESS
    assert TaskProgress.model_validate(envelope.payload) == payload
    assert envelope.timestamp.tzinfo is not None


@given(text=texts)
def test_an_id_is_put_in_front_of_any_event(text: str) -> None:
    body = encode(uuid4(), None, None, TaskProgress(text=text, offset=0, turn=1, attempt=1))
    for event_id in ("1-0", "18446744073709551615-18446744073709551615", None):
        told = json.loads(with_id(event_id, body))
        assert next(iter(told)) == "id"
        assert told.pop("id") == event_id
        assert told == json.loads(body)


def test_a_scope_names_session_run_and_task() -> None:
    session, run, task = uuid4(), uuid4(), uuid4()
    key = WorkspaceKey(uuid4(), uuid4())
    payload = TaskProgress(text="x", offset=0, turn=1, attempt=1)
    told = json.loads(EventScope(key=key, session_id=session, run_id=run, task_id=task).event(payload))
    assert (told["session_id"], told["run_id"], told["task_id"]) == (str(session), str(run), str(task))
    # The tenant is told by the address of the stream, not in each event.
    assert str(key.user_id) not in json.dumps(told)
    bare = json.loads(EventScope(key=key, session_id=session).event(payload))
    assert (bare["run_id"], bare["task_id"]) == (None, None)
    assert datetime.fromisoformat(bare["timestamp"]).tzinfo is not None


def test_money_is_told_exactly() -> None:
    told = json.loads(Usage(cost_usd=Decimal("0.0000018")).model_dump_json())
    assert told["cost_usd"] == "0.0000018"
    assert Usage().cost_usd is None


def test_a_failure_is_told_with_its_code() -> None:
    failure = Failure(error_code=ErrorCode.MODEL_ERROR, detail="No.")
    assert json.loads(failure.model_dump_json()) == {
        "error_code": "model_error",
        "detail": "No.",
        "retryable": False,
        "retry_after": None,
    }


if __name__ == "__main__":
    SNAPSHOT.write_text(as_text(schema()))
    print(f"{SNAPSHOT} is renewed")  # noqa: T201  # a command
