"""A node of its own that hosts a workspace and remembers until it is killed: `DATABASE REDIS DATA USER PROJECT AGENT`.

It prints the number of each memory that was confirmed.
"""

import os
import sys
from itertools import count
from pathlib import Path
from uuid import UUID

import redis

from models.database import build_database
from settings import load_settings
from tests.integration.core.hosting import OneNode
from tests.support.memories import SPACE, point
from workspace.hosted_space import HostedSpace
from workspace.logs import configure_logging
from workspace.names import Collection, WorkspaceKey


def main(database_url: str, redis_url: str, data: str, user: str, project: str, agent: str) -> None:
    """Claim, keep the claim, and write."""
    configure_logging("WARNING")
    settings = load_settings().model_copy(update={"database_url": database_url})
    database = build_database(settings, application_name="memory-host")
    node = OneNode(database, redis.Redis.from_url(redis_url), "killed", settings={"data_dir": Path(data)})
    key = WorkspaceKey(UUID(user), UUID(project))
    node.spaces[key] = HostedSpace(key, node.services)
    assert node.spaces[key].open()
    node.keeper.start()
    collection = Collection(key, "helper", UUID(agent))
    for number in count():
        node.memories.store.upsert(collection, SPACE, [point(number)])
        os.write(sys.stdout.fileno(), b"%d\n" % number)


if __name__ == "__main__":
    main(*sys.argv[1:])
