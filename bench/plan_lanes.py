"""Users who send one message after the other over HTTP, and wait for the end of each run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from bench.client import BenchError
from bench.plan_graphs import AGENTS
from devstack import tokens
from devstack.output import say
from devstack.stack import Stack

LANES = 3
"""Plans at once, each of a user of its own: more would measure the two cores and not the plans."""
ANSWER_SECONDS = 300.0


class Lane:
    """One user who sends one message after the other."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        for name in AGENTS:
            # Without memory: what it finds in a hundred plans would be in the prompts of the next.
            ok(client.post("/my/agents/", json={"name": name, "concurrency_limit": 50, "memory": {"enabled": False}}))
        ok(client.put("/my/orchestrator/config/", json={"plan_approval": "auto", "cache_plans": False}))
        # A session that every workspace has had: its host is there, and its queues are consumed.
        for name in AGENTS:
            self.send({"content": "[say=here]", "target_agent": name})

    def send(self, body: Mapping[str, Any]) -> str:
        """Send a message in a session of its own and wait for its end; returns the run's id.

        Raises:
            BenchError: it did not complete.
        """
        session = ok(self._client.post("/my/chat/sessions/", json={})).json()["id"]
        accepted = ok(self._client.post(f"/my/chat/{session}/message/", json=body)).json()
        with self._client.stream("GET", accepted["events_url"]) as response:
            for line in response.iter_lines():
                event = json.loads(line) if line else {}
                match event.get("event_type"):
                    case "run_completed" if event["payload"]["status"] == "completed":
                        return str(accepted["run_id"])
                    case "run_completed" | "run_failed" | "run_cancelled":
                        raise BenchError(f"a run ended otherwise: {json.dumps(event['payload'])[:500]}")
        raise BenchError("a stream ended before its run")


def ok(response: httpx.Response) -> httpx.Response:
    """Return a response that is no error.

    Raises:
        BenchError: it is one.
    """
    if response.is_error:
        raise BenchError(f"{response.request.url} answered {response.status_code}: {response.text[:500]}")
    return response


@contextmanager
def lanes(stack: Stack) -> Iterator[list[Lane]]:
    """Let users be there, each with the agents that plans name."""
    clients = [
        httpx.Client(
            base_url=stack.facts()["API_URL"],
            headers={"Authorization": f"Bearer {tokens.sign(stack.plan.signing, f'bench-plans-{number}')}"},
            timeout=ANSWER_SECONDS,
            trust_env=False,
        )
        for number in range(LANES)
    ]
    try:
        yield [Lane(client) for client in clients]
    finally:
        for client in clients:
            client.close()


def share(users: Sequence[Lane], bodies: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Send all messages, a user the next one as soon as its last has its answer; returns the runs' ids in order."""
    left = iter(enumerate(bodies))
    runs: dict[int, str] = {}

    def work(lane: Lane) -> None:
        for number, body in left:
            runs[number] = lane.send(body)
            if (number + 1) % 20 == 0:
                say(f"  {name} {number + 1} of {len(bodies)}")

    with ThreadPoolExecutor(len(users)) as threads:
        for _ in threads.map(work, users):
            pass
    return [runs[number] for number in range(len(bodies))]
