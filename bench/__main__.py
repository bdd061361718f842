"""Everything in one report: `python -m bench`, which is `make bench`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import message_path, streams
from bench.report import Table, facts

MESSAGE_PATH = """\
One message: POST, stored, queued, a streamed model call of 20 tokens, stored, final event. The model answers at once;
CPU is that of the web process, the worker, Postgres and Redis. The floor is in `bench/floor/`; "raw" is the same floor
reading the SDK's raw stream, as we do. Ratios are medians of alternating rounds of one run."""
STREAMS = """\
Readers of one session, events at a steady pace; from an event's timestamp to the reader's socket. Every reader got each
event exactly once and in order. Bare fan-out: one Redis channel, one queue a reader, nothing else."""


class Report:
    """Paragraphs and tables, as they become known."""

    def __init__(self) -> None:
        self._parts: list[str | Table] = []

    def add(self, *parts: str | Table) -> None:
        """Append parts, and print them at once."""
        for part in parts:
            print(f"\n{part.text() if isinstance(part, Table) else part}", flush=True)
        self._parts += parts

    def markdown(self) -> str:
        """Return all of it for a document."""
        return "\n\n".join(part.markdown() if isinstance(part, Table) else part for part in self._parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything, print the report, and write it if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report as Markdown")
    options = parser.parse_args(arguments)
    report = Report()
    report.add(facts())
    size = message_path.QUICK if options.quick else message_path.FULL
    failed = message_path.run(
        size,
        lambda found: report.add(
            MESSAGE_PATH, message_path.table(found), "\n".join(message_path.redis_by_command(found))
        ),
    )
    if not failed:
        failed = streams.run(
            streams.READERS,
            1 if options.quick else streams.ROUNDS,
            lambda found: report.add(STREAMS, streams.table(found, streams.READERS)),
        )
    if options.markdown and not failed:
        options.markdown.write_text(report.markdown())
    return failed


if __name__ == "__main__":
    sys.exit(main())
