"""Which `Prefer` headers ask to wait, by RFC 7240."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.waiting import preferred_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=10", 10),
        ("WAIT=10", 10),
        (" wait = 10 ", 10),
        ('wait="10"', 10),
        ("wait=010", 10),
        ("wait=10; foo=bar", 10),
        ("wait=10;foo;bar", 10),
        ("wait=10;", 10),
        ("respond-async, wait=10", 10),
        ("respond-async; x=1,wait=10,handling=lenient", 10),
        ('note="a, wait=3", wait=10', 10),
        (r'note="a \" wait=3", wait=10', 10),
        ("wait=10, wait=20", 10),
        ("wait=999999999", 999_999_999),
    ],
)
def test_a_wait_that_counts(header: str, seconds: int) -> None:
    assert preferred_wait([header]) == seconds


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        ",",
        "wait",
        "wait=",
        'wait=""',
        "wait=0",
        "wait=-1",
        "wait=+1",
        "wait=1.5",
        "wait=1e1",
        "wait=abc",
        "wait=10s",
        "wait=10 20",
        "wait:10",
        "wait=1_0",
        "wait=\u0661\u0660",
        "wait=9999999999999999999999",
        "waiting=10",
        "wait=x, wait=10",
        "respond-async; wait=10",
        'note="wait=10',
        "=5, wait=10",
        "a=@, wait=10",
    ],
)
def test_a_header_that_asks_for_no_wait(header: str) -> None:
    assert preferred_wait([header]) is None


def test_several_headers_are_read_as_one() -> None:
    assert preferred_wait([]) is None
    assert preferred_wait(["respond-async", "wait=7", "wait=8"]) == 7
    assert preferred_wait(["wait=x", "wait=8"]) is None


@given(st.lists(st.text(alphabet=st.sampled_from('wait=10 \t;,"\\x'), max_size=40), max_size=3))
def test_whatever_is_sent_it_is_a_time_or_nothing(headers: list[str]) -> None:
    seconds = preferred_wait(headers)
    assert seconds is None or seconds > 0


@pytest.mark.parametrize("piece", [";", ";a", ",", " ", "\t", '"', "a=", 'a="', "\\", "=", ";a=b ", '";'])
def test_a_hostile_header_takes_no_time(piece: str) -> None:
    started = time.perf_counter()
    preferred_wait(["a" + piece * (8_000 // len(piece)) + "@"])
    assert time.perf_counter() - started < 0.5
