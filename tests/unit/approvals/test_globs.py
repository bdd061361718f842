"""A glob matches what its definition says, in a time that the pattern cannot blow up."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workspace.approvals.globs import MAX_TEXT, has_wildcard, matches

SLOW = 5.0
"""Seconds that no pattern may take; the slowest here takes 0.1, a backtracking matcher would not end."""

few_characters = st.text("ab/", max_size=7)
a_pattern = st.text("ab/*?", max_size=7)


def matches_by_definition(pattern: str, text: str, *, crossing: bool) -> bool:
    """The same, read off the definition without a thought of time."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        rest = pattern.lstrip("*")
        deep = crossing or len(pattern) - len(rest) >= 2
        reach = len(text) if deep else len(text.split("/", maxsplit=1)[0])
        return any(matches_by_definition(rest, text[taken:], crossing=crossing) for taken in range(reach + 1))
    if not text:
        return False
    fits = (crossing or text[0] != "/") if pattern[0] == "?" else text[0] == pattern[0]
    return fits and matches_by_definition(pattern[1:], text[1:], crossing=crossing)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("docs/*.md", "docs/a.md", True),
        ("docs/*.md", "docs/.md", True),
        ("docs/*.md", "docs/a/b.md", False),
        ("docs/*.md", "docs/a.md.txt", False),
        ("docs/*.md", "old/docs/a.md", False),
        ("docs/**", "docs/a/b.md", True),
        ("docs/**", "docs", False),
        ("docs/**/x", "docs/x", False),
        ("docs/**/x", "docs/a/b/x", True),
        ("**/x", "a/b/x", True),
        ("***", "a/b", True),
        ("*", "a/b", False),
        ("*/*", "a/b", True),
        ("?", "a", True),
        ("?", "", False),
        ("?", "/", False),
        ("?", "\U0001f600", True),
        ("", "", True),
        ("*", "", True),
        ("**", "", True),
        ("[ab].md", "a.md", False),
        ("[ab].md", "[ab].md", True),
        ("a.md", "axmd", False),
        ("\\*", "*", False),
        ("\\*", "\\x", True),
        ("{a,b}", "a", False),
        ("A*", "ab", False),
        ("a*", "a\nb", True),
        ("$^.+(|)", "$^.+(|)", True),
        ("\u00e9*", "e\u0301", False),
    ],
)
def test_a_pattern_matches_the_whole_of_a_text(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


@pytest.mark.parametrize("pattern", ["*", "**", "a*c", "a?c"])
def test_where_stars_cross_slashes_so_does_a_single_one(pattern: str) -> None:
    assert matches(pattern, "a/c", crossing=True)


@given(a_pattern, few_characters, st.booleans())
@example("*a**b*", "xaa/bb", False)
@example("a*/**?b", "a/a/b", False)
def test_it_agrees_with_the_definition(pattern: str, text: str, crossing: bool) -> None:
    assert matches(pattern, text, crossing=crossing) == matches_by_definition(pattern, text, crossing=crossing)


@given(st.lists(st.tuples(st.sampled_from(["*", "**", "?", ""]), few_characters), max_size=4), st.data())
def test_a_text_made_after_the_pattern_matches(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    pattern, text = "", ""
    for wildcard, literal in parts:
        pattern += wildcard + literal
        text += {
            "*": data.draw(st.text("ab", max_size=3)),
            "**": data.draw(few_characters),
            "?": data.draw(st.sampled_from("ab")),
            "": "",
        }[wildcard] + literal

    assert matches(pattern, text)


@given(st.text())
def test_a_text_without_wildcards_matches_itself(text: str) -> None:
    if not has_wildcard(text):
        assert matches(text, text)


@given(a_pattern, few_characters)
def test_without_two_stars_a_pattern_never_reaches_into_another_directory(pattern: str, text: str) -> None:
    if "**" not in pattern and matches(pattern, text):
        assert pattern.count("/") == text.count("/")


@pytest.mark.parametrize("pattern", ["*a" * 512, "?*" * 512, "**a" * 341, "*" * 1_024 + "b", "a" * 1_000 + "*b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    began = time.monotonic()

    matches(pattern, "a" * MAX_TEXT)
    matches(pattern, "a/" * (MAX_TEXT // 2), crossing=True)

    assert time.monotonic() - began < SLOW


def test_long_text_is_matched_by_itself_alone() -> None:
    assert matches("*", "a" * MAX_TEXT)
    assert not matches("*", "a" * (MAX_TEXT + 1))
    assert matches("a" * (MAX_TEXT + 1), "a" * (MAX_TEXT + 1))
