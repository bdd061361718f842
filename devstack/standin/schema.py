"""The smallest JSON value that a schema allows, for answers that must follow one."""

from collections.abc import Mapping
from typing import Any

MAXIMUM_DEPTH = 50
"""A schema that cannot end (an object that requires itself) is cut off here."""

FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "nobody@example.com",
    "uri": "https://example.com/",
}


def minimal(schema: Mapping[str, Any]) -> Any:
    """A small value that is valid for `schema`. Patterns are the one thing it does not honour."""
    return _minimal(schema, schema, 0)


def _minimal(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > MAXIMUM_DEPTH:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    inner = _inner(schema, root)
    if inner is not None:
        return _minimal(inner, root, depth + 1)
    return _of_type(_type(schema), schema, root, depth)


def _inner(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """The schema that this one stands for, or None if it says itself what it is."""
    if "$ref" in schema:
        return _resolved(schema["$ref"], root)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _simplest(schema[key])
    if not schema.get("allOf"):
        return None
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        _merge(merged, _resolved(part["$ref"], root) if "$ref" in part else part)
    return merged


def _of_type(name: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    match name:
        case "object":
            properties = schema.get("properties") or {}
            return {key: _minimal(properties.get(key, {}), root, depth + 1) for key in schema.get("required") or ()}
        case "array":
            count = int(schema.get("minItems") or 0)
            return [_minimal(schema.get("items", {}), root, depth + 1) for _ in range(count)]
        case "string":
            text = FORMATS.get(str(schema.get("format")), "stand-in")
            return text.ljust(int(schema.get("minLength") or 0), "x")[: schema.get("maxLength")]
        case "integer" | "number":
            return _number(schema, whole=name == "integer")
        case "boolean":
            return False
        case _:
            return None


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    step: float = schema.get("multipleOf") or 1
    low: float = schema.get("minimum", schema.get("exclusiveMinimum", min(0, schema.get("maximum", 0))))
    value = -(-low // step) * step
    if value == schema.get("exclusiveMinimum"):
        value += step
    if value == schema.get("exclusiveMaximum"):
        value -= step
    return int(value) if whole else value


def _type(schema: Mapping[str, Any]) -> str:
    """The type to make; null where that is allowed, since it is the smallest and ends any recursion."""
    given = schema.get("type")
    if isinstance(given, list):
        return "null" if "null" in given else str(given[0])
    if given is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "null"
    return str(given)


def _simplest(choices: list[Any]) -> Any:
    return next(
        (choice for choice in choices if isinstance(choice, Mapping) and choice.get("type") == "null"), choices[0]
    )


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {})
    return found


def _merge(into: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        if key == "properties":
            into[key] = {**into.get(key, {}), **value}
        elif key == "required":
            into[key] = [*into.get(key, []), *value]
        else:
            into[key] = value
