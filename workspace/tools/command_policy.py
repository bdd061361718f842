"""Which commands a deployment lets agents run.

This is policy and no boundary. It keeps an agent from what is never useful, and tells it so in words instead of an
error from the depths. It looks through the usual wrappers (`env`, `xargs`, `sh -c`), as far as that goes, and whoever
wants to get past it writes three lines of Python. What a command cannot do is settled by the sandbox alone, which
holds with every command allowed.
"""

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from workspace.tools.errors import ToolError, ToolErrorCode

ANY: Final = "*"
"""In the list of what is allowed: everything."""

_DIRECTORIES: Final = ("/usr/bin", "/bin")
_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
_WRAPPERS: Final = frozenset(
    (
        *(
            "env",
            "nohup",
            "xargs",
            "nice",
            "ionice",
            "timeout",
            "time",
            "stdbuf",
            "setsid",
            "setpriv",
            "prlimit",
            "chrt",
        ),
        *("taskset", "watch", "command", "exec", "eval", "builtin", "busybox", "parallel", "flock", "strace"),
    )
)
"""What runs the words that follow it, or some of them: each of these is judged."""

_FIND_RUNS: Final = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_OPERATORS: Final = frozenset(";&|(){}")
_BEFORE_A_COMMAND: Final = frozenset({"then", "do", "else", "elif", "if", "while", "until", "!"})
_VERSION: Final = re.compile(r"(?<=[A-Za-z])-?\d[\d.]*$")
_DEEPEST: Final = 4
"""Shells in shells."""
_MOST_WORDS: Final = 256
"""Words of a command that are looked at: a long line shall not take long."""


class _Denial(NamedTuple):
    """A command that is refused, always or with certain options and operands."""

    name: str
    letters: frozenset[str]
    operands: frozenset[str]

    @classmethod
    def read(cls, entry: str) -> "_Denial":
        """Read an entry such as `dd`, or `rm -r /`: `rm` with that option, whatever others it has, and that operand."""
        name, *args = entry.split()
        return cls(name, *_read_arguments(args))

    def applies(self, name: str, args: Sequence[str]) -> bool:
        """Return whether a command is refused."""
        if self.name not in {name, name.partition(".")[0]}:  # mkfs.ext4
            return False
        letters, operands = _read_arguments(args[:_MOST_WORDS])
        return self.letters <= letters and (not self.operands or bool(self.operands & operands))


class CommandPolicy:
    """Two lists of names: what is allowed, and what is refused even then."""

    def __init__(self, *, allowed: Sequence[str], denied: Sequence[str]) -> None:
        """Make a policy.

        Args:
            allowed: names of programs; `*` for all of them.
            denied: names, or a name with an option and an operand (`rm -r /`).
        """
        self._allowed = frozenset(allowed)
        self._denied = [_Denial.read(entry) for entry in denied]

    def check(self, command: str, args: Sequence[str]) -> None:
        """Refuse a command that this deployment does not want.

        Raises:
            ToolError: `COMMAND_NOT_ALLOWED`; it says what would be allowed.
        """
        name = _name_of(command)
        for inner, its_args in _looked_through(name, args, _DEEPEST):
            if any(denial.applies(inner, its_args) for denial in self._denied):
                raise ToolError(ToolErrorCode.COMMAND_NOT_ALLOWED, f"{_shown(inner)} is refused here. {self._offer}")
        if not self._is_allowed(name):
            raise ToolError(ToolErrorCode.COMMAND_NOT_ALLOWED, f"{_shown(name)} is not allowed here. {self._offer}")

    def _is_allowed(self, name: str) -> bool:
        return bool(self._allowed & {ANY, name, _VERSION.sub("", name)})  # python3.11, gcc-12

    @property
    def _offer(self) -> str:
        if ANY in self._allowed:
            return "Most other commands are allowed."
        return f"Allowed are: {', '.join(sorted(self._allowed))}."


def _name_of(command: str) -> str:
    """Return the name of a program; a path has to lead to one of the system's own."""
    directory, name = posixpath.split(command)
    if directory and directory not in _DIRECTORIES:
        raise ToolError(
            ToolErrorCode.COMMAND_NOT_ALLOWED,
            f"A command is a name, or a path in {' or '.join(_DIRECTORIES)}. Run a script by its interpreter.",
        )
    return name


def _looked_through(name: str, args: Sequence[str], depth: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield a command, and what it would run as far as that can be seen."""
    yield name, args
    places = list(_places_of_commands(name, args[:_MOST_WORDS]))
    names = [posixpath.basename(args[place]) for place in places]
    for place, inner in zip(places, names, strict=True):
        yield inner, args[place + 1 :]
    begin_of_code = (
        0
        if name in _SHELLS
        else next((place + 1 for place, inner in zip(places, names, strict=True) if inner in _SHELLS), None)
    )
    if begin_of_code is not None and depth > 0:
        for code in args[begin_of_code:]:  # of `-c`; the name of a script is code that says nothing
            yield from _commands_of_shell(code, depth - 1)


def _places_of_commands(name: str, args: Sequence[str]) -> Iterator[int]:
    """Yield where in the arguments of a wrapper a command may stand."""
    if name in _WRAPPERS:
        yield from (place for place, word in enumerate(args) if not word.startswith("-"))
    elif name == "find":
        yield from (place for place in range(1, len(args)) if args[place - 1] in _FIND_RUNS)


def _commands_of_shell(code: str, depth: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the commands of a piece of shell code: the words that stand where a shell looks for a command."""
    command: list[str] = []
    for word in [*_words(code), ";"]:
        if word in _BEFORE_A_COMMAND or set(word) <= _OPERATORS:
            if command:
                yield from _looked_through(posixpath.basename(command[0]), command[1:], depth)
            command = []
        elif command or not re.match(r"\w+=", word):
            command.append(word)


def _words(code: str) -> list[str]:
    code = re.sub(r"\n|`|\$\(", " ; ", code)
    lexer = shlex.shlex(code, posix=True, punctuation_chars="".join(sorted(_OPERATORS)))
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # a quotation that does not end
        return re.sub(r"[;&|(){}]", " ; ", code).split()


def _read_arguments(args: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the options as letters and the operands as short as they can be."""
    letters: set[str] = set()
    operands: set[str] = set()
    for arg in args:
        if arg.startswith("--"):
            letters.add(arg[2:3].lower())
        elif arg.startswith("-") and len(arg) > 1:
            letters.update(arg[1:].replace("R", "r"))
        else:
            operands.add(_plain(arg))
    return frozenset(letters), frozenset(operands)


def _plain(path: str) -> str:
    """Return the shortest path to the same place, as far as its letters tell."""
    plain = posixpath.normpath(path.rstrip("*") or path)
    return "/" if plain.startswith("//") and not plain.strip("/") else plain


def _shown(name: str) -> str:
    return repr(name[:80])
