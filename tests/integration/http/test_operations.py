"""Pages for operators and for readers of the API: health, readiness, metrics, documents."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.api import ApiClient
from tests.support.offline import build_app
from tests.support.routes import administrative, guarded
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

APP = build_app()


def _get(http: httpx.Client, stack: Stack, path: str) -> httpx.Response:
    return http.get(stack.api_url + path)


def test_health_and_readiness_are_told(http: httpx.Client, stack: Stack) -> None:
    assert _get(http, stack, "/health").json() == {"status": "ok"}
    ready = _get(http, stack, "/ready")
    assert ready.status_code == 200
    body = ready.json()
    workspaces = body.pop("workspaces")
    assert body == {"status": "ready", "checks": {"database": "ok", "redis": "ok"}}
    assert set(workspaces) == {"nodes", "hosted", "not_hosted"}


def _metrics(http: httpx.Client, url: str) -> dict[str, float]:
    """Read the samples as Prometheus does."""
    samples = {}
    for line in http.get(f"{url}/metrics").text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples


def test_metrics_are_prometheus_text_and_name_no_tenant(http: httpx.Client, user: ApiClient) -> None:
    agent = user.make_agent("a-name-to-look-for")
    user.get(f"agents/{agent['id']}/")
    user.get("/my/unknown-address-to-look-for")
    answer = http.get(f"{user.url}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    for private in (agent["id"], "a-name-to-look-for", "unknown-address-to-look-for", user.subject):
        assert private not in answer.text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", answer.text)


def test_metrics_count_requests_and_tokens(http: httpx.Client, user: ApiClient) -> None:
    before = _metrics(http, user.url)
    for _ in range(3):
        user.get("agents/")
    http.get(f"{user.url}/my/agents/")
    after = _metrics(http, user.url)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('codelab_http_request_seconds_count{endpoint="/my/agents/",status="200"}') >= 3
    assert grown('codelab_authentications_total{result="accepted"}') >= 3
    assert grown('codelab_authentications_total{result="refused"}') >= 1


def test_the_documentation_loads_nothing_from_strangers(http: httpx.Client, stack: Stack) -> None:
    page = _get(http, stack, "/my/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) >= 3
    for asset in assets:
        answer = _get(http, stack, asset)
        assert answer.status_code == 200, asset
        assert answer.content
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "/my/openapi.json" in _get(http, stack, "/my/docs/assets/start.js").text


# The OpenAPI document -----------------------------------------------------------------------------------------------

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def document(http: httpx.Client, stack: Stack) -> dict[str, Any]:
    answer = _get(http, stack, "/my/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


WITHOUT_A_BODY = ("/cancel/", "/reset/", "/retry/")
"""How the paths end of what is asked for by its address alone."""


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_the_document_lists_every_guarded_route_and_no_other(document: dict[str, Any]) -> None:
    listed = {(method.upper(), path) for method, path, _ in operations(document)}
    assert listed == {(route.method, route.path()) for route in (*guarded(APP), *administrative(APP))}


def test_the_document_has_the_parts_that_openapi_3_asks_for(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.[01]\.\d+", document["openapi"])
    assert set(document) <= {"openapi", "info", "servers", "paths", "components", "security", "tags", "externalDocs"}
    assert document["info"]["title"]
    assert document["info"]["version"]
    names = [tag["name"] for tag in document["tags"]]
    assert len(set(names)) == len(names)
    for path, item in document["paths"].items():
        assert path.startswith("/")
        assert set(item) <= METHODS | {"parameters", "summary", "description", "servers", "$ref"}
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for _, _, operation in operations(document):
        assert set(operation["tags"]) <= set(names)


def test_every_operation_has_its_parameters_bodies_and_answers(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        parameters = operation.get("parameters", [])
        assert len({(each["in"], each["name"]) for each in parameters}) == len(parameters), where
        for each in parameters:
            assert each["in"] in {"path", "query", "header", "cookie"}, where
            assert ("schema" in each) != ("content" in each), where
        in_path = {each["name"]: each for each in parameters if each["in"] == "path"}
        assert set(in_path) == set(re.findall(r"{(\w+)}", path)), where
        assert all(each["required"] is True for each in in_path.values()), where
        assert ("requestBody" in operation) == (method in {"post", "put"} and not path.endswith(WITHOUT_A_BODY)), where
        if "requestBody" in operation:
            kind = "application/x-ndjson" if path.endswith("/import/") else "application/json"
            assert kind in operation["requestBody"]["content"], where
        assert {"401", "404"} <= set(operation["responses"]), where
        assert any(status.startswith("2") for status in operation["responses"]), where
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5](\d\d|XX)|default", status), where
            assert "$ref" in response or response["description"], where


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(_references(document))
    assert references
    for reference in references:
        assert reference.startswith("#/")
        target: Any = document
        for step in reference[2:].split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
    for kind, parts in document["components"].items():
        for name in parts:
            assert re.fullmatch(r"[a-zA-Z0-9._-]+", name), (kind, name)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


def test_the_document_says_that_a_bearer_token_is_needed(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    (name,) = (name for name, scheme in schemes.items() if (scheme["type"], scheme.get("scheme")) == ("http", "bearer"))
    for method, path, operation in operations(document):
        assert {name: []} in operation.get("security", document.get("security", [])), (method, path)


def test_the_document_says_what_an_export_an_import_and_a_key_are(document: dict[str, Any]) -> None:
    of_memory = {
        (method, path.partition("/context/")[2]): each
        for method, path, each in operations(document)
        if "/context/" in path
    }
    assert set(of_memory["get", "export/"]["responses"]["200"]["content"]) == {"application/x-ndjson"}
    assert set(of_memory["post", "import/"]["requestBody"]["content"]) == {"application/x-ndjson"}
    named = {(each["in"], each["name"]) for each in of_memory["post", ""]["parameters"]}
    assert ("header", "Idempotency-Key") in named


def test_the_document_says_which_headers_what_begins_a_run_takes(document: dict[str, Any]) -> None:
    begins = [each for _, path, each in operations(document) if path.endswith(("/message/", "/retry/"))]
    assert len(begins) == 4  # each of the two in the default project and in a named one
    for operation in begins:
        named = {each["name"] for each in operation["parameters"] if each["in"] == "header"}
        assert named == {"Prefer", "Idempotency-Key"}
        assert all("Preference-Applied" in operation["responses"][status]["headers"] for status in ("200", "202"))


def test_the_document_says_what_an_event_stream_is(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        if path.endswith("/events/"):
            assert {"application/x-ndjson", "text/event-stream"} <= set(operation["responses"]["200"]["content"]), path


def test_the_document_is_static(http: httpx.Client, stack: Stack, user: ApiClient) -> None:
    assert _get(http, stack, "/my/openapi.json").text == user.get("/my/openapi.json").text
