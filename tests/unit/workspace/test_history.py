"""The model is shown the newest messages that fit, and always the one it has to answer."""

from hypothesis import given
from hypothesis import strategies as st

from models.statuses import MessageRole
from workspace.history import PastMessage, estimate_tokens, fit, prompt

MESSAGES = st.lists(
    st.builds(PastMessage, st.sampled_from([MessageRole.USER, MessageRole.ASSISTANT]), st.text(max_size=200)),
    max_size=30,
)


def said(*contents: str) -> list[PastMessage]:
    return [PastMessage(MessageRole.USER, content) for content in contents]


def test_the_newest_come_oldest_first() -> None:
    assert fit(said("c", "b", "a"), messages=2, tokens=100) == said("b", "c")


def test_the_newest_stays_however_long_it_is() -> None:
    assert fit(said("x" * 1_000, "a"), messages=10, tokens=5) == said("x" * 1_000)
    assert fit(said("x", "a"), messages=0, tokens=0) == said("x")


def test_the_first_that_does_not_fit_ends_it_so_that_nothing_is_left_out_in_between() -> None:
    assert fit(said("new", "x" * 400, "a"), messages=10, tokens=50) == said("new")


def test_nothing_of_nothing() -> None:
    assert fit([], messages=10, tokens=10) == []


def test_only_as_much_is_read_as_is_needed() -> None:
    source = iter(said("c", "b", "a", "never looked at"))
    assert fit(source, messages=2, tokens=100) == said("b", "c")
    assert list(source) == said("never looked at")


@given(newest_first=MESSAGES, messages=st.integers(0, 40), tokens=st.integers(0, 500))
def test_both_bounds_hold_and_as_many_as_fit_are_there(
    newest_first: list[PastMessage], messages: int, tokens: int
) -> None:
    chosen = fit(newest_first, messages=messages, tokens=tokens)
    assert chosen == newest_first[: len(chosen)][::-1]
    assert bool(chosen) == bool(newest_first)
    if len(chosen) > 1:
        assert len(chosen) <= messages
        assert sum(estimate_tokens(message.content) for message in chosen) <= tokens
    if 0 < len(chosen) < len(newest_first):
        one_more = newest_first[: len(chosen) + 1]
        assert len(one_more) > messages or sum(estimate_tokens(m.content) for m in one_more) > tokens


@given(text=st.text())
def test_an_estimate_is_never_nought_and_grows_with_the_text(text: str) -> None:
    assert 1 <= estimate_tokens(text) <= estimate_tokens(text + "1234") - 1


def test_the_prompt_begins_with_the_systems_words() -> None:
    conversation = [PastMessage(MessageRole.USER, "hello"), PastMessage(MessageRole.ASSISTANT, "good morning")]
    assert prompt("Be kind.", conversation) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "good morning"},
    ]
