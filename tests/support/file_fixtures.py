"""One workspace on a disk of its own, as fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ground import files_at, new_ground, new_key
from workspace.files import WorkspaceFiles
from workspace.names import WorkspaceKey


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as path:
        yield path


@pytest.fixture
def files(ground: Path) -> WorkspaceFiles:
    return files_at(ground)


@pytest.fixture
def key() -> WorkspaceKey:
    return new_key()


@pytest.fixture
def home(files: WorkspaceFiles, key: WorkspaceKey) -> Path:
    """The workspace's directory, for commands to be played."""
    with files.opened(key):
        return files.path(key)
