"""The commands of the launcher, one function each; every one returns its exit code."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from devstack import banner, session, tokens
from devstack.control import Control
from devstack.directory import ROOT, holder, standing, sweep, temporary
from devstack.environment import EXTERNAL_SERVICES_FOR_TESTS, of_user, without_options
from devstack.errors import StackError
from devstack.output import say
from devstack.plan import Options
from devstack.stack import Stack
from devstack.supervision import calls, states

END_SECONDS = 150.0
"""How long `down` waits: longer than the stack gives all its programs together."""

DEMO_DELAY = "1.5"
"""Seconds of an answer of the stand-in in the demo: at once, nothing would be seen to stream."""


def up(options: Options, *, ready: int | None = None) -> int:
    """Run a stack until Ctrl-C, SIGTERM or `down`. `ready`: a pipe that receives one byte once it is up."""
    sweep()

    def body(stack: Stack, control: Control) -> int:
        say(banner.text(stack.facts(), stack.directory.env_file, standin=stack.plan.addresses.uses_standin))
        if ready is not None:
            os.write(ready, b"1")
            os.close(ready)
        return session.watch(stack, control)

    return session.hold(standing(), options, of_user(), Control(detached=ready is not None), body)


def up_detached(arguments: Sequence[str]) -> int:
    """Run `up` in the background and return once it is ready, or has failed."""
    directory = standing()
    directory.create()
    directory.refuse_if_held()
    log = directory.path / "launcher.log"
    log.unlink(missing_ok=True)
    reader, writer = os.pipe()
    with log.open("ab") as output, log.open("rb") as shown:
        child = subprocess.Popen(
            [sys.executable, "-m", "devstack", "up", *arguments, "--ready-descriptor", str(writer)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(writer,),
            start_new_session=True,
        )
        os.close(writer)
        try:
            while not select.select([reader], [], [], 0.1)[0]:
                sys.stdout.buffer.write(shown.read())
                sys.stdout.flush()
            is_ready = os.read(reader, 1) == b"1"
        except KeyboardInterrupt:
            child.send_signal(signal.SIGTERM)
            child.wait()
            return 128 + signal.SIGINT
        finally:
            sys.stdout.buffer.write(shown.read())
            sys.stdout.flush()
    if is_ready:
        say(f"It runs in the background (pid {child.pid}, output in {log}); `make down` ends it.")
        return 0
    return child.wait() or 1


SIDE_BY_SIDE = (["-m", "stack"], ["-q", "-m", "not stack"])
"""All tests: those that share the stack one after the other, and all others beside them."""


def test(options: Options, pytest_arguments: Sequence[str]) -> int:
    """Run pytest against a stack of its own."""
    sweep()
    user = of_user()
    if user.get(EXTERNAL_SERVICES_FOR_TESTS) != "1":
        user = without_options(user)

    def body(stack: Stack, control: Control) -> int:
        runs = [pytest_arguments] if pytest_arguments else SIDE_BY_SIDE
        return session.run_commands([["-m", "pytest", *arguments] for arguments in runs], stack, control)

    return session.hold(temporary(), options, user, Control(), body)


def demo(options: Options) -> int:
    """Show a conversation with a stack of its own."""
    sweep()

    def body(stack: Stack, control: Control) -> int:
        return session.run_command(["-m", "devstack.demo"], stack, control)

    user = {"STANDIN_DELAY": DEMO_DELAY, **of_user()}
    return session.hold(temporary(), options, user, Control(), body)


def token(subject: str, *, admin: bool) -> int:
    """Print a token for the stack that `up` runs, and nothing else."""
    print(tokens.for_running_stack(subject, admin=admin))
    return 0


def down() -> int:
    """End the stack that `up` runs, and wait for it."""
    directory = standing()
    pid = holder(directory)
    if pid is None:
        say("no stack is running in this checkout")
        return 0
    if pid:
        try:
            # If the launcher itself was killed, its supervisor is ending the programs right now.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        except PermissionError:
            raise StackError(f"the stack belongs to another user (pid {pid})") from None
    deadline = time.monotonic() + END_SECONDS
    while holder(directory) is not None:
        if time.monotonic() > deadline:
            raise StackError(f"the stack (pid {pid}) did not end within {END_SECONDS:.0f} s")
        time.sleep(0.1)
    say(f"the stack (pid {pid}) has ended")
    return 0


def status() -> int:
    """Print what runs; the exit code is 1 if nothing does."""
    directory = standing()
    pid = holder(directory)
    url = directory.read_state().get("supervisor_url")
    if pid is None or not url:
        say("no stack is running in this checkout")
        return 1
    try:
        found = states(calls(url))
    except OSError:
        raise StackError(f"the process manager of the stack (pid {pid}) does not answer") from None
    say(f"stack in {directory.path} (pid {pid}), {'ready' if directory.env_file.exists() else 'not ready'}")
    for name, (state, program_pid) in found.items():
        say(f"  {name:<10} {state.lower():<10} {program_pid or '-'}")
    return 0
