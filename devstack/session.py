"""What every command with a stack does around its own part: start, run, and end it whatever happens."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import IO

from devstack.control import Control
from devstack.directory import ROOT, StackDirectory
from devstack.errors import StackError, StopRequested
from devstack.output import complain, say
from devstack.plan import Options
from devstack.programs import GUARD
from devstack.stack import Stack

WATCH_SECONDS = 1.0
INTERRUPTED_CHILD_SECONDS = 15.0
"""How long a test run or demo may take to end after Ctrl-C."""

Body = Callable[[Stack, Control], int]


def hold(directory: StackDirectory, options: Options, user: Mapping[str, str], control: Control, body: Body) -> int:
    """Run `body` with a running stack and return its exit code; the stack is gone afterwards."""
    stack = Stack(directory, options, user, control.check)
    failed = True
    control.install()
    try:
        stack.start()
        code = body(stack, control)
        failed = code != 0
    except StackError as error:
        complain(str(error))
        code = 1
    except StopRequested as request:
        code = request.exit_code
        failed = False
    finally:
        control.begin_end(stack.abort)
        _end(stack, keep_logs=options.temporary and failed)
    return code


def _end(stack: Stack, *, keep_logs: bool) -> None:
    keep_logs = keep_logs and stack.has_started
    if stack.has_started:
        say("Ending the stack ...")
    stack.stop(keep_logs=keep_logs)
    if keep_logs:
        say(f"The logs are in {stack.directory.logs}")


def watch(stack: Stack, control: Control) -> int:
    """Watch the stack until somebody asks for its end, which is then no failure."""
    try:
        while True:
            control.check()
            stack.watch()
            time.sleep(WATCH_SECONDS)
    except StopRequested:
        return 0


def run_commands(commands: Sequence[Sequence[str]], stack: Stack, control: Control) -> int:
    """Run Python commands against the stack, all at once, and watch them and it.

    The first one speaks for itself, what the others say follows at the end.

    Returns:
        The exit code of the first that failed, or 0.
    """
    with ExitStack() as files:
        said = [None, *(files.enter_context(tempfile.TemporaryFile()) for _ in commands[1:])]
        children = [_start(command, stack, output) for command, output in zip(commands, said, strict=True)]
        try:
            while any(child.poll() is None for child in children):
                control.check()
                stack.watch()
                _wait(children)
        except BaseException as reason:
            for child in children:
                _end_child(child, reason)
            raise
        for output in said[1:]:
            assert output is not None
            output.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
    codes = [child.returncode if child.returncode >= 0 else 128 - child.returncode for child in children]
    return next((code for code in codes if code), 0)


def run_command(command: Sequence[str], stack: Stack, control: Control) -> int:
    """Run a Python command against the stack, watch both, and return the command's exit code."""
    return run_commands([command], stack, control)


def _start(command: Sequence[str], stack: Stack, output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    guarded = [sys.executable, "-I", "-S", str(GUARD), "--", sys.executable, *command]
    errors = None if output is None else subprocess.STDOUT
    return subprocess.Popen(guarded, cwd=ROOT, env=stack.child_environment(), stdout=output, stderr=errors)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for one of the commands that still run, but not for long."""
    running = next((child for child in children if child.poll() is None), None)
    if running is not None:
        with suppress(subprocess.TimeoutExpired):
            running.wait(WATCH_SECONDS)


def _end_child(child: subprocess.Popen[bytes], reason: BaseException) -> None:
    """Let the command end in its own way, then make it end."""
    # After Ctrl-C the terminal has told the command already; a second interrupt would cut its tidying short.
    from_terminal = isinstance(reason, StopRequested) and reason.number is signal.SIGINT
    if not (from_terminal and os.isatty(0)):
        child.send_signal(signal.SIGINT)
    try:
        child.wait(INTERRUPTED_CHILD_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
