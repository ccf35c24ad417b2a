"""Figures for what people see: answers, the movie found, recommendations; ours beside the baselines.

Each function returns a dataclass of figures and, where one wants to read them, the rows behind it. ``moviebot demo``
prints them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from moviebot.data.documents import movie_text
from moviebot.data.prompts import (
    DECLINE,
    is_decline,
    parse_recommend_response,
    render_facts,
    render_question_prompt,
    render_recommend_prompt,
)
from moviebot.data.schemas import Movie, QAPair, RecommendationList, Topic
from moviebot.data.splits import normalise_title
from moviebot.data.template_teacher import facts_of
from moviebot.errors import UserError
from moviebot.modules.encoder import encode_texts, load_encoder
from moviebot.modules.metrics import CosineF1
from moviebot.rag.checks import choose_recommendations
from moviebot.rag.resolver import MovieResolver

Generate = Callable[[list[str]], list[str]]
PLAIN_INSTRUCTION = (
    "Answer the question in one short sentence using only the facts. "
    f"If the facts do not contain the answer, say {DECLINE}."
)
# An untuned model declines in its own words; it gets the credit for all of these.
_DECLINES = re.compile(
    r"\b(don['’]?t know|do not know|"
    r"not (sure|known|mentioned|provided|stated|specified|available|given|listed|included)|"
    r"unknown|no information|cannot (say|tell|answer|determine|provide)|can['’]t (say|tell|answer)|unable to|"
    r"does(n['’]t| not) (say|mention|contain|provide|specify|include|state|list)|isn['’]t (mentioned|given|provided))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class AnswerScores:
    """How good answers to test questions are.

    Attributes:
        exact: share of the answerable questions whose answer holds each fact asked for.
        exact_by_topic: the same for each topic.
        declined: share of the unanswerable questions that were declined.
        wrongly_declined: share of the answerable questions that were declined.
        words: mean words an answer.
        count: questions asked.
        rows: question, gold, answer, topic and verdict of each.
    """

    exact: float
    exact_by_topic: dict[str, float]
    declined: float
    wrongly_declined: float
    words: float
    count: int
    rows: list[dict[str, str | bool | None]] = field(repr=False)


@dataclass(frozen=True)
class LookupScores:
    """How well the movie that a question is about is found.

    Attributes:
        hit_1: share of the questions whose movie is first.
        hit_10: share whose movie is among the first ten.
        mrr: mean reciprocal rank; beyond the ranks that were looked at it counts 0.
        cosine: mean cosine of a question and its movie's label; NaN where no encoder alone was measured.
        f1: of "this is the question's movie" by a cosine above 0.5, one random negative a positive; NaN likewise.
        count: questions asked.
    """

    hit_1: float
    hit_10: float
    mrr: float
    cosine: float
    f1: float
    count: int


@dataclass(frozen=True)
class PairScores:
    """The published measures, over labelled pairs.

    Attributes:
        cosine: mean cosine of the positive pairs.
        f1: of the rule "cosine above 0.5".
        positives: positive pairs.
    """

    cosine: float
    f1: float
    positives: int


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


def evaluate_answers(
    movies: Mapping[str, Movie],
    pairs: Sequence[QAPair],
    generate: Generate,
    render: Callable[[str, Movie], str] = render_question_prompt,
    *,
    generous: bool = False,
) -> AnswerScores:
    """Ask the questions, each with the facts of the right movie, and judge the answers.

    Args:
        movies: by tconst.
        pairs: the questions; those without a topic are left out.
        generate: prompts to continuations.
        render: question and movie to prompt; :func:`plain_prompts` makes one for an untuned model.
        generous: count any wording of "I don't know" as a decline, as an untuned model deserves.

    Raises:
        UserError: no pair has a topic.
    """
    asked = [(pair, movies[pair.tconst], pair.topic) for pair in pairs if pair.topic and pair.tconst in movies]
    if not asked:
        raise UserError("no question to evaluate has a topic: give pairs that `moviebot clean` wrote")
    answers = generate([render(pair.question, movie) for pair, movie, _ in asked])
    rows: list[dict[str, str | bool | None]] = []
    exact: dict[str, list[float]] = {}
    declined: list[float] = []
    wrongly: list[float] = []
    for (pair, movie, topic), answer in zip(asked, answers, strict=True):
        gave_up = is_decline(answer) or (generous and bool(_DECLINES.search(answer)))
        facts = facts_of(movie, topic)
        right = holds_facts(answer, topic, facts) if facts else gave_up
        if facts:
            exact.setdefault(topic, []).append(float(right))
            wrongly.append(float(gave_up))
        else:
            declined.append(float(gave_up))
        rows.append({"question": pair.question, "gold": pair.answer, "answer": answer, "topic": topic, "right": right})
    return AnswerScores(
        exact=_mean([value for values in exact.values() for value in values]),
        exact_by_topic={topic: fmean(values) for topic, values in sorted(exact.items())},
        declined=_mean(declined),
        wrongly_declined=_mean(wrongly),
        words=_mean([float(len(answer.split())) for answer in answers]),
        count=len(asked),
        rows=rows,
    )


def holds_facts(answer: str, topic: Topic, facts: Sequence[str]) -> bool:
    """Say whether an answer holds each fact; case, accents and punctuation do not matter, numbers must be whole.

    Of a plot, half of the outline's content words are enough: it may be told in other words.

    Example:
        >>> holds_facts("It runs 96 minutes.", "runtime", ("96",))
        True
        >>> holds_facts("It runs 196 minutes.", "runtime", ("96",))
        False
    """
    text = f" {normalise_title(answer)} "
    if topic == "plot":
        words = {word for fact in facts for word in normalise_title(fact).split() if len(word) > 3}
        return sum(f" {word} " in text for word in words) * 2 >= len(words)
    return all(f" {normalise_title(fact)} " in text for fact in facts)


def plain_prompts(tokenizer: PreTrainedTokenizerBase) -> Callable[[str, Movie], str]:
    """Return a renderer of question prompts for an untuned chat model: its own template and a plain instruction."""

    def render(question: str, movie: Movie) -> str:
        facts = f"Facts about {movie.label}:\n{render_facts(movie)}"
        return _apply_template(tokenizer, f"{PLAIN_INSTRUCTION}\n\n{facts}\n\nQuestion: {question}")

    return render


def plain_recommend_prompts(tokenizer: PreTrainedTokenizerBase) -> Callable[[Movie, Sequence[Movie]], str]:
    """Return a renderer of recommend prompts for an untuned chat model."""

    def render(movie: Movie, candidates: Sequence[Movie]) -> str:
        listed = "\n".join(candidate.label for candidate in candidates)
        ask = f"Someone liked {movie.label}. Choose the 3 most similar movies from this list. Write only their names, "
        return _apply_template(tokenizer, f"{ask}one a line, as they stand in the list.\n\n{listed}")

    return render


def evaluate_encoder_lookup(
    encoder_dir: Path, movies: Sequence[Movie], questions: Sequence[tuple[str, str]], seed: int = 0
) -> LookupScores:
    """Rank the catalogue's labels by the encoder alone.

    Args:
        encoder_dir: a sentence-transformers folder.
        movies: the catalogue.
        questions: (question, tconst) pairs.
        seed: draws the negatives of F1.
    """
    encoder = load_encoder(encoder_dir)
    labels = encode_texts(encoder, [movie.label for movie in movies])  # (N, D)
    asked = encode_texts(encoder, [question for question, _ in questions])  # (Q, D)
    position = {movie.tconst: row for row, movie in enumerate(movies)}
    gold = np.array([position[tconst] for _, tconst in questions])
    cosines = asked @ labels.T  # (Q, N)
    ranks = _rank_of(cosines, gold)
    positive = cosines[np.arange(len(gold)), gold]
    draw = np.random.default_rng(seed).integers(1, max(2, len(movies)), len(gold))
    negative = cosines[np.arange(len(gold)), (gold + draw) % len(movies)]
    return LookupScores(
        hit_1=float((ranks <= 1).mean()),
        hit_10=float((ranks <= 10).mean()),
        mrr=float((1 / ranks).mean()),
        cosine=float(positive.mean()),
        f1=_f1(positive, negative),
        count=len(gold),
    )


def evaluate_pairs(encoder_dir: Path, pairs: Sequence[tuple[str, str, int]]) -> PairScores:
    """Measure mean cosine and F1 over pairs, as published.

    Args:
        encoder_dir: a sentence-transformers folder.
        pairs: (anchor, sample, label) rows, label 1 or 0.
    """
    encoder = load_encoder(encoder_dir)
    texts = sorted({text for anchor, sample, _ in pairs for text in (anchor, sample)})
    row = {text: number for number, text in enumerate(texts)}
    vectors = encode_texts(encoder, texts)  # (N, D)
    anchors = vectors[[row[anchor] for anchor, _, _ in pairs]]
    samples = vectors[[row[sample] for _, sample, _ in pairs]]
    cosines = (anchors * samples).sum(axis=1)  # (P,)
    labels = np.array([label for _, _, label in pairs])
    positive, negative = cosines[labels == 1], cosines[labels == 0]
    return PairScores(float(positive.mean()), _f1(positive, negative), len(positive))


def evaluate_resolver_lookup(
    movies: Sequence[Movie], questions: Sequence[tuple[str, str]], encoder_dir: Path | None = None
) -> LookupScores:
    """Find the movies with the whole resolver: dictionary, spelling, and the encoder where one is given.

    Args:
        movies: the catalogue.
        questions: (question, tconst) pairs.
        encoder_dir: a sentence-transformers folder, or None to go without.
    """
    labels: NDArray[np.float32] | None = None
    asked: Sequence[NDArray[np.float32] | None] = [None] * len(questions)
    if encoder_dir is not None:
        encoder = load_encoder(encoder_dir)
        labels = encode_texts(encoder, [movie.label for movie in movies])
        asked = list(encode_texts(encoder, [question for question, _ in questions]))
    resolver = MovieResolver(movies, labels)
    ranks = []
    for (question, tconst), vector in zip(questions, asked, strict=True):
        found = resolver.resolve(question, resolver.titles.find_mentions(question), label_query=vector)
        ids = [movies[row].tconst for row in found.rows]
        ranks.append(ids.index(tconst) + 1 if tconst in ids else np.inf)
    places = np.array(ranks)
    return LookupScores(
        hit_1=float((places <= 1).mean()),
        hit_10=float((places <= 10).mean()),
        mrr=float((1 / places).mean()),
        cosine=float("nan"),
        f1=float("nan"),
        count=len(places),
    )


def evaluate_ranking(lists: Sequence[RecommendationList], rank: Callable[[str], Sequence[str]]) -> RecommendationScores:
    """Judge any ranking of the catalogue: an encoder's, or by votes.

    Args:
        lists: the lists to agree with.
        rank: a tconst to at least twenty others, best first.
    """
    ranked = [(set(row.recommended), list(rank(row.tconst))) for row in lists]
    return RecommendationScores(
        hit_3=_mean([float(bool(gold & set(found[:3]))) for gold, found in ranked]),
        hit_20=_mean([float(bool(gold & set(found[:20]))) for gold, found in ranked]),
        count=len(ranked),
    )


def rank_by_votes(movies: Sequence[Movie], k: int = 20) -> Callable[[str], list[str]]:
    """Return the popularity baseline: the movies with the most votes, whatever was liked."""
    popular = [movie.tconst for movie in sorted(movies, key=lambda movie: -(movie.votes or 0))[: k + 1]]
    return lambda tconst: [other for other in popular if other != tconst][:k]


def rank_by_encoder(encoder_dir: Path, movies: Sequence[Movie], k: int = 20) -> Callable[[str], list[str]]:
    """Return the encoder's ranking of the movies' texts, the movie itself left out."""
    vectors = encode_texts(load_encoder(encoder_dir), [movie_text(movie) for movie in movies])  # (N, D)
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
    scores = RecommendationScores(_mean(hits), float("nan"), len(hits))
    return ShownScores(scores, _mean(before), _mean(short), _mean(after))


def _rank_of(cosines: NDArray[np.float32], gold: NDArray[np.int64]) -> NDArray[np.float64]:
    own = cosines[np.arange(len(gold)), gold][:, None]
    ahead = (cosines > own).sum(axis=1)
    ties = (cosines == own).sum(axis=1) - 1
    ranks: NDArray[np.float64] = 1 + ahead + ties / 2  # the expected place among equals
    return ranks


def _f1(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> float:
    import torch

    metric = CosineF1()
    cosines = torch.from_numpy(np.concatenate([positive, negative]))
    metric.update(cosines, torch.tensor([1] * len(positive) + [0] * len(negative)))
    return float(metric.compute())


def _apply_template(tokenizer: PreTrainedTokenizerBase, content: str) -> str:
    """Put a request into the model's own chat template; without one, after it "Answer:"."""
    if tokenizer.chat_template is None:
        return f"{content}\nAnswer:"
    messages = [{"role": "user", "content": content}]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    # Where the tokenizer puts the start token before each prompt by itself, the template's own would be a second.
    return text.removeprefix(tokenizer.bos_token or "") if _adds_bos(tokenizer) else text


def _adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    return bool(tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else float("nan")
