"""The schema that a model is held to says no more than OpenAI's strict mode takes, and no less than the plan's form."""

from collections.abc import Iterator
from typing import Any

from orchestrator.plans.plan import Plan, PlannedTask
from orchestrator.plans.schema import PLAN_SCHEMA, RESPONSE_FORMAT

TEXT = {"type": "string"}


def bare(schema: Any) -> Any:
    """The same schema without the descriptions."""
    if isinstance(schema, dict):
        return {name: bare(each) for name, each in schema.items() if name != "description"}
    return schema


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if schema["type"] == "object":
        yield schema
        for each in schema["properties"].values():
            yield from objects(each)
    if schema["type"] == "array":
        yield from objects(schema["items"])


def test_it_is_what_the_design_says() -> None:
    names = ("id", "agent", "instruction", "depends_on", "why_this_agent")
    task = {
        "type": "object",
        "properties": dict.fromkeys(names, TEXT) | {"depends_on": {"type": "array", "items": TEXT}},
        "required": list(names),
        "additionalProperties": False,
    }
    assert bare(PLAN_SCHEMA) == {
        "type": "object",
        "properties": {"rationale": TEXT, "tasks": {"type": "array", "items": task}},
        "required": ["rationale", "tasks"],
        "additionalProperties": False,
    }


def test_every_object_requires_all_its_fields_and_no_other() -> None:
    found = list(objects(PLAN_SCHEMA))
    assert len(found) == 2
    for schema in found:
        assert schema["required"] == list(schema["properties"])
        assert schema["additionalProperties"] is False


def test_the_fields_come_in_the_order_in_which_a_model_should_think_of_them() -> None:
    assert list(PLAN_SCHEMA["properties"]) == list(Plan.model_fields)
    assert list(PLAN_SCHEMA["properties"]["tasks"]["items"]["properties"]) == list(PlannedTask.model_fields)


def test_each_field_is_described() -> None:
    for schema in objects(PLAN_SCHEMA):
        assert all(each["description"] for each in schema["properties"].values())


def test_the_request_asks_for_the_strict_mode() -> None:
    assert RESPONSE_FORMAT["type"] == "json_schema"
    assert RESPONSE_FORMAT["json_schema"] == {"name": "plan", "strict": True, "schema": PLAN_SCHEMA}
