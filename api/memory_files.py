"""Memories as lines: bodies that are read and answers that are written without ever being held as a whole."""

import json
import time
from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from itertools import chain, count
from typing import IO, Final, NamedTuple, cast

from workspace.errors import CodelabError, InvalidInput, InvalidLine
from workspace.memory.door import MemoryDoor, Restored
from workspace.memory.transfer import LONGEST_LINE, check_line

MOST_LINES: Final = 100
MOST_BYTES: Final = 1_000_000
"""Of lines that are kept at once: as many as one of them may have."""
READ_BYTES: Final = 65_536
WRITTEN_BYTES: Final = 65_536


def exported(memory: MemoryDoor) -> Iterator[bytes]:
    """Return the lines of an export. What fails at once is raised here, before anything was answered.

    What fails later is told in a last line, `{"error": {"error_code", "detail"}}`, which no import takes, and the
    answer is broken off, so that no client takes a part of a memory for all of it.
    """
    lines = memory.export()
    first = next(lines, None)
    return iter(()) if first is None else _frames(chain((first,), lines))


def _frames(lines: Iterator[str]) -> Iterator[bytes]:
    """Yield lines, some together: each frame is a call of the kernel."""
    held: list[str] = []
    size = 0
    try:
        for line in lines:
            held.append(line)
            size += len(line)
            if size >= WRITTEN_BYTES:
                yield "".join(held).encode()
                held, size = [], 0
    except CodelabError as error:
        held.append(json.dumps({"error": {"error_code": error.code, "detail": error.detail}}) + "\n")
        yield "".join(held).encode()
        raise
    if held:
        yield "".join(held).encode()


def restore(memory: MemoryDoor, body: IO[bytes]) -> Restored:
    """Keep the memories of an export, as they come.

    Raises:
        InvalidLine: a line is no memory; all that stand before it are kept.
    """
    stored = embedded = 0
    for part in _parts(body):
        if part.lines:
            done = memory.restore(part.lines)
            stored += done.stored
            embedded += done.embedded
        if part.mistake is not None:
            raise InvalidLine(part.mistake.detail, line=part.looked_at, stored=stored)
        time.sleep(0)  # a body of empty lines asks for nothing that lets other requests have their turn
    return Restored(stored, embedded)


class _Part(NamedTuple):
    lines: list[bytes]
    looked_at: int
    """Lines of the whole body, up to here."""
    mistake: InvalidInput | None = None
    """What is wrong with the last one of these."""


def _parts(body: IO[bytes]) -> Iterator[_Part]:
    reader = BufferedReader(cast(RawIOBase, body), READ_BYTES)
    lines: list[bytes] = []
    number = 0
    for number in count(1):
        line = reader.readline(LONGEST_LINE + 1)
        if not line:
            break
        if line.strip():
            try:
                check_line(line)
            except InvalidInput as error:
                yield _Part(lines, number, error)
                return
            lines.append(line)
        if number % MOST_LINES == 0 or sum(map(len, lines)) >= MOST_BYTES:
            yield _Part(lines, number)
            lines = []
    yield _Part(lines, number)
