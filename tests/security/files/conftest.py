"""One workspace on a disk of its own."""

from tests.support.file_fixtures import files, ground, home, key

__all__ = ["files", "ground", "home", "key"]
