import asyncio
import time

import pytest

from moviebot.data.in_flight import InFlight
from moviebot.data.replies import Request
from moviebot.data.teacher_cost import Budget, CostLimitError, Prices


def test_at_most_so_many_at_a_time() -> None:
    async def run() -> int:
        in_flight, most = InFlight(3), 0

        async def work() -> None:
            nonlocal most
            async with in_flight.slot():
                most = max(most, in_flight.flying)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(work() for _ in range(20)))
        assert in_flight.flying == 0
        return most

    assert asyncio.run(run()) == 3


def test_overload_halves_once_a_round_and_answers_raise_the_limit_again() -> None:
    async def run() -> None:
        in_flight = InFlight(8)
        slots = []
        for _ in range(4):
            async with in_flight.slot() as slot:
                slots.append(slot)
        for slot in slots:  # four refusals of one round tell one thing
            in_flight.back_off(slot, 0.0)
        assert in_flight.limit == 4
        async with in_flight.slot() as slot:
            in_flight.back_off(slot, 0.0)
        assert in_flight.limit == 2
        for _ in range(3):
            async with in_flight.slot() as slot:
                in_flight.back_off(slot, 0.0)
        assert in_flight.limit == 1  # never less
        for _ in range(100):
            await in_flight.speed_up()
        assert in_flight.limit == 8  # never more

    asyncio.run(run())


def test_a_pause_holds_everybody() -> None:
    async def run() -> list[float]:
        in_flight = InFlight(2)
        async with in_flight.slot() as slot:
            started = time.monotonic()
            in_flight.back_off(slot, 0.3)

        async def work() -> float:
            async with in_flight.slot():
                return time.monotonic() - started

        return await asyncio.gather(*(work() for _ in range(4)))

    assert min(asyncio.run(run())) >= 0.3


def test_worst_cases_are_held_and_given_back() -> None:
    async def run() -> int:
        # Two worst cases fit; each turns out to cost a quarter of it, so that seven fit in the end: 7 x 0.25 + 0.25.
        budget, sent = Budget(Prices(0, 1), max_cost=2.5, max_tokens=1), 0
        in_flight = InFlight(8, budget)

        async def work() -> None:
            nonlocal sent
            async with in_flight.slot(1.0):
                assert budget.spent + budget.held <= budget.max_cost
                sent += 1
                await asyncio.sleep(0.001)
                budget.spent += 0.25

        results = await asyncio.gather(*(work() for _ in range(20)), return_exceptions=True)
        assert {type(result) for result in results} == {type(None), CostLimitError}
        assert budget.held == 0
        return sent

    assert asyncio.run(run()) == 7


def test_the_worst_case_is_the_longest_reply_and_many_tokens_in() -> None:
    budget = Budget(Prices(2e6, 1e6), max_cost=1.0, max_tokens=50)
    assert budget.worst_case(Request("qa", "tt1", "m", "x" * 100)) == 2 * (50 + 8) + 50


@pytest.mark.parametrize(("spent", "cost", "affords"), [(0.5, 0.5, True), (0.5, 0.6, False)])
def test_affords(spent: float, cost: float, affords: bool) -> None:
    assert Budget(Prices(1, 1), max_cost=1.0, max_tokens=1, spent=spent).affords(cost) is affords
