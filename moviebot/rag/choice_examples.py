"""Queries with a known movie, made from the catalogue: what the resolver's weights are fitted on.

Questions in the training wordings, lines of chat, bare titles and told plots, with misspellings, years and people; a
share of them with their movie taken out of the catalogue, so that "none of them" is right; and talk about no movie.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.data.typos import add_typo
from moviebot.data.wordings import MENTIONS, OPENERS, WORDINGS
from moviebot.rag.intent import read_intent_rows
from moviebot.rag.words import COMMON

Kind = Literal["question", "chat", "title", "plot"]
_KINDS: tuple[Kind, ...] = ("question", "chat", "title", "plot")
_KIND_WEIGHTS = (0.40, 0.26, 0.04, 0.30)
_FAMOUS_SHARE = 0.7  # drawn by the root of their votes, as people ask; the others alike
_TYPO_SHARE, _LOWER_SHARE, _YEAR_SHARE, _PERSON_SHARE, _ABSENT_SHARE = 0.35, 0.4, 0.12, 0.08, 0.25
_NAMESAKE_SHARE = 0.08  # of the questions: about a movie that shares its title, the year told
_ARTICLE_SHARE = 0.1  # of the titles: an article put before it, or left out
_MIN_PLOT_WORDS = 8
_MAX_WORDS, _NEAR, _STEM, _BLOCK = 8000, 8, 4, 1000  # words with neighbours, of each, letters they may not share
_NEAR_SHARES, _STRANGE_SHARES = (0.6, 1.0), (0.0, 0.3)  # of a plot's words
_WORD = re.compile(r"[a-z]{3,}")
_PLOT_OPENERS = ("what's that movie where ", "which film is about ", "a movie in which ", "the one where ", "")
_SLOT = "<movie>"
Neighbours = Mapping[str, Sequence[str]]


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


def make_queries(
    movies: Sequence[Movie], rows: Sequence[int], count: int, seed: int = 0, near: Neighbours = MappingProxyType({})
) -> list[Asked]:
    """Make queries, the same for the same seed.

    Args:
        movies: the catalogue.
        rows: movies that may be asked about.
        count: queries about movies; small talk comes on top, at most as much again.
        seed: of the draw.
        near: words to tell plots in, see :func:`find_neighbours`.
    """
    rng = random.Random(seed)
    fame = [((movies[row].votes or 0) + 1) ** 0.5 for row in rows]
    by_title = defaultdict(list)
    for row in rows:
        by_title[normalise_title(movies[row].title)].append(row)
    titles = Counter(normalise_title(movie.title) for movie in movies)
    shared = [row for row in rows if titles[normalise_title(movies[row].title)] > 1 and movies[row].year is not None]
    asked = []
    for _ in range(count if rows else 0):
        row = rng.choices(rows, fame)[0] if rng.random() < _FAMOUS_SHARE else rng.choice(rows)
        absent = rng.random() < _ABSENT_SHARE
        kind = rng.choices(_KINDS, _KIND_WEIGHTS)[0]
        if shared and rng.random() < _NAMESAKE_SHARE:
            row = rng.choice(shared)
            asked.append(Asked(_name_movie(movies[row], "question", rng, year_share=1.0)[0], row, absent))
            continue
        if kind == "plot" and (told := tell_plot(movies[row], rng)):
            lenders = [movies[other] for other in rng.choices(rows, k=60)]
            asked.append(Asked(reword(told, near, lenders, rng), row, absent))
        else:
            query, said_more = _name_movie(movies[row], kind, rng)
            if not said_more:  # who says no more than a title means the one that most people saw
                namesakes = by_title[normalise_title(movies[row].title)]
                row = rng.choices(namesakes, [(movies[other].votes or 0) + 1 for other in namesakes])[0]
            asked.append(Asked(query, row, absent))
    small = list_small_talk()
    talk = [" ".join(rng.sample(small, rng.choice((2, 2, 3)))) for _ in small]
    idle = [*small, *talk]
    if len(idle) > count:  # of a small catalogue: as much idle talk as questions
        idle = rng.sample(idle, count)
    return asked + [Asked(line, None) for line in idle]


def list_small_talk() -> list[str]:
    """Return queries that name no movie: small talk, wishes, and plots that nobody filmed."""
    rows = [query for query, _ in read_intent_rows() if _SLOT not in query]
    return [*rows, *_read_lines("chat_small_talk.txt")]


def _name_movie(movie: Movie, kind: Kind, rng: random.Random, year_share: float = _YEAR_SHARE) -> tuple[str, bool]:
    """Return a query that names a movie, and whether it says more of it than its title."""
    title = _vary_article(movie.title) if rng.random() < _ARTICLE_SHARE else movie.title
    if rng.random() < year_share and movie.year is not None:
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
    return (query.lower() if rng.random() < _LOWER_SHARE else query), name != title


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


def find_neighbours(movies: Sequence[Movie], encode: Callable[[Sequence[str]], NDArray[np.float32]]) -> Neighbours:
    """Find words near each other in meaning among the commonest of the descriptions, none with its own beginning.

    Args:
        movies: whose descriptions are read.
        encode: words to ``(W, D)`` unit vectors.

    Returns:
        For each word at most eight others, nearest first.
    """
    counted = Counter(word for movie in movies for word in _WORD.findall((movie.description or "").lower()))
    words = [word for word, _ in counted.most_common(_MAX_WORDS) if word not in COMMON]
    if len(words) <= _NEAR:
        return {}
    vectors = encode(words)  # (W, D)
    found = {}
    for start in range(0, len(words), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ vectors.T  # (W', W)
        nearest = np.argpartition(-cosines, 3 * _NEAR, axis=1)[:, : 3 * _NEAR] if len(words) > 3 * _NEAR else None
        for place, line in enumerate(cosines):
            word = words[start + place]
            pool = nearest[place] if nearest is not None else np.arange(len(words))
            near = sorted(pool.tolist(), key=lambda n: -line[n])
            found[word] = [words[n] for n in near if words[n][:_STEM] != word[:_STEM]][:_NEAR]
    return found


def reword(told: str, near: Neighbours, others: Sequence[Movie], rng: random.Random) -> str:
    """Tell the same story in other words: near ones for some, words of other stories for others.

    Plots that people tell share a fifth of their words' weight with the description, though they mean the same; a cut
    of the description itself would share twice as much, and one with words of other stories only would mean less.

    Args:
        told: a plot in the description's own words.
        near: words near each other in meaning, see :func:`find_neighbours`.
        others: movies that lend words, one each at a time, so that none of them is told of.
        rng: the source of randomness.
    """
    strange = [rng.choice(movie.description.split()) for movie in others if movie.description]
    changed, lent = rng.uniform(*_NEAR_SHARES), rng.uniform(*_STRANGE_SHARES)
    words = []
    for word in told.split():
        known = near.get(word.lower().strip(".,;:!?\"'()"))
        if strange and rng.random() < lent:
            words.append(rng.choice(strange))
        elif known and rng.random() < changed:
            words.append(rng.choice(known))
        else:
            words.append(word)
    return " ".join(words)


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
