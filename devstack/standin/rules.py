"""Rules that outlive a request: which script answers what, and how often a disturbance still happens."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devstack.standin.conversation import Conversation
from devstack.standin.directives import parse_message, parse_rule
from devstack.standin.planning import default_plan
from devstack.standin.script import Limited, Script, ScriptError

PLACES = ("user", "system", "model", "lookup", "embedding")
"""Where a rule looks. `model` is the model's name in conversations and look-ups, `lookup` the same in look-ups only;
`embedding` is the texts that are to be embedded."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A script for all requests whose last user message, system prompt or model matches."""

    pattern: re.Pattern[str]
    place: str
    script: Script

    @classmethod
    def parse(cls, rule: Mapping[str, Any]) -> "Rule":
        """Read a rule as posted: `match`, `in` (default `user`), and the keys of a script.

        Raises:
            ScriptError: it cannot be understood.
        """
        keys = dict(rule)
        place = keys.pop("in", "user")
        if place not in PLACES:
            raise ScriptError(f"a rule's 'in' must be one of {', '.join(PLACES)}, not {place!r}")
        try:
            pattern = re.compile(keys.pop("match", ""))
        except (re.error, TypeError) as error:
            raise ScriptError(f"a rule's 'match' is no regular expression: {error}") from None
        return cls(pattern, place, parse_rule(keys))

    def applies(self, conversation: Conversation) -> bool:
        """Whether the rule is meant for this request: one that tells a plan for requests for one, and only those."""
        if bool(self.script.plans) != conversation.wants_plan:
            return False
        user = conversation.asked if conversation.wants_plan else conversation.user
        texts = {"user": user, "system": conversation.system, "model": conversation.model}
        return self.place in texts and self.pattern.search(texts[self.place]) is not None

    def applies_to_lookup(self, model: str) -> bool:
        """Whether the rule is meant for a look-up of this model."""
        return self.place in {"model", "lookup"} and self.pattern.search(model) is not None

    def applies_to_embedding(self, text: str) -> bool:
        """Whether the rule is meant for the embedding of a text."""
        return self.place == "embedding" and self.pattern.search(text) is not None


@dataclass(frozen=True, slots=True)
class Decision:
    """What one request gets: its script, the user's message without directives, and the disturbances due now."""

    script: Script
    message: str
    fail: int | None = None
    break_after: int | None = None
    silent: float = 0.0


class RuleBook:
    """All rules, in the order posted, and how often each limited disturbance has happened."""

    def __init__(self, defaults: Script) -> None:
        self._defaults = defaults
        self._rules: list[Rule] = []
        self._taken: Counter[tuple[object, str]] = Counter()

    def add(self, rules: list[Rule]) -> int:
        """Append rules; return how many there are now."""
        self._rules += rules
        return len(self._rules)

    def clear(self) -> None:
        """Forget all rules, and what happened how often."""
        self._rules.clear()
        self._taken.clear()

    def decide(self, conversation: Conversation) -> Decision:
        """The message's own directives win over the first rule that applies, and that over the defaults.

        Raises:
            ScriptError: a directive cannot be understood.
        """
        if conversation.wants_plan:
            return self._decide_plan(conversation)
        own, message = parse_message(conversation.user, plans=False)
        rule = next((rule for rule in self._rules if rule.applies(conversation)), None)
        ruled = rule.script if rule else Script()
        turn = conversation.turn
        mine_now, its_now = own.step(turn), ruled.step(turn)

        def due(name: str) -> float | None:
            mine, its = getattr(mine_now, name), getattr(its_now, name)
            source: object = (conversation.user, own.then and turn) if mine is not None else (rule, ruled.then and turn)
            return self._take(source, name, mine if mine is not None else its)

        fail = due("fail")
        if own.then or ruled.then:
            # The words and calls of two tales are not mixed.
            script = mine_now.over(its_now.manner() if own.answers else its_now)
        else:
            script = own.over(ruled).step(turn)
        script = script.over(self._defaults)
        if fail is not None:
            # The other disturbances keep their counts for a request that gets so far.
            return Decision(script, message, int(fail), None, 0.0)
        break_after = due("break_after")
        return Decision(script, message, None, None if break_after is None else int(break_after), due("silent") or 0.0)

    def _decide_plan(self, conversation: Conversation) -> Decision:
        """Only what is told of plans counts: all other words may be meant for the agents that will read them."""
        own, message = parse_message(conversation.asked)
        rule = next((rule for rule in self._rules if rule.applies(conversation)), None)
        source: object = conversation.asked if own.plans else rule
        plans = own.plans or (rule.script.plans if rule else ())
        if not plans:
            made = default_plan(conversation.system, conversation.asked)
            return Decision(Script(exact=json.dumps(made) if made else None).over(self._defaults), message)
        attempt = min(conversation.attempt, len(plans) - 1)
        script = plans[attempt]
        return self._disturbed(script.over(self._defaults), message, ("plan", source, attempt), script)

    def decide_lookup(self, model: str) -> Decision:
        """The disturbances of a look-up: those of the first rule that applies, counted apart from conversations."""
        return self._disturbances(rule for rule in self._rules if rule.applies_to_lookup(model))

    def decide_embedding(self, texts: Iterable[str]) -> Decision:
        """The disturbances of an embedding: those of the first rule that applies to one of its texts."""
        text = "\n".join(texts)
        return self._disturbances(rule for rule in self._rules if rule.applies_to_embedding(text))

    def _disturbances(self, rules: Iterator[Rule]) -> Decision:
        rule = next(rules, None)
        ruled = rule.script if rule else Script()
        return self._disturbed(ruled, "", ("lookup", rule), ruled)

    def _disturbed(self, script: Script, message: str, source: object, ruled: Script) -> Decision:
        def due(name: str) -> float | None:
            return self._take(source, name, getattr(ruled, name))

        fail = due("fail")
        if fail is not None:
            return Decision(script, message, int(fail))
        break_after = due("break_after")
        return Decision(script, message, None, None if break_after is None else int(break_after), due("silent") or 0.0)

    def _take(self, source: object, name: str, limited: Limited | None) -> float | None:
        """The disturbance's value if it happens this time; one with a limit is counted by message or rule."""
        if limited is None:
            return None
        if limited.times is not None:
            if self._taken[source, name] >= limited.times:
                return None
            self._taken[source, name] += 1
        return limited.value
