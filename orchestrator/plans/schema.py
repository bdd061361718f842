"""The JSON schema that a model is held to when it returns a plan, made from the models of `plan`.

It says the form only, in the words that every server of the protocol understands. Bounds on lengths and numbers are
told in the descriptions and checked afterwards: OpenAI's strict mode and other servers each refuse some of those
keywords. Nor does it list the agents: a provider compiles a schema when it first sees it, so one that changed with each
roster would cost every project seconds of its planning time.
"""

from typing import Any, Final

from orchestrator.plans.plan import Plan

_KEPT = frozenset({"type", "description", "items", "properties"})


def _strict(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without references and without bounds."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    strict = {name: value for name, value in schema.items() if name in _KEPT}
    if "items" in strict:
        strict["items"] = _strict(strict["items"], definitions)
    if "properties" in strict:
        strict["properties"] = {name: _strict(each, definitions) for name, each in strict["properties"].items()}
        strict["required"] = list(strict["properties"])
        strict["additionalProperties"] = False
    return strict


def _plan_schema() -> dict[str, Any]:
    schema = Plan.model_json_schema()
    return _strict(schema, schema.get("$defs", {}))


PLAN_SCHEMA: Final = _plan_schema()

RESPONSE_FORMAT: Final = {
    "type": "json_schema",
    "json_schema": {"name": "plan", "strict": True, "schema": PLAN_SCHEMA},
}
"""The `response_format` of the request for a plan."""
