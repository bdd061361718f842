"""The graph of a plan: which task waits for which. A graph that exists has no circle."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Self

from orchestrator.plans.cycles import cycles
from orchestrator.plans.plan import Plan


class PlanGraph:
    """Tasks by their ids, in the plan's order, each with the tasks that it depends on. It never changes.

    Everything that it tells is in an order that follows from the plan's alone.
    """

    def __init__(self, dependencies: Mapping[str, Iterable[str]]) -> None:
        """Make a graph of nodes in their order, each with what it depends on; a dependency counts once.

        Raises:
            ValueError: a dependency is no node, or there is a circle.
        """
        self._rank = {node: place for place, node in enumerate(dependencies)}
        try:
            self._dependencies = {node: self._in_order(needed) for node, needed in dependencies.items()}
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} is depended on and is no node") from None
        for circle in cycles(self._dependencies):
            raise ValueError(f"a circle: {circle}")

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Return the graph of a valid plan."""
        return cls({task.id: task.depends_on for task in plan.tasks})

    def __eq__(self, other: object) -> bool:
        """Whether both have the same nodes in the same order and the same edges."""
        return isinstance(other, PlanGraph) and list(self._dependencies.items()) == list(other._dependencies.items())

    def __hash__(self) -> int:
        return hash(tuple(self._dependencies.items()))

    def __repr__(self) -> str:
        return f"PlanGraph({self._dependencies})"

    def __len__(self) -> int:
        return len(self._rank)

    @property
    def nodes(self) -> tuple[str, ...]:
        """All of them, in the plan's order."""
        return tuple(self._rank)

    @property
    def dependencies(self) -> Mapping[str, tuple[str, ...]]:
        """What each node depends on."""
        return self._dependencies

    @cached_property
    def dependents(self) -> Mapping[str, tuple[str, ...]]:
        """What depends on each node."""
        dependents: dict[str, list[str]] = {node: [] for node in self.nodes}
        for node, needed in self._dependencies.items():
            for dependency in needed:
                dependents[dependency].append(node)
        return {node: tuple(each) for node, each in dependents.items()}

    @property
    def roots(self) -> tuple[str, ...]:
        """The nodes that depend on nothing."""
        return tuple(node for node in self.nodes if not self._dependencies[node])

    @property
    def sinks(self) -> tuple[str, ...]:
        """The nodes that nothing depends on."""
        return tuple(node for node in self.nodes if not self.dependents[node])

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All nodes, each after its dependencies; of those that could come next, the first in the plan does."""
        missing = {node: len(needed) for node, needed in self._dependencies.items()}
        names = self.nodes
        ready = [self._rank[node] for node in self.roots]
        heapify(ready)
        order = []
        while ready:
            node = names[heappop(ready)]
            order.append(node)
            for dependent in self.dependents[node]:
                missing[dependent] -= 1
                if not missing[dependent]:
                    heappush(ready, self._rank[dependent])
        return tuple(order)

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """The nodes by the longest row of dependencies before them: first the roots."""
        level: dict[str, int] = {}
        for node in self.order:
            level[node] = max((level[each] + 1 for each in self._dependencies[node]), default=0)
        rows: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
        for node in self.nodes:
            rows[level[node]].append(node)
        return tuple(tuple(row) for row in rows)

    @property
    def depth(self) -> int:
        """How many nodes the longest row of dependencies has."""
        return len(self.levels)

    def ancestors(self, node: str) -> frozenset[str]:
        """Return all that a node waits for, directly or not."""
        return _reached(node, self._dependencies)

    def descendants(self, node: str) -> frozenset[str]:
        """Return all that waits for a node, directly or not."""
        return _reached(node, self.dependents)

    def _in_order(self, nodes: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(set(nodes), key=self._rank.__getitem__))


def _reached(start: str, steps: Mapping[str, Iterable[str]]) -> frozenset[str]:
    reached: set[str] = set()
    waiting = list(steps[start])
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting.extend(steps[node])
    return frozenset(reached)
