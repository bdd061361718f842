"""The tools for files, as a model uses them."""

import base64
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models import utc_now
from tests.support.ground import files_at, names_in, new_ground, new_key, refused
from workspace.files import WorkspaceFiles, WriteMode
from workspace.names import WorkspaceKey
from workspace.tools.context import CallMark, Clock, WorkspaceContext
from workspace.tools.errors import ToolErrorCode as Code
from workspace.tools.files import list_directory, read_file, write_file
from workspace.tools.output import json_size
from workspace.tools.registry import Resources, Tool, ToolUse


def use_of(files: WorkspaceFiles, key: WorkspaceKey, **changes: Any) -> ToolUse:
    context = WorkspaceContext(
        user_id=key.user_id,
        project_id=key.project_id,
        session_id=uuid4(),
        run_id=uuid4(),
        task_id=uuid4(),
        agent_id=uuid4(),
        agent_name="helper",
    )
    nothing: Any = None
    clock = Clock(check=changes.get("check", lambda: None), seconds_left=lambda: 60.0)
    return ToolUse(context, Resources(files, nothing, nothing), clock, CallMark("call-1", utc_now()))


def call(tool: Tool, use: ToolUse, **params: Any) -> Any:
    """Use a tool with what a model filled in."""
    answer = tool.function(use, tool.params.model_validate(params))
    assert json.loads(json.dumps(answer)) == answer
    assert json_size(answer) <= use.resources.files.output_limit
    return answer


@pytest.fixture
def use(files: WorkspaceFiles, key: WorkspaceKey) -> ToolUse:
    return use_of(files, key)


# -- what a model is offered ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", [read_file, write_file, list_directory])
def test_each_tool_tells_the_model_what_it_does_and_what_it_takes(each: Tool) -> None:
    assert each.client
    assert len(each.description) > 100
    assert each.schema["additionalProperties"] is False
    for name, parameter in each.schema["properties"].items():
        assert name == "recursive" or len(parameter["description"]) > 10
    assert "$ref" not in json.dumps(each.definition)


def test_what_has_a_default_need_not_be_given() -> None:
    assert read_file.schema["required"] == ["path"]
    assert write_file.schema["required"] == ["path", "content"]
    assert "required" not in list_directory.schema


@pytest.mark.parametrize(
    ("tool", "params"),
    [
        (read_file, {}),
        (read_file, {"path": "a", "offset": -1}),
        (read_file, {"path": "a", "length": 0}),
        (read_file, {"path": "a", "length": 2_000_000}),
        (read_file, {"path": 5}),
        (read_file, {"path": "a", "user_id": "x"}),
        (write_file, {"path": "a"}),
        (write_file, {"path": "a", "content": "", "mode": "truncate"}),
        (write_file, {"path": "a", "content": b"\xff"}),
        (list_directory, {"recursive": "perhaps"}),
        (list_directory, {"path": None}),
    ],
)
def test_what_a_tool_does_not_take_is_refused(tool: Tool, params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        tool.params.model_validate(params)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_text_is_read_as_text(use: ToolUse) -> None:
    call(write_file, use, path="a/b.txt", content="größe\n")
    assert call(read_file, use, path="a/b.txt") == {
        "path": "a/b.txt",
        "content": "größe\n",
        "encoding": "utf-8",
        "size": 8,
        "offset": 0,
        "truncated": False,
        "next_offset": None,
    }


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a\0b", b"\xc3", b"\xed\xa0\x80", b"ok\xc3", bytes(range(256))])
def test_what_is_no_text_is_read_as_base64(use: ToolUse, home: Path, data: bytes) -> None:
    """NUL is no text for PostgreSQL's JSON, and half of a surrogate pair is none anywhere."""
    (home / "f").write_bytes(data)
    answer = call(read_file, use, path="f")
    assert answer["encoding"] == "base64"
    assert base64.b64decode(answer["content"]) == data


def test_a_part_ends_between_two_characters_and_the_next_one_begins_there(use: ToolUse, home: Path) -> None:
    (home / "f").write_text("aä€😀" * 3)
    answer = call(read_file, use, path="f", length=4)
    assert answer["content"] == "aä"
    assert (answer["truncated"], answer["next_offset"]) == (True, 3)
    answer = call(read_file, use, path="f", offset=3, length=1)
    assert (answer["content"], answer["next_offset"]) == ("€", 6)


@pytest.mark.parametrize("offset", [1, 2])
def test_a_part_that_begins_within_a_character_begins_with_it_and_says_so(
    use: ToolUse, home: Path, offset: int
) -> None:
    (home / "f").write_text("€uro")
    answer = call(read_file, use, path="f", offset=offset)
    assert (answer["content"], answer["offset"], answer["size"]) == ("€uro", 0, 6)


def test_behind_the_end_there_is_nothing(use: ToolUse, home: Path) -> None:
    (home / "f").write_text("x")
    for offset in (1, 2, 10**20):
        answer = call(read_file, use, path="f", offset=offset)
        assert (answer["content"], answer["truncated"], answer["next_offset"]) == ("", False, None)
    (home / "empty").touch()
    assert call(read_file, use, path="empty")["content"] == ""


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    data=st.one_of(st.binary(max_size=60), st.text(st.characters(codec="utf-8"), max_size=40).map(str.encode)),
    length=st.integers(1, 20),
)
def test_all_parts_of_a_file_are_the_file(use: ToolUse, home: Path, data: bytes, length: int) -> None:
    (home / "f").write_bytes(data)
    got, offset = b"", 0
    while offset is not None:
        answer = call(read_file, use, path="f", offset=offset, length=length)
        assert offset - 3 <= answer["offset"] <= offset
        content = answer["content"]
        got = got[: answer["offset"]]
        got += base64.b64decode(content) if answer["encoding"] == "base64" else content.encode()
        assert answer["next_offset"] is None or answer["next_offset"] > offset
        offset = answer["next_offset"]
    assert got == data


@pytest.mark.parametrize("text", ["x", '"', "\x01", "€", "\\\n", "\0", "😀\x02"])
def test_no_answer_takes_more_than_the_limit_and_nothing_is_lost(ground: Path, key: WorkspaceKey, text: str) -> None:
    files = files_at(ground, output_limit=20_000)
    use = use_of(files, key)
    whole = (text * 100_000)[:100_000].encode()
    files.write(key, "f", whole, WriteMode.CREATE)
    got, offset, parts = b"", 0, 0
    while offset is not None:
        answer = call(read_file, use, path="f", offset=offset, length=1_048_576)
        content = answer["content"]
        got += base64.b64decode(content) if answer["encoding"] == "base64" else content.encode()
        offset = answer["next_offset"]
        parts += 1
        assert offset is None or json_size(answer) > 19_000
    assert got == whole
    assert parts <= 6 * len(whole) // 19_000 + 1


# -- writing ----------------------------------------------------------------------------------------------------------


def test_a_file_is_written_in_each_mode(use: ToolUse, home: Path) -> None:
    assert call(write_file, use, path="f", content="ä", mode="create") == {"path": "f", "size": 2, "created": True}
    assert call(write_file, use, path="f", content="b", mode="append") == {"path": "f", "size": 3, "created": False}
    with refused(Code.ALREADY_EXISTS):
        call(write_file, use, path="f", content="c", mode="create")
    assert call(write_file, use, path="f", content="c") == {"path": "f", "size": 1, "created": False}
    assert (home / "f").read_text() == "c"


def test_half_of_a_surrogate_pair_is_not_written(use: ToolUse, home: Path) -> None:
    params = write_file.params.model_construct(path="f", content="\ud800", mode="overwrite")
    with refused(Code.INVALID_ARGUMENTS):
        write_file.function(use, params)
    assert names_in(home) == []


# -- listing ----------------------------------------------------------------------------------------------------------


def test_a_directory_is_listed(use: ToolUse, home: Path) -> None:
    call(write_file, use, path="src/a.py", content="x")
    (home / "link").symlink_to("/")
    assert call(list_directory, use) == {
        "path": ".",
        "entries": [{"path": "link", "type": "link"}, {"path": "src", "type": "directory"}],
        "truncated": False,
    }
    assert call(list_directory, use, path="src", recursive=True, pattern="*.py")["entries"] == [
        {"path": "src/a.py", "type": "file", "size": 1}
    ]


def test_a_list_takes_no_more_than_the_limit_and_says_that_there_is_more(ground: Path, key: WorkspaceKey) -> None:
    files = files_at(ground, output_limit=20_000)
    with files.opened(key):
        for number in range(300):
            (files.path(key) / f"{number:03}{'€' * 80}").touch()
    answer = call(list_directory, use_of(files, key))
    assert answer["truncated"]
    assert json_size(answer) > 19_000
    assert [entry["path"][:3] for entry in answer["entries"]] == [f"{n:03}" for n in range(len(answer["entries"]))]


def test_names_that_no_json_can_hold_do_not_reach_the_answer(use: ToolUse, home: Path) -> None:
    for name in (b"\xff", b"\xed\xa0\x80", b"\x01"):
        (home / os.fsdecode(name)).touch()
    shown = json.dumps(call(list_directory, use), ensure_ascii=False)
    shown.encode()
    assert "\\u0000" not in shown


def test_a_task_that_was_stopped_lists_no_further(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    class Stopped(BaseException):
        pass

    def stop() -> None:
        raise Stopped

    files.write(key, "f", b"", WriteMode.CREATE)
    with pytest.raises(Stopped):
        call(list_directory, use_of(files, key, check=stop))


def test_each_workspace_has_files_of_its_own() -> None:
    with new_ground() as ground:
        files = files_at(ground)
        mine, theirs = use_of(files, new_key()), use_of(files, new_key())
        call(write_file, theirs, path="secret", content="theirs")
        with refused(Code.NOT_FOUND):
            call(read_file, mine, path="secret")
        assert call(list_directory, mine)["entries"] == []
