"""The command line of the launcher."""

from collections.abc import Sequence
from typing import Any

import pytest

from devstack import banner, cli, commands
from devstack.plan import Options


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def record(name: str) -> None:
        def command(*arguments: Any, **options: Any) -> int:
            calls.append((name, *arguments, *options.values()))
            return 7

        monkeypatch.setattr(commands, name, command)

    for name in ("up", "up_detached", "demo", "test", "down", "status"):
        record(name)
    return calls


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["up"], ("up", Options(), None)),
        (["up", "--workers", "2", "--bare"], ("up", Options(workers=2, bare=True), None)),
        (["up", "--detach", "--workers", "3"], ("up_detached", ["--workers", "3"])),
        (["demo"], ("demo", Options(temporary=True))),
        (["test"], ("test", Options(temporary=True), [])),
        (
            ["test", "--workers", "2", "-k", "foo", "-x"],
            ("test", Options(workers=2, temporary=True), ["-k", "foo", "-x"]),
        ),
        (["test", "--", "tests/unit", "--lf"], ("test", Options(temporary=True), ["tests/unit", "--lf"])),
        (["down"], ("down",)),
        (["status"], ("status",)),
    ],
)
def test_each_command_is_called_with_its_options(
    called: list[tuple[Any, ...]], arguments: Sequence[str], expected: tuple[Any, ...]
) -> None:
    assert cli.main(arguments) == 7
    assert called == [expected]


@pytest.mark.parametrize("arguments", [[], ["fly"], ["up", "--workers", "0"], ["up", "unknown"], ["token"]])
def test_what_is_not_understood_is_refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "demo", "test", "token", "down", "status"])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert "options:" in capsys.readouterr().out


def test_the_banner_says_that_the_model_is_a_stand_in(tmp_path: Any) -> None:
    facts = {"API_URL": "http://127.0.0.1:1", "TOKEN": "abc", "MODEL_URL": "http://127.0.0.1:2/v1"}
    text = banner.text(facts, tmp_path / "env", standin=True)
    assert "stand-in model, not a real one" in text
    assert "http://127.0.0.1:1" in text
    assert '"target_agent": "helper"' in text
    assert "not a real one" not in banner.text(facts, tmp_path / "env", standin=False)
