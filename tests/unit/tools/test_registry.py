"""A tool is a function with a decorator; its schema is what a model fills in, and nothing more."""

from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from models import Json
from workspace.errors import InvalidInput
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.registry import ToolParams, ToolRegistry, ToolUse, tool
from workspace.tools.risk import RiskLevel, assess


class Inner(ToolParams):
    title: str
    value: int = 1


class Params(ToolParams):
    title: str = Field(description="A parameter that has the name of what is left out.")
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None


@tool(client=True)
def example(use: ToolUse, params: Params) -> Json:
    """Do something.

    It is told to the model as it stands here.
    """
    return {"title": params.title}


def titles(schema: Any) -> list[str]:
    """Return every title that is a text, which is what pydantic makes of a name."""
    if isinstance(schema, list):
        return [title for each in schema for title in titles(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema["title"]] if isinstance(schema.get("title"), str) else []
    return own + [title for each in schema.values() for title in titles(each)]


def test_the_function_says_what_the_tool_is() -> None:
    assert example.name == "example"
    assert example.description == "Do something.\n\nIt is told to the model as it stands here."
    assert example.params is Params
    assert example.client is True


def test_the_schema_has_no_titles_but_a_parameter_of_that_name_stays() -> None:
    schema = example.schema
    assert titles(schema) == []
    assert set(schema["properties"]) == {"title", "kind", "inner"}
    assert schema["required"] == ["title"]
    assert set(schema["$defs"]["Inner"]["properties"]) == {"title", "value"}
    assert schema["additionalProperties"] is False


def test_the_definition_has_the_form_of_the_protocol() -> None:
    assert example.definition == {
        "type": "function",
        "function": {"name": "example", "description": example.description, "parameters": example.schema},
    }


def test_parameters_cannot_be_changed_once_they_are_checked() -> None:
    params = Params(title="a")
    with pytest.raises(ValidationError):
        params.title = "b"


def test_names_that_are_no_tools_are_refused_with_those_that_there_are() -> None:
    registry = ToolRegistry([example])
    registry.check_names([])
    registry.check_names(["example", "example"])
    with pytest.raises(InvalidInput) as caught:
        registry.check_names(["zzz", "example", "aaa", "zzz"])
    assert caught.value.detail == "There are no such tools: aaa, zzz. Known are example."


def test_a_registry_finds_by_the_exact_name() -> None:
    registry = ToolRegistry([example])
    assert registry.find("example") is example
    assert registry.find("Example") is None
    assert list(registry) == [example]
    assert registry.names == ["example"]


# -- the tools of the deployment ---------------------------------------------------------------------------------

every_tool = pytest.mark.parametrize("each", CATALOGUE, ids=lambda each: each.name)


def test_no_two_tools_have_one_name() -> None:
    assert len({each.name for each in CATALOGUE}) == len(CATALOGUE)


@every_tool
def test_every_tool_tells_the_model_what_it_does_and_what_it_takes(each: Any) -> None:
    assert len(each.description) > 20
    assert titles(each.schema) == []
    assert each.schema["additionalProperties"] is False
    for name, schema in each.schema["properties"].items():
        assert schema.get("description"), f"{each.name}: {name}"


@every_tool
def test_the_rules_of_risk_know_every_tool(each: Any) -> None:
    """One that they do not know would be asked for each time, with a reason that says nothing."""
    assert "a tool that the rules do not know" not in " ".join(assess(each.name, {}).reasons)


@every_tool
def test_reading_is_harmless_and_whatever_else_is_not(each: Any) -> None:
    harmless = {"read_file", "list_directory", "search_context", "remember"}
    arguments = {"path": "notes.txt", "query": "x", "content": "x", "command": "make", "args": []}
    fitting = {name: value for name, value in arguments.items() if name in each.params.model_fields}
    assert (assess(each.name, fitting).level is RiskLevel.LOW) == (each.name in harmless)
