"""From a query to an answer: intent, movie, prompt, generated text, checks.

The work is batched: all queries of a call share the encoders' and the language model's batches. Conversations are still
honoured in order: the movie spoken of never depends on generated text, and a query behind a recommendation of its own
conversation waits until the model has chosen what is shown.

Shapes: Q queries, D embedding.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moviebot.data.prompts import is_decline, render_question_prompt, render_recommend_prompt
from moviebot.data.schemas import Movie
from moviebot.rag.answer import HELP, NO_CANDIDATES, NOT_FOUND, Answer, Query, ask_which, show_recommendations
from moviebot.rag.bundle import Bundle
from moviebot.rag.candidates import CandidateRanker
from moviebot.rag.checks import MAX_RECOMMENDATIONS, choose_recommendations, is_grounded, strip_controls
from moviebot.rag.conversation import Conversation, Conversations
from moviebot.rag.intent import Guess, mask_mentions
from moviebot.rag.resolver import MAX_CANDIDATES, Resolution
from moviebot.rag.titles import Mention

_SEED_SCORE = 0.6  # a title this likely meant is one that the person likes
_SEED_SURE = 0.5  # or one that is this likely meant: "movies like the godfahter", but not "something funny"


class TextGenerator(Protocol):
    """What the pipeline needs of a language model; :class:`~moviebot.rag.generator.Generator` is one."""

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """Return a continuation of each prompt, in order."""

    def stream(self, prompt: str) -> Iterator[str]:
        """Yield the continuation of a prompt in pieces."""


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
        self.resolver = bundle.resolver
        self.titles = self.resolver.reader.titles
        self.ranker = CandidateRanker(bundle.movies, self.titles, bundle.text_index.vectors, bundle.pair_scorer)
        self.conversations = Conversations()
        self._row_of = {movie.tconst: row for row, movie in enumerate(bundle.movies)}

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer queries, in order.

        Args:
            queries: each one that :func:`~moviebot.rag.answer.check_query` lets pass.

        Returns:
            One answer a query. Where this raises, the conversations are as they were before.
        """
        before = self.conversations.snapshot()
        try:
            return self._answer(queries)
        except BaseException:
            self.conversations.restore(before)
            raise

    def _answer(self, queries: Sequence[Query]) -> list[Answer]:
        plans = self._read(queries)
        answers: dict[int, Answer] = {}
        waiting = list(range(len(queries)))
        while waiting:
            # What the model chooses decides what the same conversation may be offered next: that waits a round.
            choosing: set[str | None] = set()
            later: list[int] = []
            planned: list[Answer] = []
            for n in waiting:
                if queries[n].conversation in choosing:
                    later.append(n)
                    continue
                answers[n] = plans[n]()
                planned.append(answers[n])
                if queries[n].conversation is not None and self._is_chosen_by_model(answers[n]):
                    choosing.add(queries[n].conversation)
            self._generate([answer for answer in planned if answer.prompt])
            waiting = later
        for answer in answers.values():
            answer.seconds["total"] = sum(value for name, value in answer.seconds.items() if name != "total")
        return [answers[n] for n in range(len(queries))]

    def _generate(self, asked: Sequence[Answer]) -> None:
        if self.generator is None or not asked:
            return
        started = time.perf_counter()
        responses = self.generator.generate([answer.prompt for answer in asked])
        share = (time.perf_counter() - started) / len(asked)
        for answer, response in zip(asked, responses, strict=True):
            answer.seconds["generate"] = share
            self.finish(answer, response)

    def prepare(self, queries: Sequence[Query]) -> list[Answer]:
        """Do all but the generation: intents, movies, candidates, prompts, and the answers that need no model.

        An answer with a prompt is then to be given to :meth:`finish`, before its conversation goes on.
        """
        return [plan() for plan in self._read(queries)]

    def finish(self, answer: Answer, response: str) -> None:
        """Put the model's text into an answer, checked, and remember what is shown."""
        response = strip_controls(response).strip()
        if answer.intent == "recommend":
            answer.recommendations, answer.faults = choose_recommendations(response, answer.candidates)
            answer.answer = show_recommendations(answer)
            if answer.conversation is not None:
                answer.conversation.remember(None, self._rows(answer.recommendations))
            return
        if answer.movie is None:
            raise ValueError("a question was put to the model without a movie")
        answer.answer = response or NOT_FOUND
        answer.abstained = is_decline(answer.answer) or not response
        answer.grounded = is_grounded(answer.answer, answer.movie, answer.query)

    def remember(self, conversation: str, movie: str | None, shown: Sequence[str]) -> None:
        """Note an answer that was given earlier, in another run.

        Args:
            conversation: its id.
            movie: the tconst of the movie it was about, if any.
            shown: the tconsts recommended.
        """
        rows = [self._row_of[tconst] for tconst in shown if tconst in self._row_of]
        self.conversations.get(conversation).remember(None if movie is None else self._row_of.get(movie), rows)

    def _rows(self, movies: Sequence[Movie]) -> list[int]:
        return [self._row_of[movie.tconst] for movie in movies]

    def _is_chosen_by_model(self, answer: Answer) -> bool:
        return self.generator is not None and answer.intent == "recommend" and bool(answer.prompt)

    def _read(self, queries: Sequence[Query]) -> list[Callable[[], Answer]]:
        """Encode the queries together; return for each what plans its answer, to be called in order."""
        if not queries:
            return []
        texts = [query.text for query in queries]
        started = time.perf_counter()
        mentions = [self.titles.find_mentions(text) for text in texts]
        masked = [mask_mentions(text, found) for text, found in zip(texts, mentions, strict=True)]
        guesses = self.bundle.intent.classify(masked)
        intent_share = (time.perf_counter() - started) / len(queries)
        started = time.perf_counter()
        resolutions = self.resolver.resolve(texts)
        # Only a wish that names no movie is compared with the movies' texts as a whole.
        wishes = [n for n, guess in enumerate(guesses) if guess.intent == "recommend"]
        encoded = self.bundle.encode_texts([texts[n] for n in wishes]) if wishes else ()
        vectors = dict(zip(wishes, encoded, strict=True))  # (D,) each
        encode_share = (time.perf_counter() - started) / len(queries)

        def plan(n: int) -> Answer:
            started = time.perf_counter()
            query = queries[n]
            conversation = self.conversations.get(query.conversation)
            answer = self._plan(
                query.text, masked[n], mentions[n], guesses[n], resolutions[n], conversation, vectors.get(n)
            )
            took = encode_share + time.perf_counter() - started
            answer.seconds = {"intent": intent_share, "retrieve": took, "generate": 0.0, "total": 0.0}
            return answer

        return [partial(plan, n) for n in range(len(queries))]

    def _plan(
        self,
        text: str,
        masked: str,
        mentions: Sequence[Mention],
        guess: Guess,
        found: Resolution,
        conversation: Conversation,
        vector: NDArray[np.float32] | None,  # (D,)
    ) -> Answer:
        named = bool(mentions) and mentions[0].score >= _SEED_SCORE
        row, score = found.row, found.score
        if not named and (recalled := conversation.recall(text, guess.intent == "recommend")) is not None:
            row, score = recalled, 1.0
        elif not named and guess.intent == "recommend" and score < _SEED_SURE:
            row = None  # "I'm looking for a drama" names no movie, whatever it is spelt like
        elif not named and guess.intent == "other":
            row = None
        # A recalled movie stands nowhere in the query, but is the likeliest all the same.
        meant = list(dict.fromkeys(found.rows if row is None else (row, *found.rows)))
        answer = Answer(
            text,
            guess.intent,
            movie=None if row is None else self.movies[row],
            movie_score=score,
            movie_candidates=[self.movies[candidate] for candidate in meant[:MAX_CANDIDATES]],
            conversation=conversation,
        )
        if guess.intent == "question":
            self._plan_question(answer, [self.movies[choice] for choice in found.choices])
        elif guess.intent == "recommend":
            self._plan_recommendation(answer, masked, mentions, row, conversation, vector)
        else:
            answer.answer = HELP
        # What the model still has to choose is remembered when it has.
        shown = [] if self._is_chosen_by_model(answer) else self._rows(answer.recommendations)
        conversation.remember(row, shown)
        return answer

    def _plan_question(self, answer: Answer, choices: Sequence[Movie]) -> None:
        if answer.movie is None:
            answer.answer, answer.abstained = ask_which(choices) if choices else NOT_FOUND, True
        else:
            answer.prompt = render_question_prompt(answer.query, answer.movie)

    def _plan_recommendation(
        self,
        answer: Answer,
        masked: str,
        mentions: Sequence[Mention],
        row: int | None,
        conversation: Conversation,
        vector: NDArray[np.float32] | None,  # (D,)
    ) -> None:
        liked = [mention.rows[0] for mention in mentions if mention.score >= _SEED_SCORE]
        seeds = list(dict.fromkeys(liked if row is None else [row, *liked]))
        rows = self.ranker.rank(masked, seeds, vector, exclude=conversation.shown)
        answer.candidates = [self.movies[candidate] for candidate in rows]
        if not rows:
            answer.answer, answer.abstained = NO_CANDIDATES, True
            return
        # Without a model, and until it has written, the best three candidates stand.
        answer.recommendations = answer.candidates[:MAX_RECOMMENDATIONS]
        answer.answer = show_recommendations(answer)
        if answer.movie is not None:
            answer.prompt = render_recommend_prompt(answer.movie, answer.candidates, MAX_RECOMMENDATIONS)
