"""Which deliveries go into the pool, and which wait: at most `slots` of the node, at most `cap` of one user.

The pool is shared with placement and sweeps, so agent tasks may never fill it; and one user's flood may not take what
another user needs next. Deliveries that wait stay unacknowledged on their channel, and are admitted by turns: one of
each user. Everything here runs on the worker's loop but `enter` and `leave`, which take the lock.
"""

import threading
from collections import Counter, OrderedDict, deque
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

    def __init__(self, *, slots: int, cap: int) -> None:
        self._slots = slots
        self._cap = cap
        self._lock = threading.Lock()
        self._admitted: dict[str, UUID] = {}
        """The user of each message that was admitted and has not entered its task yet, by the message's id."""
        self._working: Counter[UUID] = Counter()
        """Tasks that are at work, by user."""
        self._waiting: OrderedDict[UUID, deque[_Waiting]] = OrderedDict()

    def deliver(self, user_id: UUID, message: Any, handle: Handler, is_current: Callable[[], bool]) -> None:
        """Hand a message to the pool, now or when there is room."""
        if self._take(user_id, message):
            handle(message)
        else:
            self._waiting.setdefault(user_id, deque()).append(_Waiting(message, handle, is_current))

    def enter(self, message_id: str, user_id: UUID) -> None:
        """Note that a task began; from here on `leave` ends its count."""
        with self._lock:
            self._admitted.pop(message_id, None)
            self._working[user_id] += 1

    def leave(self, user_id: UUID) -> None:
        """Note that a task ended."""
        with self._lock:
            self._working[user_id] -= 1
            if not self._working[user_id]:
                del self._working[user_id]

    def forget(self) -> None:
        """Forget what was delivered by a connection that is lost; the broker delivers it again."""
        with self._lock:
            self._admitted.clear()
        self._waiting.clear()

    def admit_waiting(self) -> None:
        """Admit what waits and has room now, one message of each user in turn."""
        progress = True
        while progress:
            progress = False
            for user_id in list(self._waiting):
                progress |= self._admit_one(user_id)

    def _admit_one(self, user_id: UUID) -> bool:
        queue = self._waiting[user_id]
        while queue and not queue[0].is_current():
            queue.popleft()
        admitted = bool(queue) and self._take(user_id, queue[0].message)
        if admitted:
            first = queue.popleft()
            first.handle(first.message)
        if not queue:
            del self._waiting[user_id]
        elif admitted:
            self._waiting.move_to_end(user_id)
        return admitted

    def _take(self, user_id: UUID, message: Any) -> bool:
        message_id = str((message.headers or {}).get("id") or message.delivery_tag)
        with self._lock:
            used = len(self._admitted) + self._working.total()
            mine = self._working[user_id] + sum(owner == user_id for owner in self._admitted.values())
            if used >= self._slots or mine >= self._cap:
                return False
            self._admitted[message_id] = user_id
        self._release_when_settled(message, message_id)
        return True

    def _release_when_settled(self, message: Any, message_id: str) -> None:
        """End the count of a message that is settled without its task, such as one that is no task at all."""
        for name in ("ack", "reject"):
            setattr(message, name, self._releasing(getattr(message, name), message_id))

    def _releasing(self, settle: Callable[..., Any], message_id: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                self._admitted.pop(message_id, None)
            result = settle(*args, **options)
            self.admit_waiting()
            return result

        return call
