"""Plans that a model made, in Redis: the same request to the same team need not be planned again.

Nothing here raises for what Redis does. It may forget, be away or slow, or hold what nobody here wrote; all of that
only costs the time of planning.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence

import redis

from orchestrator.planner.prompt import Message
from orchestrator.planning import PlanningRequest
from orchestrator.plans.plan import Plan
from workspace.metrics import PLAN_CACHE_LOOKUPS
from workspace.names import WorkspaceKey
from workspace.sparing import Sparing


class PlanCache:
    """Plans as text by tenant and digest. Who reads one checks it as if a model had just said it."""

    def __init__(self, client: redis.Redis, *, ttl: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._ttl = ttl
        self._sparing = Sparing(clock=clock)

    def get(self, key: WorkspaceKey, digest: str) -> str | None:
        """Return what is there."""
        found = self._ask(lambda: self._client.get(key.plan(digest)))
        PLAN_CACHE_LOOKUPS.labels("hit" if isinstance(found, bytes) else "miss").inc()
        return found.decode(errors="replace") if isinstance(found, bytes) else None

    def put(self, key: WorkspaceKey, digest: str, plan: Plan) -> None:
        """Keep a plan for its time."""
        self._ask(lambda: self._client.set(key.plan(digest), plan.model_dump_json(), ex=self._ttl))

    def _ask(self, call: Callable[[], object]) -> object:
        if self._sparing.is_on:
            return None
        try:
            return call()
        except redis.ResponseError as error:  # of another type than text: it is there, and no plan
            self._sparing.complain("plan_cache_away", repr(error))
        except (redis.RedisError, OSError) as error:
            self._sparing.begin("plan_cache_away", repr(error))
        return None


def digest_of(request: PlanningRequest, messages: Sequence[Message], model: str) -> str:
    """Return the digest of all that a plan comes from.

    That is everything the model is shown - the message with the conversation before it, the agents, the owner's
    instructions and our own rules - and the versions of the config and of each agent: a plan also depends on what the
    model is not shown, since who changes an agent expects it to be thought of anew.
    """
    team = sorted((str(member.agent_id), member.version) for member in request.team)
    parts = [messages, model, request.config.temperature, request.config_version, team]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
