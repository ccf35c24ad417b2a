"""``moviebot evaluate``: untuned against tuned on the test movies, as a table, two plots and a JSON file."""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from moviebot.artefact import write_jsonl, write_whole
from moviebot.data.prompts import render_recommend_prompt
from moviebot.data.schemas import TOPICS, Movie, QAPair, read_qa, read_recommendations
from moviebot.data.typos import add_typo
from moviebot.evaluation.answers import AnswerScores, Generate, evaluate_answers, plain_prompts
from moviebot.evaluation.lookup import (
    CachedEncoder,
    Encode,
    evaluate_encoder_lookup,
    evaluate_pairs,
    evaluate_resolver_lookup,
)
from moviebot.evaluation.plots import plot_hits, plot_losses
from moviebot.evaluation.recommendations import (
    ShownScores,
    evaluate_ranking,
    evaluate_shown,
    plain_recommend_prompts,
    rank_by_encoder,
    rank_by_votes,
)
from moviebot.modules.dense import generate_texts, load_dense_model
from moviebot.pretrained import MINILM, resolve_model
from moviebot.rag.bundle import QUESTION_RETRIEVER, RECOMMEND_RETRIEVER, Bundle, load_bundle

MAX_NEW_TOKENS = 64  # the longest right answer is an outline of about 50 tokens
_CAVEATS = """\
What is the sample's own making: the questions, answers and lists of test movies come from the same template and the
same author as those of training, though the movies and the wordings are others; every movie is famous and has all its
facts; {n} movies are far fewer than a full catalogue, so that lookups are easier. A share of n cases has a standard
error of about sqrt(p (1 - p) / n): 0.03 at p = 0.95 and n = 56.
"""


@dataclass(frozen=True)
class Row:
    """One line of the table; a cell is None where the figure makes no sense.

    Attributes:
        name: what was measured.
        untuned: the figure of the model before training.
        tuned: after.
        baseline: a figure beside them, with its name.
        count: cases behind the figures.
    """

    name: str
    untuned: float | None
    tuned: float | None
    baseline: tuple[str, float] | None
    count: int


def evaluate(
    bundle: Path,
    data: Path,
    out: Path,
    runs: Path | None = None,
    questions_per_topic: int = 8,
    lists: int = 24,
    seed: int = 0,
) -> None:
    """Measure a bundle on the test movies of its data, beside the untuned models.

    Args:
        bundle: the bundle's folder.
        data: the data folder that `moviebot clean` wrote.
        out: where report.md, report figures and the rows behind them go.
        runs: the folder of the training runs, whose losses are plotted; None plots none.
        questions_per_topic: questions asked of the language models for each topic (unanswerable: two and a half times).
        lists: recommendation lists the language models are asked for.
        seed: draws the questions and their misspellings.
    """
    loaded = load_bundle(bundle)
    movies = {movie.tconst: movie for movie in loaded.movies}
    pairs = [pair for pair in read_qa(data / "qa.jsonl") if pair.split == "test" and pair.tconst in movies]
    rows = _measure_lookup(loaded, pairs, data, seed)
    recommend_rows, curves = _measure_recommendations(loaded, data)
    rows += recommend_rows
    rows += _measure_language_model(loaded, pairs, data, out, questions_per_topic, lists, seed)
    out.mkdir(parents=True, exist_ok=True)
    plot_hits(curves, out / "hits.png")
    plots = ["hits.png"]
    if runs is not None and plot_losses(runs, out / "loss.png"):
        plots.append("loss.png")
    text = _render(rows, loaded, plots)
    with write_whole(out / "report.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    with write_whole(out / "figures.json") as temporary:
        temporary.write_text(json.dumps([vars(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    _print_table(rows)


def _measure_lookup(bundle: Bundle, pairs: Sequence[QAPair], data: Path, seed: int) -> list[Row]:
    """Question -> movie: clean, misspelt, and the remakes among them; the encoder alone, then the whole lookup."""
    movies = {movie.tconst: movie for movie in bundle.movies}
    rng = random.Random(seed)
    shared = {title for title, count in _count_titles(bundle.movies).items() if count > 1}
    slices = {
        "clean": [(pair.question, pair.tconst) for pair in pairs],
        "typos": [(add_typo(pair.question, rng, within=movies[pair.tconst].title), pair.tconst) for pair in pairs],
        "remakes": [(pair.question, pair.tconst) for pair in pairs if movies[pair.tconst].title in shared],
    }
    tuned, untuned = CachedEncoder(bundle.folder / QUESTION_RETRIEVER), CachedEncoder(resolve_model(MINILM))
    rows = []
    for name, asked in slices.items():
        if not asked:
            continue
        before = evaluate_encoder_lookup(untuned, bundle.movies, asked)
        after = evaluate_encoder_lookup(tuned, bundle.movies, asked)
        whole = evaluate_resolver_lookup(bundle.movies, asked, tuned)
        baseline = ("whole lookup", whole.hit_1)
        rows.append(Row(f"question -> movie, hit@1, {name}", before.hit_1, after.hit_1, baseline, len(asked)))
    rows += _pair_rows("question pairs", data / "question_pairs.parquet", untuned, tuned)
    return rows


def _measure_recommendations(bundle: Bundle, data: Path) -> tuple[list[Row], dict[str, list[float]]]:
    """Movie -> list: hit@3 and hit@20 beside popularity; and hit@k for the plot."""
    tuned, untuned = CachedEncoder(bundle.folder / RECOMMEND_RETRIEVER), CachedEncoder(resolve_model(MINILM))
    known = {movie.tconst for movie in bundle.movies}
    lists = [row for row in read_recommendations(data / "recommendations.jsonl") if row.split == "test"]
    lists = [row for row in lists if row.tconst in known]
    rankers: dict[str, Callable[[str], list[str]]] = {
        "untuned MiniLM": rank_by_encoder(untuned, bundle.movies),
        "tuned": rank_by_encoder(tuned, bundle.movies),
        "popularity": rank_by_votes(bundle.movies),
    }
    curves = {}
    for name, rank in rankers.items():
        found = [(set(row.recommended), rank(row.tconst)) for row in lists]
        curves[name] = [float(np.mean([bool(gold & set(ids[:k])) for gold, ids in found])) for k in range(1, 21)]
    before, after, popular = (evaluate_ranking(lists, rank) for rank in rankers.values())
    rows = [
        Row("recommendations, hit@3", before.hit_3, after.hit_3, ("popularity", popular.hit_3), len(lists)),
        Row("recommendations, hit@20", before.hit_20, after.hit_20, ("popularity", popular.hit_20), len(lists)),
    ]
    return rows + _pair_rows("recommend pairs", data / "recommend_pairs.parquet", untuned, tuned), curves


def _pair_rows(name: str, path: Path, untuned: Encode, tuned: Encode) -> list[Row]:
    """Mean cosine and F1 as published: over the test pairs, two negatives a positive."""
    table = pq.read_table(path, filters=[("split", "==", "test")]).to_pylist()
    pairs = [(row["anchor"], row["sample"], row["label"]) for row in table]
    if not pairs:
        return []
    before = evaluate_pairs(untuned, pairs)
    after = evaluate_pairs(tuned, pairs)
    return [
        Row(f"{name}, mean cosine (published measure)", before.cosine, after.cosine, None, before.positives),
        Row(f"{name}, F1 at 0.5 (published measure)", before.f1, after.f1, None, len(pairs)),
    ]


def _measure_language_model(
    bundle: Bundle, pairs: Sequence[QAPair], data: Path, out: Path, per_topic: int, lists: int, seed: int
) -> list[Row]:
    """Answers and chosen recommendations, first of the base model at its best, then of the tuned one."""
    movies = {movie.tconst: movie for movie in bundle.movies}
    asked = draw_questions(pairs, per_topic, seed)
    wanted = [row for row in read_recommendations(data / "recommendations.jsonl") if row.split == "test"]
    wanted = random.Random(seed).sample(wanted, min(lists, len(wanted)))
    rank = rank_by_index(bundle)
    answers: dict[str, AnswerScores] = {}
    shown: dict[str, ShownScores] = {}
    for name, adapter in (("untuned", None), ("tuned", bundle.adapter)):
        model, tokenizer = load_dense_model(bundle.base, adapter, as_quantised=adapter is not None)

        def generate(prompts: list[str], model: object = model, tokenizer: object = tokenizer) -> list[str]:
            return generate_texts(model, tokenizer, prompts, MAX_NEW_TOKENS)

        ask: Generate = generate
        if adapter is None:
            answers[name] = evaluate_answers(movies, asked, ask, plain_prompts(tokenizer), generous=True)
            shown[name] = evaluate_shown(movies, wanted, rank, ask, plain_recommend_prompts(tokenizer))
        else:
            answers[name] = evaluate_answers(movies, asked, ask)
            shown[name] = evaluate_shown(movies, wanted, rank, ask, render_recommend_prompt)
        write_jsonl(out / f"answers_{name}.jsonl", answers[name].rows)
    if bundle.adapter is None:
        answers["tuned"], shown["tuned"] = answers["untuned"], shown["untuned"]
    before, after = answers["untuned"], answers["tuned"]
    unanswerable = sum(row["topic"] == "unanswerable" for row in before.rows)
    factual = before.count - unanswerable
    n = len(wanted)
    return [
        Row("answers, all facts asked for are in them", before.exact, after.exact, None, factual),
        *(
            Row(f"  of which {topic}", before.exact_by_topic[topic], after.exact_by_topic[topic], None, per_topic)
            for topic in before.exact_by_topic
        ),
        Row("unanswerable questions declined", before.declined, after.declined, None, unanswerable),
        Row("answerable questions declined", before.wrongly_declined, after.wrongly_declined, None, factual),
        Row("words an answer", before.words, after.words, None, before.count),
        Row(
            "recommendations chosen by the language model, hit@3",
            shown["untuned"].scores.hit_3, shown["tuned"].scores.hit_3, None, n,
        ),
        Row(
            "lists with an invented or repeated movie, as generated",
            shown["untuned"].faults_before, shown["tuned"].faults_before, None, n,
        ),
        Row(
            "lists with an invented or repeated movie, as shown",
            shown["untuned"].faults_after, shown["tuned"].faults_after, None, n,
        ),
    ]  # fmt: skip


def rank_by_index(bundle: Bundle) -> Callable[[str], list[str]]:
    """Return the ranking of the bundle's own index: the movies nearest to a movie, without itself."""
    index = bundle.text_index
    position = {tconst: row for row, tconst in enumerate(index.ids)}

    def rank(tconst: str) -> list[str]:
        found, _ = index.search(index.vectors[[position[tconst]]], k=20, exclude=[tconst])
        return found[0]

    return rank


def draw_questions(pairs: Sequence[QAPair], per_topic: int, seed: int) -> list[QAPair]:
    """Draw the same number of questions of each topic, two and a half times as many unanswerable ones.

    Args:
        pairs: the test movies' pairs.
        per_topic: how many.
        seed: of the draw.
    """
    by_topic: dict[str, list[QAPair]] = defaultdict(list)
    for pair in pairs:
        if pair.topic:
            by_topic[pair.topic].append(pair)
    rng = random.Random(seed)
    drawn = []
    for topic in TOPICS:
        count = per_topic * 5 // 2 if topic == "unanswerable" else per_topic
        drawn += rng.sample(by_topic[topic], min(count, len(by_topic[topic])))
    return drawn


def _count_titles(movies: Sequence[Movie]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for movie in movies:
        counts[movie.title] += 1
    return counts


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value > 1 else f"{value:.3f}"


def _cells(row: Row) -> list[str]:
    baseline = f"{row.baseline[0]} {_show(row.baseline[1])}" if row.baseline else ""
    return [row.name, _show(row.untuned), _show(row.tuned), baseline, str(row.count)]


_HEAD = ["measured on movies that were never trained on", "untuned", "tuned", "beside", "n"]


def render_table(rows: Sequence[Row]) -> str:
    """Render the rows as a Markdown table."""
    lines = [_HEAD, ["---", "---:", "---:", "---", "---:"], *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _render(rows: Sequence[Row], bundle: Bundle, plots: Sequence[str]) -> str:
    pictures = "\n".join(f"![{name.removesuffix('.png')}]({name})" for name in plots)
    return (
        f"# Untuned against tuned\n\n{render_table(rows)}\n\n"
        "Untuned: MiniLM as published; the base language model in its own chat template with a plain instruction, "
        'full-precision weights, and credit for any wording of "I don\'t know". Both language models get the right '
        f"movie's facts. Base model: {bundle.base}; catalogue: {len(bundle.movies)} movies.\n\n"
        f"{_CAVEATS.format(n=len(bundle.movies))}\n{pictures}\n"
    )


def _print_table(rows: Sequence[Row]) -> None:
    table = Table()
    for name in _HEAD:
        table.add_column(name, justify="left" if name in (_HEAD[0], "beside") else "right")
    for row in rows:
        table.add_row(*_cells(row))
    Console().print(table)
