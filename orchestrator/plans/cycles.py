"""Tasks that wait for one another in a circle."""

from collections.abc import Iterator, Mapping, Sequence


def cycles(dependencies: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Yield circles, each as a path of which every node depends on the next and the last on the first.

    A graph may have exponentially many. These are one for each step back that a depth-first walk in the order of the
    mapping meets: undoing that step in each of them leaves no circle. Each begins with its node that comes first.
    Nodes that are depended on and are not in the mapping depend on nothing.
    """
    rank = {node: place for place, node in enumerate(dependencies)}
    done: set[str] = set()
    for start in dependencies:
        if start in done:
            continue
        path = [start]
        places = {start: 0}  # of the nodes on the path
        waiting = [iter(dependencies[start])]
        while path:
            node = next(waiting[-1], None)
            if node is None:
                waiting.pop()
                done.add(path[-1])
                del places[path.pop()]
            elif node in places:
                yield _from_first(path[places[node] :], rank)
            elif node not in done and node in rank:
                places[node] = len(path)
                path.append(node)
                waiting.append(iter(dependencies[node]))


def _from_first(circle: Sequence[str], rank: Mapping[str, int]) -> tuple[str, ...]:
    first = min(range(len(circle)), key=lambda place: rank[circle[place]])
    return (*circle[first:], *circle[:first])
