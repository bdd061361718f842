"""Patterns mean what they say, and cost what the text is long."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ground import refused
from workspace.files.glob import MOST_CHARACTERS, MOST_SETS, Glob
from workspace.tools.errors import ToolErrorCode


def matches(pattern: str, path: str) -> bool:
    glob = Glob(pattern)
    return glob.accepts(glob.feed(glob.begin(), path))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.py", "a.py", True),
        ("*.py", "a/b/c.py", True),
        ("*.py", "a.pyc", False),
        ("*.py", "a.py/b", False),
        ("a", "a", True),
        ("a", "b/a", True),
        ("a", "ba", False),
        ("./a", "a", True),
        ("./a", "b/a", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/a/b.py", False),
        ("src/*.py", "x/src/a.py", False),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/a/b/c.py", True),
        ("src/**/*.py", "srcs/a.py", False),
        ("src/**/x", "src/ax", False),
        ("**/x", "x", True),
        ("**/x", "a/x", True),
        ("**/x", "ax", False),
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("src/**", "src", False),
        ("src/**", "src/a/b", True),
        ("**/**/a/**/**/b", "a/b", True),
        ("**/**/a/**/**/b", "x/a/y/b", True),
        ("a/**/b/**/c", "a/b/c", True),
        ("a/**/b/**/c", "a/c", False),
        ("*", ".git", True),
        ("*", "a/b", True),
        ("?", "a", True),
        ("?", "ab", False),
        ("a?c", "a/c", False),
        ("a*c/d", "a/c/d", False),
        ("a**c", "abbc", True),
        ("a**c/d", "ab/c/d", False),
        ("[ab]c", "ac", True),
        ("[!ab]c", "ac", False),
        ("[!ab]c", "xc", True),
        ("x/a[!b]c", "x/a/c", False),
        ("[a-c]", "b", True),
        ("[a-c]", "-", False),
        ("[a-]", "-", True),
        ("[]]", "]", True),
        ("[!]]", "]", False),
        ("[", "[", True),
        ("[a", "[a", True),
        ("a]", "a]", True),
        ("*.JS", "a.js", False),
        ("größe*", "größer", True),
        ("*a*a*", "banana", True),
        ("src/", "src", True),
    ],
)
def test_a_pattern_matches_as_people_expect(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


@pytest.mark.parametrize(
    "pattern",
    ["", "/", ".", "../*", "a/../b", "*.{ts,js}", "a\\*", "a" * (MOST_CHARACTERS + 1), "[a]" * (MOST_SETS + 1)],
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with refused(ToolErrorCode.INVALID_ARGUMENTS):
        Glob(pattern)


def _as_regex(pattern: str) -> str:
    """Say the same as a regular expression, which small patterns are fit for."""
    parts = [part for part in (pattern if "/" in pattern else f"**/{pattern}").split("/") if part]
    if parts[-1] == "**":
        parts.append("*")
    *folders, name = ["(?:.*/)?" if part == "**" else _name_as_regex(part) for part in parts]
    return "".join(folder if folder == "(?:.*/)?" else f"{folder}/" for folder in folders) + name


def _name_as_regex(name: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character)) for character in name)


_names = st.text("ab.", min_size=1, max_size=3)
_paths = st.lists(_names, min_size=1, max_size=4).map("/".join)
_patterns = st.lists(st.one_of(st.just("**"), st.text("ab.*?", min_size=1, max_size=4)), min_size=1, max_size=4).map(
    "/".join
)


@given(_patterns.filter(lambda pattern: not {".", ".."} & set(pattern.split("/"))), _paths)
def test_a_pattern_means_the_same_as_a_regular_expression(pattern: str, path: str) -> None:
    assert matches(pattern, path) == bool(re.fullmatch(_as_regex(pattern), path))


@given(_patterns.filter(lambda pattern: not {".", ".."} & set(pattern.split("/"))), _paths)
def test_a_text_can_be_fed_in_parts_and_a_dead_end_stays_one(pattern: str, path: str) -> None:
    glob = Glob(pattern)
    places = glob.begin()
    for character in path:
        places = glob.feed(places, character)
    assert glob.accepts(places) == matches(pattern, path)
    assert glob.feed(0, path) == 0


@pytest.mark.parametrize("pattern", ["*a" * 128, "**/*a" * 51 + "b", "?*" * 128, "[!b]*" * 16 + "b", "*" * 255 + "b"])
def test_no_pattern_makes_a_name_expensive(pattern: str) -> None:
    """A backtracking matcher would not come back within a lifetime."""
    glob = Glob(pattern)
    name = "a" * 255
    began = time.process_time()
    for _ in range(100):
        glob.feed(glob.begin(), name)
    assert (time.process_time() - began) / 100 < 0.005
