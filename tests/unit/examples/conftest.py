"""A directory that the example client is given, and one beside it that it must not reach."""

from pathlib import Path
from typing import NamedTuple

import pytest

from docs.examples.tool_client import Wall

SECRET = "what lies outside"


class Place(NamedTuple):
    """The directory of the client, and the one that is none of its business."""

    inside: Path
    outside: Path
    wall: Wall

    @property
    def secret(self) -> Path:
        """A file outside."""
        return self.outside / "secret"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Both directories. The client works in its own, so the test's is restored."""
    monkeypatch.chdir(tmp_path)
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    return Place(inside, outside, Wall(str(inside)))
