"""``moviebot stats``: what a data folder's sets hold, printed and plotted.

Look before you train: a set of one question, of answers that repeat each other or of prompts that don't fit costs a
night to notice otherwise.
"""

import logging
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from moviebot.artefact import read_jsonl, read_report
from moviebot.data.catalogue import CATALOGUE_NAME
from moviebot.data.cleaning import QA_NAME, RECOMMENDATIONS_NAME
from moviebot.data.prompts import clean_text, render_facts
from moviebot.data.qa_sample import Sample, render_qa, render_recommendation
from moviebot.data.rejects import REJECTS_NAME
from moviebot.data.schemas import (
    SPLITS,
    Movie,
    QAPair,
    RecommendationList,
    Split,
    Task,
    read_catalogue,
    read_qa,
    read_recommendations,
)
from moviebot.data.splits import normalise_title
from moviebot.errors import UserError
from moviebot.pretrained import SMOLLM2

MOST = 12  # rows a table shows of what has no end: first words, repeated answers
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stats:
    """What a data folder holds.

    Attributes:
        rows: by task, the number of rows by split.
        movies: the number of movies with rows, by split.
        topics: the number of questions by topic and split.
        first_words: the number of questions by their first word.
        sources: the number of rows by task and teacher.
        described: the number of movies with rows by where their description is from.
        list_sizes: how many movies each list recommends.
        answers: how often each answer is given.
        rejects: the number of things thrown away by stage and reason.
        lengths: by task, the lengths in tokens of whole samples, prompt and answer.
        leakage: as `moviebot clean` counted it; empty where it did not.
    """

    rows: dict[Task, Counter[Split]]
    movies: Counter[Split]
    topics: dict[str, Counter[Split]]
    first_words: Counter[str]
    sources: Counter[tuple[Task, str]]
    described: Counter[str]
    list_sizes: list[int]
    answers: Counter[str]
    rejects: Counter[tuple[str, str]]
    lengths: dict[Task, list[int]] = field(default_factory=dict)
    leakage: Mapping[str, Any] = field(default_factory=dict)


def show_stats(
    data: Path,
    base: str = SMOLLM2,
    max_length: int = 1024,
    measured: int = 2000,
    samples: int = 10,
    plots: Path | None = None,
    seed: int = 0,
) -> None:
    """Print what the cleaned sets of a data folder hold, and plot it.

    Args:
        data: the data folder that `moviebot clean` wrote.
        base: the language model whose tokenizer counts the tokens: a folder or a name.
        max_length: the length in tokens that the model will be trained with; longer samples are counted.
        measured: of each task, at most this many rows, drawn at random, are measured in tokens.
        samples: how many questions to print with their facts and answers.
        plots: the folder for the plots; without it, a folder named stats in the data folder.
        seed: draws what is measured and printed.

    Raises:
        UserError: no cleaned sets, nothing in them, a number out of range, or no such tokenizer.
    """
    _check(max_length=max_length, measured=measured, samples=samples)
    movies = {movie.tconst: movie for movie in read_catalogue(data / CATALOGUE_NAME)}
    pairs = [pair for pair in _read(data, QA_NAME, read_qa) if pair.tconst in movies]
    lists = [row for row in _read(data, RECOMMENDATIONS_NAME, read_recommendations) if row.tconst in movies]
    if not pairs and not lists:
        raise UserError(f"{data} holds no questions and no lists: run `moviebot clean --out {data}` first")
    stats = count_rows(data, movies, pairs, lists)
    rendered = _draw_samples(movies, pairs, lists, measured, seed)
    stats.lengths.update(_measure_lengths(rendered, base))
    # Everything shown comes from data: nothing of it is markup, and there is nothing to click.
    console = Console(markup=False, emoji=False, highlight=False)
    print_stats(console, stats, base, max_length)
    drawn = random.Random(seed).sample(pairs, min(samples, len(pairs)))
    print_samples(console, [(pair, movies[pair.tconst]) for pair in drawn])
    from moviebot.data.stats_plots import plot_stats

    folder = plots or data / "stats"
    files = plot_stats(stats, folder, max_length)
    log.info("%s: %s", folder, ", ".join(path.name for path in files))


def count_rows(
    data: Path, movies: Mapping[str, Movie], pairs: Sequence[QAPair], lists: Sequence[RecommendationList]
) -> Stats:
    """Count all that needs no tokenizer.

    Args:
        data: the data folder.
        movies: its catalogue by id.
        pairs: its questions and answers.
        lists: its recommendation lists.
    """
    sides = {pair.tconst: pair.split for pair in pairs} | {row.tconst: row.split for row in lists}
    topics: dict[str, Counter[Split]] = {}
    for pair in pairs:
        topics.setdefault(str(pair.topic or "not said"), Counter())[pair.split] += 1
    thrown = read_jsonl(data / REJECTS_NAME) if (data / REJECTS_NAME).is_file() else []
    leakage = read_report(data).get("clean", {}).get("leakage")
    return Stats(
        rows={"qa": Counter(p.split for p in pairs), "recommend": Counter(row.split for row in lists)},
        movies=Counter(sides.values()),
        topics=dict(sorted(topics.items())),
        first_words=Counter((normalise_title(pair.question).split() or [""])[0] for pair in pairs),
        sources=Counter([("qa", p.source) for p in pairs] + [("recommend", row.source) for row in lists]),
        described=Counter(_tell_description(movies[tconst]) for tconst in sides),
        list_sizes=[len(row.recommended) for row in lists],
        answers=Counter(pair.answer for pair in pairs),
        rejects=Counter((str(row.get("stage")), str(row.get("reason"))) for row in thrown),
        leakage=leakage if isinstance(leakage, dict) else {},
    )


def print_stats(console: Console, stats: Stats, base: str, max_length: int) -> None:
    """Print the tables."""
    for task, name in (("qa", "questions"), ("recommend", "lists")):
        if not stats.rows[task]:  # type: ignore[index]
            console.print(f"The set has no {name}.")
    _print_table(console, "Rows", ["", *SPLITS, "all"], [
        _by_split("questions", stats.rows["qa"]),
        _by_split("lists", stats.rows["recommend"]),
        _by_split("movies with either", stats.movies),
    ])  # fmt: skip
    topics = [_by_split(topic, counts) for topic, counts in stats.topics.items()]
    _print_table(console, "Questions by what they ask for", ["topic", *SPLITS, "all"], topics)
    total = sum(stats.first_words.values())
    words = [[word, f"{n:,}", f"{n / total:.1%}"] for word, n in stats.first_words.most_common(MOST)]
    _print_table(console, "Questions by their first word", ["word", "questions", "share"], words)
    lengths = [_tell_lengths(task, found, max_length) for task, found in stats.lengths.items() if found]
    head = ["of", "measured", "median", "95 %", "longest", f"over {max_length}"]
    _print_table(console, f"Tokens of prompt and answer ({base})", head, lengths)
    sizes = sorted(Counter(stats.list_sizes).items())
    _print_table(console, "Movies a list recommends", ["movies", "lists"], [[str(k), f"{n:,}"] for k, n in sizes])
    sources = [[task, source, f"{n:,}"] for (task, source), n in sorted(stats.sources.items())]
    _print_table(console, "Who wrote the rows", ["task", "teacher", "rows"], sources)
    described = [[source, f"{n:,}"] for source, n in sorted(stats.described.items())]
    _print_table(console, "Where the movies' descriptions are from", ["source", "movies"], described)
    repeated = [[f"{n:,}", clean_text(answer, 120)] for answer, n in stats.answers.most_common(MOST) if n > 1]
    title = f"Answers given more than once (of {len(stats.answers):,} different ones)"
    _print_table(console, title, ["times", "answer"], repeated)
    rejects = [[stage, reason, f"{n:,}"] for (stage, reason), n in sorted(stats.rejects.items())]
    _print_table(console, "Thrown away", ["stage", "reason", "times"], rejects)
    if stats.leakage:
        breaches = sum(stats.leakage.get("breaches", {}).values())
        alike = stats.leakage.get("descriptions_alike")
        console.print(f"Leakage: {breaches} breaches; {alike} pairs of movies on two sides described nearly alike.\n")


def print_samples(console: Console, drawn: Sequence[tuple[QAPair, Movie]]) -> None:
    """Print questions with the facts they are asked of, and the answers."""
    for number, (pair, movie) in enumerate(drawn, start=1):
        about = clean_text(f"{pair.split}, {pair.topic or 'no topic'}, {pair.source}")
        console.print(f"Sample {number} of {len(drawn)}, {about}")
        console.print(f"  Question: {clean_text(pair.question)}")
        for fact in render_facts(movie).splitlines():
            console.print(f"    {clean_text(fact, 200)}")
        console.print(f"  Answer:   {clean_text(pair.answer)}\n")


def _read(data: Path, name: str, reader: Any) -> list[Any]:  # noqa: ANN401
    return list(reader(data / name)) if (data / name).is_file() else []


def _draw_samples(
    movies: Mapping[str, Movie], pairs: Sequence[QAPair], lists: Sequence[RecommendationList], measured: int, seed: int
) -> list[Sample]:
    draw = random.Random(seed)
    sides = {pair.tconst: pair.split for pair in pairs} | {row.tconst: row.split for row in lists}
    found = [render_qa(pair, movies[pair.tconst]) for pair in draw.sample(pairs, min(measured, len(pairs)))]
    rows = draw.sample(lists, min(measured, len(lists)))
    return found + [render_recommendation(row, movies, sides, seed) for row in rows]


def _measure_lengths(samples: Sequence[Sample], base: str) -> dict[Task, list[int]]:
    from moviebot.data.tokenise import encode_answer, encode_prompt, load_tokenizer

    tokenizer = load_tokenizer(base)
    lengths: dict[Task, list[int]] = {"qa": [], "recommend": []}
    for sample in track(samples, "measure", transient=True, console=Console(stderr=True)):
        tokens = len(encode_prompt(tokenizer, sample.prompt)) + len(encode_answer(tokenizer, sample.answer))
        lengths[sample.task].append(tokens)
    return lengths


def _tell_lengths(task: str, lengths: Sequence[int], max_length: int) -> list[str]:
    ordered = sorted(lengths)
    over = sum(length > max_length for length in lengths) / len(lengths)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return [task, f"{len(lengths):,}", f"{statistics.median(lengths):.0f}", f"{high}", f"{ordered[-1]}", f"{over:.1%}"]


def _tell_description(movie: Movie) -> str:
    return (movie.description_source or "not said") if movie.description else "no description"


def _by_split(name: str, counts: Mapping[Split, int]) -> list[str]:
    return [name, *(f"{counts.get(split, 0):,}" for split in SPLITS), f"{sum(counts.values()):,}"]


def _print_table(console: Console, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    console.print(title)  # not the table's own title, which is cut into lines as narrow as the table
    table = Table()
    for number, name in enumerate(head):
        numeric = all(row[number][:1].isdigit() for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(clean_text(cell) for cell in row))
    console.print(table)
    console.print()


def _check(*, max_length: int, measured: int, samples: int) -> None:
    problems = [f"--max_length {max_length}: give at least 1"] if max_length < 1 else []
    problems += [f"--measured {measured}: give at least 1"] if measured < 1 else []
    problems += [f"--samples {samples}: give 0 or more"] if samples < 0 else []
    if problems:
        raise UserError("; ".join(problems))
