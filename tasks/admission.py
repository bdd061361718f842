"""Which deliveries go into the pool, and which wait: at most `slots` of the node.

The pool is shared with placement and sweeps, so agent tasks may never fill it; and one user's flood may not take what
another user needs next. Deliveries that wait stay unacknowledged on their channel, and are admitted by turns: one of
each user. How much of one user is at work at all is decided where a task starts, for all nodes together.
Everything here runs on the worker's loop but `enter` and `leave`, which take the lock.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

Handler = Callable[[Any], None]


class _Waiting(NamedTuple):
    message: Any
    handle: Handler
    is_current: Callable[[], bool]
    """Whether the channel that it came by is still open; if not, the broker has it back."""


class Admission:
    """Counts a delivery from its admission until its task leaves, or until it is settled without one."""

    def __init__(self, *, slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._admitted: set[str] = set()
        """The ids of messages that were admitted and have not entered their task yet."""
        self._working = 0
        """Tasks that are at work."""
        self._waiting: OrderedDict[UUID, deque[_Waiting]] = OrderedDict()

    def deliver(self, user_id: UUID, message: Any, handle: Handler, is_current: Callable[[], bool]) -> None:
        """Hand a message to the pool, now or when there is room."""
        if self._take(message):
            handle(message)
        else:
            self._waiting.setdefault(user_id, deque()).append(_Waiting(message, handle, is_current))

    def enter(self, message_id: str) -> None:
        """Note that a task began; from here on `leave` ends its count."""
        with self._lock:
            self._admitted.discard(message_id)
            self._working += 1

    def leave(self) -> None:
        """Note that a task ended."""
        with self._lock:
            self._working -= 1

    def forget(self) -> None:
        """Forget what was delivered by a connection that is lost; the broker delivers it again."""
        with self._lock:
            self._admitted.clear()
        self._waiting.clear()

    def admit_waiting(self) -> None:
        """Admit what waits and has room now, one message of each user in turn.

        A message that is settled where it is handed over calls this again, in the middle of it.
        """
        progress = True
        while progress:
            progress = False
            for user_id in list(self._waiting):
                progress |= self._admit_one(user_id)

    def _admit_one(self, user_id: UUID) -> bool:
        queue = self._waiting.get(user_id)
        if queue is None:
            return False
        while queue and not queue[0].is_current():
            queue.popleft()
        admitted = bool(queue) and self._take(queue[0].message)
        if admitted:
            first = queue.popleft()
            first.handle(first.message)
        if self._waiting.get(user_id) is not queue:
            return admitted
        if not queue:
            del self._waiting[user_id]
        elif admitted:
            self._waiting.move_to_end(user_id)
        return admitted

    def _take(self, message: Any) -> bool:
        message_id = str((message.headers or {}).get("id") or message.delivery_tag)
        with self._lock:
            if len(self._admitted) + self._working >= self._slots:
                return False
            self._admitted.add(message_id)
        self._release_when_settled(message, message_id)
        return True

    def _release_when_settled(self, message: Any, message_id: str) -> None:
        """End the count of a message that is settled without its task, such as one that is no task at all."""

        def forget() -> None:
            with self._lock:
                self._admitted.discard(message_id)

        on_settled(message, forget, after=self.admit_waiting)


def on_settled(message: Any, before: Callable[[], None], *, after: Callable[[], None] = lambda: None) -> None:
    """Let `before` and `after` run around the acknowledgement or the rejection of a message, on the worker's loop."""

    def wrap(settle: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            before()
            result = settle(*args, **options)
            after()
            return result

        return call

    for name in ("ack", "reject"):
        setattr(message, name, wrap(getattr(message, name)))
