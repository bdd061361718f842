"""Who has no good token gets one and the same 401 at every address below `/my`; three pages are public."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from sqlalchemy import select

from api.isolation import PUBLIC, PUBLIC_ASSETS
from models import User
from models.tenancy import Database
from tests.support.answers import error, likeness
from tests.support.api import ApiClient
from tests.support.offline import build_app
from tests.support.routes import Route, administrative, guarded, routes
from tests.support.stack import Stack
from tests.support.tokens import claims, mint

pytestmark = pytest.mark.stack

APP = build_app()
GUARDED = guarded(APP)

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(http: httpx.Client, stack: Stack) -> Ask:
    """Send a request with these headers and nobody's token."""

    def send(path: str, *headers: tuple[str, str], method: str = "GET", **options: Any) -> httpx.Response:
        return http.request(method, stack.api_url + path, headers=list(headers), **options)

    return send


def test_what_is_public_below_my_is_this_and_no_more() -> None:
    public = {route.rule for route in routes(APP) if route.rule.startswith("/my")} - {each.rule for each in GUARDED}
    assert public == {"/my/docs", "/my/openapi.json", "/my/docs/assets/<path:name>", "/my/docs/assets/start.js"}
    assert frozenset({"/my/docs", "/my/docs/", "/my/openapi.json"}) == PUBLIC
    assert PUBLIC_ASSETS == "/my/docs/assets/"


def test_beside_my_and_admin_there_are_the_operators_pages_only() -> None:
    walled = (*guarded(APP), *administrative(APP))
    assert {str(route) for route in routes(APP) if not route.rule.startswith("/my") and route not in walled} == {
        "GET /health",
        "GET /ready",
        "GET /metrics",
    }


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_no_route_below_my_answers_without_a_token(ask: Ask, route: Route) -> None:
    ids = {name: str(uuid4()) for name in route.variables}
    expected = likeness(ask("/my/nothing-here"))
    assert expected[0] == 401
    for path in (route.path(**ids), route.path(**ids).rstrip("/")):
        answer = ask(path, method=route.method, json={})
        error(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert likeness(answer) == expected


@pytest.mark.parametrize(
    "path", ["/my", "/my/", "/my/nothing", "/my/docsx", "/my/docs/x", "/my/openapi.json/", "/my/%61gents/"]
)
def test_what_is_not_known_to_be_public_is_guarded(ask: Ask, path: str) -> None:
    error(ask(path), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/my/docs", "/my/docs/", "/my/openapi.json"])
def test_public_pages_need_no_token_and_do_not_look_at_one(ask: Ask, path: str) -> None:
    assert ask(path).status_code == 200
    assert ask(path, ("Authorization", "Bearer nonsense")).status_code == 200


def bad_headers(secret: str) -> dict[str, list[tuple[str, str]]]:
    now = int(time.time())
    good = mint(secret, "test|good")
    head, body, signature = good.split(".")

    def bearer(token: str) -> list[tuple[str, str]]:
        return [("Authorization", f"Bearer {token}")]

    def minted(**changes: Any) -> list[tuple[str, str]]:
        return bearer(mint(secret, "test|bad", **changes))

    return {
        "an empty header": [("Authorization", "")],
        "the scheme alone": [("Authorization", "Bearer")],
        "the token alone": [("Authorization", good)],
        "another scheme": [("Authorization", "Basic dXNlcjpwYXNz")],
        "no token at all": bearer("nonsense"),
        "something behind the token": bearer(f"{good} x"),
        "two tokens": bearer(f"{good}, Bearer {good}"),
        "two headers": [*bearer(good), *bearer(good)],
        "a cookie": [("Cookie", f"access_token_cookie={good}")],
        "a header of its own": [("X-Access-Token", good)],
        "no signature": bearer(f"{head}.{body}."),
        "another body": bearer(f"{head}.{body[:-2]}AA.{signature}"),
        "another secret": bearer(mint("x" * 40, "test|bad")),
        "the algorithm none": bearer(jwt.encode(claims("test|bad"), None, algorithm="none")),
        "another algorithm": bearer(jwt.encode(claims("test|bad"), secret * 2, algorithm="HS512")),
        "expired": minted(exp=now - 60, iat=now - 120),
        "not yet valid": minted(nbf=now + 600),
        "without an end": minted(exp=...),
        "without a beginning": minted(iat=...),
        "valid for years": minted(exp=now + 10**8),
        "an end that is no number": bearer(jwt.encode(claims("x") | {"exp": "tomorrow"}, secret)),
        "an end beyond time": minted(exp=10**18),
        "without a subject": minted(sub=...),
        "an empty subject": minted(sub=""),
        "a subject with a space": minted(sub="a b"),
        "a subject with a line break": minted(sub="a\n"),
        "a subject with a slash": minted(sub="../x"),
        "a subject that is too long": minted(sub="x" * 129),
        "a refresh token": minted(type="refresh"),
        "a critical extension": bearer(jwt.encode(claims("x"), secret, headers={"crit": ["b64"], "b64": False})),
        "a very long header": bearer("x" * 8_000),
    }


@pytest.mark.parametrize("name", bad_headers("s" * 40))
def test_every_bad_token_gets_the_same_401(ask: Ask, stack: Stack, name: str) -> None:
    expected = likeness(ask("/my/agents/"))
    answer = ask("/my/agents/", *bad_headers(stack.jwt_secret)[name])
    error(answer, 401, "unauthorized")
    assert likeness(answer) == expected


def test_a_token_in_the_query_is_not_looked_at(ask: Ask, stack: Stack) -> None:
    token = mint(stack.jwt_secret, "test|good")
    for name in ("jwt", "token", "access_token"):
        error(ask(f"/my/agents/?{name}={token}"), 401, "unauthorized")


def test_a_good_token_works_until_it_expires(user: ApiClient) -> None:
    now = int(time.time())
    # The deployment's leeway of 10 s: expired for its issuer, but not for a clock that is late.
    late = user.with_token(iat=now - 60, exp=now - 2)
    assert late.get("agents/").status_code == 200
    error(user.with_token(iat=now - 60, exp=now - 15).get("agents/"), 401, "unauthorized")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_scheme_is_read_as_http_reads_it(ask: Ask, user: ApiClient, scheme: str) -> None:
    assert ask("/my/agents/", ("Authorization", f"{scheme} {user.token}")).status_code == 200


def test_a_bad_token_stores_nothing(ask: Ask, stack: Stack, database: Database) -> None:
    subject = f"test|{uuid4().hex}"
    error(ask("/my/agents/", ("Authorization", f"Bearer {mint('x' * 40, subject)}")), 401, "unauthorized")
    with database.user_directory() as session:
        assert session.scalar(select(User.id).where(User.subject == subject)) is None


def test_browsers_of_a_listed_origin_may_ask_and_others_may_not(user: ApiClient, tuned_url: str) -> None:
    """A preflight carries no token: it is answered before anybody is asked for one."""

    def preflight(origin: str, url: str) -> httpx.Response:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        return user.http.options(f"{url}/my/agents/", headers=headers)

    allowed = preflight("https://app.example", tuned_url)
    assert allowed.status_code in {200, 204}
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "authorization" in allowed.headers["Access-Control-Allow-Headers"].lower()
    assert "access-control-allow-origin" not in preflight("https://evil.example", tuned_url).headers
    assert "access-control-allow-origin" not in preflight("https://app.example", user.url).headers
    answer = user.at(tuned_url).request("GET", "agents/", headers={"Origin": "https://app.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in answer.headers
