"""The options: their rules, and that the documents tell of each of them with its default."""

import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from settings import (
    DEVELOPMENT_SECRET,
    MIN_SECRET_BYTES,
    Settings,
    bind_address,
    database_url_from_environment,
    load_settings,
)

ROOT = Path(__file__).resolve().parent.parent.parent
REQUIRED = {"database_url": "postgresql://me:secret@db:5432/core", "redis_url": "redis://:secret@cache:6379/0"}
GOOD_SECRET = "x" * MIN_SECRET_BYTES

BESIDE_SETTINGS = {"BIND": "127.0.0.1:8000", "FLOWER_BASIC_AUTH": "required"}
"""What docs/configuration.md tells of that one program reads by itself."""


@pytest.fixture(autouse=True)
def _no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every option out of the environment: the stack of a test run sets some."""
    options = {name.upper() for name in Settings.model_fields} | set(BESIDE_SETTINGS)
    for name in options & set(os.environ):
        monkeypatch.delenv(name)


def settings(**changes: Any) -> Settings:
    return Settings(**{**REQUIRED, "jwt_secret": GOOD_SECRET, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        settings(**changes)
    return str(caught.value)


# -- the documents --------------------------------------------------------------------------------------------------


def as_written(value: Any) -> str:
    """Return a default as a person would write it into the environment; no value and an empty one are the same."""
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case dict() | tuple():
            return json.dumps(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def defaults() -> dict[str, str | None]:
    """Return the default of every option as text, `None` for those that have none."""
    return {
        name.upper(): None if field.is_required() else as_written(field.get_default(call_default_factory=True))
        for name, field in Settings.model_fields.items()
    }


def documented() -> dict[str, str]:
    """Return what the tables of docs/configuration.md tell: each option with its default."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| \S.*\|$", text, re.MULTILINE)
    names = [name for name, _ in rows]
    assert len(set(names)) == len(names), "an option has two rows"
    return {name: default.strip("`") for name, default in rows}


def exemplified() -> dict[str, str]:
    """Return what .env.example tells, whose lines are all commented out."""
    found: dict[str, str] = {}
    for line in (ROOT / ".env.example").read_text().splitlines():
        assert not line or line.startswith("#"), f"a line that is no comment: {line}"
        assignment = re.fullmatch(r"# ([A-Z_]+)=(.*)", line)
        if assignment:
            assert assignment[1] not in found, f"{assignment[1]} has two lines"
            found[assignment[1]] = assignment[2]
    return found


def test_the_configuration_page_has_each_option_with_its_default() -> None:
    expected = {name: {None: "required", "": "empty"}.get(value, value) for name, value in defaults().items()}

    assert documented() == expected | BESIDE_SETTINGS


def test_the_example_file_has_each_option_with_its_default() -> None:
    with_default = {name: value for name, value in defaults().items() if value is not None}

    found = exemplified()

    assert {name: found.get(name) for name in with_default} == with_default
    assert found["BIND"] == BESIDE_SETTINGS["BIND"]


def test_the_example_file_has_nothing_else_but_the_secrets_of_the_compose_file() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    required_there = set(re.findall(r"\$\{([A-Z_]+):\?", compose))

    assert set(exemplified()) == set(defaults()) | {"BIND"} | required_there


def test_the_lines_of_the_example_file_mean_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in exemplified().items():
        if value and name not in {"DATABASE_URL", "REDIS_URL", "ENVIRONMENT"}:
            monkeypatch.setenv(name, value)

    assert settings() == Settings(**REQUIRED, jwt_secret=SecretStr(GOOD_SECRET))


# -- what is required -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_option_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for key, value in (REQUIRED | {"jwt_secret": GOOD_SECRET}).items():
        monkeypatch.setenv(key.upper(), value)
    monkeypatch.delenv(name.upper())

    with pytest.raises(ValidationError, match=rf"{name}\n +Field required"):
        load_settings()


def test_options_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (REQUIRED | {"jwt_secret": GOOD_SECRET}).items():
        monkeypatch.setenv(key.upper(), value)
    monkeypatch.setenv("AGENT_QUEUE_LIMIT", "7")
    monkeypatch.setenv("CORS_ORIGINS", '["https://app.example.com"]')
    monkeypatch.setenv("MODEL_PRICES", '{"small": {"input": 0.4, "output": "1.6"}}')

    loaded = load_settings()

    assert loaded.agent_queue_limit == 7
    assert loaded.cors_origins == ("https://app.example.com",)
    assert str(loaded.model_prices["small"].output) == "1.6"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_pool_size", 0),
        ("redis_timeout", 0),
        ("jwt_leeway", 61),
        ("max_body_bytes", 0),
        ("model_max_attempts", 0),
        ("agent_queue_limit", 0),
        ("agent_check_interval", 0),
        ("approval_timeout_medium", 0),
        ("approval_timeout_high", 0),
        ("approval_warning", -1),
        ("approval_asks", 0),
        ("client_tool_timeout", 0),
        ("run_token_budget", 0),
        ("run_cost_budget", 0),
        ("max_turns", 0),
        ("planning_timeout", 0),
        ("plan_cache_ttl", 0),
        ("embedding_dimensions", 0),
        ("embedding_dimensions", 4_097),
        ("embedding_batch", 0),
        ("memory_top_k", 0),
        ("memory_min_score", 1.1),
        ("memory_max_vectors", 99),
        ("memory_search_timeout", 0),
        ("max_streams_per_user", 999),
        ("node_metrics_port", 65_536),
        ("command_timeout_limit", 301),
        ("command_processes", 3),
        ("command_memory_limit", 1_000_000),
        ("sandbox_uid", 0),
        ("sandbox_gid", 0),
        ("environment", "staging"),
        ("jwt_algorithm", "none"),
        ("model_prices", {"small": {"input": -1, "output": 0}}),
    ],
)
def test_a_value_out_of_its_range_is_refused(name: str, value: object) -> None:
    assert name in refusal(**{name: value})


def test_what_a_run_may_cost_is_exact_and_has_no_limit_unless_one_is_set() -> None:
    assert settings().run_cost_budget is None
    assert settings(run_cost_budget="0.1").run_cost_budget == Decimal("0.1")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().log_level = "DEBUG"


# -- keys -------------------------------------------------------------------------------------------------------------


def test_production_is_the_default() -> None:
    assert settings().environment == "production"


@pytest.mark.parametrize("environment", ["production", "development"])
@pytest.mark.parametrize("secret", ["", "x" * (MIN_SECRET_BYTES - 1)])
def test_a_short_secret_is_refused_everywhere(environment: str, secret: str) -> None:
    assert "JWT_SECRET needs at least 32 bytes" in refusal(environment=environment, jwt_secret=secret)


def test_the_length_of_a_secret_counts_in_bytes() -> None:
    assert settings(jwt_secret="ä" * 16).jwt_secret


def test_the_development_secret_is_refused_but_in_development() -> None:
    assert "JWT_SECRET is the development secret" in refusal(jwt_secret=DEVELOPMENT_SECRET)
    assert settings(environment="development", jwt_secret=DEVELOPMENT_SECRET).jwt_secret


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_signature_by_key_pair_needs_exactly_one_source_of_keys(algorithm: str) -> None:
    chosen = {"jwt_algorithm": algorithm, "jwt_secret": ""}
    pem, jwks = {"jwt_public_key_file": "key.pem"}, {"jwt_jwks_file": "keys.json"}

    assert settings(**chosen, **pem).jwt_public_key_file == Path("key.pem")
    assert settings(**chosen, **jwks).jwt_jwks_file == Path("keys.json")
    assert "needs one of JWT_PUBLIC_KEY_FILE and JWT_JWKS_FILE" in refusal(**chosen)
    assert "needs one of JWT_PUBLIC_KEY_FILE and JWT_JWKS_FILE" in refusal(**chosen, **pem, **jwks)


def test_secrets_are_not_shown() -> None:
    shown = repr(settings(openai_api_key="sk-of-somebody"))

    assert GOOD_SECRET not in shown
    assert "sk-of-somebody" not in shown


# -- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_spelling_of_a_postgres_url_gets_the_driver(scheme: str) -> None:
    made = settings(database_url=f"{scheme}://me:p%40ss@db/core?sslmode=require")

    assert made.database_url == "postgresql+psycopg2://me:p%40ss@db/core?sslmode=require"


@pytest.mark.parametrize("url", ["", "db/core", "mysql://db/core", "sqlite:///core.db", "postgresql+asyncpg://db/core"])
def test_any_other_database_url_is_refused(url: str) -> None:
    assert "must be a postgresql:// URL" in refusal(database_url=url)


def test_broker_result_backend_and_cache_are_databases_of_their_own_on_the_same_redis() -> None:
    made = settings(redis_url="rediss://user:p%40ss@cache:6380/5?ssl_cert_reqs=none")

    assert made.broker == "rediss://user:p%40ss@cache:6380/1?ssl_cert_reqs=none"
    assert made.result_backend == "rediss://user:p%40ss@cache:6380/2?ssl_cert_reqs=none"
    assert made.cache == "rediss://user:p%40ss@cache:6380/3?ssl_cert_reqs=none"


def test_a_redis_url_without_a_database_works_as_well() -> None:
    assert settings(redis_url="redis://cache:6379").broker == "redis://cache:6379/1"


def test_a_url_that_is_given_wins() -> None:
    made = settings(broker_url="amqp://mq//", result_backend_url="redis://b/0", cache_url="redis://c/0")

    assert (made.broker, made.result_backend, made.cache) == ("amqp://mq//", "redis://b/0", "redis://c/0")


def test_a_migration_needs_the_database_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://db/core")

    assert database_url_from_environment() == "postgresql+psycopg2://db/core"


def test_the_web_process_listens_where_bind_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bind_address() == BESIDE_SETTINGS["BIND"]

    monkeypatch.setenv("BIND", "0.0.0.0:80")

    assert bind_address() == "0.0.0.0:80"


# -- the node's claim -------------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_twice_in_its_life_at_least() -> None:
    assert settings(node_lease_ttl=10, node_lease_fence=9.9, node_lease_renewal=4.9).node_lease_renewal == 4.9
    assert "NODE_LEASE_RENEWAL must be less than half" in refusal(node_lease_ttl=10, node_lease_renewal=5)


def test_a_node_tries_twice_before_it_stops_its_work_and_stops_it_before_another_can_begin() -> None:
    lease = {"node_lease_ttl": 10, "node_lease_renewal": 3}
    assert settings(**lease, node_lease_fence=6.1).node_lease_fence == 6.1
    assert settings(**lease, node_lease_fence=9.9).node_lease_fence == 9.9
    for fence in (3, 6, 10, 11):
        assert "NODE_LEASE_FENCE must lie between" in refusal(**lease, node_lease_fence=fence)
