"""Everything in one report: `python -m bench`, which is `make bench`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import fairness, fleet, hosting, message_path, parking, plan_figures, recalling, streams
from bench import memory as engine
from bench import plans as task_graphs
from bench import tools as tool_walls
from bench.report import Table, facts

MESSAGE_PATH = """\
One message: POST, stored, queued, a streamed model call of 20 tokens, stored, final event. The model answers at once;
CPU is that of the web process, the worker, Postgres and Redis. The floor is in `bench/floor/`; "raw" is the same floor
reading the SDK's raw stream, as we do. Ratios are medians of alternating rounds of one run."""
STREAMS = """\
Readers of one session, events at a steady pace; from an event's timestamp to the reader's socket. Every reader got each
event exactly once and in order. Bare fan-out: one Redis channel, one queue a reader, nothing else."""

HOSTING = """\
A node with that many workspaces of one agent each: none, hosted, each agent attached by one answered message, and what
is left when all that is idle has been closed. CPU is that of half a minute without any request. Bare channels are as
many kombu channels in a process of their own."""
FAIRNESS = """\
B asks one question after another, first alone, then beside A's flood of 500 messages for 20 agents. Below it, how busy
A kept what one user may run at once."""
FLEET = """\
50 agents of 10 users on three nodes. The ideal is that of the slowest agent: its tasks, by its limit, by the model's
time. "Most at once" is what the model's server saw."""

TOOLS = """\
What the walls around tools cost: a command in a sandbox of its own beside a plain child process, and a file read
through the descriptors of its workspace beside one that is opened by its path."""
PARKING = """\
One caller, a model that answers at once. A tool is a turn of the model more, and three commits. "Asked for" waits for
its owner, who says yes when the task is parked: an event, an answer by HTTP, and the task is sent again."""
MEMORY = """\
The embedded engine of agents' memory with vectors of 384 dimensions, in a process of its own as on a node. Recall is
against every vector. Writing and building are without that process; a node has each index built at the lowest priority.
"""


RECALLING = """\
The same memory from outside: one caller, over HTTP to the API, from there to the node that hosts the workspace, to the
engine, and back. The floor is a request that reads one row. A new question is embedded, a known one is in the cache."""


PLANS = """\
Random graphs of 3 to 25 tasks, three at once, with limits and caps out of the way; a task takes the model 0.4 to 1.6 s.
A direct message is one such task. Planning and the closing answer are in the costs of a plan's tasks."""


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


def message(report: Report, is_quick: bool) -> int:
    """What one message costs."""
    size = message_path.QUICK if is_quick else message_path.FULL

    def then(found: dict[str, message_path.Samples]) -> None:
        report.add(MESSAGE_PATH, message_path.table(found), "\n".join(message_path.redis_by_command(found)))

    return message_path.run(size, then)


def readers(report: Report, is_quick: bool) -> int:
    """How late events come."""
    rounds = 1 if is_quick else streams.ROUNDS
    return streams.run(
        streams.READERS, rounds, lambda found: report.add(STREAMS, streams.table(found, streams.READERS))
    )


def hosted(report: Report, is_quick: bool) -> int:
    """What idle workspaces cost."""
    size = hosting.QUICK if is_quick else hosting.FULL
    return hosting.run(size, lambda found: report.add(HOSTING, hosting.table(found), hosting.closing(found)))


def fair(report: Report, is_quick: bool) -> int:
    """What one user notices of another."""
    size = fairness.QUICK if is_quick else fairness.FULL
    return fairness.run(size, lambda found: report.add(FAIRNESS, fairness.table(found), fairness.cap_table(found)))


def nodes(report: Report, is_quick: bool) -> int:
    """How near their limits agents work."""
    size = fleet.QUICK if is_quick else fleet.FULL
    return fleet.run(size, lambda found: report.add(FLEET, fleet.table(found), fleet.facts(found)))


def parked(report: Report, is_quick: bool) -> int:
    """What tools cost, and waiting for a person."""
    size = parking.QUICK if is_quick else parking.FULL
    return parking.run(size, lambda found: report.add(PARKING, parking.table(found)))


def tools(report: Report, is_quick: bool) -> int:
    """What the walls around tools cost."""
    size = tool_walls.QUICK if is_quick else tool_walls.FULL
    return tool_walls.run(size, lambda found: report.add(TOOLS, tool_walls.table(found)))


def memory(report: Report, is_quick: bool) -> int:
    """How fast memories are found."""
    sizes = engine.QUICK if is_quick else engine.USUAL
    return engine.run(sizes, lambda found: report.add(MEMORY, engine.table(found)))


def recall(report: Report, is_quick: bool) -> int:
    """How fast memories are found from outside."""
    sizes = recalling.QUICK if is_quick else recalling.FULL
    return recalling.run(sizes, lambda found: report.add(RECALLING, recalling.table(found)))


def plans(report: Report, is_quick: bool) -> int:
    """How near their critical path plans run."""
    size = task_graphs.QUICK if is_quick else task_graphs.FULL
    return task_graphs.run(
        size,
        lambda found: report.add(
            PLANS, plan_figures.table(found), plan_figures.cost_table(found), plan_figures.facts(found)
        ),
    )


def much_memory(report: Report, _is_quick: bool) -> int:
    """The same with a million of them."""
    return engine.run(engine.FULL, lambda found: report.add(MEMORY, engine.table(found)))


MEASUREMENTS = (message, readers, hosted, fair, nodes, tools, parked, memory, recall, plans)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything, print the report, and write it if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds")
    parser.add_argument("--full", action="store_true", help="memory with a million vectors as well: many minutes")
    names = [measure.__name__ for measure in MEASUREMENTS]
    parser.add_argument("--only", choices=names, help="one part of it")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report as Markdown")
    options = parser.parse_args(arguments)
    report = Report()
    report.add(facts())
    chosen: list[Callable[[Report, bool], int]] = [
        much_memory if options.full and measure is memory else measure
        for measure in MEASUREMENTS
        if options.only in (None, measure.__name__)
    ]
    failed = any(measure(report, options.quick) for measure in chosen)
    if options.markdown and not failed:
        options.markdown.write_text(report.markdown())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
