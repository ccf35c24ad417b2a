"""Queries with a known movie, made from the catalogue: what the resolver's weights are fitted on.

Questions in the training wordings, lines of chat, bare titles and told plots, with misspellings, years and people; a
share of them with their movie taken out of the catalogue, so that "none of them" is right; and talk about no movie.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from moviebot.data.schemas import Movie
from moviebot.data.typos import add_typo
from moviebot.data.wordings import MENTIONS, OPENERS, WORDINGS
from moviebot.rag.intent import read_intent_rows

Kind = Literal["question", "chat", "title", "plot"]
_KINDS: tuple[Kind, ...] = ("question", "chat", "title", "plot")
_KIND_WEIGHTS = (0.40, 0.26, 0.04, 0.30)
_FAMOUS_SHARE = 0.7  # drawn by the root of their votes, as people ask; the others alike
_TYPO_SHARE, _LOWER_SHARE, _YEAR_SHARE, _PERSON_SHARE, _ABSENT_SHARE = 0.35, 0.4, 0.12, 0.08, 0.25
_ARTICLE_SHARE = 0.1  # of the titles: an article put before it, or left out
_MIN_PLOT_WORDS = 8
_PLOT_OPENERS = ("what's that movie where ", "which film is about ", "a movie in which ", "the one where ", "")
_SLOT = "<movie>"


@dataclass(frozen=True)
class Asked:
    """A query and the movie it means.

    Attributes:
        query: the words.
        row: the movie's row; None where it means none.
        absent: the movie must be taken for one that the catalogue lacks.
    """

    query: str
    row: int | None
    absent: bool = False


def make_queries(movies: Sequence[Movie], rows: Sequence[int], count: int, seed: int = 0) -> list[Asked]:
    """Make queries, the same for the same seed.

    Args:
        movies: the catalogue.
        rows: movies that may be asked about (those of the training split).
        count: queries about movies; small talk comes on top.
        seed: of the draw.
    """
    rng = random.Random(seed)
    fame = [((movies[row].votes or 0) + 1) ** 0.5 for row in rows]
    asked = []
    for _ in range(count if rows else 0):
        row = rng.choices(rows, fame)[0] if rng.random() < _FAMOUS_SHARE else rng.choice(rows)
        absent = rng.random() < _ABSENT_SHARE
        kind = rng.choices(_KINDS, _KIND_WEIGHTS)[0]
        if kind == "plot" and (told := tell_plot(movies[row], rng)):
            lenders = [movies[other] for other in rng.choices(rows, k=60)]
            asked.append(Asked(reword(told, lenders, rng), row, absent))
        else:
            asked.append(Asked(_name_movie(movies[row], kind, rng), row, absent))
    small = list_small_talk()
    talk = [" ".join(rng.sample(small, rng.choice((2, 2, 3)))) for _ in small]
    return asked + [Asked(line, None) for line in (*small, *talk)]


def list_small_talk() -> list[str]:
    """Return queries that name no movie: small talk, wishes, and plots that nobody filmed."""
    rows = [query for query, _ in read_intent_rows() if _SLOT not in query]
    return [*rows, *_read_lines("chat_small_talk.txt")]


def _name_movie(movie: Movie, kind: Kind, rng: random.Random) -> str:
    title = _vary_article(movie.title) if rng.random() < _ARTICLE_SHARE else movie.title
    if rng.random() < _YEAR_SHARE and movie.year is not None:
        name = rng.choice(MENTIONS["train"]).format(title=title, year=movie.year)
    elif rng.random() < _PERSON_SHARE and (movie.directors or movie.cast):
        name = rng.choice([f"{title} by {p}" for p in movie.directors] + [f"{title} with {p}" for p in movie.cast])
    else:
        name = title
    match kind:
        case "question" | "plot":  # too little is known of its plot
            topic = rng.choice(sorted(WORDINGS))
            frame = rng.choice(WORDINGS[topic]["train"]).replace("{title}", _SLOT)
            if rng.random() < 0.1:
                frame = rng.choice(OPENERS["train"]) + frame
        case "chat":
            frame = rng.choice(_list_frames())
            for _ in range(rng.choice((0, 0, 1, 2))):  # people say more than one sentence at a time
                said = rng.choice(_read_lines("chat_small_talk.txt"))
                frame = f"{frame} {said}" if rng.random() < 0.5 else f"{said} {frame}"
        case _:
            frame = _SLOT
    query = frame.replace(_SLOT, name)
    if rng.random() < _TYPO_SHARE:
        query = add_typo(query, rng, within=title)
    return query.lower() if rng.random() < _LOWER_SHARE else query


def _vary_article(title: str) -> str:
    without = re.sub(r"^(?:The|A|An) (?=\S)", "", title)
    return without if without != title else f"the {title}"


def tell_plot(movie: Movie, rng: random.Random) -> str | None:
    """Tell a movie's plot as somebody might who half remembers it; None where too little is known of it."""
    sentences = re.split(r"(?<=[.!?])\s+", movie.description or "")
    rng.shuffle(sentences)
    words = " ".join(sentences[: rng.randint(1, 4)]).split()[: rng.randint(16, 70)]
    lost = rng.uniform(0.0, 0.4)
    forgets_names = rng.random() < 0.3
    kept = [
        word
        for place, word in enumerate(words)
        if rng.random() > lost and not (forgets_names and place and word[:1].isupper())
    ]
    if len(kept) < _MIN_PLOT_WORDS:
        return None
    return rng.choice(_PLOT_OPENERS) + " ".join(kept)


def reword(told: str, others: Sequence[Movie], rng: random.Random) -> str:
    """Put words of other movies' descriptions in the place of some: the same story in other words.

    Plots that people tell share a fifth of their words' weight with the description, and their cosine with it is about
    .5; a cut of the description itself would share twice as much.

    Args:
        told: a plot in the description's own words.
        others: movies that lend words, one each at a time, so that none of them is told of.
        rng: the source of randomness.
    """
    words = [rng.choice(movie.description.split()) for movie in others if movie.description]
    changed = rng.uniform(0.2, 0.65)
    return " ".join(rng.choice(words) if words and rng.random() < changed else word for word in told.split())


@cache
def _list_frames() -> tuple[str, ...]:
    return (
        *_read_lines("chat_lines.txt"),
        *(query for query, _ in read_intent_rows() if query.count(_SLOT) == 1),
    )


@cache
def _read_lines(name: str) -> tuple[str, ...]:
    text = resources.files("moviebot.rag").joinpath(name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip())
