"""Running commands."""

from typing import Annotated

from pydantic import AfterValidator, Field

from models import Json
from workspace.sandbox import CommandResult, WorkspaceDirectory
from workspace.tools.output import fitting, json_size
from workspace.tools.registry import ToolParams, ToolUse, tool

LONGEST_TIMEOUT = 300
MOST_ARGUMENTS = 1_000
MOST_CHARACTERS = 100_000
"""Of all arguments together; the kernel takes 128 KB for one."""


def _passable(word: str) -> str:
    """Refuse what no command line can hold."""
    if "\0" in word or any("\ud800" <= character <= "\udfff" for character in word):
        raise ValueError("must not have a NUL or a lone surrogate")
    return word


def _short_enough(words: list[str]) -> list[str]:
    """Refuse what is too long for a command line."""
    if sum(map(len, words)) > MOST_CHARACTERS:
        raise ValueError(f"must not have more than {MOST_CHARACTERS} characters together")
    return words


Word = Annotated[str, AfterValidator(_passable)]


class ExecuteCommand(ToolParams):
    """A program and its arguments."""

    command: Annotated[Word, Field(min_length=1, max_length=255)] = Field(
        description="The program's name, such as `git`; not a line of shell code."
    )
    args: Annotated[list[Word], Field(max_length=MOST_ARGUMENTS), AfterValidator(_short_enough)] = Field(
        default=[], description="Its arguments, one each; nothing is expanded or quoted."
    )
    timeout: int = Field(default=60, ge=1, le=LONGEST_TIMEOUT, description="Seconds until it is ended.")


@tool(client=True)
def execute_command(use: ToolUse, params: ExecuteCommand) -> Json:
    """Run a program in the workspace and return what it printed and its exit code.

    There is no network, no terminal and no input. Nothing goes on running after the call, and files outside of the
    workspace are gone then. For pipes and wildcards run `sh` with `-c`. `exit_code` is null if the program was ended
    because of its time (`timed_out`) or because it printed too much (`truncated`).
    """
    sandbox = use.resources.sandbox
    sandbox.policy.check(params.command, params.args)
    result = sandbox.run(
        WorkspaceDirectory(use.resources.files, use.context.key),
        params.command,
        params.args,
        params.timeout,
        use.clock,
    )
    return _answer(result, use.resources.files.output_limit)


def _answer(result: CommandResult, limit: int) -> Json:
    """Return a result as JSON of `limit` bytes at most; standard error, where errors stand, gets its room first."""
    answer: Json = {
        "exit_code": result.exit_code,
        "stdout": "",
        "stderr": "",
        "truncated": True,
        "timed_out": result.timed_out,
        "duration_seconds": result.duration_seconds,
    }
    for stream, text in (("stderr", result.stderr), ("stdout", result.stdout)):
        answer[stream] = fitting(text, limit - json_size(answer))
    is_whole = (answer["stdout"], answer["stderr"]) == (result.stdout, result.stderr)
    answer["truncated"] = result.truncated or not is_whole
    return answer
