"""Tables for people and for docs/performance.md, and the facts of the machine that a figure means nothing without."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = ("celery", "kombu", "redis", "gevent", "gunicorn", "flask", "sqlalchemy", "psycopg2-binary", "openai")


@dataclass(frozen=True)
class Table:
    """Cells, the first column being names."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Return it aligned for a terminal."""
        lines = [self.head, *self.rows]
        widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        return "\n".join(_aligned(line, widths) for line in lines)

    def markdown(self) -> str:
        """Return it for a document; indented names stay so."""
        rule = ["---", *("---:" for _ in self.head[1:])]
        rows = [[f"{'· ' * row[0].startswith(' ')}{row[0].strip()}", *row[1:]] for row in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in [self.head, rule, *rows])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *cells]).rstrip()


def facts() -> str:
    """Return the date, the machine and the versions in one paragraph."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    load, *_ = os.getloadavg()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({_processor()}), load {load:.1f}, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {versions}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
