"""The whole bot as a person meets it: is what it says right, borne out, quick, and what was asked for?

Legend: p50, p95 quantiles over queries; seconds on the machine that measures, models loaded and warm.
"""

import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moviebot.data.prompts import is_decline
from moviebot.data.schemas import Movie, QAPair, RecommendationList
from moviebot.data.template_teacher import facts_of
from moviebot.errors import UserError
from moviebot.evaluation.answers import holds_facts, mean_or_nan
from moviebot.evaluation.constraint_queries import measure_constraints
from moviebot.evaluation.figures import Row
from moviebot.rag.answer import Answer, Query, check_query
from moviebot.rag.bundle import Bundle
from moviebot.rag.checks import MAX_RECOMMENDATIONS
from moviebot.rag.pipeline import MovieBot, TextGenerator

_KEYWORDS = re.compile(r"\b(recommend\w*|suggest\w*|similar|like|watch)\b", re.IGNORECASE)
_LIKE = ("movies like {}", "I loved {}. What else should I watch?", "recommend something similar to {}")


@dataclass(frozen=True)
class Timed:
    """An answer and its times.

    Attributes:
        answer: what was said.
        first: seconds until a person sees the first text.
        whole: seconds until all of it stands.
    """

    answer: Answer
    first: float
    whole: float


def ask(bot: MovieBot, query: Query) -> Timed:
    """Answer one query as a chat does, piece by piece."""
    started = time.perf_counter()
    [answer] = bot.prepare([query])
    first = 0.0
    for piece in bot.complete(answer):
        if piece and not first:
            first = time.perf_counter() - started
    whole = time.perf_counter() - started
    return Timed(answer, first or whole, whole)


def measure_whole_bot(
    bundle: Bundle,
    generator: TextGenerator | None,
    pairs: Sequence[QAPair],
    lists: Sequence[RecommendationList],
    constraints: int,
    seed: int,
) -> list[Row]:
    """Ask questions, wishes with conditions and "movies like ..." of the whole bot, one at a time.

    Args:
        bundle: what is measured.
        generator: the language model.
        pairs: questions about test movies.
        lists: test lists; their movies are what recommendations are asked for.
        constraints: queries with conditions to draw.
        seed: of the draws.
    """
    movies = {movie.tconst: movie for movie in bundle.movies}
    bot = MovieBot(bundle, generator)
    if pairs:
        ask(bot, Query(pairs[0].question))  # whatever is set up at the first call
    asked = [(pair, movies[pair.tconst], ask(bot, Query(pair.question))) for pair in pairs]
    rng = random.Random(seed)
    seeds = [(row, movies[row.tconst]) for row in lists]
    wished = [(row, movie, ask(bot, Query(rng.choice(_LIKE).format(movie.label)))) for row, movie in seeds]
    return [*_question_rows(asked), *_list_rows(wished), *_constraint_rows(bundle, constraints, seed)]


def measure_intents(bundle: Bundle, path: Path) -> list[Row]:
    """Measure intents on a file of ``{"query", "intent"}`` lines, beside a rule of keywords.

    Raises:
        UserError: the file can't be read, or a line has no intent.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        wanted = [str(row["intent"]) for row in rows if check_query(row["query"])]
        if not rows:
            raise UserError("it is empty")
    except (OSError, ValueError, TypeError, KeyError, UserError) as error:
        said = f'--intents {path} can\'t be read ({error}): each line must be an object with "query" and "intent"'
        raise UserError(said) from error
    bot = MovieBot(bundle)
    found = [answer.intent for answer in bot.prepare([Query(str(row["query"])) for row in rows])]
    by_rule = ["recommend" if _KEYWORDS.search(str(row["query"])) else "question" for row in rows]
    scores = [
        mean_or_nan([float(one == other) for one, other in zip(said, wanted, strict=True)]) for said in (found, by_rule)
    ]
    return [Row("intents", None, scores[0], ("keywords", scores[1]), len(rows))]


def _question_rows(asked: Sequence[tuple[QAPair, Movie, Timed]]) -> list[Row]:
    answerable: list[bool] = []
    declined: list[bool] = []
    wrongly: list[bool] = []
    for pair, movie, timed in asked:
        facts = facts_of(movie, pair.topic) if pair.topic else ()
        gave_up = timed.answer.abstained or is_decline(timed.answer.answer)
        if pair.topic and facts:
            answerable.append(timed.answer.movie == movie and holds_facts(timed.answer.answer, pair.topic, facts))
            wrongly.append(gave_up)
        else:
            declined.append(gave_up)
    answers = [timed.answer for _, _, timed in asked]
    rows = [
        _share("the whole bot: right movie and all facts asked for", answerable),
        _share("the whole bot: unanswerable questions declined", declined),
        _share("the whole bot: answerable questions declined", wrongly),
        _share("the whole bot: the model's answer gave way to the fact", [answer.fallback for answer in answers]),
    ]
    return [*rows, *_time_rows("question", [timed for _, _, timed in asked])]


def _list_rows(wished: Sequence[tuple[RecommendationList, Movie, Timed]]) -> list[Row]:
    shown = [[movie.tconst for movie in timed.answer.recommendations] for _, _, timed in wished]
    hits = [bool(set(ids) & set(row.recommended)) for ids, (row, _, _) in zip(shown, wished, strict=True)]
    faulty = [
        len(ids) > MAX_RECOMMENDATIONS
        or len(set(ids)) < len(ids)
        or movie.tconst in ids
        or not set(ids) <= {one.tconst for one in timed.answer.candidates}
        for ids, (_, movie, timed) in zip(shown, wished, strict=True)
    ]
    rows = [
        _share("the whole bot: movies like ..., hit@3", hits),
        _share("the whole bot: lists of more than three, repeated, invented or the movie itself", faulty),
        _share("the whole bot: lists of none", [not ids for ids in shown]),
    ]
    return [*rows, *_time_rows("recommend", [timed for _, _, timed in wished])]


def _constraint_rows(bundle: Bundle, queries: int, seed: int) -> list[Row]:
    if not queries:
        return []
    figures, _ = measure_constraints(MovieBot(bundle), queries, seed)
    shown, exist = int(figures["items shown"]), int(figures["queries where three exist"])
    broken, short = (
        figures["items shown that break a condition"],
        figures["fewer than three shown although three exist"],
    )
    return [
        Row("conditions: movies shown that break one", None, broken / max(1, shown), None, shown),
        Row("conditions: fewer than three shown though three exist", None, short / max(1, exist), None, exist),
    ]


def _share(name: str, cases: Sequence[bool]) -> Row:
    return Row(name, None, mean_or_nan([float(case) for case in cases]), None, len(cases))


def _time_rows(name: str, timed: Sequence[Timed]) -> list[Row]:
    if not timed:
        return []
    rows = []
    for what, values in (("first text", [one.first for one in timed]), ("whole answer", [one.whole for one in timed])):
        for quantile in (50, 95):
            seconds = float(np.percentile(values, quantile))
            rows.append(Row(f"seconds, {name}, {what}, p{quantile}", None, seconds, None, len(timed), "seconds"))
    return rows
