"""After a fault: wait until all has ended, and ask everybody what they know."""

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx

from tests.chaos.audience import read_all
from tests.chaos.faults import Fault
from tests.chaos.load import Accepted, Load
from tests.chaos.verdict import Evidence, Heard, Sent
from tests.support.api import FINAL, Json
from tests.support.persistence import RECOVERY
from tests.support.standin import Standin

TELLING = 30.0
"""Seconds until every end was told, after the last came: the sweep tells of what a node could not tell."""
ASKERS = 8
MOMENTS = ("created_at", "started_at", "finished_at")
DROPPED = '"event": "events_dropped"'
"""What a node writes when it could not publish."""


def await_ends(load: Load) -> None:
    """Wait until every accepted run has ended, for as long as a test waits at all."""
    deadline = time.monotonic() + RECOVERY
    open_runs = list(load.accepted)
    while open_runs and time.monotonic() < deadline:
        with ThreadPoolExecutor(ASKERS) as threads:
            ended = list(threads.map(_has_ended, open_runs))
        open_runs = [one for one, has_ended in zip(open_runs, ended, strict=True) if not has_ended]
        time.sleep(0.2)


def await_telling(load: Load) -> None:
    """Wait until the streams have told of every run, or never will."""
    deadline = time.monotonic() + TELLING
    while time.monotonic() < deadline:
        heard = _heard(load)
        if all(one.run_id in heard and heard[one.run_id].status for one in load.accepted):
            return
        time.sleep(0.2)


def gather(
    load: Load,
    standin: Standin,
    fault: Fault,
    *,
    logs: Iterable[Path],
    recovered: Collection[Accepted],
    since: float,
) -> Evidence:
    """Put together what the API, the stand-in, the readers and the nodes say.

    Args:
        logs: of all nodes.
        recovered: what has to have ended for all to be well again.
        since: the moment from which recovery counts, in seconds since 1970.
    """
    runs, replies = _rows(load)
    last = max((runs[one.run_id] for one in recovered), key=lambda run: _moment(run, "finished_at"))
    told = ", ".join(f"{name} {_moment(last, name) - since:+.1f} s" for name in MOMENTS)
    return Evidence(
        sent=[_sent(one, runs[one.run_id], replies[one.run_id]) for one in load.accepted],
        heard=_heard(load),
        limits=load.limits,
        seen_at_once=standin.most_at_once(),
        served=Counter(_last_message(request["body"]) for request in standin.calls() if request["served"]),
        costs_running_work=fault.costs_running_work,
        may_drop_text=fault.may_drop_text,
        dropped=_dropped(logs),
        recovery=_moment(last, "finished_at") - since,
        last=f"the last was run {last['id']}: {told}",
    )


def _dropped(logs: Iterable[Path]) -> set[str]:
    """Return the runs of which events were dropped. Redis may be slow for a moment: a node says so and goes on."""
    lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
    return {str(json.loads(line)["run_id"]) for line in lines if DROPPED in line}


def _moment(run: Json, name: str) -> float:
    """Return one of a run's times in seconds since 1970; what did not happen is infinitely late."""
    return datetime.fromisoformat(run[name]).timestamp() if run[name] else math.inf


def _has_ended(one: Accepted) -> bool:
    try:
        answer = one.user.get(f"runs/{one.run_id}/")
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["status"] in FINAL


def _rows(load: Load) -> tuple[dict[str, Json], dict[str, list[str]]]:
    """Return the accepted runs, and what the assistant said in each."""
    replies: defaultdict[str, list[str]] = defaultdict(list)
    sessions = {one.session_id: one.user for one in load.accepted}
    for session_id, user in sessions.items():
        for message in read_all(user, f"chat/{session_id}/messages/"):
            if message["role"] == "assistant":
                replies[message["run_id"]].append(message["content"])
    with ThreadPoolExecutor(ASKERS) as threads:
        runs = list(threads.map(lambda one: one.user.run(one.run_id), load.accepted))
    return {run["id"]: run for run in runs}, replies


def _sent(one: Accepted, run: Json, replies: list[str]) -> Sent:
    return Sent(
        run_id=one.run_id,
        agent_id=one.agent_id,
        content=one.content,
        expected=one.expected,
        status=run["status"],
        error_code=run["error"]["error_code"] if run["error"] else None,
        replies=tuple(replies),
        tasks=len(run["tasks"]),
    )


def _heard(load: Load) -> dict[str, Heard]:
    return {run_id: heard for reader in load.readers for run_id, heard in reader.heard().items()}


def _last_message(body: Json) -> str:
    return str(next((each["content"] for each in reversed(body["messages"]) if each["role"] == "user"), ""))
