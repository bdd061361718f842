"""Commands that only read, with the arguments that keep them so.

It lists what is allowed, never what is not: an option that is not here, also an abbreviated one, is not known to be
harmless. `sort` can write (`-o`) and run a program (`--compress-program`), `diff -l` runs another one, `find` can do
anything (`-exec`), options that follow links lead out of the workspace.

`git` is not here, not even for `git status`: what it reads tells it what to execute (`core.fsmonitor`, `diff.external`,
filters, textconv). That may be a `.git/config`, or a `config` beside a `HEAD` in any directory, and whoever wrote these
files would then run a program that nobody was asked for.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from workspace.tools.showing import shown


class Reader(NamedTuple):
    """A command, and what it may be given."""

    flags: str = ""
    """Letters of options without a value. A digit is one of them: `head -20`."""
    valued: str = ""
    """Letters of options with a value, in the same argument or in the next one, on every system."""
    long: tuple[str, ...] = ()
    """Names of long options without a value."""
    long_valued: tuple[str, ...] = ()
    """Names of long options with a value in the same argument; which ones may take the next one differs."""
    pattern_option: str | None = None
    """Without this option, the first argument that is no option is a pattern and no path."""


_DIGITS = "0123456789"

READERS = {
    "cat": Reader("AbeEnstTv", long=("number", "number-nonblank", "show-all", "show-ends", "show-tabs")),
    "diff": Reader(
        "abBdeEinpqrstTuwyZ",
        "CUW",
        ("brief", "ignore-all-space", "ignore-blank-lines", "ignore-case", "recursive", "unified"),
        ("color", "context", "unified", "width"),
    ),
    "du": Reader("abchkmsSx", "d", ("all", "bytes", "human-readable", "summarize", "total"), ("max-depth",)),
    "file": Reader("bhikN", long=("brief", "mime", "mime-encoding", "mime-type")),
    "grep": Reader(
        # The value of -C can be left out on some systems, so that the next argument never counts as one.
        "abcCEFGhHiIlLnoPqrsvwxyzZ" + _DIGITS,
        "ABem",
        (
            *("count", "extended-regexp", "files-with-matches", "files-without-match", "fixed-strings", "ignore-case"),
            *("invert-match", "line-number", "line-regexp", "no-filename", "no-messages", "only-matching", "quiet"),
            *("recursive", "with-filename", "word-regexp"),
        ),
        ("after-context", "before-context", "color", "context", "exclude", "exclude-dir", "include", "max-count"),
        pattern_option="e",
    ),
    "head": Reader("qvz" + _DIGITS, "cn", ("quiet", "verbose"), ("bytes", "lines")),
    "ls": Reader(
        "1aABcCdFgGhiklmnNopqQrRsStuUvxX",
        long=("all", "almost-all", "directory", "human-readable", "inode", "recursive", "reverse", "size"),
        long_valued=("color", "format", "sort", "time", "time-style"),
    ),
    "pwd": Reader("LP"),
    "sort": Reader(
        "bcCdfghiMmnrsuVz",
        "kt",
        ("check", "ignore-case", "numeric-sort", "reverse", "stable", "unique", "version-sort"),
        ("field-separator", "key"),
    ),
    "stat": Reader("t", "c", ("terse",), ("format", "printf")),
    "tail": Reader("qvz" + _DIGITS, "cn", ("quiet", "verbose"), ("bytes", "lines")),
    "wc": Reader("cmlLw", long=("bytes", "chars", "lines", "max-line-length", "words")),
}
"""Every command but `echo` and `find`, whose arguments have a grammar of their own."""

FIND_ALONE = (
    *("(", ")", ",", "!", "-a", "-and", "-daystart", "-depth", "-empty", "-executable", "-false", "-ls", "-mount"),
    *("-not", "-o", "-or", "-print", "-print0", "-prune", "-quit", "-readable", "-true", "-writable", "-xdev"),
)
"""What may stand in an expression of `find` by itself."""

FIND_VALUED = (
    *("-amin", "-atime", "-cmin", "-ctime", "-group", "-iname", "-ipath", "-iregex", "-links", "-maxdepth"),
    *("-mindepth", "-mmin", "-mtime", "-name", "-path", "-perm", "-regex", "-regextype", "-size", "-type", "-user"),
)
"""What may stand there with a value behind it."""

_OPTION_LIKE = re.compile(r"-(?!\d+[A-Za-z]?$)")
"""A value that begins like this may be an option after all, to another version of the program."""

_OUTSIDE = re.compile(r"[/~\\]|[A-Za-z]:|(?:.*[/\\])?\.\.(?:$|[/\\])", re.DOTALL)


def is_reader(command: str) -> bool:
    """Whether a command is on the list at all."""
    return command in READERS or command in {"echo", "find"}


def objection(command: str, args: Sequence[str]) -> str | None:
    """Return why these arguments may make more than a reader of a command on the list, `None` if they do not."""
    if any("\0" in each for each in args):
        return "with a NUL in an argument"
    if command == "echo":
        return None  # it says what it is given
    objections = _in_find(args) if command == "find" else _in_options(READERS[command], args)
    return next(objections, None)


def _in_options(reader: Reader, args: Sequence[str]) -> Iterator[str]:
    """Yield what is not known to be harmless. Options count wherever they stand, up to `--`."""
    rest = iter(args)
    others: list[str] = []
    has_pattern = reader.pattern_option is None
    for argument in rest:
        if argument == "--":
            others += rest
        elif argument == "-" or not argument.startswith("-"):
            others.append(argument)
        elif argument.startswith("--"):
            name, equals, _ = argument[2:].partition("=")
            if name not in (reader.long_valued if equals else reader.long):
                yield _unknown(argument)
        else:
            letters = argument[1:].lstrip(reader.flags)
            if letters and letters[0] not in reader.valued:
                yield _unknown(argument)
            if len(letters) == 1:  # an option whose value is the next argument
                yield from _in_value(argument, next(rest, None))
            has_pattern = has_pattern or letters[:1] == reader.pattern_option
    yield from _in_paths(others if has_pattern else others[1:])


def _in_find(args: Sequence[str]) -> Iterator[str]:
    """Yield what is not known to be harmless: first come paths, then an expression."""
    paths = list(takewhile(lambda each: not each.startswith("-") and each not in FIND_ALONE, args))
    yield from _in_paths(paths)
    rest = iter(args[len(paths) :])
    for argument in rest:
        if argument in FIND_VALUED:
            yield from _in_value(argument, next(rest, None))
        elif argument not in FIND_ALONE:
            yield _unknown(argument)


def _in_value(option: str, value: str | None) -> Iterator[str]:
    if value is None:
        yield f"with {shown(option)} and no value for it"
    elif _OPTION_LIKE.match(value):
        yield _unknown(value)


def _in_paths(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if _OUTSIDE.match(path):
            yield f"on {shown(path)}, which lies outside of the workspace"


def _unknown(argument: str) -> str:
    return f"with {shown(argument)}, which is not known to only read"
