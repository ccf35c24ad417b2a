"""Recommendations: does a ranking agree with the lists, and what does the language model make of the candidates?"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from moviebot.data.documents import movie_text
from moviebot.data.prompts import clean_text, render_recommend_prompt
from moviebot.data.schemas import Movie, RecommendationList
from moviebot.evaluation.answers import Generate, apply_template, mean_or_nan
from moviebot.evaluation.lookup import Encode
from moviebot.rag.checks import MAX_RECOMMENDATIONS, choose_recommendations

_MARKER = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+")
_TITLED = re.compile(r".{1,80} \(\d{4}\)")  # "Title (Year)"
_BETWEEN = re.compile(r"[,;]|:\s|\s[-–—]\s")
_EDGE = " .,;:*_`\"'-–—"


@dataclass(frozen=True)
class ShownScores:
    """What the language model makes of the candidates.

    Attributes:
        hit_3: share of the movies with one of their list among the first three candidates that the model itself named.
        retriever_hit_3: the same of the first three candidates, on the same lists: what no choice at all would come to.
        faults_before: share of the model's lists with a movie that is no candidate, or one named twice, as
            :func:`read_named` counts them.
        short_before: share of the model's lists with fewer than three candidates.
        faults_after: share of what is shown with any of these faults, the movie itself among them: 0 by construction.
        count: lists asked for.
    """

    hit_3: float
    retriever_hit_3: float
    faults_before: float
    short_before: float
    faults_after: float
    count: int


def read_named(response: str, candidates: Sequence[Movie], seed: Movie) -> tuple[list[Movie], int]:
    r"""Read the movies that a model names, in whatever form an untuned chat model writes them.

    Numbers, bullets, commas and several movies a line are all right, and prose around them is passed over. What is
    shown to people is read by the stricter :func:`~moviebot.data.prompts.parse_recommend_response`.

    Args:
        response: what the model wrote.
        candidates: the movies the prompt offered.
        seed: the movie it offered them for, which prose may mention.

    Returns:
        The distinct candidates named, in order; and how many entries of its lists are no candidate, or repeat one. An
        entry is a numbered or bulleted line, or ``Title (Year)`` on a line of nothing else.

    Example:
        >>> up, her, jaws = Movie("tt1", "Up", year=2009), Movie("tt2", "Her", year=2013), Movie("tt3", "Jaws")
        >>> named, faults = read_named("You may like:\n1. Her (2013), Up (2009)\n2. Alien (1979)", [up, her], jaws)
        >>> [movie.label for movie in named], faults
        (['Her (2013)', 'Up (2009)'], 1)
    """
    titles = Counter(_plain(movie.title) for movie in candidates)
    by_label = {_plain(movie.title): movie for movie in candidates if titles[_plain(movie.title)] == 1}
    labels = {_plain(movie.label): movie for movie in candidates}
    by_label |= labels
    # In the midst of a line only what ends in a year is surely a title ("It" is not).
    dated = sorted((label for label in labels if _TITLED.fullmatch(label)), key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, dated))})") if dated else re.compile(r"(?!)")
    named: list[Movie] = []
    faults = 0
    for line in response.splitlines():
        whole = _plain(line)  # a title may itself begin with a number and a full stop
        text = whole if whole in by_label else _plain(_MARKER.sub("", line))
        is_item = whole not in by_label and bool(_MARKER.match(line))
        found = [by_label[text]] if text in by_label else [labels[match[0]] for match in pattern.finditer(text)]
        rest = [] if text in by_label else [_strip(piece) for piece in _BETWEEN.split(pattern.sub(",", text))]
        found += [by_label[piece] for piece in rest if piece in by_label]
        rest = [piece for piece in rest if piece and piece not in by_label]
        is_list = is_item or all(_TITLED.fullmatch(piece) for piece in rest)
        about_seed = text != _plain(seed.label) and _plain(seed.label) in text  # "Three movies like Jaws (1975)"
        invents = bool(_TITLED.fullmatch(text)) and text.count("(") == 1 and not about_seed
        if not found:
            faults += is_item or invents
        elif is_list:
            faults += sum(bool(_TITLED.fullmatch(piece)) for piece in rest)
        for movie in found:
            if movie not in named:
                named.append(movie)
            elif is_list:
                faults += 1
    return named, faults


def plain_recommend_prompts(tokenizer: PreTrainedTokenizerBase) -> Callable[[Movie, Sequence[Movie]], str]:
    """Return a renderer of recommend prompts for an untuned chat model."""

    def render(movie: Movie, candidates: Sequence[Movie]) -> str:
        listed = "\n".join(candidate.label for candidate in candidates)
        ask = f"Someone liked {movie.label}. Choose the 3 most similar movies from this list. Write only their names, "
        return apply_template(tokenizer, f"{ask}one a line, as they stand in the list.\n\n{listed}")

    return render


def measure_hits(lists: Sequence[RecommendationList], rank: Callable[[str], Sequence[str]], k: int = 20) -> list[float]:
    """Judge any ranking of the catalogue: an encoder's, or by votes.

    Args:
        lists: the lists to agree with.
        rank: a tconst to at least ``k`` others, best first.
        k: how deep to look.

    Returns:
        hit@1 to hit@k: the share of the movies with one of their list among the first.
    """
    ranked = [(set(row.recommended), list(rank(row.tconst))) for row in lists]
    return [mean_or_nan([float(bool(gold & set(ids[:n]))) for gold, ids in ranked]) for n in range(1, k + 1)]


def rank_by_votes(movies: Sequence[Movie], k: int = 20) -> Callable[[str], list[str]]:
    """Return the popularity baseline: the movies with the most votes, whatever was liked."""
    popular = [movie.tconst for movie in sorted(movies, key=lambda movie: -(movie.votes or 0))[: k + 1]]
    return lambda tconst: [other for other in popular if other != tconst][:k]


def rank_by_encoder(encode: Encode, movies: Sequence[Movie], k: int = 20) -> Callable[[str], list[str]]:
    """Return the encoder's ranking of the movies' texts, the movie itself left out."""
    vectors = encode([movie_text(movie) for movie in movies])  # (N, D)
    position = {movie.tconst: row for row, movie in enumerate(movies)}

    def rank(tconst: str) -> list[str]:
        cosines = vectors @ vectors[position[tconst]]  # (N,)
        cosines[position[tconst]] = -np.inf
        best = np.argsort(-cosines, kind="stable")[: min(k, len(movies) - 1)]
        return [movies[row].tconst for row in best]

    return rank


def evaluate_shown(
    movies: Mapping[str, Movie],
    lists: Sequence[RecommendationList],
    rank: Callable[[str], Sequence[str]],
    generate: Generate,
    render: Callable[[Movie, Sequence[Movie]], str] = render_recommend_prompt,
) -> ShownScores:
    """Let the language model choose three of each movie's candidates, and count its faults before and after the checks.

    Args:
        movies: by tconst.
        lists: the lists to agree with.
        rank: a tconst to its candidates, best first; twenty are offered.
        generate: prompts to continuations.
        render: movie and candidates to prompt; :func:`plain_recommend_prompts` makes one for an untuned model.
    """
    offered = [[movies[other] for other in list(rank(row.tconst))[:20]] for row in lists]
    prompts = [render(movies[row.tconst], found) for row, found in zip(lists, offered, strict=True)]
    hits, retrieved, before, short, after = [], [], [], [], []
    for row, candidates, response in zip(lists, offered, generate(prompts), strict=True):
        gold = set(row.recommended)
        named, faults = read_named(response, candidates, movies[row.tconst])
        hits.append(float(any(movie.tconst in gold for movie in named[:MAX_RECOMMENDATIONS])))
        retrieved.append(float(any(movie.tconst in gold for movie in candidates[:MAX_RECOMMENDATIONS])))
        before.append(float(faults > 0))
        short.append(float(len(named) < min(MAX_RECOMMENDATIONS, len(candidates))))
        ids = [movie.tconst for movie in choose_recommendations(response, candidates)[0]]
        allowed = {movie.tconst for movie in candidates} - {row.tconst}
        after.append(float(len(set(ids)) < len(ids) or not set(ids) <= allowed))
    return ShownScores(
        hit_3=mean_or_nan(hits),
        retriever_hit_3=mean_or_nan(retrieved),
        faults_before=mean_or_nan(before),
        short_before=mean_or_nan(short),
        faults_after=mean_or_nan(after),
        count=len(hits),
    )


def _plain(text: str) -> str:
    return _strip(clean_text(text).casefold())


def _strip(text: str) -> str:
    return text.strip(_EDGE).removeprefix("and ").strip(_EDGE)
