"""What a language model's replies cost: tokens counted where the server says, estimated where it does not."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from moviebot.data.replies import Reply, Request
from moviebot.data.schemas import Task
from moviebot.errors import UserError

CHARS_A_TOKEN = 4  # of English text and JSON, in the tokenizers of today's models, about
TURN_TOKENS = 4  # what a chat format puts around each turn
TOKENS_A_PAIR = 60  # a question, its answer, its topic, and JSON around them
TOKENS_A_TITLE = 14


@dataclass(frozen=True)
class Prices:
    """US dollars a million tokens.

    Attributes:
        tokens_in: of the prompts.
        tokens_out: of the replies.
    """

    tokens_in: float
    tokens_out: float

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Return the cost in US dollars.

        Example:
            >>> Prices(1.0, 2.0).cost(500_000, 250_000)
            1.0
        """
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


class CostLimitError(UserError):
    """Another request could cost more than ``--max_cost`` leaves."""


@dataclass
class Budget:
    """What may be spent, what has been, and what is held for requests in flight, in US dollars.

    Attributes:
        prices: of the model.
        max_cost: what may be spent in all.
        max_tokens: the longest reply.
        spent: so far, earlier runs counted in.
        held: the worst case of what is in flight.
    """

    prices: Prices
    max_cost: float
    max_tokens: int
    spent: float = 0.0
    held: float = field(default=0.0, init=False)

    def worst_case(self, request: Request) -> float:
        """Return the most a request can cost: two bytes a token, twice what English takes, and the longest reply."""
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in (*request.preface, request.prompt))
        turns = TURN_TOKENS * (2 + len(request.preface))
        return self.prices.cost(math.ceil(size / 2) + turns, self.max_tokens)

    def affords(self, cost: float) -> bool:
        """Say whether ``cost`` can be spent on top of what is spent and held."""
        return self.spent + self.held + cost <= self.max_cost


def estimate_prompt(request: Request) -> int:
    """Return about how many tokens are sent: a token every four characters, and four a turn."""
    texts = (*request.preface, request.prompt)
    return sum(math.ceil(len(text) / CHARS_A_TOKEN) + TURN_TOKENS for text in texts)


def estimate_reply(task: Task, *, pairs: int, titles: int) -> int:
    """Return about how many tokens a whole reply has."""
    return TOKENS_A_PAIR * pairs if task == "qa" else TOKENS_A_TITLE * titles


def sum_cost(replies: Iterable[Reply], model: str, prices: Prices) -> float:
    """Return what a log's replies of a model cost; a row without counts is a token every four characters of reply."""
    total = 0.0
    for reply in replies:
        if reply.model == model:
            out = reply.completion_tokens
            total += prices.cost(reply.prompt_tokens or 0, len(reply.reply) / CHARS_A_TOKEN if out is None else out)
    return total


@dataclass(frozen=True)
class Forecast:
    """What a run would send and cost.

    Attributes:
        requests: requests in all.
        resumed: of them, those answered already.
        tokens_in: of the prompts still to be sent.
        tokens_out: of the replies to them.
        counted: whether token counts of this log went into the figures.
    """

    requests: int
    resumed: int
    tokens_in: int
    tokens_out: int
    counted: bool

    def describe(self, prices: Prices | None, *, free: bool = False) -> str:
        """Write the forecast as a few lines; ``free`` teachers send nothing."""
        if free:
            return (
                f"requests: {self.requests - self.resumed} to answer on this machine, {self.resumed} answered already"
            )
        how = "from the log's own token counts" if self.counted else "estimated: a token every 4 characters"
        cost = "give --price_in and --price_out for the cost"
        if prices is not None:
            cost = f"about {prices.cost(self.tokens_in, self.tokens_out):.4f} USD"
        return (
            f"requests: {self.requests - self.resumed} to send, {self.resumed} of {self.requests} answered already\n"
            f"tokens: about {self.tokens_in} in, {self.tokens_out} out ({how})\n"
            f"cost: {cost}\nnothing was sent and nothing was written"
        )


def forecast(
    requests: Sequence[Request], answered: Sequence[Reply], *, pairs: int, titles: int, max_tokens: int
) -> Forecast:
    """Say what a run would send and cost.

    Where the log holds the token counts of earlier replies, a prompt is taken to have as many tokens a character as
    the answered ones had, and a reply as many tokens as the mean of its task's; else rules of thumb stand in.

    Args:
        requests: all requests of the run.
        answered: the replies in the log.
        pairs: question/answer pairs a ``qa`` reply.
        titles: titles a ``recommend`` reply.
        max_tokens: the longest reply.
    """
    known = {reply.request_id: reply for reply in answered}
    pending = [request for request in requests if request.request_id not in known]
    counted = [
        (request, reply)
        for request in requests
        if (reply := known.get(request.request_id)) and reply.prompt_tokens and reply.completion_tokens is not None
    ]
    guessed = sum(estimate_prompt(request) for request, _ in counted)
    scale = sum(reply.prompt_tokens or 0 for _, reply in counted) / guessed if guessed else 1.0
    length: dict[Task, float] = {}
    for task in {request.task for request in pending}:
        same = [reply.completion_tokens or 0 for other, reply in counted if other.task == task]
        mean = sum(same) / len(same) if same else estimate_reply(task, pairs=pairs, titles=titles)
        length[task] = min(max_tokens, mean)
    tokens_out = sum(length[request.task] for request in pending)
    tokens_in = sum(estimate_prompt(request) for request in pending) * scale
    return Forecast(len(requests), len(requests) - len(pending), round(tokens_in), round(tokens_out), bool(counted))
