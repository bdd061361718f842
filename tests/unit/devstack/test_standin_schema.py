"""The smallest value that a schema allows."""

import enum
import uuid
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from devstack.standin.schema import MAXIMUM_DEPTH, minimal


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Step(BaseModel):
    id: uuid.UUID
    agent: str = Field(min_length=10)
    kind: Literal["do", "ask"]
    colour: Colour
    after: list["Step"]
    note: str | None
    weight: Annotated[float, Field(gt=0, lt=5)]


class Plan(BaseModel):
    steps: list[Step] = Field(min_length=2)
    count: int = Field(ge=3, multiple_of=2)
    done: bool
    extra: dict[str, int]
    title: str = "untitled"


@pytest.mark.parametrize("type_", [Plan, Step, int, list[int], int | None, Colour, dict[str, Any]])
def test_the_value_is_valid_for_the_schema(type_: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(type_)
    adapter.validate_python(minimal(adapter.json_schema()), strict=False)


def test_only_what_is_required_is_there() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]}
    assert minimal(schema) == {"a": 0}


def test_null_is_taken_where_it_is_allowed() -> None:
    assert minimal({"anyOf": [{"type": "string"}, {"type": "null"}]}) is None
    assert minimal({"type": ["string", "null"]}) is None


def test_parts_of_a_schema_are_put_together() -> None:
    schema = {
        "allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"const": 2}}, "required": ["y"]}],
        "$defs": {"a": {"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"]}},
    }
    assert minimal(schema) == {"x": 1, "y": 2}


def test_a_schema_that_requires_itself_comes_to_an_end() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    value, depth = minimal(schema), 0
    while value is not None:
        value, depth = value["next"], depth + 1
    assert depth < MAXIMUM_DEPTH
