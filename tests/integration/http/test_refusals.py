"""What is asked wrongly is answered with one error body, whatever is wrong; nothing of it is ever a 500."""

import json
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.conftest import MakeUser
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.contexts import Context
from tests.support.offline import build_app
from tests.support.routes import Route, guarded

pytestmark = pytest.mark.stack

ROUTES = guarded(build_app())
MEGABYTE = 1_048_576

quick = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.fixture(scope="module")
def asker(make_user: MakeUser) -> ApiClient:
    """One user for all tests that look at refusals only."""
    return make_user()


# Addresses and methods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/my",
        "/my/",
        "/my/nothing/",
        "/my/agents/x/",
        "/my/agents/5/",
        "/my/agents/01a1fe10-8987-7355-b138-fc30b82271f/",
        "/my/agents/%00/",
        "/my/projects/x/agents/",
        "/my/agents/{id}/unknown/",
        "/my/runs/",
        "/my/chat/",
        "/my/docs/assets/nothing.js",
        "/my/docs/assets/%2e%2e/%2e%2e/app.py",
        "/My/agents/",
        "/",
        "/nothing",
        "/administrator/",
        "/Admin/",
        "/favicon.ico",
    ],
)
def test_an_unknown_address_is_a_404(asker: ApiClient, path: str) -> None:
    error(asker.get(path.replace("{id}", str(uuid4()))), 404, "not_found")


@pytest.mark.parametrize(
    "target", ["/my/docs/assets/../../agents/", "/my/docs/assets/../../../app.py", "/my/docs/../agents/"]
)
def test_dots_lead_out_of_nothing(asker: ApiClient, target: str) -> None:
    """Sent as they are: HTTP clients take them out of the path."""
    answer = asker.request("GET", "/my/docs/assets/", extensions={"target": target.encode()})
    error(answer, 404, "not_found")


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE", "TRACE", "PROPFIND", "FOO"])
def test_an_unknown_method_is_a_405_that_says_what_is_allowed(asker: ApiClient, method: str) -> None:
    answer = asker.request(method, "/my/agents/")
    error(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize("route", [each for each in ROUTES if each.view != "stream_events"], ids=str)
def test_a_trailing_slash_is_optional(asker: ApiClient, route: Route) -> None:
    path = route.path(**{name: str(uuid4()) for name in route.variables})
    answers = [asker.request(route.method, each, json={}) for each in (path, path.rstrip("/"))]
    assert answers[0].status_code == answers[1].status_code != 405
    assert _code(answers[0]) == _code(answers[1])
    assert not answers[0].is_redirect


def test_an_id_may_be_written_in_capitals(user: ApiClient) -> None:
    agent = user.make_agent()
    assert user.get(f"agents/{agent['id'].upper()}/").json() == agent


def test_head_answers_like_get_without_a_body(user: ApiClient) -> None:
    session = user.make_session()["id"]
    for path in ("agents/", "/my/projects/", f"chat/sessions/{session}/", "/health", "/my/openapi.json"):
        head, get = user.request("HEAD", path), user.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert head.headers["Content-Length"] == str(len(get.content))


# Bodies -------------------------------------------------------------------------------------------------------------

NESTED = "[" * 64 + "]" * 64
NOT_JSON: dict[str, bytes] = {
    "nothing but a brace": b"{",
    "a trailing comma": b'{"name": "a",}',
    "a comment": b'{"name": "a"} // a',
    "two documents": b'{"name": "a"}{"name": "b"}',
    "single quotes": b"{'name': 'a'}",
    "an equal key twice": b'{"name": "a", "name": "b"}',
    "an equal key twice, deep inside": b'{"name": "a", "limits": {"x": 1, "x": 2}}',
    "NaN": b'{"name": "a", "temperature": NaN}',
    "Infinity": b'{"name": "a", "temperature": Infinity}',
    "minus Infinity": b'{"name": "a", "temperature": -Infinity}',
    "a float beyond all": b'{"name": "a", "temperature": 1e999}',
    "an integer of 64 bits": b'{"name": "a", "concurrency_limit": 9223372036854775808}',
    "an integer of 5000 digits": b'{"name": "a", "concurrency_limit": ' + b"1" * 5_000 + b"}",
    "65 levels": b'{"name": ' + NESTED.encode() + b"}",
    "100,000 levels": b"[" * 100_000,
    "NUL as an escape": b'{"name": "a", "system_prompt": "a\\u0000b"}',
    "NUL in a key": b'{"name": "a", "x\\u0000y": 1}',
    "NUL as a byte": b'{"name": "a\x00"}',
    "a lone surrogate": b'{"name": "a", "system_prompt": "\\ud800"}',
    "surrogates in the wrong order": b'{"name": "a", "system_prompt": "\\udc00\\ud800"}',
    "an encoded surrogate": b'{"name": "a", "system_prompt": "\xed\xa0\x80"}',
    "Latin-1": '{"name": "a", "system_prompt": "é"}'.encode("latin-1"),
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "a"}',
    "a line break in a string": b'{"name": "a\nb"}',
    "a list": b'[{"name": "a"}]',
    "a string": b'"a"',
    "a number": b"1",
    "false": b"false",
    "null": b"null",
    "an empty list": b"[]",
    "white space": b"  ",
    "words": b"name=a",
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_object_is_a_400(asker: ApiClient, content: bytes) -> None:
    for method, path in (("POST", "agents/"), ("PUT", f"agents/{uuid4()}/"), ("POST", "chat/sessions/")):
        answer = asker.request(method, path, content=content, headers={"Content-Type": "application/json"})
        error(answer, 400, "validation_error")


@pytest.mark.parametrize(
    "content",
    [
        b'{"name": "a", "limits": ' + NESTED[:62].encode() + NESTED[-62:].encode() + b"}",
        b'{"name": "x", "y": "\\u00e9"}',
    ],
)
def test_unusual_json_reaches_the_schema(asker: ApiClient, content: bytes) -> None:
    error(
        asker.request("POST", "agents/", content=content, headers={"Content-Type": "application/json"}),
        422,
        "validation_error",
        more={"errors"},
    )


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "application/xml",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "json",
        "",
    ],
)
def test_a_body_that_is_not_sent_as_json_is_a_415(asker: ApiClient, content_type: str) -> None:
    for method, path in (("POST", "agents/"), ("PUT", f"agents/{uuid4()}/"), ("POST", "chat/sessions/")):
        answer = asker.request(method, path, content=b'{"name": "a"}', headers={"Content-Type": content_type})
        error(answer, 415, "validation_error")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
def test_json_may_be_named_in_several_ways(user: ApiClient, content_type: str) -> None:
    answer = user.request("POST", "agents/", content=b'{"name": "a"}', headers={"Content-Type": content_type})
    assert answer.status_code == 201


def _code(answer: httpx.Response) -> str | None:
    """Return the code of an error, none for a success, which may have no body."""
    return None if answer.is_success else str(answer.json()["error_code"])


def _padded(size: int) -> bytes:
    head, tail = b'{"name": "a", "unknown": "', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_over_one_megabyte_is_a_413(asker: ApiClient, is_chunked: bool) -> None:
    def send(size: int) -> httpx.Response:
        body = _padded(size)
        content: Any = (body[start : start + 50_000] for start in range(0, size, 50_000)) if is_chunked else body
        return asker.request("POST", "agents/", content=content, headers={"Content-Type": "application/json"})

    error(send(MEGABYTE), 422, "validation_error", more={"errors"})
    error(send(MEGABYTE + 1), 413, "payload_too_large")
    # Not cut, which would be a complete body here: the part up to the cap is a JSON object by itself.
    error(_chunks(asker, b'{"name": "cut"}' + b" " * (MEGABYTE - 15), b'"more"'), 413, "payload_too_large")
    assert "cut" not in asker.get("agents/").text


def _chunks(asker: ApiClient, *chunks: bytes) -> httpx.Response:
    return asker.request("POST", "agents/", content=iter(chunks), headers={"Content-Type": "application/json"})


def test_a_body_that_nobody_reads_does_no_harm(asker: ApiClient) -> None:
    for method in ("GET", "DELETE"):
        answer = asker.request(method, f"agents/{uuid4()}/", content=b"{")
        error(answer, 404, "not_found")


# Anything at all ----------------------------------------------------------------------------------------------------

names = st.sampled_from(
    ["name", "description", "title", "content", "target_agent", "system_prompt", "tools", "limits", "temperature", "x"]
)
text = st.text(max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(names, values, max_size=6)
REFUSALS = {400, 404, 409, 413, 415, 422}


@quick
@given(body=bodies)
@example(body={"name": "a", "description": "\x7f\x1b"})
def test_no_body_of_json_brings_a_500(asker: ApiClient, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode(errors="surrogatepass")
    session = str(uuid4())
    for path in ("/my/projects/", "agents/", "chat/sessions/", f"chat/{session}/message/"):
        answer = asker.request("POST", path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in REFUSALS | {201, 202}, answer.text


@quick
@given(content=st.binary(max_size=60), content_type=st.sampled_from(["application/json", "text/plain", "a/b; c=d"]))
def test_no_bytes_bring_a_500(asker: ApiClient, content: bytes, content_type: str) -> None:
    answer = asker.request("POST", "agents/", content=content, headers={"Content-Type": content_type})
    assert answer.status_code in REFUSALS | {201}, answer.text


@quick
@given(
    query=st.dictionaries(
        st.sampled_from(["limit", "offset", "cursor", "sort", "status", "role", "x"]) | text,
        text | st.integers().map(str) | st.uuids().map(str),
        max_size=4,
    )
)
def test_no_query_brings_a_500(asker: ApiClient, query: dict[str, str]) -> None:
    session = str(uuid4())
    for path in ("/my/projects/", "agents/", "chat/sessions/", f"chat/{session}/messages/", f"chat/{session}/runs/"):
        assert asker.get(path, **query).status_code in {200, 404, 422}


@quick
@given(path=st.text(string.printable + "é\u202e", max_size=40))
@example(path="\x00")
@example(path="agents/../agents")
@example(path="/agents/")
def test_no_path_brings_a_500(asker: ApiClient, path: str) -> None:
    for start in ("/my/", "/my/projects/", "/my/docs/assets/", "/"):
        # Some of it happens to be an address: that is an answer, too.
        answer = asker.request("GET", start + quote(path))
        assert answer.status_code in {200, 308, 404}, answer.text


@pytest.mark.parametrize("header", ["Last-Event-ID", "Accept", "X-Request-ID", "Origin", "Content-Encoding", "Range"])
@pytest.mark.parametrize("value", [b"\xff\xfe", b"x" * 8_000, b"%00", b"'\"<>", b"0" * 100, b""])
def test_no_header_brings_a_500(asker: ApiClient, header: str, value: bytes) -> None:
    answer = asker.http.get(
        f"{asker.url}/my/chat/{uuid4()}/events/",
        headers=[
            *((name.encode(), each.encode()) for name, each in asker.authorization.items()),
            (header.encode(), value),
        ],
    )
    assert answer.status_code in {400, 404, 422}, answer.text


# Anything at all, of a memory ---------------------------------------------------------------------------------------

MEMORY_POSTS = ("", "search/", "prune/", "import/")
moments = st.datetimes().map(str) | st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1e300"])
oddities = (
    values | moments | st.uuids().map(str) | st.sampled_from(["note", "tool", "", "\x00", "ffffffff-ffff-7fff-bfff"])
)
memory_fields = st.sampled_from(
    [
        *("text", "query", "interaction_type", "success", "since", "until", "session_id", "run_id", "created_at"),
        *("min_score", "limit", "cursor", "older_than", "keep", "dry_run", "id", "embedding", "items"),
    ]
)
memory_bodies = st.dictionaries(memory_fields, oddities, max_size=5)


@pytest.fixture(scope="module")
def remembering(make_user: MakeUser) -> Iterator[Context]:
    """An agent that remembers something whatever is asked of it."""
    context = Context.of_new_agent(make_user())
    context.add("something")
    yield context
    assert context.client.get(context.path()).status_code == 200


@hypothesis_settings(quick, max_examples=20)
@given(body=memory_bodies | memory_bodies.map(lambda item: {"items": [item]}))
@example(body={"text": "x", "embedding": {"model": "stand-in-embedding", "dimensions": 384, "vector": "AA=="}})
@example(body={"text": "x", "embedding": {"model": "stand-in-embedding", "dimensions": 384, "vector": "!" * 2_048}})
@example(
    body={"text": "x", "embedding": {"model": "stand-in-embedding", "dimensions": 384, "vector": "//9/fw==" * 256}}
)
@example(body={"text": "x", "embedding": {"model": "\x7f", "dimensions": 65_536, "vector": ""}})
@example(body={"query": "\U0001f600" * 8_000, "limit": 100})
@example(body={"query": "x", "min_score": 5e-324})
@example(body={"keep": 0, "older_than": "9999-12-31T23:59:59.999999Z"})
def test_no_body_brings_a_memory_to_a_500(remembering: Context, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode(errors="surrogatepass")
    for rest in MEMORY_POSTS:
        kind = "application/x-ndjson" if rest == "import/" else "application/json"
        answer = remembering.client.request(
            "POST", remembering.path(rest), content=content, headers={"Content-Type": kind}
        )
        assert answer.status_code in REFUSALS | {200, 201}, answer.text


@hypothesis_settings(quick, max_examples=20)
@given(content=st.binary(max_size=200) | st.text(st.sampled_from('{}[]",:tex\\u0d8\n\r ')).map(str.encode))
@example(content=b'{"text": "x"}\x00\n')
def test_no_lines_bring_a_memory_to_a_500(remembering: Context, content: bytes) -> None:
    assert remembering.send_lines(content).status_code in {200, 422}


LONG_LINES: dict[str, bytes] = {
    "empty": b"\n" * 100_000,
    "many": b'{"text": "x"}\n' * 300,
    "deep": b"[" * 2_000_000,
    "a long number": b'{"text": ' + b"1" * 900_000 + b"}",
}


@pytest.mark.parametrize("content", LONG_LINES.values(), ids=LONG_LINES)
def test_no_long_lines_bring_a_memory_to_a_500(remembering: Context, content: bytes) -> None:
    assert remembering.send_lines(content).status_code in {200, 422}


@hypothesis_settings(quick, max_examples=20)
@given(query=st.dictionaries(memory_fields | text, oddities.map(str), max_size=4), id_=st.uuids().map(str) | text)
@example(query={}, id_="ffffffff-ffff-7fff-bfff-ffffffffffff")
@example(query={"cursor": "ffffffff-ffff-7fff-bfff-ffffffffffff"}, id_="0" * 36)
@example(query={"cursor": "00000000-0000-7000-8000-000000000000"}, id_="00000000-0000-7000-8000-000000000000")
@example(query={"since": "inf"}, id_="x")
@example(query={"until": "-1e400"}, id_="x")
@example(query={"since": "99999999999999999999"}, id_="x")
def test_no_query_and_no_id_brings_a_memory_to_a_500(remembering: Context, query: dict[str, str], id_: str) -> None:
    one = f"{quote(id_, safe='')}/"
    for method, rest in [("GET", ""), ("GET", "stats/"), ("GET", "export/"), ("DELETE", one), ("DELETE", "")]:
        answer = remembering.client.request(method, remembering.path(rest), params=query)
        assert answer.status_code in {200, 204, 308, 404, 405, 422}, answer.text


# What every answer carries ------------------------------------------------------------------------------------------

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/my/agents/", 200),
        ("POST", "/my/agents/", 422),
        ("PATCH", "/my/agents/", 405),
        ("GET", "/my/nothing", 404),
        ("GET", "/health", 200),
        ("GET", "/metrics", 200),
        ("OPTIONS", "/my/agents/", 200),
    ],
)
def test_every_answer_carries_the_security_headers_once(asker: ApiClient, method: str, path: str, status: int) -> None:
    answer = asker.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == status
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers.get_list(name) == [value]
    assert "max-age=" in answer.headers["Strict-Transport-Security"]
    assert "access-control-allow-origin" not in answer.headers


def test_a_request_id_is_taken_over_or_made(asker: ApiClient) -> None:
    def answered(given: str | None) -> str:
        headers = {} if given is None else {"X-Request-ID": given.encode("latin-1")}
        answer = asker.request("GET", "/my/nothing", headers=headers)
        return str(error(answer, 404, "not_found")["request_id"])

    for good in ("a", "x" * 64, "01a1fe10-8987-7355-b138-fc30b82271f8", "A.b_c-1"):
        assert answered(good) == good
    for bad in (None, "", "x" * 65, "a b", "a\tb", "<x>", "é", '"'):
        made = answered(bad)
        assert made not in {bad, ""}
        assert len(made) == 32
    assert answered(None) != answered(None)
