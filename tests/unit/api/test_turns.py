"""Places of one user in a web process: never more than there are, given back in any case, and no other user waits."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from flask import Flask, Response, g

from api.turns import Turns, end_turn, init_turns
from workspace.errors import Unavailable

USER, OTHER = uuid4(), uuid4()


def test_a_user_never_has_more_places_than_there_are_and_everybody_comes_to_turn() -> None:
    turns, lock, at_work = Turns(3), threading.Lock(), []
    most = 0

    def work(number: int) -> int:
        nonlocal most
        turns.take(USER)
        with lock:
            at_work.append(number)
            most = max(most, len(at_work))
        time.sleep(0.005)
        with lock:
            at_work.remove(number)
        turns.give_back(USER)
        return number

    with ThreadPoolExecutor(20) as threads:
        assert sorted(threads.map(work, range(60))) == list(range(60))
    assert most == 3
    assert len(turns) == 0


def test_another_user_does_not_wait() -> None:
    turns = Turns(1)
    turns.take(USER)
    turns.take(OTHER, within=0)
    with pytest.raises(Unavailable):
        turns.take(USER, within=0.01)
    turns.give_back(OTHER)
    turns.give_back(USER)
    assert len(turns) == 0


@pytest.fixture
def turns() -> Turns:
    return Turns(1)


@pytest.fixture
def app(turns: Turns) -> Flask:
    app = Flask("turns")

    @app.before_request
    def know() -> None:
        g.account = SimpleNamespace(user_id=USER)

    init_turns(app, turns)

    @app.get("/well")
    def well() -> str:
        return "well"

    @app.get("/ill")
    def ill() -> str:
        raise ValueError

    @app.get("/stream")
    def stream() -> Response:
        return Response(str(len(turns)) for _ in range(2))

    @app.get("/waits")
    def waits() -> str:
        end_turn()
        return str(len(turns))

    return app


@pytest.mark.parametrize(("path", "answer"), [("/well", "well"), ("/stream", "00"), ("/waits", "0"), ("/ill", None)])
def test_a_place_is_given_back_however_a_request_ends(app: Flask, turns: Turns, path: str, answer: str | None) -> None:
    for _ in range(3):
        response = app.test_client().get(path)
        assert answer is None or response.text == answer
    turns.take(USER, within=0)
    turns.give_back(USER)
    assert len(turns) == 0


def test_a_request_without_a_user_takes_no_place(turns: Turns) -> None:
    app = Flask("nobody")
    init_turns(app, turns)
    app.get("/")(lambda: str(len(turns)))
    turns.take(UUID(int=0))
    assert app.test_client().get("/").text == "1"
