"""Recommendations: does a ranking agree with the lists, and what does the language model make of the candidates?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from moviebot.data.documents import movie_text
from moviebot.data.prompts import parse_recommend_response, render_recommend_prompt
from moviebot.data.schemas import Movie, RecommendationList
from moviebot.evaluation.answers import Generate, apply_template, mean_or_nan
from moviebot.evaluation.lookup import Encode
from moviebot.rag.checks import choose_recommendations


@dataclass(frozen=True)
class RecommendationScores:
    """How well recommendations agree with the lists.

    Attributes:
        hit_3: share of the movies with one of their list among the first three.
        hit_20: the same for the first twenty; NaN where only three are shown.
        count: movies asked for.
    """

    hit_3: float
    hit_20: float
    count: int


@dataclass(frozen=True)
class ShownScores:
    """What the language model makes of the candidates.

    Attributes:
        scores: of the three shown.
        faults_before: share of the model's lists with a movie that is no candidate, or one named twice.
        short_before: share of the model's lists with fewer than three candidates.
        faults_after: share of what is shown with any of these faults, the movie itself among them: 0 by construction.
    """

    scores: RecommendationScores
    faults_before: float
    short_before: float
    faults_after: float


def plain_recommend_prompts(tokenizer: PreTrainedTokenizerBase) -> Callable[[Movie, Sequence[Movie]], str]:
    """Return a renderer of recommend prompts for an untuned chat model."""

    def render(movie: Movie, candidates: Sequence[Movie]) -> str:
        listed = "\n".join(candidate.label for candidate in candidates)
        ask = f"Someone liked {movie.label}. Choose the 3 most similar movies from this list. Write only their names, "
        return apply_template(tokenizer, f"{ask}one a line, as they stand in the list.\n\n{listed}")

    return render


def evaluate_ranking(lists: Sequence[RecommendationList], rank: Callable[[str], Sequence[str]]) -> RecommendationScores:
    """Judge any ranking of the catalogue: an encoder's, or by votes.

    Args:
        lists: the lists to agree with.
        rank: a tconst to at least twenty others, best first.
    """
    ranked = [(set(row.recommended), list(rank(row.tconst))) for row in lists]
    return RecommendationScores(
        hit_3=mean_or_nan([float(bool(gold & set(found[:3]))) for gold, found in ranked]),
        hit_20=mean_or_nan([float(bool(gold & set(found[:20]))) for gold, found in ranked]),
        count=len(ranked),
    )


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
    hits, before, short, after = [], [], [], []
    for row, candidates, response in zip(lists, offered, generate(prompts), strict=True):
        named, faults = parse_recommend_response(response, candidates)
        shown, _ = choose_recommendations(response, candidates)
        ids = [movie.tconst for movie in shown]
        hits.append(float(bool(set(ids) & set(row.recommended))))
        before.append(float(faults > 0))
        short.append(float(len(named) < min(3, len(candidates))))
        allowed = {movie.tconst for movie in candidates} - {row.tconst}
        after.append(float(len(set(ids)) < len(ids) or not set(ids) <= allowed))
    scores = RecommendationScores(mean_or_nan(hits), float("nan"), len(hits))
    return ShownScores(scores, mean_or_nan(before), mean_or_nan(short), mean_or_nan(after))
