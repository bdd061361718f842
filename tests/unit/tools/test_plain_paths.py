"""What is read as a path of the workspace, and what is not, because a disk might read it as something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace.tools.plain_paths import MAX_LENGTH, MAX_LEVELS, folded, plain_path

a_name = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="/\\:~"), min_size=1)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a/b.md", "a/b.md"),
        ("./a//b", "a/b"),
        ("a/./b/", "a/b"),
        ("", ""),
        (".", ""),
        ("./", ""),
        (".git/config", ".git/config"),
        ("..a/b..", "..a/b.."),
        ("straße/日本.md", "straße/日本.md"),
        ("a b/c", "a b/c"),
    ],
)
def test_a_path_is_brought_into_its_shortest_spelling(text: str, plain: str) -> None:
    assert plain_path(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "../a",
        "a/../b",
        "a/..",
        "/a",
        "//a",
        "a\\b",
        "..\\a",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\u202eb",  # turns the direction of what follows
        "a\u200bb",  # has no width
        "a\u2028b",
        "a\ud800b",
        "\u2025/a",  # a lookalike of `..`
        "\uff0e\uff0e/a",  # another one
        "a\uff0fb",  # a lookalike of `/`
        "a\uff3cb",  # a lookalike of a backslash
        ".. /a",  # some disks leave out spaces and dots at the end
        "... /a",
        "C:/a",
        "a:$DATA",
        "a\uff1ab",
        "GIT~1/config",
    ],
)
def test_what_may_name_something_else_is_no_plain_path(text: str) -> None:
    assert plain_path(text) is None


def test_a_path_has_a_longest_length_and_a_deepest_level() -> None:
    assert plain_path("a" * MAX_LENGTH) is not None
    assert plain_path("a" * (MAX_LENGTH + 1)) is None
    assert plain_path("a/" * MAX_LEVELS) is not None
    assert plain_path("a/" * (MAX_LEVELS + 1)) is None


@given(st.text())
def test_the_shortest_spelling_is_its_own_and_leads_nowhere_else(text: str) -> None:
    plain = plain_path(text)

    if plain is not None:
        assert plain_path(plain) == plain
        assert not plain.startswith("/")
        assert all(name not in {".", ".."} for name in plain.split("/"))
        assert ("" in plain.split("/")) == (plain == "")


@given(st.lists(a_name, min_size=1, max_size=5))
def test_a_spelling_with_more_in_it_is_the_same_path(names: list[str]) -> None:
    plain = plain_path("/".join(names))

    assert plain_path("./" + "/.//./".join(names) + "/") == plain


@pytest.mark.parametrize(
    "name", ["Makefile", "MAKEFILE", "makefile.", "Makefile  ", "makefile. .", "\uff2dakefile", "ma\u212aefile"]
)
def test_names_are_compared_as_the_most_lenient_disk_does(name: str) -> None:
    assert folded(name) == "makefile"
