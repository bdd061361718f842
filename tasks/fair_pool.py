"""A few threads for short work of many users, of which nobody's flood holds up anybody else's.

Of one user only so much is at work at once, and only so much waits; users have their turns one after the other.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

import structlog

log = structlog.get_logger(__name__)

Job = Callable[[], None]


class Bounds(NamedTuple):
    """How much goes at once."""

    threads: int = 8
    at_once: int = 4
    """Of one user."""
    waiting: int = 32
    """Of one user."""
    all_waiting: int = 512


class FairPool:
    """Threads that carry out jobs. They are started by the first job, and never keep a process from ending."""

    def __init__(self, name: str, bounds: Bounds) -> None:
        self._name = name
        self._bounds = bounds
        self._changed = threading.Condition()
        self._waiting: OrderedDict[UUID, deque[Job]] = OrderedDict()
        self._number_waiting = 0
        self._at_work: dict[UUID, int] = {}
        self._is_started = False
        self._is_stopped = False

    def submit(self, user_id: UUID, job: Job) -> bool:
        """Have a job carried out, unless too much waits; returns whether it will be."""
        with self._changed:
            queue = self._waiting.get(user_id, ())
            if (
                self._is_stopped
                or len(queue) >= self._bounds.waiting
                or self._number_waiting >= self._bounds.all_waiting
            ):
                return False
            self._waiting.setdefault(user_id, deque()).append(job)
            self._number_waiting += 1
            self._start()
            self._changed.notify()
        return True

    def stop(self) -> None:
        """Begin nothing more. What is at work ends by itself."""
        with self._changed:
            self._is_stopped = True
            self._waiting.clear()
            self._number_waiting = 0
            self._changed.notify_all()

    def _start(self) -> None:
        if self._is_started:
            return
        self._is_started = True
        for number in range(self._bounds.threads):
            threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (found := self._next()) is None:
                    if self._is_stopped:
                        return
                    self._changed.wait()
            user_id, job = found
            try:
                job()
            except Exception:  # the border of a thread
                log.exception("job_failed", pool=self._name)
            finally:
                self._leave(user_id)

    def _next(self) -> tuple[UUID, Job] | None:
        """Take the next job of the first user who may have one more at work."""
        for user_id, queue in self._waiting.items():
            if self._at_work.get(user_id, 0) >= self._bounds.at_once:
                continue
            job = queue.popleft()
            self._number_waiting -= 1
            self._at_work[user_id] = self._at_work.get(user_id, 0) + 1
            if queue:
                self._waiting.move_to_end(user_id)
            else:
                del self._waiting[user_id]
            return user_id, job
        return None

    def _leave(self, user_id: UUID) -> None:
        with self._changed:
            left = self._at_work[user_id] - 1
            if left:
                self._at_work[user_id] = left
            else:
                del self._at_work[user_id]
            self._changed.notify()  # the user may have one more at work now
