"""How `moviebot serve` bears many people at once: errors, waiting times and memory, over Gradio's own queue.

    moviebot serve BUNDLE --port 7860 --questions_per_minute 0     # all the users below come from one address
    python tools/bench_serve.py --url http://127.0.0.1:7860 --users 20 --minutes 5 --pid SERVER_PID

Each user is a browser without a screen: it fetches the page, keeps its cookie, and asks one question behind the other
(questions, follow-ups, wishes), with a pause between them.
"""

import argparse
import asyncio
import json
import random
import secrets
import statistics
import time
from dataclasses import dataclass, field

import httpx
import psutil  # type: ignore[import-untyped]

QUESTIONS = (
    "Who directed The Godfather?", "how long is it?", "Movies like Heat", "another one", "What is Alien about?",
    "who is in it?", "I'm looking for a comedy from the nineties", "hello", "when did Jaws come out?", "movies like it",
)  # fmt: skip
_TIMEOUT_S = 120


@dataclass
class Tally:
    """What all users saw.

    Attributes:
        first: seconds to the first words of each answer.
        whole: seconds to each whole answer.
        errors: what went wrong, in words.
    """

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def main() -> None:
    """Run the users and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--pause_s", type=float, default=5, help="mean pause of a user between two questions")
    parser.add_argument("--pid", type=int, help="the server's process, to read its memory")
    options = parser.parse_args()
    tally = Tally()
    memory: list[float] = []
    ends = time.monotonic() + 60 * options.minutes
    users = [use(options.url, ends, options.pause_s, n, tally) for n in range(options.users)]
    await asyncio.gather(*users, watch(options.pid, ends, memory))
    print(json.dumps({
        "users": options.users, "minutes": options.minutes, "answers": len(tally.whole), "errors": len(tally.errors),
        "error_kinds": sorted(set(tally.errors))[:5],
        "first_s": summarise(tally.first), "whole_s": summarise(tally.whole),
        "memory_mb": {"start": memory[0], "end": memory[-1], "most": max(memory),
                      "by_minute": [memory[min(len(memory) - 1, round(n * (len(memory) - 1) / options.minutes))]
                                    for n in range(round(options.minutes) + 1)]} if memory else None,
    }, indent=2))  # fmt: skip


def summarise(seconds: list[float]) -> dict[str, float]:
    """Return the median and the 95th percentile.

    Example:
        >>> summarise([1.0, 2.0, 3.0])
        {'p50': 2.0, 'p95': 3.0}
    """
    if not seconds:
        return {}
    at = min(len(seconds) - 1, int(0.95 * len(seconds)))
    return {"p50": round(statistics.median(seconds), 3), "p95": round(sorted(seconds)[at], 3)}


async def watch(pid: int | None, ends: float, memory: list[float]) -> None:
    """Note the server's resident memory, in MB, every few seconds."""
    while pid is not None and time.monotonic() < ends:
        memory.append(round(psutil.Process(pid).memory_info().rss / 1e6, 1))
        await asyncio.sleep(2)


async def use(url: str, ends: float, pause_s: float, number: int, tally: Tally) -> None:
    """Be one user until the time is over."""
    dice = random.Random(number)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S) as client:
        await asyncio.sleep(dice.random() * pause_s)
        try:
            await client.get("/")
            config = (await client.get("/config")).json()
            ask = find_ask(config)
        except (httpx.HTTPError, ValueError, LookupError) as error:
            tally.errors.append(f"page: {type(error).__name__}")
            return
        page = secrets.token_hex(6)
        turn = number
        while time.monotonic() < ends:
            try:
                await ask_once(client, ask, page, QUESTIONS[turn % len(QUESTIONS)], tally)
            except (httpx.HTTPError, ValueError, LookupError) as error:
                tally.errors.append(f"{type(error).__name__}: {error}"[:200])
            turn += 1
            await asyncio.sleep(dice.uniform(0.5, 1.5) * pause_s)


def find_ask(config: dict[str, list[dict[str, object]]]) -> int:
    """Return the number of the function that the text box submits to."""
    boxes = [one["id"] for one in config["components"] if one["type"] == "textbox"]
    for number, one in enumerate(config["dependencies"]):
        if [boxes[0], "submit"] in list(one["targets"]):  # type: ignore[call-overload]
            return int(str(one.get("id", number)))
    raise LookupError("the page has no text box to ask with")


async def ask_once(client: httpx.AsyncClient, ask: int, page: str, text: str, tally: Tally) -> None:
    """Ask one question over the queue, and note when its answer began and ended."""
    started = time.monotonic()
    body = {"data": [text], "fn_index": ask, "session_hash": page, "event_data": None, "trigger_id": None}
    joined = await client.post("/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        tally.errors.append(f"join: HTTP {joined.status_code}")
        return
    begun = 0.0
    pieces = 0
    async with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": page}) as stream:
        async for line in stream.aiter_lines():
            if not line.startswith("data:"):
                continue
            event = json.loads(line[5:])
            if event["msg"] == "process_generating":
                pieces += 1
                if pieces == 2:  # the first shows the question alone
                    begun = time.monotonic()
            elif event["msg"] == "process_completed":
                if not event["success"]:
                    tally.errors.append(f"answer: {str(event.get('output'))[:100]}")
                    return
                tally.first.append((begun or time.monotonic()) - started)
                tally.whole.append(time.monotonic() - started)
                return
            elif event["msg"] in ("unexpected_error", "queue_full"):
                tally.errors.append(str(event["msg"]))
                return
    tally.errors.append("the stream ended without an answer")


if __name__ == "__main__":
    asyncio.run(main())
