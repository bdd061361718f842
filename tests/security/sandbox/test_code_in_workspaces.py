"""Files of a workspace that are code to somebody: they run inside, or not at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.directory import ROOT
from tests.support.cage import PYTHON, Cage, said, uncaged

LEAVE_WORD = "touch {}"


@pytest.mark.parametrize(
    "attack",
    [
        ["find", ".", "-maxdepth", "0", "-exec", "touch", "{leak}", ";"],
        ["python3", "-c", "open({leak!r}, 'w')"],
        ["sh", "-c", "touch {leak}"],
        ["git", "-c", "alias.x=!touch {leak}", "x"],
        ["git", "-c", "core.sshCommand=touch {leak};", "ls-remote", "ssh://x/y"],
        ["git", "-c", "core.pager=touch {leak};", "-p", "--version"],
        ["awk", 'BEGIN {{ system("touch {leak}") }}'],
        ["sed", "-n", "1e touch {leak}", "/usr/share/perl/5.36/strict.pm"],
        ["tar", "-cf", "x.tar", "--checkpoint=1", "--checkpoint-action=exec=touch {leak}", "/usr/bin/env"],
        ["xargs", "-a", "/usr/bin/env", "-n", "1", "-P", "1", "touch", "{leak}"],
        ["env", "-S", "touch {leak}"],
        ["make", "--eval", "$(shell touch {leak})", "-n"],
        ["timeout", "5", "touch", "{leak}"],
        ["npm", "exec", "--offline", "-c", "touch {leak}"],
        ["node", "-e", "require('fs').writeFileSync({leak!r}, '')"],
        ["perl", "-e", "open(F, '>', {leak!r})"],
    ],
    ids=lambda attack: " ".join(attack)[:30],
)
def test_a_harmless_name_runs_anything_and_that_is_inside_too(cage: Cage, outside: Path, attack: list[str]) -> None:
    """Why an allow list is no boundary. Inside, each of them writes to the workspace and to nothing else."""
    leak = str(outside / "leak")

    cage.run(*[word.format(leak=leak) for word in attack])

    assert list(outside.iterdir()) == []


def test_some_of_these_attacks_do_work_where_nothing_holds_them(cage: Cage, outside: Path) -> None:
    leak = outside / "leak"
    for command in (
        ["find", ".", "-maxdepth", "0", "-exec", "touch", str(leak), ";"],
        ["git", "-c", f"alias.x=!touch {leak}", "x"],
        ["awk", f'BEGIN {{ system("touch {leak}") }}'],
        ["env", "-S", f"touch {leak}"],
    ):
        uncaged(command, cwd=outside)
        assert leak.exists(), command
        leak.unlink()


def test_a_hostile_git_configuration_runs_inside(cage: Cage, outside: Path) -> None:
    cage.run("git", "init", "--quiet", ".")
    with (cage.workspace / ".git" / "config").open("a") as config:
        config.write(
            f'[core]\n\tfsmonitor = "touch {outside}/leak; touch inside; false"\n'
            f"\thooksPath = hooks\n\tsshCommand = touch {outside}/leak\n\tpager = touch {outside}/leak\n"
        )
    cage.put("hooks/post-checkout", f"#!/bin/sh\ntouch {outside}/leak inside-hook\n").chmod(0o755)

    cage.run("git", "status")
    cage.shell("git commit --allow-empty -m x; git checkout -b other")

    assert list(outside.iterdir()) == []
    assert (cage.workspace / "inside").exists()


MODULES = ("sitecustomize", "usercustomize", "os_", "json", "site", "encodings", "celery", "settings", "workspace")


def test_the_server_imports_nothing_from_a_workspace(cage: Cage, outside: Path) -> None:
    """Commands run with the workspace as their directory, the server never does: it looks for modules elsewhere."""
    for name in MODULES:
        cage.put(f"{name}.py", f"open({str(outside / 'leak')!r}, 'w').close()\n")
        cage.put(f".local/lib/python3.11/site-packages/{name}.py", f"open({str(outside / 'leak')!r}, 'w').close()\n")
    cage.put("package.json", '{"scripts": {"preinstall": "touch %s"}}' % (outside / "leak"))

    assert cage.sandbox.probe()
    cage.run("echo", "hello")
    cage.python("print('hello')")

    assert list(outside.iterdir()) == []
    assert not any(str(cage.base) in entry for entry in sys.path)


def test_a_module_of_the_workspace_is_code_to_pythons_own_commands(cage: Cage) -> None:
    """It would have run in the server: the control."""
    cage.put("json.py", "print('mine')\n")

    assert cage.run("python3", "-c", "import json").stdout == "mine\n"
    done = subprocess.check_output([PYTHON, "-c", "import json"], cwd=cage.workspace, text=True)
    assert done == "mine\n"


LAYERS = ("api", "tasks", "orchestrator", "workspace", "models")


MEMORY_ENGINE = {"workspace/memory/edge/building.py", "workspace/memory/edge/process.py"}
"""Start processes of this program alone, which never see a workspace's files."""


def test_only_the_sandbox_starts_programs() -> None:
    """git, python or npm on a workspace outside of it would run the tenant's code."""
    starting = set()
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if _starts_programs(node):
                    starting.add(path.relative_to(ROOT).as_posix())
    assert starting - MEMORY_ENGINE == {"workspace/sandbox/launching.py", "workspace/sandbox/spawning.py"}


def _starts_programs(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name in {"subprocess", "pty", "multiprocessing"} for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in {"subprocess", "pty", "multiprocessing"}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
        return node.attr in {"system", "popen", "fork", "forkpty"} or node.attr.startswith(
            ("exec", "spawn", "posix_sp")
        )
    return False


def test_the_usual_tools_work(cage: Cage) -> None:
    """A sandbox in which nothing works keeps everything, too."""
    cage.put("test_it.py", "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertTrue(1)\n")
    cage.put("Makefile", "all:\n\t@echo made\n")

    assert cage.run("python3", "-m", "unittest", "-q", "test_it").exit_code == 0
    assert cage.run("make").stdout == "made\n"
    assert cage.shell("git init -q . && git add . && git status --short | sort | head -1").stdout == "A  Makefile\n"
    assert cage.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x").exit_code == 0
    assert cage.shell("grep -rn made . | awk -F: '{print $3}' | sed s/@// | head -1").stdout == "\techo made\n"
    assert said(cage.run("nonsense")).startswith("prlimit: failed to execute nonsense")
    assert cage.run("nonsense").exit_code == 127
