"""How the stack finds Postgres and Redis, and with which settings it runs them."""

import os
import stat
from pathlib import Path

import pytest

from devstack import postgres, redis_server
from devstack.directory import StackDirectory
from devstack.errors import StackError
from devstack.health import plain_postgres
from devstack.postgres import Place


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(("version", "taken"), [("7.0.15", True), ("6.2.0", True), ("6.0.16", False), ("5.0", False)])
def test_the_redis_of_the_machine_is_taken_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, taken: bool
) -> None:
    installed = script(tmp_path / "redis-server", f"echo 'Redis server v={version} sha=0:0 bits=64'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (redis_server.find_server() == installed) is taken


def test_without_any_redis_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StackError, match="REDIS_URL"):
        redis_server.find_server()


def test_without_any_postgres_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StackError, match="DATABASE_URL"):
        postgres.find_place(StackDirectory(tmp_path))


def test_redis_keeps_its_password_out_of_sight(tmp_path: Path) -> None:
    program = redis_server.program(StackDirectory(tmp_path), 1234, "secret")
    assert "secret" not in " ".join(program.command)
    configuration = tmp_path / "redis.conf"
    assert configuration.stat().st_mode & 0o777 == 0o600
    lines = configuration.read_text().splitlines()
    assert {"bind 127.0.0.1", "port 1234", "maxmemory-policy noeviction", "appendonly no", 'save ""'} <= set(lines)


def test_postgres_listens_on_the_loopback_interface_only(tmp_path: Path) -> None:
    program = postgres.program(Place(tmp_path / "bin", tmp_path / "data", "nobody"), 1234, "secret")
    assert "listen_addresses=127.0.0.1" in program.command
    assert "unix_socket_directories=" in program.command
    assert "secret" not in " ".join(program.command)
    assert program.user == "nobody"
    assert program.clean_environment


def test_data_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "postgres").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StackError, match="belongs to another user"):
        postgres.find_place(StackDirectory(tmp_path))


def test_a_driver_in_the_address_is_nothing_to_libpq() -> None:
    assert plain_postgres("postgresql+psycopg2://u:p@h/d") == "postgresql://u:p@h/d"
    assert plain_postgres("postgresql://u:p@h/d") == "postgresql://u:p@h/d"
