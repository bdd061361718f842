"""Random plans, and the messages that the stand-in answers with them."""

import json
import random
from collections.abc import Mapping
from typing import NamedTuple

SEED = 12
LEAST, MOST = 3, 25
"""Tasks of a plan."""
DEEPEST = 8
"""Levels of a graph; a plan may have ten."""
MOST_NEEDED = 4
"""Tasks that one depends on."""
DELAYS = (0.4, 0.6, 0.8, 1.2, 1.6)
"""Seconds that the model takes for a task."""
AGENTS = tuple(f"agent-{number}" for number in range(5))


class Graph(NamedTuple):
    """A plan to run."""

    dependencies: Mapping[str, tuple[str, ...]]
    delays: Mapping[str, float]

    def message(self) -> str:
        """Return a message that the stand-in answers with this plan."""
        tasks = [
            {
                "id": name,
                "agent": AGENTS[number % len(AGENTS)],
                "instruction": f"[delay={self.delays[name]}] [say=done]",
                "depends_on": needed,
                "why_this_agent": "It is free.",
            }
            for number, (name, needed) in enumerate(self.dependencies.items())
        ]
        plan = json.dumps({"rationale": "A random graph.", "tasks": tasks})
        return f"Do all of it. [plan={plan}]"


def graphs(count: int) -> list[Graph]:
    """Return random graphs, the same each time."""
    chance = random.Random(SEED)
    return [_graph(chance) for _ in range(count)]


def _graph(chance: random.Random) -> Graph:
    number = chance.randint(LEAST, MOST)
    levels = sorted(chance.randrange(min(number, DEEPEST)) for _ in range(number))
    names = [f"t{each}" for each in range(number)]
    dependencies: dict[str, tuple[str, ...]] = {}
    for place, (name, level) in enumerate(zip(names, levels, strict=True)):
        earlier = [names[each] for each in range(place) if levels[each] < level]
        dependencies[name] = tuple(chance.sample(earlier, min(len(earlier), chance.randint(0, MOST_NEEDED))))
    return Graph(dependencies, {name: chance.choice(DELAYS) for name in names})
