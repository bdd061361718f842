"""What a reader makes of the events of one run: its end, and whether the text that it has is all of it."""

from typing import Any

from tests.chaos.audience import Told
from tests.support.streams import Event


def event(kind: str, **payload: Any) -> Event:
    return Event({"event_type": kind, "id": "1-0", "payload": payload})


def piece(text: str, offset: int, attempt: int = 1) -> Event:
    return event("task_progress", text=text, offset=offset, turn=1, attempt=attempt)


def reply(content: str) -> Event:
    return event("message_created", role="assistant", content=content)


STARTED = event("task_started", attempt=1)
DONE = event("task_completed")
COMPLETED = event("run_completed")


def told(*events: Event) -> Told:
    run = Told()
    for each in events:
        run.take(each)
    return run


def test_pieces_from_the_first_to_the_last_are_the_text() -> None:
    heard = told(STARTED, piece("Hello ", 0), piece("world", 6), DONE, reply("Hello world"), COMPLETED).heard()
    assert (heard.status, heard.contradictions, heard.text) == ("completed", (), "Hello world")


def test_a_piece_that_is_missing_between_two_others_is_noticed() -> None:
    assert told(STARTED, piece("Hello ", 0), piece("world", 9), DONE, COMPLETED).heard().text is None


def test_a_last_piece_that_is_missing_is_noticed_by_the_reply() -> None:
    assert told(STARTED, piece("Hello ", 0), DONE, reply("Hello world"), COMPLETED).heard().text is None


def test_text_that_differs_from_the_reply_is_no_missing_piece() -> None:
    assert told(STARTED, piece("Goodbye", 0), DONE, reply("Hello"), COMPLETED).heard().text == "Goodbye"


def test_text_without_its_node_s_own_end_is_not_all_of_it() -> None:
    assert told(STARTED, piece("Hello", 0), COMPLETED).heard().text is None


def test_only_the_last_attempt_counts() -> None:
    first = (STARTED, piece("Hel", 0), piece("x", 99))
    heard = told(*first, STARTED, piece("Hello", 0, attempt=6), DONE, reply("Hello"), COMPLETED).heard()
    assert heard.text == "Hello"


def test_two_different_ends_contradict_each_other() -> None:
    heard = told(COMPLETED, event("run_failed")).heard()
    assert (heard.status, heard.contradictions) == ("failed", ("completed",))


def test_the_same_end_may_be_told_twice() -> None:
    assert told(COMPLETED, COMPLETED).heard().contradictions == ()
