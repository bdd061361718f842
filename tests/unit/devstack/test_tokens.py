"""Tokens for the running stack."""

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from devstack import cli, tokens
from devstack import directory as module
from devstack.directory import StackDirectory, StackLock
from devstack.environment import Signing
from settings import Settings

SIGNING = Signing("s" * 43)


def read(token: str, **options: Any) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token, SIGNING.secret, algorithms=["HS256"], **options)
    return claims


def test_a_token_names_its_user_and_ends() -> None:
    claims = read(tokens.sign(SIGNING, "ann"))
    assert claims["sub"] == "ann"
    assert "role" not in claims
    assert claims["iat"] == pytest.approx(time.time(), abs=5)
    lifetime = int(str(claims["exp"])) - int(str(claims["iat"]))
    assert lifetime == tokens.LIFETIME < Settings.model_fields["jwt_max_lifetime"].default


def test_an_admins_token_has_the_role() -> None:
    assert read(tokens.sign(SIGNING, "ann", admin=True))["role"] == "admin"


def test_audience_and_issuer_are_those_that_the_api_wants() -> None:
    token = tokens.sign(Signing(SIGNING.secret, "api", "me"), "ann")
    assert read(token, audience="api", issuer="me")["sub"] == "ann"


def test_the_command_prints_a_token_of_the_running_stack_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "HOME", tmp_path)
    directory = StackDirectory(tmp_path)
    directory.create()
    assert cli.main(["token", "ann"]) == 1
    assert "make up" in capsys.readouterr().err
    lock = StackLock.acquire(directory)
    directory.write_state({"signing": tokens.as_state(SIGNING)})
    assert cli.main(["token", "--admin", "ann"]) == 0
    lock.release()
    printed = capsys.readouterr()
    assert read(printed.out.strip())["role"] == "admin"
    assert printed.err == ""
