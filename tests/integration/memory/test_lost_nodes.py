"""A node that dies between the reply and its storing loses nothing: the next host stores it."""

import signal
from pathlib import Path

import httpx
import pytest

from tests.integration.memory.steps import ask, await_remembered, look, remembered_at, shown_for, topic
from tests.integration.runs.own_system import own_system
from tests.integration.runs.steps import key_of
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def test_what_a_killed_node_did_not_store_the_next_host_stores(
    stack: Stack, http: httpx.Client, standin: Standin, tmp_path: Path
) -> None:
    about = topic()
    # The first attempt to store it hangs: the node is killed in the middle.
    standin.rules({"match": f"User: .*{about}", "in": "embedding", "silent": "60x1"})
    with own_system(http, stack, tmp_path, redis_from=12, DATA_DIR=tmp_path / "data", NODE_LEASE_TTL=4,
                    NODE_LEASE_RENEWAL=0.5, NODE_LEASE_FENCE=3) as system:  # fmt: skip
        user = system.user()
        user.make_agent()
        accepted, _ = ask(user, f"The shed {about} is painted red.")
        eventually(
            lambda: any(text.startswith("User: ") and about in text for each in standin.embeddings() for text in each),
            "an interaction to be embedded",
        )
        (process,) = system.nodes.values()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert remembered_at(system.database, accepted) is None
        with system.node():
            answered, _ = ask(user, "Hello again, this is about something else.")
            await_remembered(system.database, accepted, within=60)
            await_remembered(system.database, answered)
            question = f"How is the shed {about} painted?"
            assert look(ask(user, question)[1])["status"] == "ok"
            assert "painted red" in str(shown_for(standin, question))
            assert key_of(user, system.database)
    standin.reset()
