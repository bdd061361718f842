"""The witness counts simultaneous requests exactly."""

from devstack.standin.witness import Witness


def here() -> bool:
    return False


def gone() -> bool:
    return True


def test_it_knows_current_maximum_and_total_for_each_key() -> None:
    witness = Witness()
    first, second = witness.arrive("a", here), witness.arrive("a", here)
    other = witness.arrive("b", here)
    first.leave()
    witness.arrive("a", here)
    assert witness.report() == {
        "keys": {"a": {"current": 2, "max": 2, "total": 3}, "b": {"current": 1, "max": 1, "total": 1}},
        "all": {"current": 3, "max": 3, "total": 4},
    }
    for visit in (second, other):
        visit.leave()
        visit.leave()
    assert witness.report()["all"] == {"current": 1, "max": 3, "total": 4}


def test_a_client_that_has_gone_is_not_counted_with_the_next() -> None:
    witness = Witness()
    witness.arrive("a", gone)
    witness.arrive("a", here)
    assert witness.report()["all"] == {"current": 1, "max": 1, "total": 2}


def test_a_reset_keeps_the_open_requests() -> None:
    witness = Witness()
    staying, leaving = witness.arrive("a", here), witness.arrive("b", here)
    leaving.leave()
    witness.reset()
    assert witness.report() == {
        "keys": {"a": {"current": 1, "max": 1, "total": 0}},
        "all": {"current": 1, "max": 1, "total": 0},
    }
    staying.leave()
