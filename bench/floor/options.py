"""Where the floor finds its services: a few variables of the environment, as a small service would have them."""

import os

DATABASE_URL = os.environ.get("FLOOR_DATABASE_URL", "")
REDIS_URL = os.environ.get("FLOOR_REDIS_URL", "")
BROKER_URL = os.environ.get("FLOOR_BROKER_URL", "")
MODEL = os.environ.get("DEFAULT_MODEL", "stand-in")

CONNECTIONS = 30
"""Database connections a process: as many as ours may open."""
