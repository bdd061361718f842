"""Swagger UI and the OpenAPI document: public, static, served from here so that no page loads a stranger's script."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Response, jsonify, send_from_directory

from api.events import SSE
from api.http import openapi
from api.repeats import HEADER
from api.streaming import NDJSON
from workspace.idempotency import MOST_CHARACTERS

docs = Blueprint("docs", __name__, url_prefix="/my")

ASSETS = Path(str(files("flask_openapi3_swagger"))) / "templates" / "swagger"
"""Swagger UI's own files, from the package that ships them."""

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Codelab Core API</title>
<link rel="stylesheet" href="/my/docs/assets/css/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/my/docs/assets/js/swagger-ui-bundle.js"></script>
<script src="/my/docs/assets/start.js"></script></body>
</html>
"""
_START = 'SwaggerUIBundle({ url: "/my/openapi.json", dom_id: "#swagger-ui" });\n'
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
)

_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "wait=30",
    "description": "`wait=N` (RFC 7240): hold the response up to N seconds, until the run has ended.",
}
_REPEAT = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS},
    "description": "The request's own name: sent again under it, it adds nothing.",
}
_LINES = {"required": True, "content": {NDJSON: {"schema": {"type": "string"}}}}
_APPLIED = {"schema": {"type": "string"}, "description": "`wait=N`: how long the response could have been held."}


@docs.get("/docs", strict_slashes=False)
def page() -> Response:
    """Show the API."""
    return Response(_PAGE, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})


@docs.get("/docs/assets/start.js")
def start() -> Response:
    """Start Swagger UI; a file of its own, because the page's policy allows no inline script."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


@docs.get("/docs/assets/<path:name>")
def asset(name: str) -> Response:
    """Serve one of Swagger UI's files."""
    return send_from_directory(ASSETS, name, max_age=86_400)


@docs.get("/openapi.json")
def document() -> Response:
    """Return the OpenAPI document, generated from the schemas that check the requests."""
    return jsonify(_document())


@cache
def _document() -> object:
    """Return the document; what spectree does not know is said here: an event stream's media types, and headers."""
    spec = openapi.spec
    for path, operations in spec["paths"].items():
        if path.rstrip("/").endswith(("/message", "/retry")):
            operations["post"]["parameters"] += [_PREFER, _REPEAT]
            for status in ("200", "202"):
                operations["post"]["responses"][status]["headers"] = {"Preference-Applied": _APPLIED}
        if path.rstrip("/").endswith("/events"):
            content = operations["get"]["responses"]["200"]["content"]
            schema = content.pop("application/json")
            content.update({NDJSON: schema, SSE: schema})
        if path.endswith("/context/"):
            operations["post"]["parameters"].append(_REPEAT)
        if path.endswith("/context/export/"):
            content = operations["get"]["responses"]["200"]["content"]
            content[NDJSON] = content.pop("application/json")
        if path.endswith("/context/import/"):
            operations["post"]["requestBody"] = _LINES
    return spec
