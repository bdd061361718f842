"""The compose file as data."""

from pathlib import Path
from typing import Any

import yaml

COMPOSE_FILE = Path(__file__).resolve().parent.parent.parent / "docker-compose.yml"


def compose() -> dict[str, Any]:
    """Return the whole file, with its anchors resolved and its variables as they stand there."""
    document: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return document


def service(name: str) -> dict[str, Any]:
    """Return one service."""
    found: dict[str, Any] = compose()["services"][name]
    return found
