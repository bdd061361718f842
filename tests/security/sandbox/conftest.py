"""What the attacks are run in. Each test has a disk, and so tenants, of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cage import Cage, needs_bubblewrap, new_cage, open_to_all


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by name what needs bubblewrap, where there is none."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "without_bubblewrap" not in item.name:
            item.add_marker(needs_bubblewrap)


@pytest.fixture
def cage() -> Iterator[Cage]:
    """A workspace with a sandbox that was tried and found tight."""
    with new_cage() as made:
        assert made.sandbox.available, made.sandbox.reason
        yield made


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory of the host that every account can read and write."""
    with open_to_all() as path:
        yield path
