"""The engine's processes: `engine DESCRIPTOR BASE` and `build SHARD DIMENSIONS`. Nobody starts them by hand."""

import sys
from multiprocessing.connection import Connection
from pathlib import Path

from workspace.logs import configure_logging
from workspace.memory.edge.building import build
from workspace.memory.edge.engine import Engine

configure_logging("INFO")
match sys.argv[1:]:
    case ["engine", descriptor, base]:
        Engine(Connection(int(descriptor)), Path(base)).run()
    case ["build", shard, dimensions]:
        build(Path(shard), int(dimensions))
    case _:
        sys.exit("usage: engine DESCRIPTOR BASE | build SHARD DIMENSIONS")
