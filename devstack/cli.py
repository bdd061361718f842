"""The command line of the launcher: `python -m devstack up|demo|test|token|down|status`."""

import argparse
from collections.abc import Sequence

from devstack import commands
from devstack.errors import StackError
from devstack.output import complain
from devstack.plan import Options

DESCRIPTION = """\
Runs Codelab Core on this machine without Docker: Postgres, Redis and a stand-in model come with the virtual
environment. DATABASE_URL, REDIS_URL and OPENAI_BASE_URL (or OPENAI_API_KEY alone, for OpenAI itself) replace them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command != "test":
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _run(options, [argument for argument in rest if argument != "--"])
    except StackError as error:
        complain(str(error))
        return 1


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    match options.command:
        case "up" if options.detach:
            code = commands.up_detached(_stack_arguments(options))
        case "up":
            code = commands.up(Options(workers=options.workers, bare=options.bare), ready=options.ready_descriptor)
        case "test":
            code = commands.test(Options(workers=options.workers, bare=options.bare, temporary=True), rest)
        case "demo":
            code = commands.demo(Options(workers=options.workers, temporary=True))
        case "token":
            code = commands.token(options.user, admin=options.admin)
        case "down":
            code = commands.down()
        case _:
            code = commands.status()
    return code


def _stack_arguments(options: argparse.Namespace) -> list[str]:
    return ["--workers", str(options.workers), *(["--bare"] if options.bare else [])]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devstack", description=DESCRIPTION, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, allow_abbrev=False)

    up = command("up", "Run a stack in the foreground until Ctrl-C, SIGTERM or `down`; its data stays in .devstack.")
    _add_workers(up)
    _add_bare(up)
    up.add_argument("--detach", action="store_true", help="return once the stack is ready and leave it running")
    up.add_argument("--ready-descriptor", type=int, help=argparse.SUPPRESS)
    demo = command("demo", "Start a stack of its own, show a conversation as it streams, and end it.")
    _add_workers(demo)
    test = command("test", "Start a stack of its own, run pytest with all further arguments, and end it.")
    _add_workers(test)
    _add_bare(test)
    token = command("token", "Print a token for the stack that `up` runs.")
    token.add_argument("user", help="whose token: the `sub` claim")
    token.add_argument("--admin", action="store_true", help="give it the role `admin`")
    command("down", "End the stack that `up` runs, and wait for its end.")
    command("status", "Print what runs in the stack that `up` runs.")
    return parser


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="number of worker processes (1)")


def _add_bare(parser: argparse.ArgumentParser) -> None:
    text = "start only Postgres, Redis and the model, to run the rest under a debugger"
    parser.add_argument("--bare", action="store_true", help=text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
