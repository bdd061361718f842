"""What the web process reaches agents' memory by, and what it is spared."""

import os
import subprocess
import sys

import pytest

from devstack.directory import ROOT

LOOK = """
import sys
from bootstrap import build_web
memories = build_web().manager._services.memories
print(type(memories).__name__, sorted({"qdrant_client", "qdrant_edge"} & set(sys.modules)))
"""
OPTIONS = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "JWT_SECRET": "a secret of a test that is long enough",
}


@pytest.mark.parametrize(
    ("url", "expected"),
    [("", "RemoteMemories []"), ("http://127.0.0.1:9", "AgentMemories ['qdrant_client']")],
    ids=["embedded", "server"],
)
def test_without_a_server_the_hosts_are_asked_and_no_engine_is_loaded(url: str, expected: str) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **OPTIONS, "QDRANT_URL": url}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOK],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected
