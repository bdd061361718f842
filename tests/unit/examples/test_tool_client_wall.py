"""The example client's directory is a wall: whatever a path says, nothing outside is read, written or listed.

Where an attack is tried, the same attack is tried on a careless reader first: it has to succeed there, else it is none.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docs.examples import tool_client
from docs.examples.tool_client import carry_out, list_directory, read_file, write_file
from tests.unit.examples.conftest import SECRET, Place

Json = dict[str, Any]


def result(place: Place, tool: str, **arguments: Any) -> Json:
    return carry_out(place.wall, tool, arguments, allow_commands=False)


def code(place: Place, tool: str, **arguments: Any) -> str:
    return str(result(place, tool, **arguments)["error"]["code"])


def careless_read(inside: Path, path: str) -> str:
    """What a client would do that looks at the path's text only."""
    assert ".." not in path
    assert not path.startswith("/")
    return (inside / path).read_text()


# Reading ------------------------------------------------------------------------------------------------------------


def test_a_file_is_read_with_what_the_server_would_tell_of_it(place: Place) -> None:
    (place.inside / "a").mkdir()
    (place.inside / "a" / "b.txt").write_text("hello é")
    assert result(place, "read_file", path="./a//b.txt") == {
        "output": {
            "path": "./a//b.txt", "content": "hello é", "encoding": "utf-8", "size": 8, "offset": 0,
            "truncated": False, "next_offset": None,
        }
    }  # fmt: skip


OUTSIDE_PATHS = [
    "../outside/secret", "a/../../outside/secret", "..", "a/..", "/etc/passwd", "//etc/passwd", "", "a\\..\\b", "a\0b",
    "a\nb", "\u202ea", "\ud800", "x" * 1025, "a/" * 33 + "b",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE_PATHS)
@pytest.mark.parametrize("tool", ["read_file", "write_file", "list_directory"])
def test_a_path_that_does_not_stay_below_is_refused(place: Place, tool: str, path: str) -> None:
    (place.inside / "a").mkdir()
    more = {"content": "x"} if tool == "write_file" else {}
    assert code(place, tool, path=path, **more) == "invalid_path"
    assert (place.outside / "secret").read_text() == SECRET


@pytest.mark.parametrize("path", OUTSIDE_PATHS)
def test_such_a_path_would_be_stopped_by_the_walk_alone_or_is_no_way_out(
    place: Place, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check of the text, only `..` leads out: so `..` is the one thing that this check must not miss."""
    parts = [part for part in path.split("/") if part]
    monkeypatch.setattr(tool_client, "parts_of", lambda _: parts)
    found = result(place, "read_file", path=path)
    assert (SECRET in str(found)) == (path == "../outside/secret")


def test_an_absolute_path_is_refused_even_if_it_leads_inside(place: Place) -> None:
    (place.inside / "a").write_text("x")
    assert code(place, "read_file", path=str(place.inside / "a")) == "invalid_path"


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("link", "../outside/secret", "link"),
        ("link", "../outside", "link/secret"),
        ("link", "/", "link/etc/passwd"),
        ("link", "real", "link/own"),
        ("link", "real/own", "link"),
        ("real/link", "..", "real/link/real/own"),
    ],
)
def test_links_are_not_followed_wherever_they_lead(place: Place, link: str, target: str, path: str) -> None:
    (place.inside / "real").mkdir()
    (place.inside / "real" / "own").write_text("own")
    (place.inside / link).symlink_to(target)
    assert careless_read(place.inside, path)
    assert code(place, "read_file", path=path) in {"not_a_file", "not_a_directory"}


def test_a_file_with_a_second_name_is_not_read(place: Place) -> None:
    (place.inside / "hard").hardlink_to(place.secret)
    assert careless_read(place.inside, "hard") == SECRET
    assert code(place, "read_file", path="hard") == "not_a_file"
    assert code(place, "write_file", path="hard", content="x", mode="append") == "not_a_file"


def hangs(act: Callable[[], object], pipe: Path) -> bool:
    """Whether something waits for the other end of a pipe; it is let go."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(0.5)
    waits = thread.is_alive()
    if waits:
        os.close(os.open(pipe, os.O_WRONLY))
        thread.join()
    return waits


def test_a_pipe_does_not_block(place: Place) -> None:
    pipe = place.inside / "pipe"
    os.mkfifo(pipe)
    assert hangs(lambda: careless_read(place.inside, "pipe"), pipe), "a careless reader has to hang here"
    found: list[Any] = []
    assert not hangs(lambda: found.append(result(place, "read_file", path="pipe")), pipe)
    assert not hangs(lambda: found.append(result(place, "write_file", path="pipe", content="x", mode="append")), pipe)
    assert [each["error"]["code"] for each in found] == ["not_a_file", "not_a_file"]
    # Even if it became a pipe between the look and the opening.
    assert not hangs(lambda: os.close(os.open(pipe, tool_client.READ)), pipe)


def test_a_directory_or_a_device_is_no_file(place: Place) -> None:
    (place.inside / "folder").mkdir()
    assert code(place, "read_file", path="folder") == "not_a_file"
    assert code(place, "read_file", path="folder/") == "invalid_path"
    assert code(place, "read_file", path=".") == "invalid_path"
    devices = tool_client.Wall("/dev")
    assert carry_out(devices, "read_file", {"path": "zero"}, allow_commands=False)["error"]["code"] == "not_a_file"


def test_what_is_not_there_is_told_without_a_path_of_this_machine(place: Place) -> None:
    (place.inside / "file").write_text("x")
    assert result(place, "read_file", path="none/at/all") == {
        "error": {"code": "not_found", "detail": "No such file or directory."}
    }
    assert code(place, "read_file", path="file/x") == "not_a_directory"
    assert code(place, "list_directory", path="file") == "not_a_directory"
    for arguments in ({"path": "none"}, {"path": "file/x"}, {"path": "/x"}):
        assert str(place.inside) not in str(result(place, "read_file", **arguments))


def test_what_is_no_text_comes_as_base64(place: Place) -> None:
    (place.inside / "binary").write_bytes(b"\xff\xfe")
    (place.inside / "nul").write_bytes(b"a\0b")
    assert read_file(place.wall, "binary")["content"] == "//4="
    assert (read_file(place.wall, "nul")["content"], read_file(place.wall, "nul")["encoding"]) == ("YQBi", "base64")


def test_a_long_file_is_read_part_by_part_and_no_character_is_lost(place: Place) -> None:
    text = "aé€😀" * 50_000
    (place.inside / "long").write_text(text)
    whole, offset = "", 0
    for length in [4, 5, 6, 7, *[tool_client.READ_BYTES + 1] * 10]:
        part = read_file(place.wall, "long", offset, length)
        assert part["offset"] == offset
        whole += part["content"]
        if not part["truncated"]:
            break
        offset = part["next_offset"]
    assert whole == text
    assert read_file(place.wall, "long", 2)["content"].startswith("€")
    assert read_file(place.wall, "long", 10_000_000)["content"] == ""


def test_a_result_can_always_be_sent(place: Place) -> None:
    (place.inside / "controls").write_text("\x01" * 1_000_000)
    for number in range(1_200):
        (place.inside / f"{number:04}{'é' * 120}").touch()
    for tool, arguments in (("read_file", {"path": "controls", "length": 10**9}), ("list_directory", {})):
        found = result(place, tool, **arguments)["output"]
        assert len(tool_client.json.dumps(found)) <= tool_client.OUTPUT_BYTES
        assert found["truncated"]


# Writing ------------------------------------------------------------------------------------------------------------


def test_a_file_is_written_with_the_directories_to_it(place: Place) -> None:
    assert write_file(place.wall, "a/b/c.txt", "é") == {"path": "a/b/c.txt", "size": 2, "created": True}
    assert write_file(place.wall, "a/b/c.txt", "x", "append") == {"path": "a/b/c.txt", "size": 3, "created": False}
    assert (place.inside / "a" / "b" / "c.txt").read_text() == "éx"
    assert code(place, "write_file", path="a/b/c.txt", content="", mode="create") == "already_exists"
    assert [each.name for each in (place.inside / "a" / "b").iterdir()] == ["c.txt"]


def test_a_link_is_replaced_and_never_written_through(place: Place) -> None:
    link = place.inside / "link"
    for mode in ("overwrite", "append", "create"):
        link.unlink(missing_ok=True)
        link.symlink_to(place.secret)
        link.write_text("careless")
        assert place.secret.read_text() == "careless"
        place.secret.write_text(SECRET)
        found = result(place, "write_file", path="link", content="mine", mode=mode)
        assert ("output" in found) == (mode == "overwrite")
        assert place.secret.read_text() == SECRET
    (place.inside / "hard").hardlink_to(place.secret)
    write_file(place.wall, "hard", "mine")
    assert place.secret.read_text() == SECRET
    assert (place.inside / "hard").read_text() == "mine"


def test_no_file_is_made_behind_a_link(place: Place) -> None:
    (place.inside / "link").symlink_to("../outside")
    (place.inside / "dangling").symlink_to("../outside/new")
    (place.inside / "link" / "careless").write_text("x")
    assert (place.outside / "careless").exists()
    assert code(place, "write_file", path="link/new", content="x") == "not_a_directory"
    assert code(place, "write_file", path="link/below/new", content="x") == "not_a_directory"
    assert code(place, "write_file", path="dangling", content="x", mode="create") == "already_exists"
    write_file(place.wall, "dangling", "x")
    assert sorted(each.name for each in place.outside.iterdir()) == ["careless", "secret"]


def test_a_file_keeps_its_permissions_and_nothing_is_left_of_a_failure(place: Place) -> None:
    script = place.inside / "script"
    script.write_text("x")
    script.chmod(0o750)
    write_file(place.wall, "script", "y")
    assert script.stat().st_mode & 0o777 == 0o750
    (place.inside / "folder").mkdir()
    assert "error" in result(place, "write_file", path="folder", content="x")
    assert sorted(each.name for each in place.inside.iterdir()) == ["folder", "script"]


# Listing ------------------------------------------------------------------------------------------------------------


def test_links_are_listed_and_not_followed(place: Place) -> None:
    (place.inside / "a").mkdir()
    (place.inside / "a" / "file.py").write_text("123")
    (place.inside / "a" / "out").symlink_to("../../outside")
    os.mkfifo(place.inside / "pipe")
    assert (place.inside / "a" / "out" / "secret").exists()
    listed = list_directory(place.wall, recursive=True)
    assert listed == {
        "path": ".",
        "entries": [
            {"path": "a", "type": "directory"},
            {"path": "a/file.py", "type": "file", "size": 3},
            {"path": "a/out", "type": "link"},
            {"path": "pipe", "type": "other"},
        ],
        "truncated": False,
    }
    assert [each["path"] for each in list_directory(place.wall)["entries"]] == ["a", "pipe"]
    for pattern, directory in (("*.py", "."), ("a/*.py", "."), ("file*", "a")):
        found = list_directory(place.wall, directory, recursive=True, pattern=pattern)
        assert [each["path"] for each in found["entries"]] == ["a/file.py"]
    assert code(place, "list_directory", path="a/out") == "not_a_directory"


def test_a_name_that_is_no_text_is_shown_as_escapes(place: Place) -> None:
    (place.inside / os.fsdecode(b"\xff")).touch()
    assert list_directory(place.wall)["entries"] == [{"path": "\\udcff", "type": "file", "size": 0}]


def test_a_deep_tree_comes_to_an_end(place: Place) -> None:
    (place.inside / ("d/" * 60)).mkdir(parents=True)
    assert len(list_directory(place.wall, recursive=True)["entries"]) == tool_client.PATH_LEVELS + 1


# Arguments ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("read_file", {}, "invalid_arguments"),
        ("read_file", {"path": 1}, "invalid_arguments"),
        ("read_file", {"path": "a", "wall": None}, "invalid_arguments"),
        ("read_file", {"path": "a", "offset": "1"}, "invalid_arguments"),
        ("read_file", {"path": "a", "more": 1}, "invalid_arguments"),
        ("write_file", {"path": "a", "content": "\ud800"}, "invalid_arguments"),
        ("write_file", {"path": "a", "content": "x", "mode": "maybe"}, "invalid_arguments"),
        ("place", {}, "unknown_tool"),
        ("__class__", {}, "unknown_tool"),
        ("execute_command", {"command": "ls"}, "command_not_allowed"),
    ],
)
def test_a_call_that_does_not_fit_is_an_error_for_the_agent(
    place: Place, tool: str, arguments: Json, expected: str
) -> None:
    assert carry_out(place.wall, tool, arguments, allow_commands=False)["error"]["code"] == expected
    assert list(place.inside.iterdir()) == []
