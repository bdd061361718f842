"""Which commands are let in: a policy, read with the settings' own lists."""

import time

import pytest

from settings import Settings
from workspace.tools.command_policy import CommandPolicy
from workspace.tools.errors import ToolError, ToolErrorCode

FIELDS = Settings.model_fields
POLICY = CommandPolicy(allowed=FIELDS["commands_allowed"].default, denied=FIELDS["commands_denied"].default)
ONLY_DENYING = CommandPolicy(allowed=("*",), denied=FIELDS["commands_denied"].default)
OPEN = CommandPolicy(allowed=("*",), denied=())


def refusal(policy: CommandPolicy, command: str, *args: str) -> str:
    with pytest.raises(ToolError) as caught:
        policy.check(command, args)
    assert caught.value.code is ToolErrorCode.COMMAND_NOT_ALLOWED
    return caught.value.detail


@pytest.mark.parametrize(
    "line",
    [
        *("ls -la", "grep -rn su .", "find . -name mount", "git status", "npm test", "python -c pass", "make all"),
        *("pytest -q", "cargo build", "go test ./...", "rm -rf build", "rm -rf ./*", "rm file", "/usr/bin/env ls"),
        *("/bin/ls", "python3 x.py", "python3.11 x.py", "gcc-12 -c x.c", "sort dd", "xargs grep word"),
    ],
)
def test_what_an_agent_usually_needs_is_allowed(line: str) -> None:
    command, *args = line.split()
    POLICY.check(command, args)


@pytest.mark.parametrize(
    "line",
    [
        *("dd if=/dev/zero of=x", "sudo ls", "su", "pacman -S x", "apt install x", "apt-get update", "mkfs.ext4 x"),
        *("mount -t tmpfs x y", "shutdown now", "/usr/bin/dd", "/bin/su"),
    ],
)
def test_what_is_denied_is_refused_even_where_everything_is_allowed(line: str) -> None:
    command, *args = line.split()
    assert "is refused here" in refusal(ONLY_DENYING, command, *args)


@pytest.mark.parametrize(
    "args",
    [
        *("-rf /", "-fr /", "-r -f /", "-R /", "-rf --no-preserve-root /", "--recursive --force /", "-rf -- /"),
        *("-rf //", "-rf /.", "-rf /*", "-rf /../", "-vrf x /", "-rf ~", "-rf ~/", "-rf $HOME/*", "-rf /workspace"),
    ],
)
def test_removing_everything_is_refused_however_it_is_written(args: str) -> None:
    assert "'rm' is refused" in refusal(POLICY, "rm", *args.split())


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("env", ["dd"]),
        ("env", ["-u", "HOME", "A=1", "sudo", "ls"]),
        ("nohup", ["dd", "if=x"]),
        ("xargs", ["-n", "1", "rm", "-rf", "/"]),
        ("timeout", ["-k", "5", "10", "dd"]),
        ("nice", ["-n", "5", "/usr/bin/dd"]),
        ("find", [".", "-exec", "dd", "if={}", ";"]),
        ("find", [".", "-name", "x", "-okdir", "sudo", "ls", ";"]),
        ("sh", ["-c", "dd if=x"]),
        ("sh", ["-c", "true && sudo ls"]),
        ("bash", ["-lc", "a=1 b=2 dd"]),
        ("bash", ["-c", "for x in a; do rm -rf /; done"]),
        ("bash", ["-c", "echo $(sudo id)"]),
        ("bash", ["-c", "echo `sudo id`"]),
        ("bash", ["-c", "(cd /; dd)"]),
        ("bash", ["-c", "ls\nsu\n"]),
        ("bash", ["-c", "if true; then su; fi"]),
        ("bash", ["-c", "echo 'quotation without end; dd"]),
        ("env", ["sh", "-c", "exec nohup dd"]),
        ("bash", ["-c", "sh -c 'env dd'"]),
        ("busybox", ["dd"]),
    ],
)
def test_the_denied_are_seen_behind_what_runs_them(command: str, args: list[str]) -> None:
    assert "is refused here" in refusal(ONLY_DENYING, command, *args)


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("sh", ["-c", "grep -rn su . | sort"]),
        ("bash", ["-c", "echo dd mount"]),
        ("find", [".", "-name", "su", "-print"]),
        ("bash", ["-c", "rm -rf build/*"]),
    ],
)
def test_a_denied_word_that_is_no_command_does_no_harm(command: str, args: list[str]) -> None:
    POLICY.check(command, args)


def test_a_command_that_is_not_allowed_is_told_what_is() -> None:
    policy = CommandPolicy(allowed=("ls", "git"), denied=())

    assert refusal(policy, "curl", "http://x") == "'curl' is not allowed here. Allowed are: git, ls."


@pytest.mark.parametrize(
    "path", ["/usr/local/bin/ls", "./run.sh", "../ls", "/usr/bin/../../tmp/x", "/bin//x/ls", "a/b"]
)
@pytest.mark.parametrize("policy", [POLICY, OPEN])
def test_a_path_to_anything_but_the_systems_programs_is_refused(policy: CommandPolicy, path: str) -> None:
    assert "/usr/bin" in refusal(policy, path)


def test_with_the_lists_switched_off_every_name_passes() -> None:
    for line in ("dd if=x", "sudo ls", "rm -rf /", "sh -c dd", "nonsense"):
        command, *args = line.split()
        OPEN.check(command, args)


@pytest.mark.parametrize("word", ["env", "sh", "rm", "find", "-exec", "x"])
def test_a_long_line_does_not_take_long(word: str) -> None:
    began = time.perf_counter()

    for command in ("env", "bash", "find"):
        ONLY_DENYING.check(command, [word] * 999 + ["x " * 50_000])

    assert time.perf_counter() - began < 5
