"""The example client runs a command without a shell, with limits, and with nothing of it left behind."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from docs.examples import tool_client
from docs.examples.tool_client import carry_out
from tests.unit.examples.conftest import Place

Json = dict[str, Any]


def run(place: Place, command: str, *args: str, **more: Any) -> Json:
    arguments = {"command": command, "args": list(args), **more}
    return carry_out(place.wall, "execute_command", arguments, allow_commands=True)


def python(place: Place, program: str, **more: Any) -> Json:
    found: Json = run(place, sys.executable, "-c", program, **more)["output"]
    return found


def is_alive(pid_file: Path) -> bool:
    pid = int(pid_file.read_text())
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that has ended, and that nobody has asked for.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid_file: Path) -> bool:
    deadline = time.monotonic() + 10
    while is_alive(pid_file):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_command_runs_in_the_directory_and_tells_how_it_ended(place: Place) -> None:
    (place.inside / "here").touch()
    found = python(place, "import os, sys; print(os.listdir()); sys.stderr.write('no'); sys.exit(3)")
    assert found.pop("duration_seconds") > 0
    assert found == {"exit_code": 3, "stdout": "['here']\n", "stderr": "no", "truncated": False, "timed_out": False}


def test_there_is_no_shell(place: Place) -> None:
    assert run(place, "echo", "$HOME;", "*", "`id`")["output"]["stdout"] == "$HOME; * `id`\n"
    assert run(place, "echo hello")["error"]["code"] == "not_found"
    assert run(place, "echo; touch made")["error"]["code"] == "not_found"
    assert list(place.inside.iterdir()) == []


def test_commands_are_refused_unless_they_are_allowed(place: Place) -> None:
    found = carry_out(place.wall, "execute_command", {"command": "touch", "args": ["made"]}, allow_commands=False)
    assert found["error"]["code"] == "command_not_allowed"
    assert list(place.inside.iterdir()) == []


def test_a_command_does_not_see_the_token(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "the token")
    monkeypatch.setenv("HOME", "/the/home")
    seen = python(place, "import os; print(dict(os.environ))")["stdout"]
    assert "the token" not in seen
    assert "/the/home" in seen


def test_a_command_has_no_input_and_none_of_the_clients_files(place: Place) -> None:
    found = python(place, "import os, sys; print(repr(sys.stdin.read()), sorted(os.listdir('/proc/self/fd')))")
    assert found["stdout"].strip() == "'' ['0', '1', '2', '3']"  # the last is the listing's own


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(place: Place) -> None:
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('child', 'w').write(str(child.pid)); open('own', 'w').write(str(os.getpid()))\n"
        "print('begun', flush=True); time.sleep(600)"
    )
    found = python(place, program, timeout=2)
    assert (found["timed_out"], found["exit_code"], found["stdout"]) == (True, None, "begun\n")
    assert found["duration_seconds"] < 20
    assert gone(place.inside / "child")
    assert gone(place.inside / "own")


def test_what_a_command_leaves_behind_does_not_keep_it_waiting(place: Place) -> None:
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('child', 'w').write(str(child.pid)); print('done')"
    )
    found = python(place, program, timeout=60)
    assert (found["timed_out"], found["exit_code"], found["stdout"]) == (False, 0, "done\n")
    assert found["duration_seconds"] < 30
    assert gone(place.inside / "child")


def test_a_command_that_closes_its_output_is_still_waited_for(place: Place) -> None:
    found = python(place, "import os, time; os.close(1); os.close(2); time.sleep(0.5); os._exit(7)")
    assert (found["exit_code"], found["timed_out"]) == (7, False)
    assert python(place, "import os, time; os.close(1); os.close(2); time.sleep(600)", timeout=1)["timed_out"]


def test_output_has_a_limit_and_can_be_sent(place: Place) -> None:
    found = python(place, "import sys\nwhile True: sys.stdout.write('\\1\\0' * 10_000)", timeout=60)
    assert (found["truncated"], found["timed_out"], found["exit_code"]) == (True, False, None)
    assert len(tool_client.json.dumps(found)) <= tool_client.OUTPUT_BYTES
    assert found["stdout"].startswith("\1\ufffd")


def test_output_that_is_no_text_is_told_as_far_as_it_is(place: Place) -> None:
    assert python(place, "import os; os.write(1, b'a\\xffb')")["stdout"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"command": "no-such-command"}, "not_found"),
        ({"command": "./file"}, "permission_denied"),
        ({"command": "a\0b"}, "invalid_arguments"),
        ({"command": "ls", "args": ["a\0"]}, "invalid_arguments"),
        ({"command": "ls", "args": [1]}, "invalid_arguments"),
        ({"command": "ls", "args": "-l"}, "invalid_arguments"),
        ({"command": ["ls"]}, "invalid_arguments"),
        ({"command": "ls", "timeout": "soon"}, "invalid_arguments"),
    ],
)
def test_a_command_that_cannot_be_run_is_an_error_for_the_agent(place: Place, arguments: Json, code: str) -> None:
    (place.inside / "file").write_text("not executable")
    assert carry_out(place.wall, "execute_command", arguments, allow_commands=True)["error"]["code"] == code


def test_arguments_may_be_left_out_or_null(place: Place) -> None:
    found = carry_out(
        place.wall, "execute_command", {"command": "true", "timeout": None, "args": None}, allow_commands=True
    )
    assert found["output"]["exit_code"] == 0
