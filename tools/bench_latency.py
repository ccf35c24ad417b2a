#!/usr/bin/env python3
"""How long does a person wait for an answer, and where does the time go?

    python tools/bench_latency.py BUNDLE [--n 100] [--llm URL --llm_model NAME] [--no_llm] [--seed 0]

Asks questions and wishes about movies of the bundle's own catalogue, one after the other as a chat does, after a few to
warm up. Prints the time to the first text a person sees (of a list: the list) and to the whole answer, the steps of it,
the loading time and the process's memory. Times are of this machine and of nothing beside it: state the threads
(OMP_NUM_THREADS) with them.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from rich.console import Console
from rich.table import Table

from moviebot.data.schemas import Movie
from moviebot.evaluation.whole_bot import Timed, ask
from moviebot.rag.answer import Query
from moviebot.rag.bundle import load_bundle
from moviebot.rag.language_model import load_language_model
from moviebot.rag.pipeline import MovieBot

WARM_UP = 6
_QUESTIONS = (
    "who directed {}?", "who is in {}", "when did {} come out?", "how long is {}?", "what is {} about?",
    "what genre is {}", "how is {} rated?", "who wrote {}?",
)  # fmt: skip
_WISHES = (
    "movies like {}", "I loved {}. What else should I watch?", "something like {} but newer",
    "a {genre} from the {decade}s", "I'm looking for a {genre} with {star}", "a {genre} under two hours rated above 7",
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--n", type=int, default=100, help="questions, and as many wishes")
    parser.add_argument("--llm", help="an OpenAI-compatible endpoint instead of the bundle's own model")
    parser.add_argument("--llm_model", help="the model's name there")
    parser.add_argument("--no_llm", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    started = time.perf_counter()
    bundle = load_bundle(given.bundle)
    bundle_s = time.perf_counter() - started
    generator = load_language_model(bundle, given.no_llm, given.llm, given.llm_model)
    bot = MovieBot(bundle, generator)
    loading_s = time.perf_counter() - started
    rng = random.Random(given.seed)
    queries = {name: draw_queries(bot.movies, wordings, given.n, rng) for name, wordings in
               (("question", _QUESTIONS), ("recommend", _WISHES))}  # fmt: skip
    for some in queries.values():
        for text in some[:WARM_UP]:
            ask(bot, Query(text))
    timed = {name: [ask(bot, Query(text)) for text in some] for name, some in queries.items()}
    figures = {name: summarise(some) for name, some in timed.items()}
    memory = psutil.Process().memory_info().rss / 2**30
    show(figures, f"{len(bot.movies)} movies, {torch.get_num_threads()} threads")
    Console().print(f"loading {loading_s:.1f} s (the bundle {bundle_s:.1f} s); resident memory {memory:.2f} GiB")
    if given.out:
        whole = {**figures, "loading_s": loading_s, "memory_gib": memory, "threads": torch.get_num_threads()}
        given.out.write_text(json.dumps(whole, indent=2) + "\n")


def draw_queries(movies: Sequence[Movie], wordings: Sequence[str], n: int, rng: random.Random) -> list[str]:
    """Draw queries about movies that have the facts they need, the better known more often."""
    known = [movie for movie in movies if movie.year and movie.genres and movie.cast]
    weights = [float(movie.votes or 1) ** 0.5 for movie in known]
    drawn = []
    for place, movie in enumerate(rng.choices(known, weights, k=n)):
        words = wordings[place % len(wordings)]
        facts = {"genre": movie.genres[0].lower(), "decade": (movie.year or 0) // 10 * 10, "star": movie.cast[0]}
        drawn.append(words.format(movie.title, **facts))
    return drawn


def summarise(timed: Sequence[Timed]) -> dict[str, float]:
    """Return quantiles of the seconds, and the mean of each step."""
    figures: dict[str, float] = {"n": len(timed)}
    for name, values in (("first", [one.first for one in timed]), ("whole", [one.whole for one in timed])):
        for quantile in (50, 95):
            figures[f"{name}_p{quantile}"] = float(np.percentile(values, quantile))
    for step in ("intent", "retrieve", "generate"):
        figures[f"mean_{step}"] = float(np.mean([one.answer.seconds.get(step, 0.0) for one in timed]))
    figures["written_by_model"] = float(np.mean([bool(one.answer.prompt) for one in timed]))
    return figures


def show(figures: dict[str, dict[str, float]], title: str) -> None:
    """Print the table."""
    table = Table(title=title)
    table.add_column("seconds")
    for name in figures:
        table.add_column(name, justify="right")
    for key in next(iter(figures.values())):
        table.add_row(key, *(f"{some[key]:.3f}" for some in figures.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
