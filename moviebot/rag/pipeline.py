"""From a query to an answer: intent, movie, prompt, generated text, checks.

The work is batched: all queries of a call share the encoders' and the language model's batches. Conversations are still
honoured in order, because what they remember (the movie spoken of) never depends on generated text.

Shapes: Q queries, D embedding.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moviebot.data.prompts import is_decline, render_question_prompt, render_recommend_prompt
from moviebot.data.schemas import Movie
from moviebot.errors import UserError
from moviebot.rag.bundle import Bundle
from moviebot.rag.candidates import CandidateRanker
from moviebot.rag.checks import MAX_RECOMMENDATIONS, choose_recommendations, is_grounded
from moviebot.rag.conversation import Conversation, Conversations
from moviebot.rag.intent import Guess, Intent, mask_mentions
from moviebot.rag.resolver import MovieResolver, Resolution
from moviebot.rag.titles import Mention

MAX_QUERY_CHARS = 2000
_SEED_SCORE = 0.6  # a title this likely meant is one that the person likes
_SEED_SPELLING = 0.62  # "movies like the godfahter" names one too; "something funny" does not
HELP = (
    "I can answer questions about a movie (who directed it, who is in it, when it came out, how long it is, what it is "
    "about) and recommend movies, for example ones like a movie you loved."
)
NOT_FOUND = "I couldn't find that movie in my catalogue. Could you give me its title, and the year if you know it?"
NO_CANDIDATES = "I found nothing else to recommend in my catalogue."


class TextGenerator(Protocol):
    """What the pipeline needs of a language model; :class:`~moviebot.rag.generator.Generator` is one."""

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """Return a continuation of each prompt, in order."""

    def stream(self, prompt: str) -> Iterator[str]:
        """Yield the continuation of a prompt in pieces."""


@dataclass(frozen=True)
class Query:
    """A person's words.

    Attributes:
        text: what they wrote.
        conversation: which conversation it belongs to, if any.
    """

    text: str
    conversation: str | None = None


@dataclass
class Answer:
    """What one query came to; the fields of the prediction format.

    Attributes:
        query: the person's words.
        intent: what they want.
        movie: the movie meant, or None.
        movie_score: 0 to 1, how sure that is.
        movie_candidates: up to 10 movies that may be meant, likeliest first, also where ``movie`` is None.
        candidates: the up to 20 movies the prompt offered; recommendations only.
        recommendations: up to three of them.
        answer: the text shown.
        grounded: every number and name of the answer stands in the facts; every recommendation was a candidate.
        abstained: the bot said that it does not know.
        prompt: exactly what the model saw; empty where it was not asked.
        seconds: for each step, this query's share of its batch; ``total`` is their sum.
        faults: lines of the model's list that named no candidate, or one twice.
    """

    query: str
    intent: Intent
    movie: Movie | None = None
    movie_score: float = 0.0
    movie_candidates: list[Movie] = field(default_factory=list)
    candidates: list[Movie] = field(default_factory=list)
    recommendations: list[Movie] = field(default_factory=list)
    answer: str = ""
    grounded: bool = True
    abstained: bool = False
    prompt: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    faults: int = 0

    def as_row(self, identifier: object = None) -> dict[str, Any]:
        """Return the JSON object that ``tools/predict.py`` writes."""
        return {
            "id": identifier,
            "query": self.query,
            "intent": self.intent,
            "movie": _describe(self.movie) if self.movie else None,
            "movie_score": round(self.movie_score, 4),
            "movie_candidates": [movie.tconst for movie in self.movie_candidates],
            "candidates": [movie.tconst for movie in self.candidates],
            "recommendations": [_describe(movie) for movie in self.recommendations],
            "answer": self.answer,
            "grounded": self.grounded,
            "abstained": self.abstained,
            "prompt": self.prompt,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
        }


class MovieBot:
    """Answers queries from a bundle.

    Args:
        bundle: from :func:`~moviebot.rag.bundle.load_bundle`.
        generator: the language model, or None to fill everything but the generated text.
    """

    def __init__(self, bundle: Bundle, generator: TextGenerator | None = None) -> None:
        self.movies = bundle.movies
        self.bundle = bundle
        self.generator = generator
        self.resolver = MovieResolver(bundle.movies, bundle.title_index.vectors, bundle.text_index.vectors)
        self.ranker = CandidateRanker(bundle.movies, self.resolver.titles, bundle.text_index.vectors)
        self.conversations = Conversations()

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer queries, in order.

        Args:
            queries: each of at most :data:`MAX_QUERY_CHARS` characters (see :func:`check_query`).

        Returns:
            One answer a query.
        """
        answers = self.prepare(queries)
        asked = [answer for answer in answers if answer.prompt]
        if self.generator is not None and asked:
            started = time.perf_counter()
            responses = self.generator.generate([answer.prompt for answer in asked])
            share = (time.perf_counter() - started) / len(asked)
            for answer, response in zip(asked, responses, strict=True):
                answer.seconds["generate"] = share
                finish(answer, response)
        for answer in answers:
            answer.seconds["total"] = sum(value for name, value in answer.seconds.items() if name != "total")
        return answers

    def prepare(self, queries: Sequence[Query]) -> list[Answer]:
        """Do all but the generation: intents, movies, candidates, prompts, and the answers that need no model."""
        if not queries:
            return []
        texts = [query.text for query in queries]
        started = time.perf_counter()
        mentions = [self.resolver.titles.find_mentions(text) for text in texts]
        masked = [mask_mentions(text, found) for text, found in zip(texts, mentions, strict=True)]
        guesses = self.bundle.intent.classify(masked)
        intent_share = (time.perf_counter() - started) / len(queries)
        started = time.perf_counter()
        label_vectors = self.bundle.encode_labels(texts)  # (Q, D)
        text_vectors = self.bundle.encode_texts(texts)  # (Q, D)
        encode_share = (time.perf_counter() - started) / len(queries)
        answers = []
        for n, query in enumerate(queries):
            started = time.perf_counter()
            found = self.resolver.resolve(
                query.text, mentions[n], guesses[n].is_description, label_vectors[n], text_vectors[n]
            )
            conversation = self.conversations.get(query.conversation)
            answer = self._plan(query.text, masked[n], mentions[n], guesses[n], found, conversation, text_vectors[n])
            took = encode_share + time.perf_counter() - started
            answer.seconds = {"intent": intent_share, "retrieve": took, "generate": 0.0, "total": 0.0}
            answers.append(answer)
        return answers

    def _plan(
        self,
        text: str,
        masked: str,
        mentions: Sequence[Mention],
        guess: Guess,
        found: Resolution,
        conversation: Conversation,
        vector: NDArray[np.float32],  # (D,)
    ) -> Answer:
        named = bool(mentions) and mentions[0].score >= _SEED_SCORE
        row, score = found.row, found.score
        if not named and (recalled := conversation.recall(text, guess.intent == "recommend")) is not None:
            row, score = recalled, 1.0
        elif not named and guess.intent == "recommend" and score < _SEED_SPELLING:
            row = None  # "I'm looking for a drama" names no movie, whatever it is spelt like
        elif not named and guess.intent == "other":
            row = None
        answer = Answer(
            text,
            guess.intent,
            movie=None if row is None else self.movies[row],
            movie_score=score,
            movie_candidates=[self.movies[candidate] for candidate in found.rows],
        )
        shown: list[int] = []
        if guess.intent == "question":
            self._plan_question(answer)
        elif guess.intent == "recommend":
            shown = self._plan_recommendation(answer, masked, mentions, row, conversation, vector)
        else:
            answer.answer = HELP
        conversation.remember(row, shown)
        return answer

    def _plan_question(self, answer: Answer) -> None:
        if answer.movie is None:
            answer.answer, answer.abstained = NOT_FOUND, True
        else:
            answer.prompt = render_question_prompt(answer.query, answer.movie)

    def _plan_recommendation(
        self,
        answer: Answer,
        masked: str,
        mentions: Sequence[Mention],
        row: int | None,
        conversation: Conversation,
        vector: NDArray[np.float32],  # (D,)
    ) -> list[int]:
        liked = [mention.rows[0] for mention in mentions if mention.score >= _SEED_SCORE]
        seeds = list(dict.fromkeys(liked if row is None else [row, *liked]))
        rows = self.ranker.rank(masked, seeds, vector, exclude=conversation.shown)
        answer.candidates = [self.movies[candidate] for candidate in rows]
        if not rows:
            answer.answer, answer.abstained = NO_CANDIDATES, True
            return []
        # Without a model, and until it has written, the best three candidates stand.
        answer.recommendations = answer.candidates[:MAX_RECOMMENDATIONS]
        answer.answer = show_recommendations(answer)
        if answer.movie is not None:
            answer.prompt = render_recommend_prompt(answer.movie, answer.candidates, MAX_RECOMMENDATIONS)
        return rows[:MAX_RECOMMENDATIONS]


def finish(answer: Answer, response: str) -> None:
    """Put the model's text into an answer, checked."""
    if answer.intent == "recommend":
        answer.recommendations, answer.faults = choose_recommendations(response, answer.candidates)
        answer.answer = show_recommendations(answer)
        return
    if answer.movie is None:
        raise ValueError("a question was put to the model without a movie")
    answer.answer = response.strip() or NOT_FOUND
    answer.abstained = is_decline(answer.answer) or not response.strip()
    answer.grounded = is_grounded(answer.answer, answer.movie, answer.query)


def show_recommendations(answer: Answer) -> str:
    """Write the recommendations as the person sees them."""
    titles = "\n".join(f"- {movie.label}" for movie in answer.recommendations)
    if answer.movie is None:
        return f"You could watch:\n{titles}"
    return f"If you liked {answer.movie.label}, you could watch:\n{titles}"


def check_query(text: str) -> str:
    """Return a query, or raise where it can't be answered.

    Raises:
        UserError: it is empty, or longer than :data:`MAX_QUERY_CHARS` characters.
    """
    if not text.strip():
        raise UserError("the query is empty: ask something")
    if len(text) > MAX_QUERY_CHARS:
        raise UserError(f"the query has {len(text):,} characters, at most {MAX_QUERY_CHARS:,} are read: shorten it")
    return text


def _describe(movie: Movie) -> dict[str, Any]:
    return {"tconst": movie.tconst, "title": movie.title, "year": movie.year}
