"""The plan for when the planner has none: the agents whose capabilities the request mentions, one after the other.

Words are compared, nothing is understood. So it keeps to what cannot do harm: few tasks, in a row, each of which has
the whole request before it, and the last of which answers it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.plans.plan import MAX_INSTRUCTION, MAX_WHY, Plan, PlannedTask
from orchestrator.plans.roster import RosterAgent
from workspace.tools.showing import shown

MOST_TASKS = 4
MOST_NAMED = 5
"""Capabilities that are given as the reason for an agent."""
RATIONALE = "A simple plan without a planner: the agents whose capabilities the request mentions, one after the other."
_CUT = "\n[...]\n"

_WORD = re.compile(r"\w{2,}")
_COMMON = frozenset(
    {"and", "any", "for", "from", "has", "have", "into", "not", "our", "that", "the", "their", "them", "then", "this"}
    | {"with", "you", "your"}
)
"""Words that are in requests and capabilities alike, and mean nothing there."""
_STEM = 4
"""Characters that two forms of a word have in common at least."""
_LONGEST = 24
"""Characters that two words are compared by at most."""
MOST_WORDS = 2_000
"""Words of a request that are looked at, the first and the last: what is wanted stands at one of its ends."""


@dataclass(frozen=True)
class _Match:
    agent: RosterAgent
    capabilities: tuple[str, ...]
    """Those that the request mentions; its name, if only that."""
    mentions: frozenset[int]
    """Where, by the numbers of the words."""


def fallback_plan(request: str, roster: Sequence[RosterAgent], *, most: int = MOST_TASKS) -> Plan:
    """Return a valid plan for any request.

    Args:
        request: what the user wrote.
        roster: the agents.
        most: how many tasks it may have, if that is fewer than it would.

    Raises:
        ValueError: there is no agent.
    """
    if not roster:
        raise ValueError("a plan needs an agent")
    chosen = _chosen(request, roster, min(most, MOST_TASKS))
    if not chosen:
        agent = max(roster, key=lambda each: (len(each.capabilities), len(each.tools)))
        why = "The request mentions no agent's capabilities; no other agent has more of them."
        return _plan([(agent, why)], request)
    return _plan([(match.agent, _why(match)) for match in chosen], request)


def _chosen(request: str, roster: Sequence[RosterAgent], most: int) -> list[_Match]:
    """Return the agents that the request mentions, in the order in which it does; of two for the same, the better."""
    words = _Words(_ends(_words(request)))
    matches = [match for agent in roster if (match := _match(agent, words)).mentions]
    covered: set[int] = set()
    chosen: list[_Match] = []
    for match in sorted(matches, key=lambda each: -len(each.mentions)):
        if len(chosen) < most and not match.mentions <= covered:
            chosen.append(match)
            covered |= match.mentions
    return sorted(chosen, key=lambda each: min(each.mentions))


def _match(agent: RosterAgent, words: "_Words") -> _Match:
    found = {capability: _mentions(capability, words) for capability in agent.capabilities}
    named = tuple(capability for capability, mentions in found.items() if mentions)
    by_name = _mentions(agent.name.replace("_", " "), words)
    return _Match(agent, named or (agent.name,), frozenset(by_name).union(*found.values()))


def _mentions(text: str, words: "_Words") -> set[int]:
    return set().union(*map(words.forms_of, set(_words(text)) - _COMMON))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _ends(words: Sequence[str]) -> Sequence[str]:
    half = MOST_WORDS // 2
    return words if len(words) <= MOST_WORDS else [*words[:half], *words[-half:]]


class _Words:
    """The places of a request's words, by what other words may be forms of them.

    Two words may be forms of one if both have all but the last letter of the shorter one, and four at least: `write`
    and `writing`, but not `gpt4` and `gpt5`. They are looked up and never compared each with each: a long request to
    many agents would take minutes, in which nothing could stop the node's thread.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._same: defaultdict[str, list[int]] = defaultdict(list)
        self._begin_with: defaultdict[str, list[int]] = defaultdict(list)
        self._have_stem: defaultdict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(words):
            self._same[word].append(place)
            if len(word) >= _STEM and word.isalpha():
                self._have_stem[_stem(word)].append(place)
                for end in range(_STEM, min(len(word), _LONGEST) + 1):
                    self._begin_with[word[:end]].append(place)

    def forms_of(self, word: str) -> set[int]:
        """Return where the request has a word that may be a form of this one."""
        found = set(self._same.get(word, ()))
        if word.isalpha():
            found.update(self._begin_with.get(_stem(word), ()))
            for end in range(_STEM, min(len(word), _LONGEST) + 1):
                found.update(self._have_stem.get(word[:end], ()))
        return found


def _stem(word: str) -> str:
    """Return what of a word its longer forms begin with."""
    return word[: min(max(_STEM, len(word) - 1), _LONGEST)]


def _why(match: _Match) -> str:
    if match.capabilities == (match.agent.name,):
        return "The request mentions it by its name."
    names = ", ".join(map(shown, match.capabilities[:MOST_NAMED]))
    # Hidden characters take several each, once they are visible.
    return f"The request mentions what it is capable of: {names}."[:MAX_WHY]


def _plan(chosen: Iterable[tuple[RosterAgent, str]], request: str) -> Plan:
    steps = list(chosen)
    tasks = tuple(
        PlannedTask(
            id=f"step-{number}",
            agent=agent.name,
            instruction=_instruction(request, first=number == 1, last=number == len(steps)),
            depends_on=(f"step-{number - 1}",) if number > 1 else (),
            why_this_agent=why,
        )
        for number, (agent, why) in enumerate(steps, start=1)
    )
    return Plan(rationale=RATIONALE, tasks=tasks)


def _instruction(request: str, *, first: bool, last: bool) -> str:
    what = "Answer this request in full." if last else "Do your part of this request; others go on with it."
    before = "" if first else " Build on the result of the task before."
    head = f"{what}{before}\n\nThe request:\n\n"
    return head + _cut(request, MAX_INSTRUCTION - len(head))


def _cut(text: str, most: int) -> str:
    """Return a text without its middle, if it is too long: what is wanted stands at one of its ends."""
    if len(text) <= most:
        return text
    half = (most - len(_CUT)) // 2
    return f"{text[:half]}{_CUT}{text[-half:]}"
