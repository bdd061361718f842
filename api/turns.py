"""How many requests of one user a web process works on at once: the others wait for their turn, behind nobody else.

A web process serves all users on one thread and with one pool of connections. Without this, a user who sends hundreds
of messages at the same moment is served completely before the next user's message is.
"""

import threading
from typing import Final
from uuid import UUID

import structlog
from flask import Flask, Response, g

from workspace.errors import Unavailable

log = structlog.get_logger(__name__)

PATIENCE: Final = 30.0
"""Seconds that a request waits for its turn; whoever sends more than is served in that time is told to slow down."""


class _Queue:
    def __init__(self, at_once: int) -> None:
        self.places = threading.Semaphore(at_once)
        self.users = 0
        """Requests that hold a place or wait for one."""


class Turns:
    """Places by user. What nobody holds or waits for is forgotten."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._queues: dict[UUID, _Queue] = {}
        self._lock = threading.Lock()

    def take(self, user_id: UUID, *, within: float = PATIENCE) -> None:
        """Take one of the user's places, when one is free.

        Raises:
            Unavailable: none was free in time.
        """
        with self._lock:
            queue = self._queues.setdefault(user_id, _Queue(self._at_once))
            queue.users += 1
        if not queue.places.acquire(timeout=within):
            self._leave(user_id, queue)
            log.warning("turn_not_had", user_id=str(user_id))
            raise Unavailable("You have too many requests under way.")

    def give_back(self, user_id: UUID) -> None:
        """Give a place back."""
        queue = self._queues[user_id]
        queue.places.release()
        self._leave(user_id, queue)

    def _leave(self, user_id: UUID, queue: _Queue) -> None:
        with self._lock:
            queue.users -= 1
            if not queue.users:
                del self._queues[user_id]

    def __len__(self) -> int:
        return len(self._queues)


def init_turns(app: Flask, turns: Turns) -> None:
    """Let each request of a user wait for its turn. To be called after the caller is known."""

    @app.before_request
    def take() -> None:
        if "account" in g:
            turns.take(g.account.user_id)
            g.turn = lambda: turns.give_back(g.account.user_id)

    @app.after_request
    def end(response: Response) -> Response:
        # The body of a stream follows, which holds nobody up.
        end_turn()
        return response

    @app.teardown_request
    def end_in_any_case(_: BaseException | None) -> None:
        end_turn()


def end_turn() -> None:
    """Give the request's place back before its end: from here on it only waits."""
    give_back = g.pop("turn", None)
    if give_back is not None:
        give_back()
