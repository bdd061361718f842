"""The plan of a planner that nobody told what to plan: those whom the request mentions, and the last of them joins.

Whom it may plan for, it is told as a model is: by the lines of JSON between `<agents>` and `</agents>` in the system
prompt.
"""

import json
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

LONGEST = 8_000
"""Characters of an instruction."""

_AGENTS = re.compile(r"<agents>\n(.*?)\n</agents>", re.DOTALL)
_MOST = re.compile(r"At most (\d+) tasks\.")
_WORD = re.compile(r"\w{3,}")


def default_plan(system: str, request: str) -> dict[str, Any] | None:
    """A plan for a request, or None if the system prompt lists no agents."""
    agents = _agents(system)
    if not agents:
        return None
    most = _MOST.search(system)
    chosen = _mentioned(agents, request)[: int(most[1]) if most else None] or agents[:1]
    names = [str(agent["name"]) for agent in chosen]
    ids = [f"{name[:30]}-{number}" for number, name in enumerate(names, start=1)]
    return {
        "rationale": "The stand-in model plans for the agents that the request mentions; the last one joins.",
        "tasks": [
            {
                "id": task,
                "agent": name,
                "instruction": request.strip()[:LONGEST] or "Say hello.",
                "depends_on": ids[:-1] if task == ids[-1] else [],
                "why_this_agent": "The request mentions it, or there is nobody else.",
            }
            for task, name in zip(ids, names, strict=True)
        ],
    }


def _agents(system: str) -> list[dict[str, Any]]:
    block = _AGENTS.search(system)
    try:
        lines = [json.loads(line) for line in block[1].split("\n")] if block else []
    except ValueError:
        return []
    return [line for line in lines if isinstance(line, dict) and line.get("name")]


def _mentioned(agents: Sequence[dict[str, Any]], request: str) -> list[dict[str, Any]]:
    """Those whose capabilities or names stand in the request, in the order in which they do."""
    words = _WORD.findall(request.casefold())
    places = []
    for number, agent in enumerate(agents):
        own = _WORD.findall(" ".join([agent["name"], *agent.get("capabilities", ())]).casefold())
        place = next((place for place, word in enumerate(words) if any(_alike(word, each) for each in own)), None)
        if place is not None:
            places.append((place, number))
    return [agents[number] for _, number in sorted(places)]


def _alike(one: str, other: str) -> bool:
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return one == other or common >= max(4, min(len(one), len(other)) - 1)
