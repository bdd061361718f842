"""The run loop: turn by turn until an answer, a wait or an end, within the bounds of a run."""

import copy
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from models import Json
from settings import Settings, load_settings
from tests.support.offline import offline_environment
from workspace.agent_config import AgentConfig, AgentLimits
from workspace.errors import BudgetExceeded, Cancelled, DeadlineExceeded, ModelFailure, WorkerLost, WorkerShutdown
from workspace.events import TaskProgress, Usage
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.llm import ModelRequest, ModelTurn
from workspace.model_stream import AskedCall, TurnSink
from workspace.progress import Backoff
from workspace.runner import AgentRunner, Assignment, CallTools, Failed, Final, Outcome, Pause
from workspace.tools.context import Clock
from workspace.tools.transcript import AnsweredCall, ToolTurn, WaitReason, Waits
from workspace.usage import NO_USAGE

FIRST = {"role": "user", "content": "hello"}
CALL = AskedCall("call_1", "read_file", '{"path":"a"}')
WAITS = Waits(WaitReason.APPROVAL, "Waits for its owner.")
TOOL = {"type": "function", "function": {"name": "read_file"}}


def used(tokens: int, cost: str | None = None) -> Usage:
    price = None if cost is None else Decimal(cost)
    return Usage(prompt_tokens=tokens - 1, completion_tokens=1, total_tokens=tokens, cost_usd=price)


def says(text: str, *, usage: Usage = NO_USAGE) -> ModelTurn:
    return ModelTurn(text=text, finish_reason="stop", usage=usage)


def asks(text: str = "", *, usage: Usage = NO_USAGE) -> ModelTurn:
    return ModelTurn(text=text, calls=(CALL,), finish_reason="tool_calls", usage=usage)


Step = ModelTurn | BaseException | Callable[[TurnSink, Watch], ModelTurn]


class Model:
    """Says what it was told to, turn by turn, and keeps what it was asked."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked: list[ModelRequest] = []

    def turn(self, request: ModelRequest, sink: TurnSink, watch: Watch) -> ModelTurn:
        self.asked.append(copy.deepcopy(request))
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        if not isinstance(step, ModelTurn):
            return step(sink, watch)
        for word in step.text.split():
            sink.text(word)
        return step

    def conversation(self) -> list[list[dict[str, Any]]]:
        return [request.messages for request in self.asked]


class Tools:
    """Answers every call with its turn's number, or as it was told to."""

    definitions: Sequence[Json] = (TOOL,)
    at_work = False

    def __init__(self, *, past: list[ToolTurn] | Waits | BaseException | None = None) -> None:
        self.told_past = past if past is not None else []
        self.told: dict[int, Waits | BaseException | Callable[[Clock], None]] = {}
        self.carried_out: list[tuple[int, CallTools]] = []
        self.clocks: list[Clock] = []

    def past(self, clock: Clock) -> list[ToolTurn] | Waits:
        self.clocks.append(clock)
        if isinstance(self.told_past, BaseException):
            raise self.told_past
        return self.told_past

    def carry_out(self, number: int, turn: CallTools, clock: Clock) -> ToolTurn | Waits:
        self.carried_out.append((number, turn))
        self.clocks.append(clock)
        told = self.told.get(number)
        if isinstance(told, BaseException):
            raise told
        if isinstance(told, Waits):
            return told
        if told is not None:
            told(clock)
        return done(number, turn.text, turn.usage)


def done(number: int, said: str = "", usage: Usage = NO_USAGE) -> ToolTurn:
    answered = AnsweredCall(f"call_{number}", "read_file", '{"path":"a"}', f'{{"ok":true,"output":{number}}}')
    return ToolTurn(number=number, said=said, calls=(answered,), usage=usage)


@pytest.fixture(scope="module")
def settings() -> Settings:
    with offline_environment():
        return load_settings()


class Bench:
    """One run at a time, with all that goes in and comes out."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stop = StopSignal()
        self.sent: list[TaskProgress] = []
        self.backoffs: list[Backoff] = []

    def run(
        self,
        model: Model,
        tools: Tools | None = None,
        *,
        seconds: float = 60.0,
        config: AgentConfig | None = None,
        first_attempt: int = 1,
        elsewhere: Usage = NO_USAGE,
        **options: Any,
    ) -> Outcome:
        settings = self.settings.model_copy(update={"progress_interval": 0.0, **options})
        assignment = Assignment(
            agent="an id",
            config=config or AgentConfig(name="helper"),
            model="a model",
            messages=[FIRST],
            tools=tools or Tools(),
            deadline=time.monotonic() + seconds,
            first_attempt=first_attempt,
            spent_elsewhere=lambda: elsewhere,
        )
        runner = AgentRunner(model, settings)  # type: ignore[arg-type]  # it is one, as far as the runner can see
        return runner.run(assignment, self.sent.append, self.stop, self.backoffs.append)


@pytest.fixture
def bench(settings: Settings) -> Bench:
    return Bench(settings)


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


# -- turns -------------------------------------------------------------------------------------------------------


def test_an_answer_without_tools_is_one_turn(bench: Bench) -> None:
    model = Model(says("good morning", usage=used(7, "0.5")))
    outcome = bench.run(
        model,
        config=AgentConfig(name="helper", temperature=0.5, limits=AgentLimits(max_output_tokens=9)),
    )
    assert isinstance(outcome, Final)
    assert (outcome.text, outcome.usage) == ("good morning", used(7, "0.5"))
    (asked,) = model.asked
    assert asked == ModelRequest(
        model="a model",
        messages=[FIRST],
        agent="an id",
        temperature=0.5,
        max_output_tokens=9,
        tools=(TOOL,),
        must_answer=False,
    )


def test_each_turn_is_shown_what_came_of_those_before(bench: Bench) -> None:
    model, tools = Model(asks("let me look"), asks(), says("there")), Tools()
    outcome = bench.run(model, tools)
    assert isinstance(outcome, Final)
    assert outcome.text == "there"
    assert [(number, turn.text, turn.calls) for number, turn in tools.carried_out] == [
        (1, "let me look", (CALL,)),
        (2, "", (CALL,)),
    ]
    one, two = done(1, "let me look").messages(), done(2).messages()
    assert model.conversation() == [[FIRST], [FIRST, *one], [FIRST, *one, *two]]


def test_the_usage_of_all_turns_is_added_up(bench: Bench) -> None:
    outcome = bench.run(Model(asks(usage=used(10, "1")), asks(usage=used(20, "2")), says("x", usage=used(5, "0.5"))))
    assert outcome.usage == Usage(prompt_tokens=32, completion_tokens=3, total_tokens=35, cost_usd=Decimal("3.5"))


def test_the_assignments_own_messages_stay_as_they_are(bench: Bench) -> None:
    given = [FIRST]
    tools = Tools()
    assignment = Assignment(
        agent="", config=AgentConfig(name="a"), model="m", messages=given, tools=tools, deadline=time.monotonic() + 9
    )
    runner = AgentRunner(Model(asks(), says("x")), bench.settings)  # type: ignore[arg-type]
    runner.run(assignment, bench.sent.append, bench.stop, bench.backoffs.append)
    assert given == [FIRST]


def test_turns_of_an_earlier_start_are_shown_and_counted_and_not_done_again(bench: Bench) -> None:
    tools = Tools(past=[done(1, "let me look", used(10)), done(2, "", used(20))])
    model = Model(asks(usage=used(3)), says("there", usage=used(4)))
    outcome = bench.run(model, tools)
    assert outcome.usage.total_tokens == 37
    assert [number for number, _ in tools.carried_out] == [3]
    assert model.conversation()[0] == [FIRST, *done(1, "let me look").messages(), *done(2).messages()]


def test_text_goes_out_with_its_turn_and_before_the_turns_tools_are_used(bench: Bench) -> None:
    told: list[str] = []
    tools = Tools()
    tools.told[1] = lambda _: told.extend(piece.text for piece in bench.sent)
    # With so long an interval only the first word is sent when it comes; the end of the turn sends the rest.
    outcome = bench.run(Model(asks("let me look"), says("it is there")), tools, first_attempt=6, progress_interval=60.0)
    assert "".join(told) == "letmelook"
    assert [(piece.turn, piece.attempt, piece.offset) for piece in bench.sent] == [(1, 6, 0), (1, 6, 3), (2, 6, 0)]
    assert isinstance(outcome, Final)
    assert outcome.unsent == TaskProgress(text="isthere", offset=2, turn=2, attempt=6)


def test_turns_number_goes_on_from_those_of_the_start_before(bench: Bench) -> None:
    bench.run(Model(says("there")), Tools(past=[done(1), done(2)]))
    assert [piece.turn for piece in bench.sent] == [3]


# -- waiting -----------------------------------------------------------------------------------------------------


def test_a_turn_that_has_to_wait_pauses_the_run(bench: Bench) -> None:
    tools = Tools()
    tools.told[2] = WAITS
    outcome = bench.run(Model(asks(usage=used(10)), asks(usage=used(20))), tools)
    assert outcome == Pause(usage=Usage(prompt_tokens=28, completion_tokens=2, total_tokens=30), waits=WAITS)


def test_a_run_that_still_waits_when_it_comes_back_pauses_again_without_asking_the_model(bench: Bench) -> None:
    model = Model()
    assert bench.run(model, Tools(past=WAITS)) == Pause(usage=NO_USAGE, waits=WAITS)
    assert model.asked == []


# -- bounds ------------------------------------------------------------------------------------------------------


def test_the_last_turn_may_ask_for_no_tools_any_more(bench: Bench) -> None:
    model = Model(asks(), asks(), says("so be it"))
    assert isinstance(bench.run(model, max_turns=3), Final)
    assert [request.must_answer for request in model.asked] == [False, False, True]
    assert [request.tools for request in model.asked] == [(TOOL,)] * 3


def test_turns_of_an_earlier_start_count_to_the_most(bench: Bench) -> None:
    model = Model(says("so be it"))
    bench.run(model, Tools(past=[done(1), done(2)]), max_turns=3)
    assert [request.must_answer for request in model.asked] == [True]


def test_a_run_that_has_more_turns_than_the_setting_now_allows_has_to_answer(bench: Bench) -> None:
    model = Model(says("so be it"))
    bench.run(model, Tools(past=[done(number) for number in range(1, 6)]), max_turns=2)
    assert [request.must_answer for request in model.asked] == [True]


@pytest.mark.parametrize(("budget", "turns"), [(30, 2), (31, 3), (29, 2), (1, 1)])
def test_a_run_that_used_up_its_tokens_gets_no_further_turn(bench: Bench, budget: int, turns: int) -> None:
    model = Model(*[asks("a", usage=used(15))] * 3)
    outcome = failed(bench.run(model, run_token_budget=budget))
    assert isinstance(outcome.failure, BudgetExceeded)
    assert outcome.failure.detail == f"The run used {15 * turns} tokens; it may use {budget}."
    assert (len(model.asked), outcome.usage.total_tokens, outcome.in_tool) == (turns, 15 * turns, False)


def test_an_answer_may_go_beyond_the_budget(bench: Bench) -> None:
    """It is asked before each turn: what a turn takes is known only afterwards."""
    assert isinstance(bench.run(Model(says("x", usage=used(100))), run_token_budget=10), Final)


def test_the_tokens_of_an_earlier_start_count(bench: Bench) -> None:
    model = Model()
    outcome = failed(bench.run(model, Tools(past=[done(1, usage=used(30))]), run_token_budget=30))
    assert isinstance(outcome.failure, BudgetExceeded)
    assert outcome.usage == used(30)
    assert model.asked == []


@pytest.mark.parametrize("option", [{"run_token_budget": 30}, {"run_cost_budget": Decimal(2)}])
def test_what_other_tasks_of_the_run_used_counts_and_is_not_this_ones(bench: Bench, option: dict[str, Any]) -> None:
    model = Model(asks(usage=used(15, "1")), says("x"))
    outcome = failed(bench.run(model, elsewhere=used(15, "1"), **option))
    assert isinstance(outcome.failure, BudgetExceeded)
    assert (len(model.asked), outcome.usage) == (1, used(15, "1"))


@pytest.mark.parametrize(("budget", "turns"), [("1.0", 2), ("1.01", 3), ("0.4", 1)])
def test_a_run_that_cost_what_it_may_gets_no_further_turn(bench: Bench, budget: str, turns: int) -> None:
    model = Model(*[asks(usage=used(15, "0.5"))] * 3)
    outcome = failed(bench.run(model, run_cost_budget=Decimal(budget)))
    assert isinstance(outcome.failure, BudgetExceeded)
    assert "US dollars" in outcome.failure.detail
    assert len(model.asked) == turns


def test_without_a_cost_budget_or_a_price_nothing_is_too_dear(bench: Bench) -> None:
    dear = [asks(usage=used(15, "1000")), says("x")]
    assert isinstance(bench.run(Model(*dear), run_cost_budget=None), Final)
    unknown = [asks(usage=used(15)), says("x")]
    assert isinstance(bench.run(Model(*unknown), run_cost_budget=Decimal("0.01")), Final)


# -- ends before the answer --------------------------------------------------------------------------------------


def test_a_stop_in_the_middle_of_a_turn_keeps_what_all_turns_said(bench: Bench) -> None:
    def interrupted(sink: TurnSink, watch: Watch) -> ModelTurn:
        sink.text("almost")
        sink.text(" there")
        bench.stop.stop(Cancelled())
        watch.check()
        raise AssertionError

    model = Model(asks("let me look", usage=used(10)), asks(), interrupted)
    outcome = failed(bench.run(model, progress_interval=60.0))
    assert isinstance(outcome.failure, Cancelled)
    assert outcome.text == "let me look\n\nalmost there"
    assert (outcome.in_tool, outcome.usage.total_tokens) == (False, 10)
    last_turn = [piece for piece in bench.sent if piece.turn == 3]
    assert "".join(piece.text for piece in last_turn) == "almost there", "what is kept was shown before"


def test_a_stop_before_the_first_word_keeps_nothing(bench: Bench) -> None:
    assert failed(bench.run(Model(Interrupted(Cancelled())))).text == ""


def test_a_stop_in_a_tool_says_so_and_keeps_what_the_turns_before_said(bench: Bench) -> None:
    tools = Tools()
    tools.at_work = True
    tools.told[2] = Interrupted(Cancelled())
    outcome = failed(bench.run(Model(asks("one", usage=used(4)), asks("two", usage=used(5))), tools))
    assert isinstance(outcome.failure, Cancelled)
    assert (outcome.in_tool, outcome.text) == (True, "one")


@pytest.mark.parametrize("when", ["before the turns of an earlier start are finished", "between two tools of a turn"])
def test_a_stop_between_two_tools_cuts_nothing_off(bench: Bench, when: str) -> None:
    """What was done is in the rows, so the task can be taken up again."""
    resumed = when.startswith("before")
    tools = Tools(past=Interrupted(WorkerShutdown()) if resumed else None)
    tools.told[1] = Interrupted(WorkerShutdown())
    outcome = failed(bench.run(Model(asks()), tools))
    assert isinstance(outcome.failure, WorkerShutdown)
    assert not outcome.in_tool


def test_a_task_that_is_no_longer_this_nodes_ends_here(bench: Bench) -> None:
    outcome = failed(bench.run(Model(), Tools(past=Interrupted(WorkerLost()))))
    assert isinstance(outcome.failure, WorkerLost)


def test_a_failure_of_the_model_is_an_outcome_with_the_usage_so_far(bench: Bench) -> None:
    outcome = failed(bench.run(Model(asks(usage=used(4)), ModelFailure("It would not."))))
    assert isinstance(outcome.failure, ModelFailure)
    assert (outcome.usage, outcome.in_tool) == (used(4), False)


def test_tools_hear_a_stop_and_the_deadline_and_know_how_long_they_have(bench: Bench) -> None:
    tools = Tools()

    def look(clock: Clock) -> None:
        assert 0 < clock.seconds_left() <= 60
        clock.check()
        bench.stop.stop(Cancelled())
        clock.check()

    tools.told[1] = look
    assert isinstance(failed(bench.run(Model(asks()), tools)).failure, Cancelled)
    assert len(tools.clocks) == 2


def test_a_tool_that_works_beyond_the_deadline_is_stopped(bench: Bench) -> None:
    tools = Tools()

    def work(clock: Clock) -> None:
        tools.at_work = True
        while True:
            clock.check()
            time.sleep(0.01)

    tools.told[1] = work
    outcome = failed(bench.run(Model(asks()), tools, seconds=0.05))
    assert isinstance(outcome.failure, DeadlineExceeded)
    assert outcome.in_tool
    assert tools.clocks[0].seconds_left() < 0
