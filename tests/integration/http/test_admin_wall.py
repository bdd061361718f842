"""Below `/admin` is nobody but admins: refused by the path alone, before it is known whether there is such a route."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from models.tenancy import Database
from tests.conftest import MakeUser
from tests.support.answers import error, likeness
from tests.support.api import ApiClient
from tests.support.offline import build_app
from tests.support.processes import own_api
from tests.support.routes import administrative
from tests.support.rows import user_id

pytestmark = pytest.mark.stack

ROUTES = administrative(build_app())
NOWHERE = [("GET", "/admin"), ("GET", "/admin/"), ("GET", "/admin/nothing/"), ("POST", "/admin/workspaces/x/y/reset")]


def addresses() -> Iterator[tuple[str, str]]:
    """Yield every route below `/admin`, each method on it that it does not have, and addresses that are no route."""
    for route in ROUTES:
        path = route.path(**{name: str(uuid4()) for name in route.variables})
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            yield method, path
    yield from NOWHERE


ADDRESSES = sorted(set(addresses()))
ROLES = [..., "Admin", "admin ", "administrator", "user", "", ["admin"], True]


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_a_token_of_a_non_admin_is_refused_everywhere_alike(user: ApiClient, method: str, path: str) -> None:
    answer = user.request(method, path, json={})
    error(answer, 403, "forbidden")
    assert likeness(answer) == likeness(user.get("/admin/nothing-here"))


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_no_token_gets_the_one_401_everywhere(user: ApiClient, method: str, path: str) -> None:
    answer = user.http.request(method, user.url + path, json={})
    error(answer, 401, "unauthorized")
    assert likeness(answer) == likeness(user.http.get(user.url + "/my/agents/"))


@pytest.mark.parametrize("role", ROLES, ids=repr)
def test_no_other_role_is_let_through(user: ApiClient, role: object) -> None:
    error(user.with_token(role=role).get("/admin/nothing-here"), 403, "forbidden")


def test_a_bad_token_of_an_admin_is_a_401(user: ApiClient) -> None:
    expired = user.with_token(role="admin", iat=1, exp=2)
    error(expired.get("/admin/nothing-here"), 401, "unauthorized")


def test_an_admin_learns_which_addresses_are_none(user: ApiClient) -> None:
    for method, path in NOWHERE:
        error(user.as_admin().request(method, path, json={}), 404, "not_found")


def test_an_admin_is_a_user_below_my_and_sees_nobody_elses(make_user: MakeUser) -> None:
    other, admin = make_user(), make_user().as_admin()
    agent = other.make_agent()
    error(admin.get(f"agents/{agent['id']}/"), 404, "not_found")
    assert admin.get("agents/").json()["total"] == 0


@pytest.mark.parametrize("path", ["/%61dmin/nothing", "//admin/nothing", "/admin//nothing", "/admin/%2e%2e/nothing"])
def test_other_spellings_of_the_path_meet_the_same_wall(user: ApiClient, path: str) -> None:
    """Sent as they are: HTTP clients would tidy them."""
    answer = user.request("GET", "/admin", extensions={"target": path.encode()})
    error(answer, 403, "forbidden")


@pytest.fixture(scope="module")
def audited(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """One more web process with few requests a minute and a list of origins; its address and its log."""
    log = tmp_path_factory.mktemp("audited") / "api.log"
    with own_api(http, log, RATE_LIMIT="5/minute", CORS_ORIGINS='["https://app.example"]') as url:
        yield url, log


def test_every_request_with_a_token_leaves_an_audit_line(
    user: ApiClient, audited: tuple[str, Path], database: Database
) -> None:
    url, log = audited
    here = user.at(url)
    here.get("/admin/looked-for")
    here.as_admin().get("/admin/looked-for")
    here.get("agents/")
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    owner = str(user_id(database, user.subject))
    seen = [line for line in lines if line["event"] == "admin_request" and line["user"] == owner]
    assert [(line["method"], line["path"], line["status"]) for line in seen] == [
        ("GET", "/admin/looked-for", 403),
        ("GET", "/admin/looked-for", 404),
    ]


def test_a_preflight_of_a_page_elsewhere_needs_a_token_as_well(user: ApiClient, audited: tuple[str, Path]) -> None:
    url, _ = audited
    asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    for _, path in ADDRESSES:
        answer = user.http.request("OPTIONS", url + path, headers=asking)
        error(answer, 401, "unauthorized")
    assert user.http.request("OPTIONS", f"{url}/my/agents/", headers=asking).status_code == 200
