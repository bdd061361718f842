"""The environment of the stack's programs, and the file that tells scripts about it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from devstack import envfile
from devstack.directory import StackDirectory
from devstack.environment import Addresses, External, Secrets, Signing, check_options, for_programs, without_options
from devstack.errors import StackError

HELD = Secrets(jwt="j" * 43, postgres="p", redis="r", flower="f")


def addresses(external: External | None = None) -> Addresses:
    return Addresses(
        "postgresql://d", "redis://r", "http://m/v1", "http://127.0.0.1:1", "http://f", external or External()
    )


def test_the_programs_find_every_service() -> None:
    made = for_programs({}, addresses(), HELD)
    assert made["DATABASE_URL"] == "postgresql://d"
    assert made["REDIS_URL"] == "redis://r"
    assert made["OPENAI_BASE_URL"] == "http://m/v1"
    assert made["BIND"] == "127.0.0.1:1"
    assert made["JWT_SECRET"] == HELD.jwt
    assert made["ENVIRONMENT"] == "development"


def test_the_stand_in_has_a_price_and_is_the_default_model() -> None:
    made = for_programs({}, addresses(), HELD)
    assert made["DEFAULT_MODEL"] == "stand-in"
    assert set(json.loads(made["MODEL_PRICES"])) == {"stand-in"}
    assert (made["EMBEDDING_MODEL"], made["EMBEDDING_DIMENSIONS"]) == ("stand-in-embedding", "384")


def test_a_model_of_ones_own_is_left_alone() -> None:
    external = External(model_url="http://127.0.0.1:11434/v1")
    made = for_programs({"DEFAULT_MODEL": "llama"}, addresses(external), HELD)
    assert made["DEFAULT_MODEL"] == "llama"
    assert "MODEL_PRICES" not in made
    assert "EMBEDDING_MODEL" not in made
    assert made["OPENAI_API_KEY"] == "none"


def test_options_of_the_users_environment_win_over_development_defaults() -> None:
    made = for_programs({"RATE_LIMIT": "5/minute", "NODE_SLOTS": "3"}, addresses(), HELD)
    assert made["RATE_LIMIT"] == "5/minute"
    assert made["NODE_SLOTS"] == "3"


def test_no_proxy_stands_between_the_programs() -> None:
    made = for_programs({"NO_PROXY": "example.org"}, addresses(), HELD)
    assert made["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    assert made["no_proxy"] == "127.0.0.1,localhost"


@pytest.mark.parametrize(
    ("environment", "model_url"),
    [
        ({}, ""),
        ({"OPENAI_BASE_URL": "http://x/v1"}, "http://x/v1"),
        ({"OPENAI_API_KEY": "sk"}, "https://api.openai.com/v1"),
        ({"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": "http://x/v1"}, "http://x/v1"),
        ({"OPENAI_API_KEY": ""}, ""),
    ],
)
def test_the_model_is_external_if_the_environment_names_one(environment: dict[str, str], model_url: str) -> None:
    assert External.of(environment).model_url == model_url


def test_a_test_run_depends_on_no_option_of_the_users_shell() -> None:
    user = {"OPENAI_API_KEY": "sk", "DATABASE_URL": "postgresql://mine", "NODE_SLOTS": "1", "HOME": "/h", "PATH": "/b"}
    assert without_options(user) == {"HOME": "/h", "PATH": "/b"}


def test_secrets_stay_as_long_as_the_directory(tmp_path: Path) -> None:
    directory = StackDirectory(tmp_path)
    first = Secrets.load(directory)
    assert Secrets.load(directory) == first
    assert directory.secrets_file.stat().st_mode & 0o777 == 0o600
    assert len(first.jwt.encode()) >= 32


def test_other_signing_keys_are_refused_by_name() -> None:
    with pytest.raises(StackError, match="unset JWT_ALGORITHM"):
        Signing.of({"JWT_ALGORITHM": "RS256"})


def test_a_wrong_option_is_told_in_one_line_without_any_value() -> None:
    wrong = for_programs({"NODE_SLOTS": "none", "DATABASE_URL": "mysql://secret"}, addresses(), HELD)
    before = dict(os.environ)
    with pytest.raises(StackError) as caught:
        check_options({**wrong, "DATABASE_URL": "mysql://secret"})
    assert "NODE_SLOTS: " in str(caught.value)
    assert "DATABASE_URL: " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert dict(os.environ) == before
    check_options(for_programs({}, addresses(), HELD))


def test_the_file_can_be_sourced_by_a_shell(tmp_path: Path) -> None:
    facts = {
        "URL": "postgresql://u:p@127.0.0.1:5/d?sslmode=off&x=$HOME",
        "WORKER_PIDS": "12 34",
        "EMPTY": "",
        "QUOTED": "it's",
        "PLAIN": "redis://:a_b-c@127.0.0.1:1/0",
    }
    path = tmp_path / "env"
    envfile.write(path, facts)
    assert path.stat().st_mode & 0o777 == 0o600
    assert 'WORKER_PIDS="12 34"\n' in path.read_text()
    assert "PLAIN=redis://:a_b-c@127.0.0.1:1/0\n" in path.read_text()
    script = f'. "{path}"; for name in {" ".join(facts)}; do eval "printf \'%s\\n\' \\"\\$$name\\""; done'
    shown = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == list(facts.values())
