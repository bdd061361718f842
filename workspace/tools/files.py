"""The tools for files: read, write and list, in the workspace of the task and nowhere else."""

import base64
import codecs
from typing import Literal, NamedTuple

from pydantic import Field

from models import Json
from workspace.files import Content, WriteMode
from workspace.tools.errors import ToolError, ToolErrorCode
from workspace.tools.output import fitting, json_size
from workspace.tools.registry import ToolParams, ToolUse, tool

MOST_BYTES = 1_048_576
LONGEST_CHARACTER = 4
"""Bytes in UTF-8: a part that is shorter might never come to the end of one."""

_PATH = "Relative to the workspace, with `/` between directories. No `..`, and no `/` at the beginning."

_CONTINUATION = bytes(range(0x80, 0xC0))
"""The bytes of a character behind its first one."""


class ReadFile(ToolParams):
    """What to read."""

    path: str = Field(description=_PATH)
    offset: int = Field(0, ge=0, description="Byte to begin at; to go on, the `next_offset` of the part before.")
    length: int = Field(100_000, ge=1, le=MOST_BYTES, description="Bytes to read at most.")


class WriteFile(ToolParams):
    """What to write."""

    path: str = Field(description=f"{_PATH} Directories that are missing are made.")
    content: str = Field(description="The text to write.")
    mode: Literal["overwrite", "append", "create"] = Field(
        "overwrite",
        description="`overwrite` replaces the file, `append` adds to its end, `create` fails if it exists.",
    )


class ListDirectory(ToolParams):
    """What to list."""

    path: str = Field(".", description=f"{_PATH} `.` is the workspace itself.")
    recursive: bool = Field(default=False, description="List the directories below it as well.")
    pattern: str | None = Field(
        None,
        description=(
            "Show only what matches: `*.py` by name, `src/**/test_*.py` by path from the listed directory on. "
            "`*` and `?` stay within one name, `**` stands for any directories. No braces."
        ),
    )


@tool(client=True)
def read_file(use: ToolUse, params: ReadFile) -> Json:
    """Read a file of the workspace, or a part of it.

    Text comes as it is (`encoding` is `utf-8`), anything else as Base64 (`encoding` is `base64`). `size` is the number
    of bytes of the whole file. If `truncated` is true there is more: read again with `offset` set to `next_offset`.
    Links, and files with a second name (hard links), are not read.
    """
    files = use.resources.files
    before = min(params.offset, LONGEST_CHARACTER - 1)
    length = min(max(params.length, LONGEST_CHARACTER), files.output_limit)
    found = files.read(use.context.key, params.path, offset=params.offset - before, length=before + length)
    frame = _file_part(params.path, _Part("", "base64", params.offset, params.offset), found.size)
    room = files.output_limit - json_size(frame) - len(str(found.size))  # the number of `next_offset`
    part = _as_text(found, params.offset, before, room) or _as_base64(found, params.offset, before, room)
    return _file_part(params.path, part, found.size)


@tool(client=True)
def write_file(use: ToolUse, params: WriteFile) -> Json:
    """Write a text file in the workspace.

    Missing directories are made. A file is replaced as a whole, so that nobody ever reads half of it. Programs and
    libraries (.exe, .so, .bin and the like) cannot be written. `size` is the number of bytes of the file afterwards.
    """
    try:
        content = params.content.encode()
    except UnicodeEncodeError:
        raise ToolError(ToolErrorCode.INVALID_ARGUMENTS, "The content has half of a surrogate pair.") from None
    files = use.resources.files
    written = files.write(use.context.key, params.path, content, WriteMode(params.mode), check=use.clock.check)
    return {"path": params.path, "size": written.size, "created": written.created}


@tool(client=True)
def list_directory(use: ToolUse, params: ListDirectory) -> Json:
    """List a directory of the workspace.

    Each entry has its `path` from the workspace on, a `type` (`file`, `directory`, `link` or `other`) and, for a file,
    its `size` in bytes. Links are shown and not followed. If `truncated` is true there is more than is shown: list a
    directory further down, or give a `pattern`. A path that is shown with a backslash cannot be used with these tools.
    """
    files = use.resources.files
    found = files.list(
        use.context.key,
        params.path,
        recursive=params.recursive,
        pattern=params.pattern,
        check=use.clock.check,
    )
    answer: Json = {"path": params.path, "entries": [], "truncated": False}
    room = files.output_limit - json_size(answer)
    for entry in found.entries:
        line: Json = {"path": entry.path, "type": entry.type.value}
        if entry.size is not None:
            line["size"] = entry.size
        room -= json_size(line) + len(", ")
        if room < 0:
            answer["truncated"] = True
            return answer
        answer["entries"].append(line)
    answer["truncated"] = found.truncated
    return answer


class _Part(NamedTuple):
    """A part of a file as it is told."""

    content: str
    encoding: str
    begin: int
    end: int


def _file_part(path: str, part: _Part, size: int) -> Json:
    more = part.end < size
    return {
        "path": path,
        "content": part.content,
        "encoding": part.encoding,
        "size": size,
        "offset": part.begin,
        "truncated": more,
        "next_offset": part.end if more else None,
    }


def _as_text(found: Content, offset: int, before: int, room: int) -> _Part | None:
    """Return a part as text, or `None` if it is none.

    It begins with a whole character, which may have begun up to three bytes before, and ends with one. What has a NUL
    is no text here: PostgreSQL's JSON does not take it.

    Args:
        found: what was read, with the bytes before the part.
        offset: where the part begins.
        before: how many bytes before it there are.
        room: bytes that the text may take as JSON.
    """
    begin = before - _begun(found.data[:before], found.data[before:])
    data = found.data[begin:]
    if b"\0" in data:
        return None
    begin += offset - before
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(data, final=begin + len(data) >= found.size)
    except UnicodeDecodeError:
        return None
    text = fitting(text, room)
    return _Part(text, "utf-8", begin, begin + len(text.encode()))


def _begun(before: bytes, data: bytes) -> int:
    """Return how many of the bytes before belong to the first character: none but where it was cut."""
    rest = data[: LONGEST_CHARACTER - 1]
    rest = rest[: len(rest) - len(rest.lstrip(_CONTINUATION))]
    for count in range(1, len(before) + 1) if rest else ():
        if len((before[-count:] + rest).decode(errors="ignore").encode()) == count + len(rest):
            return count
    return 0


def _as_base64(found: Content, offset: int, before: int, room: int) -> _Part:
    data = found.data[before:][: room // 4 * 3]
    return _Part(base64.b64encode(data).decode(), "base64", offset, offset + len(data))
