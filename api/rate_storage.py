"""Where rate limits are counted: Redis, in one round trip a request.

The `limits` library counts in one command, and asks for the count and the end of the window in two more when the
headers of the answer are written. Both are known when it counts, so they are kept for the rest of the request.

While Redis is away each process counts by itself: a limit may be missed, a request is not. flask-limiter can do that,
too, but of the requests that find Redis gone at the same moment it fails all but the first.
"""

import time
from typing import Any, Final, cast

import redis
import structlog
from flask import g, has_app_context
from limits.storage import MemoryStorage, RedisStorage

log = structlog.get_logger(__name__)

ASK_AGAIN_AFTER: Final = 1.0
"""Seconds for which a Redis that did not answer is not asked: a silent one would hold every request."""
SCHEME = "codelab"
"""In front of a Redis URL, it chooses this storage: `codelab+redis://...`."""

_COUNT = """
local count = redis.call('INCRBY', KEYS[1], ARGV[2])
if count == tonumber(ARGV[2]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return { count, redis.call('PTTL', KEYS[1]) }
"""


class OneTripStorage(RedisStorage):
    """A Redis storage that remembers what it counted, for as long as the request lasts."""

    STORAGE_SCHEME = [f"{SCHEME}+redis", f"{SCHEME}+rediss"]  # noqa: RUF012  # as the base class declares it

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri.removeprefix(f"{SCHEME}+"), **options)
        self._count = self.get_connection().register_script(_COUNT.encode())
        self._own = MemoryStorage()
        self._ask_again_at = float("-inf")

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count `amount` and return the count of the window, which lasts `expiry` seconds from its first request."""
        count, ends = self._count_in_redis(key, expiry, amount) or self._count_here(key, expiry, amount)
        g.rate_window = (key, count, ends)
        return count

    def get(self, key: str) -> int:
        """Return the count of the present window."""
        known = _remembered(key)
        return known[0] if known else self._own.get(key)

    def get_expiry(self, key: str) -> float:
        """Return when the present window ends, in seconds since the epoch."""
        known = _remembered(key)
        return known[1] if known else self._own.get_expiry(key)

    def _count_in_redis(self, key: str, expiry: int, amount: int) -> tuple[int, float] | None:
        if time.monotonic() < self._ask_again_at:
            return None
        try:
            count, left = cast(tuple[int, int], self._count([self.prefixed_key(key)], [expiry, amount]))
        except redis.RedisError as error:
            self._ask_again_at = time.monotonic() + ASK_AGAIN_AFTER
            log.warning("limits_counted_here", error=repr(error))
            return None
        return int(count), time.time() + int(left) / 1000

    def _count_here(self, key: str, expiry: int, amount: int) -> tuple[int, float]:
        return self._own.incr(key, expiry, amount=amount), self._own.get_expiry(key)


def _remembered(key: str) -> tuple[int, float] | None:
    window: tuple[str, int, float] | None = g.get("rate_window") if has_app_context() else None
    return window[1:] if window is not None and window[0] == key else None
