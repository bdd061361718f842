"""The small parts of the sandbox, each by itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from workspace.files import Usage
from workspace.sandbox import Identity, Limits, identity_of_commands, process_tree
from workspace.sandbox.output import Output
from workspace.sandbox.status import Status


@contextmanager
def pipe_with(data: bytes) -> Iterator[int]:
    """Yield the end of a pipe that holds some bytes and whose beginning is closed."""
    end, beginning = os.pipe2(os.O_NONBLOCK)
    os.write(beginning, data)
    os.close(beginning)
    try:
        yield end
    finally:
        os.close(end)


# -- output -----------------------------------------------------------------------------------------------------------


def taken(limit: int, *streams: tuple[int, bytes]) -> Output:
    output = Output(limit)
    for stream, data in streams:
        with pipe_with(data) as end:
            while output.take(stream, end):
                pass
    return output


def test_both_streams_are_kept_apart() -> None:
    output = taken(100, (1, b"out"), (2, b"err"), (1, b"put"))

    assert (output.text(1), output.text(2), output.is_full) == ("output", "err", False)


def test_the_limit_is_that_of_both_streams_together() -> None:
    output = taken(5, (1, b"abc"), (2, b"defg"))

    assert (output.text(1), output.text(2), output.is_full) == ("abc", "de", True)


def test_output_that_fills_the_limit_exactly_is_whole() -> None:
    assert not taken(3, (1, b"abc")).is_full


def test_output_is_text_that_can_be_stored() -> None:
    assert taken(100, (1, b"\xff a\0b \xe4\xbd\xa0 \xe4")).text(1) == "\ufffd a\ufffdb \u4f60 \ufffd"


def test_a_pipe_with_nothing_in_it_may_have_more_later() -> None:
    end, beginning = os.pipe2(os.O_NONBLOCK)
    assert Output(10).take(1, end)
    os.close(beginning)
    assert not Output(10).take(1, end)
    os.close(end)


# -- status -----------------------------------------------------------------------------------------------------------


def test_the_status_is_read_in_whatever_pieces_it_comes() -> None:
    text = b'{ "child-pid": 12, "pid-namespace": 345 }\n{ "exit-code": 7 }\n'
    end, beginning = os.pipe2(os.O_NONBLOCK)
    status = Status(end)
    for byte in text:
        os.write(beginning, bytes([byte]))
        assert status.read()
    os.close(beginning)

    assert not status.read()
    assert (status.first_process, status.pid_namespace, status.exit_code) == (12, 345, 7)
    os.close(end)


def test_a_command_that_was_not_started_has_no_exit_code() -> None:
    with pipe_with(b'{ "child-pid": 12 }\n') as end:
        status = Status(end)
        assert not status.read()

    assert (status.first_process, status.exit_code) == (12, None)


# -- processes --------------------------------------------------------------------------------------------------------

FAMILY = """
import os, time
memory = bytearray(64 << 20)
for at in range(0, len(memory), 4096):
    memory[at] = 1
for _ in range(3):
    if os.fork() == 0:
        time.sleep(60)
file = open({path!r}, "wb")
os.unlink({path!r})
file.write(b"x" * 1_000_000)
file.flush()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[int]:
    """A process with three children, memory that they share, and a file without a name."""
    script = FAMILY.format(path=str(tmp_path / "file"))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield process.pid
    os.killpg(process.pid, 9)
    with process:
        process.wait()


def test_the_tree_has_a_process_and_all_that_it_started(family: int) -> None:
    assert process_tree.is_known()
    eventually(lambda: len(process_tree.tree(family)) == 4, "three children")
    assert process_tree.tree(family)[0] == family


def test_memory_that_is_shared_counts_once(family: int) -> None:
    pids = process_tree.tree(family)

    assert process_tree.resident(pids) > 4 * 64 << 20
    assert 64 << 20 < process_tree.proportional(pids) < 2 * 64 << 20


def test_a_file_without_a_name_counts_once_on_its_disk(family: int, tmp_path: Path) -> None:
    pids = process_tree.tree(family)
    device = tmp_path.stat().st_dev

    assert 1_000_000 <= process_tree.nameless_files([*pids, *pids], device) < 1_100_000
    assert process_tree.nameless_files(pids, device + 1) == 0


def test_a_process_that_ended_has_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert process_tree.tree(process.pid) == [process.pid]
    assert process_tree.resident([process.pid]) == process_tree.proportional([process.pid]) == 0
    assert process_tree.nameless_files([process.pid], 0) == 0


# -- limits, identity -------------------------------------------------------------------------------------------------


def test_what_a_workspace_holds_too_much_of_is_told() -> None:
    limits = Limits(workspace_bytes=10, workspace_entries=2)

    assert limits.exceeded_by(Usage(10, 2)) is None
    assert "11 bytes" in (limits.exceeded_by(Usage(11, 2)) or "")
    assert "3 files" in (limits.exceeded_by(Usage(10, 3)) or "")
    assert "nested" in (limits.exceeded_by(Usage(1, 1, complete=False)) or "")


def test_commands_of_root_run_under_the_account_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    identity = identity_of_commands(uid=71, gid=72)

    assert identity == Identity(71, 72, is_worker=False)
    assert identity.owner == (71, 72)


def test_commands_of_any_other_account_run_under_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 500)
    monkeypatch.setattr(os, "getegid", lambda: 501)

    identity = identity_of_commands(uid=71, gid=72)

    assert identity == Identity(500, 501, is_worker=True)
    assert identity.owner is None
