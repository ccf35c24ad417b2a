"""How many requests may be in flight: more while all goes well, half as many when a server says it is too much."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moviebot.data.teacher_cost import Budget, CostLimitError

log = logging.getLogger(__name__)


class InFlight:
    """Lets requests out, at most as many at a time as the server bears.

    Additive increase, multiplicative decrease, as TCP does: each answer raises the limit by one part in the limit, so
    by about one a round; a server that is overloaded halves it. Answers to what was sent before the last halving say
    nothing new and halve nothing. A server that names a time to wait for stops all requests for that long.

    Args:
        most: requests in flight at the most, and at the start.
        budget: what may be spent; None: anything.
    """

    def __init__(self, most: int, budget: Budget | None = None) -> None:
        self.most, self.budget = most, budget
        self.limit = float(most)
        self.flying = 0
        self._changed = asyncio.Condition()
        self._sent = 0  # counts slots: tells what was sent before a halving from what was sent after it
        self._halved_at = 0
        self._paused_until = 0.0

    @asynccontextmanager
    async def slot(self, worst_case: float = 0.0) -> AsyncIterator[int]:
        """Wait for a turn, and hold it; yields the slot's number, for :meth:`back_off`.

        Args:
            worst_case: the most that the request can cost, in US dollars: held until the slot is free.

        Raises:
            CostLimitError: the budget can't bear the request even when all others are back.
        """
        await self._enter(worst_case)
        self._sent += 1
        try:
            yield self._sent
        finally:
            self.flying -= 1
            if self.budget:
                self.budget.held -= worst_case
            await self._wake()

    async def _enter(self, worst_case: float) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self.flying < max(1, int(self.limit)))
                pause = self._paused_until - time.monotonic()
                if pause <= 0:
                    if self.budget is None or self.budget.affords(worst_case):
                        self.flying += 1
                        if self.budget:
                            self.budget.held += worst_case
                        return
                    if self.flying == 0:
                        raise CostLimitError(
                            f"{self.budget.spent:.4f} USD are spent, and the next request may cost {worst_case:.4f}"
                        )
                    await self._changed.wait()  # what comes back may have cost less than the worst case
                    continue
            await asyncio.sleep(pause)

    async def speed_up(self) -> None:
        """Raise the limit: an answer came."""
        self.limit = min(float(self.most), self.limit + 1 / self.limit)
        await self._wake()

    def back_off(self, slot: int, pause_s: float) -> None:
        """Halve the limit: the server is overloaded.

        Args:
            slot: of the request that was refused.
            pause_s: how long the server wants to be left alone, 0 where it does not say.
        """
        self._paused_until = max(self._paused_until, time.monotonic() + pause_s)
        if slot > self._halved_at:
            self.limit = max(1.0, self.limit / 2)
            self._halved_at = self._sent
            log.info("the server is overloaded: at most %d requests in flight", int(self.limit))

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()
