"""Another program exchanges names while the example client uses them, and gains nothing.

A careless client, which looks at a path first and uses it afterwards, is raced as well: it has to lose, else the race
proves nothing.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from docs.examples.tool_client import carry_out
from tests.unit.examples.conftest import SECRET, Place

RACE_SECONDS = 1.0
CONTROL_SECONDS = 60.0

SWAP_FOLDER = """
import ctypes, os
os.symlink("../outside", "trap")
exchange = ctypes.CDLL(None, use_errno=True).renameat2
while exchange(-100, b"box", -100, b"trap", 2) == 0:
    pass
"""
SWAP_FILE = """
import os
while True:
    os.symlink("../../outside/secret", "box/link")
    os.rename("box/link", "box/secret")
    with open("box/file", "w") as file:
        file.write("own")
    os.rename("box/file", "box/secret")
"""


@contextmanager
def swapping(place: Place, program: str) -> Iterator[None]:
    """Exchange names in the directory, as fast as another process can."""
    box = place.inside / "box"
    box.mkdir()
    (box / "secret").write_text("own")
    attacker = subprocess.Popen([sys.executable, "-c", program], cwd=place.inside)
    try:
        yield
        assert attacker.poll() is None, "the attack has ended by itself"
    finally:
        attacker.kill()
        attacker.wait()


def stays_inside(inside: Path, path: Path) -> bool:
    """What careless programs ask before they open a path."""
    return path.resolve().is_relative_to(inside.resolve())


def careless_read(inside: Path) -> str:
    path = inside / "box" / "secret"
    try:
        return path.read_text() if stays_inside(inside, path) else "refused"
    except OSError:
        return "error"


def careless_write(inside: Path) -> str:
    path = inside / "box" / "secret"
    try:
        if stays_inside(inside, path):
            path.write_text("mine")
    except OSError:
        return "error"
    return "done"


def until(end: Callable[[], bool], seconds: float, act: Callable[[], str]) -> Counter[str]:
    """Do something again and again; return how often each result came."""
    seen: Counter[str] = Counter()
    stop = time.monotonic() + seconds
    while time.monotonic() < stop and not end():
        seen[act()] += 1
    return seen


def attack_reading(place: Place) -> None:
    leaked = False

    def careless() -> str:
        nonlocal leaked
        found = careless_read(place.inside)
        leaked = leaked or found == SECRET
        return found

    until(lambda: leaked, CONTROL_SECONDS, careless)
    assert leaked, "a careless reader has to lose this race"

    def read() -> str:
        found = carry_out(place.wall, "read_file", {"path": "box/secret"}, allow_commands=False)
        return str(found["output"]["content"] if "output" in found else found["error"]["code"])

    seen = until(lambda: False, RACE_SECONDS, read)
    assert SECRET not in seen
    assert seen["own"] > 0
    assert seen.total() > seen["own"], "the names were never exchanged at the wrong moment"


def test_a_directory_that_becomes_a_link_is_not_read_through(place: Place) -> None:
    with swapping(place, SWAP_FOLDER):
        attack_reading(place)


def test_a_file_that_becomes_a_link_is_not_read_through(place: Place) -> None:
    with swapping(place, SWAP_FILE):
        attack_reading(place)


def test_a_directory_that_becomes_a_link_is_not_written_through(place: Place) -> None:
    def harmed() -> bool:
        return place.secret.read_text() != SECRET

    with swapping(place, SWAP_FOLDER):
        until(harmed, CONTROL_SECONDS, lambda: careless_write(place.inside))
        assert harmed(), "a careless writer has to lose this race"
        place.secret.write_text(SECRET)

        def write() -> str:
            arguments = {"path": "box/secret", "content": "mine"}
            return next(iter(carry_out(place.wall, "write_file", arguments, allow_commands=False)))

        seen = until(harmed, RACE_SECONDS, write)
    assert not harmed()
    assert sorted(each.name for each in place.outside.iterdir()) == ["secret"]
    assert seen["output"] > 0
    assert seen["error"] > 0


def test_a_directory_that_becomes_a_link_is_not_listed_through(place: Place) -> None:
    (place.outside / "other").touch()

    def careless() -> str:
        path = place.inside / "box"
        try:
            return str(stays_inside(place.inside, path) and "other" in [each.name for each in path.iterdir()])
        except OSError:
            return "error"

    def listed() -> str:
        found = carry_out(place.wall, "list_directory", {"recursive": True}, allow_commands=False)
        return str("other" in str(found))

    seen: Counter[str] = Counter()
    with swapping(place, SWAP_FOLDER):
        stop = time.monotonic() + CONTROL_SECONDS
        while not seen["True"] and time.monotonic() < stop:
            seen[careless()] += 1
        assert seen["True"], "a careless lister has to lose this race"
        assert set(until(lambda: False, RACE_SECONDS, listed)) == {"False"}
