"""The figures of the report: lookup, recommendations and the language model, untuned beside tuned."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from moviebot.artefact import write_jsonl
from moviebot.data.prompts import render_recommend_prompt
from moviebot.data.schemas import TOPICS, QAPair, RecommendationList
from moviebot.data.typos import add_typo
from moviebot.evaluation.agreement import measure_share
from moviebot.evaluation.answers import AnswerScores, evaluate_answers, plain_prompts
from moviebot.evaluation.bootstrap import Interval
from moviebot.evaluation.lookup import CachedEncoder, Encode, evaluate_encoder_lookup, evaluate_pairs, find_movies
from moviebot.evaluation.recommendations import (
    ShownScores,
    evaluate_shown,
    measure_hits,
    plain_recommend_prompts,
    rank_by_encoder,
    rank_by_votes,
)
from moviebot.modules.dense import generate_texts, load_dense_model
from moviebot.pretrained import MINILM, resolve_model
from moviebot.rag.bundle import QUESTION_RETRIEVER, RECOMMEND_RETRIEVER, Bundle
from moviebot.rag.pipeline import MovieBot

# A right answer and a list of three are about 50 tokens at the most; an untuned model may ramble on, which is slow.
PUBLISHED_MARK = "(published measure)"
PUBLISHED = {"question pairs": 0.8356, "recommend pairs": 0.7531, "validated": 0.82}
"""The published table: mean cosines of two retrievers on its authors' data, people's verdict on 100 answers."""
MAX_NEW_TOKENS = 64  # of both, fairly
Kind = Literal["share", "mean", "seconds"]


@dataclass(frozen=True)
class Row:
    """One line of the table; a cell is None where the figure makes no sense.

    Attributes:
        name: what was measured.
        untuned: the figure of the model before training.
        tuned: after.
        baseline: a figure beside them, with its name.
        count: cases behind the figures.
        kind: a share of the cases has an interval; a mean, or seconds, is told as it is.
    """

    name: str
    untuned: float | None
    tuned: float | None
    baseline: tuple[str, float] | None
    count: int
    kind: Kind = "share"

    @property
    def interval(self) -> Interval | None:
        """The 95 % Wilson interval of the tuned share, or of the untuned where there is no other."""
        share = self.untuned if self.tuned is None else self.tuned
        if self.kind != "share" or share is None or math.isnan(share) or not self.count:
            return None
        return measure_share(round(share * self.count), self.count)


def measure_lookup(bundle: Bundle, pairs: Sequence[QAPair], data: Path, seed: int) -> list[Row]:
    """Question -> movie: clean, misspelt, and the remakes among them; the encoder alone, and beside it the whole bot.

    Args:
        bundle: what is measured.
        pairs: the test questions.
        data: the data folder, with the labelled pairs.
        seed: draws the misspellings.
    """
    movies = {movie.tconst: movie for movie in bundle.movies}
    rng = random.Random(seed)
    shared = {title for title, count in Counter(movie.title for movie in bundle.movies).items() if count > 1}
    slices = {
        "clean": [(pair.question, pair.tconst) for pair in pairs],
        "typos": [(add_typo(pair.question, rng, within=movies[pair.tconst].title), pair.tconst) for pair in pairs],
        "remakes": [(pair.question, pair.tconst) for pair in pairs if movies[pair.tconst].title in shared],
    }
    tuned, untuned = CachedEncoder(bundle.folder / QUESTION_RETRIEVER), CachedEncoder(resolve_model(MINILM))
    # All slices together: what is asked twice is encoded once.
    found = find_movies(MovieBot(bundle), [question for asked in slices.values() for question, _ in asked])
    rows = []
    for name, asked in slices.items():
        if not asked:
            continue
        before = evaluate_encoder_lookup(untuned, bundle.movies, asked)
        after = evaluate_encoder_lookup(tuned, bundle.movies, asked)
        baseline = ("the whole bot", sum(found[question] == tconst for question, tconst in asked) / len(asked))
        rows.append(Row(f"question -> movie, hit@1, {name}", before.hit_1, after.hit_1, baseline, len(asked)))
    return _pair_rows("question pairs", data / "question_pairs.parquet", untuned, tuned) + rows


def measure_recommendations(
    bundle: Bundle, lists: Sequence[RecommendationList], data: Path
) -> tuple[list[Row], dict[str, list[float]]]:
    """Movie -> list: hit@3 and hit@20 beside popularity; and hit@k for the plot.

    Args:
        bundle: what is measured.
        lists: the test lists.
        data: the data folder, with the labelled pairs.
    """
    tuned, untuned = CachedEncoder(bundle.folder / RECOMMEND_RETRIEVER), CachedEncoder(resolve_model(MINILM))
    curves = {
        "untuned MiniLM": measure_hits(lists, rank_by_encoder(untuned, bundle.movies)),
        "tuned": measure_hits(lists, rank_by_encoder(tuned, bundle.movies)),
        "popularity": measure_hits(lists, rank_by_votes(bundle.movies)),
    }
    before, after, popular = curves.values()
    rows = [
        Row(f"recommendations, hit@{k}", before[k - 1], after[k - 1], ("popularity", popular[k - 1]), len(lists))
        for k in (3, 20)
    ]
    return _pair_rows("recommend pairs", data / "recommend_pairs.parquet", untuned, tuned) + rows, curves


def _pair_rows(name: str, path: Path, untuned: Encode, tuned: Encode) -> list[Row]:
    """Mean cosine and F1 as published: over the test pairs, two negatives a positive."""
    table = pq.read_table(path, filters=[("split", "==", "test")]).to_pylist()
    pairs = [(row["anchor"], row["sample"], row["label"]) for row in table]
    if not pairs:
        return []
    before = evaluate_pairs(untuned, pairs)
    after = evaluate_pairs(tuned, pairs)
    return [
        Row(
            f"{name}, mean cosine {PUBLISHED_MARK}",
            before.cosine,
            after.cosine,
            ("published", PUBLISHED[name]),
            before.positives,
            "mean",
        ),
        Row(f"{name}, F1 at 0.5 {PUBLISHED_MARK}", before.f1, after.f1, None, len(pairs), "mean"),
    ]


def measure_language_model(
    bundle: Bundle,
    pairs: Sequence[QAPair],
    lists: Sequence[RecommendationList],
    out: Path,
    per_topic: int,
    n_lists: int,
    seed: int,
) -> list[Row]:
    """Answers and chosen recommendations, first of the base model at its best, then of the tuned one, if there is one.

    Args:
        bundle: what is measured.
        pairs: the test questions.
        lists: the test lists.
        out: where the answers go.
        per_topic: questions a topic.
        n_lists: lists asked for.
        seed: draws both.
    """
    movies = {movie.tconst: movie for movie in bundle.movies}
    asked = draw_questions(pairs, per_topic, seed)
    wanted = draw_lists(lists, n_lists, seed)
    rank = rank_by_index(bundle)

    def measure(adapter: Path | None) -> tuple[AnswerScores, ShownScores]:
        model, tokenizer = load_dense_model(bundle.base, adapter, as_quantised=adapter is not None)

        def generate(prompts: list[str]) -> list[str]:
            return generate_texts(model, tokenizer, prompts, MAX_NEW_TOKENS, batch_size=32)

        if adapter is None:
            answers = evaluate_answers(movies, asked, generate, plain_prompts(tokenizer), generous=True)
            return answers, evaluate_shown(movies, wanted, rank, generate, plain_recommend_prompts(tokenizer))
        answers = evaluate_answers(movies, asked, generate)
        return answers, evaluate_shown(movies, wanted, rank, generate, render_recommend_prompt)

    before, shown_before = measure(None)
    write_jsonl(out / "answers_untuned.jsonl", before.rows)
    after, shown_after = (None, None) if bundle.adapter is None else measure(bundle.adapter)
    if after is not None:
        write_jsonl(out / "answers_tuned.jsonl", after.rows)

    def answer_row(name: str, figure: Callable[[AnswerScores], float], count: int, kind: Kind = "share") -> Row:
        return Row(name, figure(before), None if after is None else figure(after), None, count, kind)

    def list_row(name: str, figure: Callable[[ShownScores], float], beside: tuple[str, float] | None = None) -> Row:
        tuned = None if shown_after is None else figure(shown_after)
        return Row(name, figure(shown_before), tuned, beside, shown_before.count)

    unanswerable = sum(row["topic"] == "unanswerable" for row in before.rows)
    factual = before.count - unanswerable
    topics = Counter(row["topic"] for row in before.rows)
    return [
        answer_row("answers, all facts asked for are in them", lambda scores: scores.exact, factual),
        *(
            answer_row(f"  of which {topic}", lambda scores, topic=topic: scores.exact_by_topic[topic], topics[topic])  # type: ignore[misc]
            for topic in before.exact_by_topic
        ),
        answer_row("unanswerable questions declined", lambda scores: scores.declined, unanswerable),
        answer_row("answerable questions declined", lambda scores: scores.wrongly_declined, factual),
        answer_row("words an answer", lambda scores: scores.words, before.count, "mean"),
        list_row(
            "recommendations named by the language model itself, hit@3",
            lambda scores: scores.hit_3,
            ("the retriever's first three", shown_before.retriever_hit_3),
        ),
        list_row("lists with an invented or repeated movie, as generated", lambda scores: scores.faults_before),
        list_row("lists with fewer than three candidates, as generated", lambda scores: scores.short_before),
        list_row("lists with an invented or repeated movie, as shown", lambda scores: scores.faults_after),
    ]


def rank_by_index(bundle: Bundle) -> Callable[[str], list[str]]:
    """Return the ranking of the bundle's own index: the movies nearest to a movie, without itself."""
    index = bundle.text_index
    position = {tconst: row for row, tconst in enumerate(index.ids)}

    def rank(tconst: str) -> list[str]:
        found, _ = index.search(index.vectors[[position[tconst]]], k=20, exclude=[tconst])
        return found[0]

    return rank


def draw_lists(lists: Sequence[RecommendationList], n: int, seed: int) -> list[RecommendationList]:
    """Draw up to ``n`` of the test lists."""
    return random.Random(seed).sample(list(lists), min(n, len(lists)))


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
