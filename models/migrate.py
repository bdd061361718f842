"""Bring the database of `DATABASE_URL` to the newest revision: `python -m models.migrate [revision]`."""

import argparse
from pathlib import Path

from alembic import command
from alembic.config import Config

from settings import database_url_from_environment

MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config(database_url: str) -> Config:
    """Return Alembic's configuration for one database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    # ConfigParser expands %, which passwords may hold.
    config.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Apply every migration up to `revision`."""
    command.upgrade(alembic_config(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Take back every migration after `revision` (`base`: all)."""
    command.downgrade(alembic_config(database_url), revision)


def main() -> None:
    """Parse the command line and migrate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", nargs="?", default="head", help="target revision (default: %(default)s)")
    parser.add_argument("--downgrade", action="store_true", help="go back to the revision instead")
    arguments = parser.parse_args()
    url = database_url_from_environment()
    (downgrade if arguments.downgrade else upgrade)(url, arguments.revision)


if __name__ == "__main__":
    main()
