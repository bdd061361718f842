"""The tool: what a model asks for, and what it is told."""

import json
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from models import utc_now
from tests.support.cage import IDENTITY, LIMITS, Cage, steady_clock
from workspace.files import WorkspaceFiles
from workspace.sandbox import Sandbox
from workspace.tools.command_policy import CommandPolicy
from workspace.tools.commands import ExecuteCommand, execute_command
from workspace.tools.context import CallMark, Clock, WorkspaceContext
from workspace.tools.errors import ToolError, ToolErrorCode
from workspace.tools.output import json_size
from workspace.tools.registry import Resources, ToolUse


def use_of(cage: Cage, *, sandbox: Sandbox | None = None, files: WorkspaceFiles | None = None) -> ToolUse:
    context = WorkspaceContext(
        user_id=cage.key.user_id,
        project_id=cage.key.project_id,
        session_id=uuid4(),
        run_id=uuid4(),
        task_id=uuid4(),
        agent_id=uuid4(),
        agent_name="helper",
    )
    no_memory: Any = None
    resources = Resources(files or cage.files, sandbox or cage.sandbox, no_memory)
    return ToolUse(context, resources, steady_clock(), CallMark("call-1", utc_now()))


def test_a_command_runs_in_the_workspace_of_the_task(cage: Cage) -> None:
    cage.put("file.txt", "one\ntwo\n")

    answer = execute_command.function(use_of(cage), ExecuteCommand(command="grep", args=["-c", "o", "file.txt"]))

    assert answer.pop("duration_seconds") > 0
    assert answer == {"exit_code": 0, "stdout": "2\n", "stderr": "", "truncated": False, "timed_out": False}


def test_a_command_that_fails_is_an_answer(cage: Cage) -> None:
    answer = execute_command.function(use_of(cage), ExecuteCommand(command="ls", args=["nothing"]))

    assert answer["exit_code"] == 2
    assert "No such file" in answer["stderr"]


def test_a_time_that_is_up_is_an_answer(cage: Cage) -> None:
    use = use_of(cage)._replace(clock=Clock(check=lambda: None, seconds_left=lambda: 0.3))

    answer = execute_command.function(use, ExecuteCommand(command="sleep", args=["60"], timeout=300))

    assert (answer["timed_out"], answer["exit_code"]) == (True, None)


def test_the_policy_is_asked_first(cage: Cage) -> None:
    strict = Sandbox(IDENTITY, LIMITS, policy=CommandPolicy(allowed=("ls",), denied=()))

    with pytest.raises(ToolError) as caught:
        execute_command.function(use_of(cage, sandbox=strict), ExecuteCommand(command="touch", args=["file"]))

    assert caught.value.code is ToolErrorCode.COMMAND_NOT_ALLOWED
    assert "Allowed are: ls." in caught.value.detail


@pytest.mark.parametrize(
    "code",
    [
        "yes | head -c 300000",
        r"yes '\"' | head -c 300000",
        "yes | head -c 300000 >&2",
        "head -c 300000 /dev/zero | tr '\\0' '\\1'",
    ],
)
def test_an_answer_is_never_longer_than_tools_may_answer(cage: Cage, code: str) -> None:
    """Counted as JSON, in which a character may take six bytes."""
    files = WorkspaceFiles(
        cage.base / "workspaces",
        quota_bytes=1 << 20,
        quota_entries=100,
        largest_file=1 << 20,
        owner=IDENTITY.owner,
        output_limit=50_000,
    )
    command = ExecuteCommand(command="sh", args=["-c", f"echo error >&2; {code}"])

    answer = execute_command.function(use_of(cage, files=files), command)

    assert 49_000 < json_size(answer) <= 50_000
    assert answer["truncated"] is True
    assert answer["exit_code"] == 0
    assert "error\n" in answer["stderr"]
    assert json.loads(json.dumps(answer)) == answer


def test_the_model_is_told_what_it_can_give() -> None:
    schema = execute_command.schema

    assert schema["required"] == ["command"]
    assert set(schema["properties"]) == {"command", "args", "timeout"}
    assert (schema["properties"]["timeout"]["minimum"], schema["properties"]["timeout"]["maximum"]) == (1, 300)
    assert schema["properties"]["timeout"]["default"] == 60
    assert execute_command.client
    assert "no network" in execute_command.description


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"command": ""},
        {"command": "x" * 256},
        {"command": "ls\0"},
        {"command": "ls", "args": ["\ud800"]},
        {"command": "ls", "args": ["a\0b"]},
        {"command": "ls", "args": ["x"] * 1_001},
        {"command": "ls", "args": ["x" * 60_000] * 2},
        {"command": "ls", "args": "-la"},
        {"command": "ls", "timeout": 0},
        {"command": "ls", "timeout": 301},
        {"command": "ls", "shell": True},
    ],
    ids=lambda params: repr(params)[:40],
)
def test_parameters_that_no_command_line_can_hold_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ExecuteCommand.model_validate(params)
