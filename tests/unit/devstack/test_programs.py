"""The list of programs, and the supervisor's configuration made from it."""

import configparser
import re
import shlex
import signal
from pathlib import Path

import pytest

from devstack import programs, supervision
from devstack.directory import StackDirectory
from devstack.programs import ApplicationPorts, Program

DIRECTORY = StackDirectory(Path("/somewhere/100% odd/.devstack"))


def application(workers: int = 1) -> list[Program]:
    return programs.application(DIRECTORY, ApplicationPorts(api=1111, flower=2222), workers, "admin:secret")


def test_programs_stop_in_the_reverse_order_of_need() -> None:
    listed = [programs.standin(3333), *application(workers=2)]
    stopping = [program.name for program in sorted(listed, key=lambda program: -program.order)]
    assert stopping == ["beat", "flower", "worker1", "worker2", "api", "standin"]


def test_each_worker_is_a_node_of_its_own_with_time_to_finish() -> None:
    first, second = (program for program in application(workers=2) if program.name.startswith("worker"))
    assert first.stop_seconds == second.stop_seconds == 35
    assert {"node1@devstack", "node2@devstack"} == {
        each.command[each.command.index("-n") + 1] for each in (first, second)
    }
    assert "threads" in first.command


@pytest.mark.parametrize(
    "line",
    [
        "[2026-01-01 00:00:00,000: INFO/MainProcess] node1@x ready.",
        '{"event": "node1@x ready.", "logger": "celery.apps.worker"}',
    ],
)
def test_a_worker_is_ready_when_its_log_says_so(line: str) -> None:
    assert programs.CELERY_READY.search(line)
    assert not programs.CELERY_READY.search("Connected to redis://127.0.0.1:1/1")


@pytest.mark.parametrize("line", ["[INFO/MainProcess] beat: Starting...", '{"event": "beat: Starting..."}'])
def test_the_scheduler_is_ready_when_its_log_says_so(line: str) -> None:
    assert programs.BEAT_READY.search(line)


def test_the_configuration_keeps_every_command_whole() -> None:
    odd = Program(name="odd", command=("run", "a b", "100%", "it's"), ready=lambda: True, order=5)
    text = supervision.configuration(DIRECTORY, [odd], 4444, "password")
    parsed = configparser.ConfigParser(inline_comment_prefixes=(";", "#"))
    parsed.read_string(text)
    section = parsed["program:odd"]
    assert shlex.split(section["command"])[-5:] == ["--", "run", "a b", "100%", "it's"]
    assert str(DIRECTORY.log("odd")) in shlex.split(section["command"])
    assert section.getboolean("autostart") is False
    assert section.getboolean("autorestart") is True


def test_the_configuration_says_how_each_program_ends() -> None:
    program = Program(
        name="slow", command=("x",), ready=lambda: True, order=7, stop_signal=signal.SIGINT, stop_seconds=99
    )
    text = supervision.configuration(DIRECTORY, [program], 4444, "password")
    assert re.search(r"^stopsignal = INT$", text, re.MULTILINE)
    assert re.search(r"^stopwaitsecs = 99$", text, re.MULTILINE)
    assert re.search(r"^priority = 7$", text, re.MULTILINE)


def test_process_ids_are_listed_in_the_order_of_the_workers() -> None:
    running = {"worker10": 5, "worker2": 3, "worker1": 4, "api": 7, "worker3": 0}
    assert programs.pids(running, "worker") == [4, 3, 5]
    assert programs.pids(running, "api") == [7]
    assert programs.pids(running, "beat") == []
