"""The planner: a model's plan, repaired once if it has mistakes, and a simple one where that takes too long or fails.

A message never fails for want of a plan. Only who ends the run ends planning with it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import structlog

from orchestrator.planner.cache import PlanCache, digest_of
from orchestrator.planner.forms import PlanForms
from orchestrator.planner.prompt import Message, planning_messages, repair_messages
from orchestrator.planner.reading import read_plan
from orchestrator.planning import Planned, PlanningRequest
from orchestrator.plans.fallback import fallback_plan
from orchestrator.plans.mistakes import Mistakes
from orchestrator.plans.plan import Plan
from settings import Settings
from workspace.errors import ModelFailure, ModelRequestRefused, ModelUnavailable
from workspace.events import Usage
from workspace.interruptible import Interrupted, StageWatch, Watch
from workspace.llm import ModelClient, ModelRequest, ModelTurn
from workspace.metrics import PLANNING_FAILURES, PLANNING_SECONDS, PLANS_MADE
from workspace.plans.view import PlanSource
from workspace.usage import NO_USAGE, total

log = structlog.get_logger(__name__)


class PlanningFailure(StrEnum):
    """Why a plan is not the model's."""

    TIMEOUT = "timeout"  # it took longer than planning may
    UNAVAILABLE = "unavailable"  # the provider could not be reached, or said that it may pass
    REFUSED = "refused"  # the provider refused, or answered with what is no answer
    MISTAKES = "mistakes"  # the second plan had some as well


class _NoPlan(Exception):
    """The model made none."""

    def __init__(self, reason: PlanningFailure) -> None:
        self.reason = reason
        super().__init__(reason)


class _Quiet:
    """Nobody reads a plan while it is being written."""

    def text(self, piece: str) -> None:
        """See `TurnSink`."""

    def restart(self, attempt: int, reason: str, seconds: float) -> None:
        """See `TurnSink`."""


@dataclass
class _Course:
    """How far the planning of a message has come."""

    request: PlanningRequest
    model: str
    messages: list[Message]
    watch: Watch
    digest: str | None
    """What the plan is cached under, if it may be."""
    usage: Usage = field(default=NO_USAGE)
    form_refused: bool = False
    """Whether the server refused a request with a schema, and not the same one without."""

    def read(self, text: str) -> Plan | Mistakes:
        """Return the plan in a text, for this team and config."""
        agents = [member.roster.name for member in self.request.team]
        return read_plan(text, agents, most=self.request.config.max_tasks)


class ModelPlanner:
    """Lets a model plan. Safe to share between threads."""

    def __init__(
        self,
        model: ModelClient,
        cache: PlanCache,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._cache = cache
        self._default_model = settings.default_model
        self._timeout = settings.planning_timeout
        self._clock = clock
        self._forms = PlanForms(clock=clock)

    def plan(self, request: PlanningRequest, watch: Watch) -> Planned:
        """See `orchestrator.planning.Planner`."""
        if not request.team:
            raise ValueError("a plan needs an agent")
        watch.check()
        began = self._clock()
        model = request.config.model or self._default_model
        messages = planning_messages(request)
        course = _Course(
            request=request,
            model=model,
            messages=messages,
            watch=StageWatch(watch, deadline=began + self._timeout),
            digest=digest_of(request, messages, model) if request.config.cache_plans else None,
        )
        plan, source = self._made(course, watch)
        PLANS_MADE.labels(source).inc()
        PLANNING_SECONDS.labels(source).observe(self._clock() - began)
        return Planned(plan=plan, source=source, usage=course.usage)

    def _made(self, course: _Course, work: Watch) -> tuple[Plan, PlanSource]:
        cached = self._cached(course)
        if cached is not None:
            return cached, PlanSource.CACHE
        try:
            plan, source = self._asked(course)
        except _NoPlan as failed:
            reason = failed.reason
        except Interrupted as interrupt:
            # Of the reasons to stop, only those of planning itself lead to another plan.
            work.check()
            timeout = not isinstance(interrupt.failure, ModelFailure)
            reason = PlanningFailure.TIMEOUT if timeout else PlanningFailure.REFUSED
        else:
            if course.form_refused:
                self._forms.refused(course.model)
            if course.digest is not None:
                self._cache.put(course.request.key, course.digest, plan)
            return plan, source
        PLANNING_FAILURES.labels(reason).inc()
        log.warning("planning_failed", reason=reason, model=course.model)
        return self._simple(course.request), PlanSource.FALLBACK

    def _cached(self, course: _Course) -> Plan | None:
        if course.digest is None:
            return None
        text = self._cache.get(course.request.key, course.digest)
        found = None if text is None else course.read(text)
        return found if isinstance(found, Plan) else None

    def _asked(self, course: _Course) -> tuple[Plan, PlanSource]:
        """Return the model's plan.

        Raises:
            _NoPlan: it made none.
            Interrupted: the time is over, or the run has to end.
        """
        answer = self._turn(course, course.messages)
        found = course.read(answer)
        if isinstance(found, Plan):
            return found, PlanSource.MODEL
        log.info("plan_with_mistakes", codes=[mistake.code for mistake in found], model=course.model)
        found = course.read(self._turn(course, repair_messages(course.messages, answer, found)))
        if isinstance(found, Plan):
            return found, PlanSource.REPAIRED
        log.info("plan_with_mistakes", codes=[mistake.code for mistake in found], model=course.model)
        raise _NoPlan(PlanningFailure.MISTAKES)

    def _turn(self, course: _Course, messages: Sequence[Message]) -> str:
        request = ModelRequest(
            model=course.model,
            messages=list(messages),
            agent=str(course.request.key.project_id),  # what stands for the orchestrator where agents have ids
            temperature=course.request.config.temperature,
            response_format=None if course.form_refused else self._forms.of(course.model),
        )
        try:
            turn = self._said(request, course)
        except ModelUnavailable as failure:
            raise _NoPlan(PlanningFailure.UNAVAILABLE) from failure
        except ModelFailure as failure:
            raise _NoPlan(PlanningFailure.REFUSED) from failure
        course.usage = total(course.usage, turn.usage)
        return turn.text

    def _said(self, request: ModelRequest, course: _Course) -> ModelTurn:
        """Return a turn; where the request is refused with a schema, that of the same request without one."""
        try:
            return self._model.turn(request, _Quiet(), course.watch)
        except ModelRequestRefused:
            if request.response_format is None:
                raise
        turn = self._model.turn(replace(request, response_format=None), _Quiet(), course.watch)
        course.form_refused = True
        return turn

    @staticmethod
    def _simple(request: PlanningRequest) -> Plan:
        asked = request.conversation[-1].content
        return fallback_plan(asked, [member.roster for member in request.team], most=request.config.max_tasks)
