"""Which paths are refused before anything is opened, and how a name on the disk is shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ground import refused
from workspace.files.paths import parse, parse_file, readable
from workspace.tools.errors import ToolError, ToolErrorCode

INVALID = ToolErrorCode.INVALID_PATH


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (".", ()),
        ("./", ()),
        ("a", ("a",)),
        ("./a//b/./c/", ("a", "b", "c")),
        (".git/config", (".git", "config")),
        ("...", ("...",)),
        ("..a/b..", ("..a", "b..")),
        ("~/x", ("~", "x")),
        ("%2e%2e/x", ("%2e%2e", "x")),
        ("a b\u00a0c.txt", ("a b\u00a0c.txt",)),
        ("größe/日本語/é.txt", ("größe", "日本語", "é.txt")),
        ("e\u0301.txt", ("e\u0301.txt",)),
        ("\uff46\uff55", ("\uff46\uff55",)),
    ],
)
def test_a_path_is_the_names_that_lead_from_the_workspace(path: str, parts: tuple[str, ...]) -> None:
    assert parse(path) == parts


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "//etc",
        "..",
        "../x",
        "a/..",
        "a/../b",
        "./..//x",
        "a\\b",
        "..\\x",
        "a\0b",
        "a\nb",
        "\x7f",
        "\x85",
        "a\u202egnp.exe",  # right-to-left override
        "\u2066a\u2069",
        "a\u200f",
        "a\u061c",
        "a\u200bb",  # zero width space
        "a\u200db",
        "\ufeffa",
        "a\u00adb",  # soft hyphen
        "a\u2028b",
        "\U000e0041",  # a tag
        "\ud800",
        "a\udcff",
        "\uff0e\uff0e/x",  # full-width full stops
        "\uff0e./x",
        "\u2025/x",  # two dot leader
        "\u2024\u2024",  # one dot leaders
        "a\uff0fb",  # full-width solidus
        "a\u2044b",
        "a\u2215b",
        "a\u29f8b",
        "a\uff3cb",
        "a\ufe68b",
        "\u2100",  # reads as a/c
        "a" * 1025,
        "ä" * 128,  # 256 bytes in one name
        "/".join("a" * 33),
        ".codelab-tmp-0123456789abcdef",
        "a/.codelab-tmp-x/b",
    ],
)
def test_a_path_that_breaks_a_rule_is_refused(path: str) -> None:
    with refused(INVALID):
        parse(path)


def test_a_path_may_be_as_long_and_as_deep_as_the_rules_say_and_no_more() -> None:
    longest = "/".join(["a" * 255] * 4) + "/"  # 1024 characters
    assert len(parse(longest)) == 4
    with refused(INVALID):
        parse(longest + "b")
    assert len(parse("/".join("a" * 32))) == 32
    assert parse("ä" * 127 + "a") == ("ä" * 127 + "a",)


@pytest.mark.parametrize("path", [".", "a/", "a/.", "./"])
def test_what_names_a_directory_is_no_files_path(path: str) -> None:
    parse(path)
    with refused(INVALID):
        parse_file(path)


@given(st.text(max_size=60))
def test_what_is_let_through_keeps_every_rule(path: str) -> None:
    try:
        parts = parse(path)
    except ToolError:
        return
    assert not path.startswith("/")
    for part in parts:
        assert part not in {"", ".", ".."}
        assert not {"/", "\\", "\0"} & set(part)
        assert unicodedata.normalize("NFKC", part) not in {".", ".."}
        assert not {"/", "\\"} & set(unicodedata.normalize("NFKC", part))
        assert not {unicodedata.category(character) for character in part} & {"Cc", "Cf", "Cs"}
        assert 0 < len(part.encode()) <= 255
    assert parse("/".join(parts) or ".") == parts


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40))
def test_a_name_is_shown_as_it_is_or_so_that_no_path_can_be_made_of_it(name: str) -> None:
    shown = readable(name)
    if shown == name:
        assert name in {".", ".."} or parse(name) in {(name,), ()}
    else:
        with refused(INVALID):
            parse(shown)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.txt", "a.txt"),
        ("größe", "größe"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("a\\b", "a\\\\b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\udcff", "a\\xff"),  # a byte that is no UTF-8
        ("a\u2215b", "a\\u2215b"),
    ],
)
def test_a_name_that_deceives_is_shown_with_escapes(name: str, shown: str) -> None:
    assert readable(name) == shown
    shown.encode()
