"""Pieces of text are sent seldom enough, soon enough, and join to what the model said."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace import progress as module
from workspace.events import TaskProgress
from workspace.progress import Backoff, Progress

INTERVAL = 0.04


class Clock:
    """Stands for the `time` module."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def sent() -> list[TaskProgress]:
    return []


@pytest.fixture
def told() -> list[Backoff]:
    return []


@pytest.fixture
def progress(clock: Clock, sent: list[TaskProgress], told: list[Backoff]) -> Progress:
    return Progress(sent.append, told.append, interval=INTERVAL, turn=1)


def texts(pieces: list[TaskProgress]) -> list[str]:
    return [piece.text for piece in pieces]


def test_the_first_piece_is_sent_at_once(progress: Progress, sent: list[TaskProgress]) -> None:
    progress.text("Good")
    assert sent == [TaskProgress(text="Good", offset=0, turn=1, attempt=1)]


def test_pieces_within_the_interval_wait_for_company(
    progress: Progress, sent: list[TaskProgress], clock: Clock
) -> None:
    for piece in ("Good", " mor", "ning"):
        progress.text(piece)
    assert texts(sent) == ["Good"]
    clock.now += INTERVAL
    progress.text("!")
    assert texts(sent) == ["Good", " morning!"]
    assert sent[1].offset == 4


def test_what_waits_is_sent_when_due_though_no_piece_comes(
    progress: Progress, sent: list[TaskProgress], clock: Clock
) -> None:
    progress.text("a")
    assert progress.before_wait() == INTERVAL
    progress.text("b")
    clock.now += INTERVAL / 4
    assert progress.before_wait() == pytest.approx(INTERVAL * 3 / 4)
    clock.now += INTERVAL
    assert progress.before_wait() == INTERVAL
    assert texts(sent) == ["a", "b"]


def test_the_end_takes_what_waits_without_sending_it(progress: Progress, sent: list[TaskProgress]) -> None:
    progress.text("a")
    assert progress.take() is None
    progress.text("b")
    assert progress.take() == TaskProgress(text="b", offset=1, turn=1, attempt=1)
    assert progress.take() is None
    assert texts(sent) == ["a"]


def test_a_restart_forgets_what_waits_and_begins_at_nought(
    progress: Progress, sent: list[TaskProgress], clock: Clock
) -> None:
    progress.text("wrong")
    progress.text(" start")
    progress.restart(2, "rate_limited", 1.5)
    clock.now += INTERVAL
    progress.text("right")
    assert sent[1:] == [TaskProgress(text="right", offset=0, turn=1, attempt=2)]


def test_a_restart_tells_why_and_for_how_long_the_model_is_not_asked(
    clock: Clock, sent: list[TaskProgress], told: list[Backoff]
) -> None:
    progress = Progress(sent.append, told.append, interval=INTERVAL, turn=1, first_attempt=6)
    progress.restart(2, "rate_limited", 1.5)
    assert told == [Backoff("rate_limited", 1.5, 7)]


def test_what_was_said_is_the_present_attempts_text_sent_or_not(progress: Progress, clock: Clock) -> None:
    assert progress.said == ""
    progress.text("wrong")
    progress.restart(2, "rate_limited", 0)
    assert progress.said == ""
    progress.text("Good")
    progress.text(" morning")
    assert progress.said == "Good morning"


def test_attempts_go_on_from_those_of_the_node_before(
    clock: Clock, sent: list[TaskProgress], told: list[Backoff]
) -> None:
    progress = Progress(sent.append, told.append, interval=0, turn=1, first_attempt=6)
    progress.text("a")
    progress.restart(2, "rate_limited", 0)
    progress.text("b")
    assert [piece.attempt for piece in sent] == [6, 7]


def test_an_empty_piece_sends_nothing(progress: Progress, sent: list[TaskProgress]) -> None:
    progress.text("")
    assert sent == []
    assert progress.take() is None


STEPS = st.lists(
    st.one_of(
        st.text(max_size=5).map(lambda text: ("piece", text)),
        st.floats(0, 0.1).map(lambda seconds: ("time", seconds)),
        st.just(("wait", None)),
        st.just(("restart", None)),
    ),
    max_size=60,
)


@given(steps=STEPS, interval=st.sampled_from([0.0, 0.01, INTERVAL, 1.0]))
def test_for_any_pieces_at_any_time_they_join_to_the_text(steps: list[tuple[str, Any]], interval: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(module, "time", clock)
        sent: list[tuple[float, TaskProgress]] = []
        progress = Progress(lambda piece: sent.append((clock.now, piece)), lambda _: None, interval=interval, turn=1)
        said, attempt = {1: ""}, 1
        for kind, value in steps:
            match kind:
                case "piece":
                    said[attempt] += value
                    progress.text(value)
                case "time":
                    clock.now += value
                case "wait":
                    assert progress.before_wait() >= 0
                case _:
                    attempt += 1
                    said[attempt] = ""
                    progress.restart(attempt, "rate_limited", 0)
        last = progress.take()
    assert progress.said == said[attempt]
    pieces = [piece for _, piece in sent] + ([last] if last else [])
    assert all(piece.text for piece in pieces)
    for number, text in said.items():
        own = [piece for piece in pieces if piece.attempt == number]
        joined = "".join(piece.text for piece in own)
        assert joined == text if number == attempt else text.startswith(joined)
        assert [piece.offset for piece in own] == list(_offsets(own))
    moments = [moment for moment, _ in sent]
    assert all(later - earlier >= interval - 1e-9 for earlier, later in pairwise(moments))


def _offsets(pieces: list[TaskProgress]) -> Iterator[int]:
    offset = 0
    for piece in pieces:
        yield offset
        offset += len(piece.text)
