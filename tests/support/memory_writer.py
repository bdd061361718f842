"""A process that writes memories until it is killed: `DIRECTORY COLLECTION AGENT FIRST`.

It prints the number of each point that was confirmed, and before the first one the engine's process id.
"""

import os
import sys
from itertools import count
from pathlib import Path
from uuid import UUID

from tests.support.memories import SPACE, point
from workspace.logs import configure_logging
from workspace.memory.edge.store import QdrantEdgeStore
from workspace.names import Collection


def main(directory: str, name: str, agent_id: str, first: str) -> None:
    """Write, three points a call; every fourth call rewrites old points and deletes one."""
    configure_logging("WARNING")
    store, collection = QdrantEdgeStore(Path(directory)), Collection.of_name(name, UUID(agent_id))
    store.ensure(collection, SPACE)
    tell(store.pids[0])
    for number in count(int(first), 3):
        store.upsert(collection, SPACE, [point(n, text=f"{n} " * 300) for n in range(number, number + 3)])
        if number % 4 == 0:
            store.upsert(collection, SPACE, [point(n, text=f"{n} " * 300) for n in range(max(0, number - 9), number)])
            store.release(collection.key)
        tell(number + 2)


def tell(number: int) -> None:
    """Write a line that is whole or not there at all."""
    os.write(sys.stdout.fileno(), b"%d\n" % number)


if __name__ == "__main__":
    main(*sys.argv[1:])
