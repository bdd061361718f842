"""The sizes of the tests here, and the one table that they fill."""

from collections.abc import Iterator

import httpx
import pytest

from bench.report import Table
from models.tenancy import Database
from tests.chaos.cluster import Cluster
from tests.chaos.faults import FAULTS
from tests.chaos.scale import FULL, SHORT, Scale
from tests.chaos.verdict import Verdict
from tests.support.stack import Stack

HEAD = ("fault", "messages", "completed", "worker_lost", "lost", "doubled", "over limit", "recovery (s)")

_ROWS = pytest.StashKey[list[tuple[str, ...]]]()
_NOTES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the long form."""
    parser.addoption("--full-load", action="store_true", help="every fault, under the full load (tests/chaos only)")


def _is_full(config: pytest.Config) -> bool:
    # Where the tests of all folders are run, this file is read after the command line was.
    return bool(config.getoption("full_load", default=False))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every fault in the long form, and the quick ones in the short form."""
    if "fault" in metafunc.fixturenames:
        chosen = [fault for fault in FAULTS if fault.is_quick or _is_full(metafunc.config)]
        metafunc.parametrize("fault", chosen, ids=[fault.name.replace(" ", "-") for fault in chosen])


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """How much is done."""
    return FULL if _is_full(request.config) else SHORT


@pytest.fixture(scope="module")
def cluster(
    stack: Stack, database: Database, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    made = Cluster(stack, database, http, tmp_path_factory.mktemp("cluster"))
    try:
        yield made
    finally:
        made.close()


class Report:
    """What the tests here have to say at the end of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._rows = config.stash.setdefault(_ROWS, [])
        self._notes = config.stash.setdefault(_NOTES, [])

    def add(self, name: str, verdict: Verdict) -> None:
        """Add a row."""
        counts = (verdict.messages, verdict.completed, verdict.worker_lost, verdict.lost, verdict.doubled)
        self._rows.append((name, *map(str, counts), str(verdict.over_limit), f"{verdict.recovery:.1f}"))

    def note(self, text: str) -> None:
        """Add a line below the table."""
        self._notes.append(text)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """Where a test leaves its row."""
    return Report(request.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of all faults."""
    rows = config.stash.get(_ROWS, [])
    notes = config.stash.get(_NOTES, [])
    if rows or notes:
        terminalreporter.section("chaos")
    if rows:
        terminalreporter.write_line(Table(HEAD, rows).text())
    for note in notes:
        terminalreporter.write_line(note)
