"""A token bucket for each client: a few questions at once, and then so many a minute."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

_MAX_CLIENTS = 10_000


class RateLimit:
    """Says whether a client may ask now.

    Args:
        per_minute: tokens a client gets back in a minute; 0 for no limit.
        burst: tokens it has at the most.
        clock: seconds, for tests.

    Example:
        >>> limit = RateLimit(per_minute=60, burst=2, clock=lambda: 0.0)
        >>> [limit.take("a"), limit.take("a"), limit.take("a"), limit.take("b")]
        [0.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self.burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when that was
        self._lock = Lock()

    def take(self, client: str) -> float:
        """Take a token; return 0.0, or the seconds to wait where there is none."""
        if not self.per_minute:
            return 0.0
        with self._lock:
            now = self._clock()
            tokens, then = self._buckets.pop(client, (float(self.burst), now))
            tokens = min(self.burst, tokens + (now - then) * self.per_minute / 60)
            wait = 0.0 if tokens >= 1 else (1 - tokens) * 60 / self.per_minute
            self._buckets[client] = (tokens if wait else tokens - 1, now)
            if len(self._buckets) > _MAX_CLIENTS:
                self._buckets.popitem(last=False)  # the one that asked longest ago: its bucket is likely full again
            return wait
