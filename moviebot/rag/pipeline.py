"""From a query to an answer: intent, movie, prompt, generated text, checks.

The work is batched: all queries of a call share the encoders' and the language model's batches. Conversations are still
honoured in order: the movie spoken of never depends on generated text, and a query behind a recommendation of its own
conversation waits until the model has chosen what is shown.

Shapes: Q queries, D embedding.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Protocol, runtime_checkable

from moviebot.data.prompts import read_instruction, render_question_prompt
from moviebot.data.schemas import Movie
from moviebot.rag.answer import Answer, Query, show_recommendations
from moviebot.rag.bundle import Bundle
from moviebot.rag.candidates import CandidateRanker
from moviebot.rag.checks import MAX_RECOMMENDATIONS, choose_recommendations, strip_controls
from moviebot.rag.clauses import split_turn
from moviebot.rag.conversation import Conversation, Conversations
from moviebot.rag.endpoint import EndpointError
from moviebot.rag.grounding import ground_answer, guess_loosely, is_beyond_facts
from moviebot.rag.intent import mask_mentions
from moviebot.rag.lookup import StoryLookup
from moviebot.rag.planner import Planner
from moviebot.rag.turn import Turn
from moviebot.rag.wishes import WishReader

logger = logging.getLogger(__name__)


class TextGenerator(Protocol):
    """What the pipeline needs of a language model; :class:`~moviebot.rag.generator.Generator` is one."""

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """Return a continuation of each prompt, in order."""

    def stream(self, prompt: str) -> Iterator[str]:
        """Yield the continuation of a prompt in pieces."""


@runtime_checkable
class TitleChooser(Protocol):
    """What a language model can do that may be held to a list; one behind an endpoint may not."""

    def choose(self, prompt: str, titles: Sequence[str], n: int) -> list[int]:
        """Return the places of ``n`` distinct titles, in the model's order."""


class MovieBot:
    """Answers queries from a bundle.

    Args:
        bundle: from :func:`~moviebot.rag.bundle.load_bundle`.
        generator: the language model, or None to fill everything but the generated text.
        lookup: asked for the story of a movie that has none in the catalogue; None asks nobody.
    """

    def __init__(
        self, bundle: Bundle, generator: TextGenerator | None = None, lookup: StoryLookup | None = None
    ) -> None:
        self.lookup = lookup
        self.movies = bundle.movies
        self.bundle = bundle
        self.generator = generator
        self.resolver = bundle.resolver
        self.titles = self.resolver.reader.titles
        self.ranker = CandidateRanker(bundle.movies, self.titles, bundle.text_index.vectors, bundle.pair_scorer)
        wishes = WishReader(bundle.movies, self.resolver.reader.known)
        self.planner = Planner(bundle.movies, self.ranker, wishes)
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
        # A choice is a few short passes a prompt: it gains nothing from a batch.
        chooses = isinstance(self.generator, TitleChooser)
        written: list[Answer] = []
        for answer in asked:
            if chooses and answer.intent == "recommend":
                self._choose(answer)
            elif self._is_declined_anyway(answer):
                self.finish(answer, "")
            else:
                written.append(answer)
        started = time.perf_counter()
        responses = self.generator.generate([answer.prompt for answer in written]) if written else []
        share = (time.perf_counter() - started) / max(1, len(written))
        for answer, response in zip(written, responses, strict=True):
            answer.seconds["generate"] = share
            self.finish(answer, response)

    def _choose(self, answer: Answer) -> None:
        """Let the model choose among the candidates; it can name no other, and none twice."""
        if not isinstance(self.generator, TitleChooser):
            raise ValueError("the language model can't be held to a list")
        started = time.perf_counter()
        labels = [movie.label for movie in answer.candidates]
        places = self.generator.choose(answer.prompt, labels, MAX_RECOMMENDATIONS)
        answer.seconds["generate"] = time.perf_counter() - started
        self._show(answer, [answer.candidates[place] for place in places])

    def _show(self, answer: Answer, recommended: list[Movie]) -> None:
        answer.recommendations, answer.reasons = recommended, self.planner.make.tell_reasons(answer, recommended)
        answer.answer = show_recommendations(answer)
        if answer.conversation is not None:
            answer.conversation.remember(None, self._rows(recommended))

    def complete(self, answer: Answer) -> Iterator[str]:
        """Let the model write a prepared answer and finish it: what a chat calls, one answer at a time.

        Args:
            answer: from :meth:`prepare`; one without a prompt is whole already.

        Yields:
            An answer to a question in pieces, as the model writes it, without anything that a terminal would obey; a
            list is yielded by no piece. What ``answer.answer`` is afterwards counts: the check may have put another
            text in the model's place. Leaving early stops the model, and leaves the answer as it was prepared.
        """
        if self.generator is None or not answer.prompt:
            return
        if answer.intent == "recommend" and isinstance(self.generator, TitleChooser):
            self._choose(answer)
            return
        if self._is_declined_anyway(answer):  # nothing is shown that would have to be taken back
            self.finish(answer, "")
            return
        started = time.perf_counter()
        pieces: list[str] = []
        try:
            for piece in self.generator.stream(answer.prompt):
                pieces.append(strip_controls(piece))
                yield pieces[-1] if answer.intent == "question" else ""
        except EndpointError as error:  # half a reply is none: the question gets the fact, the list its best candidates
            logger.warning("%s", error)
            pieces = []
        answer.seconds["generate"] = time.perf_counter() - started
        self.finish(answer, "".join(pieces))

    def prepare(self, queries: Sequence[Query]) -> list[Answer]:
        """Do all but the generation: intents, movies, candidates, prompts, and the answers that need no model.

        An answer with a prompt is then to be given to :meth:`finish`, before its conversation goes on.
        """
        return [plan() for plan in self._read(queries)]

    def finish(self, answer: Answer, response: str) -> None:
        """Put the model's text into an answer, checked, and remember what is shown."""
        response = strip_controls(response).strip()
        if answer.intent == "recommend":
            recommended, answer.faults = choose_recommendations(response, answer.candidates)
            self._show(answer, recommended)
            return
        if answer.movie is None:
            raise ValueError("a question was put to the model without a movie")
        # The prompt's question: "the second one" may have been meant by what the person wrote.
        grounded = ground_answer(read_instruction(answer.prompt), response, answer.movie)
        answer.answer, answer.abstained, answer.fallback = grounded.text, grounded.abstained, grounded.fallback
        answer.grounded = True

    def replay(self, query: Query, recommended: Sequence[str]) -> None:
        """Bring a conversation to where an answer left it that was given earlier, in another run.

        Args:
            query: what was said.
            recommended: the tconsts that were recommended.
        """
        [answer] = self.prepare([query])
        if self._is_chosen_by_model(answer):
            chosen = [self.movies[self._row_of[tconst]] for tconst in recommended if tconst in self._row_of]
            self._show(answer, chosen)

    def _rows(self, movies: Sequence[Movie]) -> list[int]:
        return [self._row_of[movie.tconst] for movie in movies]

    @staticmethod
    def _is_declined_anyway(answer: Answer) -> bool:
        """Say whether the check would decline a question whatever the model wrote."""
        if answer.intent != "question" or answer.movie is None:
            return False
        return is_beyond_facts(read_instruction(answer.prompt), answer.movie)

    def _is_chosen_by_model(self, answer: Answer) -> bool:
        return self.generator is not None and answer.intent == "recommend" and bool(answer.prompt)

    def _read(self, queries: Sequence[Query]) -> list[Callable[[], Answer]]:
        """Encode the queries together; return for each what plans its answer, to be called in order."""
        if not queries:
            return []
        texts = [query.text for query in queries]
        started = time.perf_counter()
        found = [self.titles.find_mentions(text) for text in texts]
        mentions = [self.planner.wishes.select(text, spoken) for text, spoken in zip(texts, found, strict=True)]
        masked = [mask_mentions(text, spoken) for text, spoken in zip(texts, mentions, strict=True)]
        parts = [split_turn(text) for text in masked]
        guesses = self.bundle.intent.classify([*masked, *chain.from_iterable(parts)])
        part_guesses = iter(guesses[len(texts) :])
        clauses = [[(part, next(part_guesses)) for part in those] for those in parts]
        intent_share = (time.perf_counter() - started) / len(queries)
        started = time.perf_counter()
        resolutions = self.resolver.resolve(texts)
        # Only a wish that names no movie is compared with the movies' texts as a whole.
        wishes = [n for n in range(len(texts)) if guesses[n].intent == "recommend"]
        encoded = self.bundle.encode_texts([texts[n] for n in wishes]) if wishes else ()
        vectors = dict(zip(wishes, encoded, strict=True))  # (D,) each
        encode_share = (time.perf_counter() - started) / len(queries)

        def plan(n: int) -> Answer:
            started = time.perf_counter()
            turn = Turn(texts[n], masked[n], mentions[n], guesses[n], resolutions[n], vectors.get(n), clauses[n])
            answer = self._plan(turn, self.conversations.get(queries[n].conversation))
            took = encode_share + time.perf_counter() - started
            answer.seconds = {"intent": intent_share, "retrieve": took, "generate": 0.0, "total": 0.0}
            return answer

        return [partial(plan, n) for n in range(len(queries))]

    def _plan(self, turn: Turn, conversation: Conversation) -> Answer:
        answer = self.planner.plan(turn, conversation)
        answer.conversation = conversation
        if self.lookup is not None and answer.prompt and answer.intent == "question":
            self._look_up_story(answer, self.lookup)
        # What the model still has to choose is remembered when it has.
        shown = [] if self._is_chosen_by_model(answer) else self._rows(answer.recommendations)
        conversation.remember(None if answer.movie is None else self._row_of[answer.movie.tconst], shown)
        return answer

    @staticmethod
    def _look_up_story(answer: Answer, lookup: StoryLookup) -> None:
        """Put a story into the facts of a question about one, where the catalogue has none."""
        question = read_instruction(answer.prompt)
        if answer.movie is None or answer.movie.description or guess_loosely(question, answer.movie) != "plot":
            return
        answer.movie, url = lookup.describe(answer.movie)
        if answer.movie.description:
            answer.prompt = render_question_prompt(question, answer.movie)
            answer.looked_up = ", ".join(part for part in (answer.movie.description_source, url) if part)
