"""A large language model behind an OpenAI-compatible endpoint as the teacher."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterable, Iterator
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from moviebot.data.chat_client import Answer, ChatClient, FaultError, RefusalError
from moviebot.data.endpoints import Endpoint
from moviebot.data.in_flight import InFlight
from moviebot.data.replies import Reply, Request
from moviebot.data.teacher_cost import Budget
from moviebot.errors import UserError

MAX_RETRIES = 6  # waits of up to 1, 2, 4, ... 32 s, a random part of each: over half a minute in all, on average
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
LONGEST_PAUSE_S = 600.0  # a server that wants to be left alone for longer is out of a day's quota
VOID_TRIES = 3  # an empty reply is asked for again: two more times, then it is what the model has to say
GIVE_UP_AFTER = 3  # requests that failed to connect, before any that did: the address is wrong
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class OpenAITeacher:
    """Asks a chat-completions endpoint, several requests at a time.

    Args:
        client: sends one request.
        in_flight: how many at a time, and what they may cost.
    """

    def __init__(self, client: ChatClient, in_flight: InFlight) -> None:
        self.client, self.in_flight = client, in_flight
        self._reached = self._stopping = False
        self._unreached = 0
        self._sent: set[asyncio.Task[Reply | None] | None] = set()  # tasks whose request is, or has been, served

    def ask_all(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Reply | None]]:
        """Yield each request with its reply as it comes, None where the server failed it even after retries.

        At most ``in_flight.most`` requests are under way. When the caller stops early, the rest is never sent. When
        the server refuses all, what is in flight is waited for and yielded first: it is paid for.

        Raises:
            UserError: the server refuses every such request (key, model, address), can't be reached, or would cost
                more than the budget.
        """
        waiting = iter(requests)
        tasks: dict[asyncio.Task[Reply | None], Request] = {}
        refusal: UserError | None = None
        with _Loop() as loop:
            try:
                while True:
                    while not refusal and len(tasks) < self.in_flight.most and (request := next(waiting, None)):
                        tasks[loop.run(_start(self._ask(request)))] = request
                    if not tasks:
                        break
                    done = loop.run(_wait(tasks))
                    # In the order sent, so that a server that answers all at once gives the same file every time.
                    for task in [task for task in tasks if task in done]:
                        request, error = tasks.pop(task), task.exception()
                        if error is None:
                            yield request, task.result()
                        elif isinstance(error, UserError):
                            self._stopping, refusal = True, refusal or error
                        else:
                            raise error
                    if refusal:  # what waits for its turn, or to try again, is not waited for
                        idle = [task for task in tasks if task not in self._sent and not task.done()]
                        loop.run(_cancel(idle))
                        tasks = {task: request for task, request in tasks.items() if task not in idle}
            finally:
                loop.run(_cancel(tasks))
                loop.run(self.client.close())
        if refusal:
            raise refusal

    async def _ask(self, request: Request) -> Reply | None:
        """Ask until there is a reply; None where the server fails it for good."""
        budget = self.in_flight.budget
        worst = budget.worst_case(request) if budget else 0.0
        void: list[Answer] = []
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(FaultError), wait=_wait_for, stop=self._is_enough, reraise=True
            ):
                with attempt:
                    answer = await self._send(request, worst)
                    if answer.is_void and len(void) < VOID_TRIES - 1:
                        void.append(answer)
                        raise FaultError("an empty reply")
                    return _add_up(request, answer, void)
        except RefusalError as error:
            if not self._reached:  # it would refuse the next as well
                raise
            log.warning("%s", error)
        except FaultError as error:
            self._count_unreached(error)
            log.warning("a request to %s failed: %s", self.client.where, error)
        return None

    async def _send(self, request: Request, worst: float) -> Answer:
        """Send a request once, when it is its turn, and keep the accounts."""
        budget, task = self.in_flight.budget, asyncio.current_task()
        async with self.in_flight.slot(worst) as slot:
            self._sent.add(task)
            try:
                answer = await self.client.send(request)
            except FaultError as error:
                self._sent.discard(task)
                self._reached = self._reached or not error.unreached
                if budget and error.perhaps_paid:
                    budget.spent += worst
                if error.overloaded or error.pause_s:
                    self._check_pause(error.pause_s or 0.0)
                    self.in_flight.back_off(slot, error.pause_s or 0.0)
                raise
            self._reached = True
            if budget:
                known = answer.prompt_tokens is not None and answer.completion_tokens is not None
                cost = budget.prices.cost(answer.prompt_tokens or 0, answer.completion_tokens or 0)
                budget.spent += cost if known else worst
        await self.in_flight.speed_up()
        return answer

    def _check_pause(self, pause_s: float) -> None:
        if pause_s > LONGEST_PAUSE_S:
            raise UserError(
                f"{self.client.where} asks to be left alone for {pause_s:.0f} s: run the same command again then; the "
                "replies so far are kept"
            )

    def _is_enough(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        # A wrong address is told after two tries, not after half a minute.
        hopeless = isinstance(error, FaultError) and error.unreached and not self._reached
        return self._stopping or state.attempt_number > (min(1, MAX_RETRIES) if hopeless else MAX_RETRIES)

    def _count_unreached(self, error: FaultError) -> None:
        self._unreached += error.unreached
        if self._unreached >= GIVE_UP_AFTER and not self._reached:
            raise UserError(
                f"{self.client.where} can't be reached ({error}): check --base_url, and that the server runs"
            ) from error


def connect(
    endpoint: Endpoint, key: str | None, *, model: str, temperature: float, seed: int, max_tokens: int,
    timeout_s: float, concurrency: int, budget: Budget | None = None,
) -> OpenAITeacher:  # fmt: skip
    """Return the teacher at an endpoint; the arguments are those of its parts."""
    client = ChatClient(
        endpoint, key, model=model, temperature=temperature, seed=seed, max_tokens=max_tokens, timeout_s=timeout_s,
        connections=concurrency,
    )  # fmt: skip
    return OpenAITeacher(client, InFlight(concurrency, budget))


def _wait_for(state: RetryCallState) -> float:
    """Full jitter; a pause that the server asks for holds all requests, and each waits its random part on top."""
    return wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)(state)


def _add_up(request: Request, answer: Answer, void: list[Answer]) -> Reply:
    """Return the row; what empty tries before it cost is counted in."""
    counts = [(each.prompt_tokens, each.completion_tokens) for each in (*void, answer)]
    tokens_in = [count for count, _ in counts if count is not None]
    tokens_out = [count for _, count in counts if count is not None]
    return request.answer(
        answer.text, finish_reason=answer.finish_reason, prompt_tokens=sum(tokens_in) if tokens_in else None,
        completion_tokens=sum(tokens_out) if tokens_out else None,
    )  # fmt: skip


async def _start(work: Coroutine[None, None, Result]) -> "asyncio.Task[Result]":
    return asyncio.get_running_loop().create_task(work)


async def _wait(tasks: Iterable["asyncio.Task[Result]"]) -> set["asyncio.Task[Result]"]:
    return (await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))[0]


async def _cancel(tasks: Iterable["asyncio.Task[Result]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Loop:
    """An event loop in a thread of its own, so that it works where one runs already: in a notebook."""

    def __enter__(self) -> "_Loop":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def run(self, work: Coroutine[None, None, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
