"""Makes answers for the planner: begun for a turn, said, or filled with the candidates of a wish and their reasons."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from moviebot.data.prompts import render_recommend_prompt
from moviebot.data.schemas import Movie
from moviebot.data.splits import group_movies
from moviebot.rag.answer import NO_CANDIDATES, Answer, frame, show_recommendations, tell_none_fits
from moviebot.rag.candidates import CandidateRanker
from moviebot.rag.checks import MAX_RECOMMENDATIONS
from moviebot.rag.conversation import Conversation, Wish
from moviebot.rag.intent import Intent
from moviebot.rag.reasons import ReasonTeller
from moviebot.rag.resolver import MAX_CANDIDATES
from moviebot.rag.turn import Turn
from moviebot.rag.wishes import weigh_moods


class AnswerMaker:
    """Makes answers.

    Args:
        movies: the catalogue.
        ranker: ranks it for a wish.
    """

    def __init__(self, movies: Sequence[Movie], ranker: CandidateRanker) -> None:
        self.movies = movies
        self.ranker = ranker
        self.reasons = ReasonTeller(movies)

    def rank(self, answer: Answer, wish: Wish, conversation: Conversation) -> Answer:
        """Fill in the candidates of a wish."""
        conversation.wish, conversation.last = wish, answer
        barred = self._bar(wish, conversation)
        rows = self.ranker.rank(
            wish.text,
            wish.seeds,
            wish.vector,
            barred,
            constraints=wish.constraints or None,
            worth=weigh_moods(wish.moods),
        )
        seed = wish.seeds[0] if wish.seeds else None
        if seed is not None:
            answer.movie, answer.liked = self.movies[seed], [self.movies[row] for row in wish.seeds]
            known = [movie for movie in answer.movie_candidates if movie is not answer.movie]
            answer.movie_candidates = [answer.movie, *known][:MAX_CANDIDATES]
        answer.candidates = [self.movies[row] for row in rows]
        if not rows:
            answer.abstained = True
            answer.answer = frame(answer, self._tell_none(wish, barred, conversation))
            return answer
        if len(rows) < MAX_RECOMMENDATIONS and wish.constraints:
            only = "Only this one fits" if len(rows) == 1 else "Only these two fit"
            left = " and was not shown yet" if len(rows) == 1 else " and were not shown yet"
            answer.notes.append(
                f"{only} all of that ({wish.constraints.describe()}){left if conversation.shown else ''}."
            )
        # Without a model, and until it has written, the best three candidates stand.
        answer.recommendations = answer.candidates[:MAX_RECOMMENDATIONS]
        answer.reasons = self.explain(answer.query, answer.recommendations, wish)
        answer.answer = show_recommendations(answer)
        if answer.movie is not None:
            answer.prompt = render_recommend_prompt(answer.movie, answer.candidates, MAX_RECOMMENDATIONS)
        return answer

    def _bar(self, wish: Wish, conversation: Conversation) -> set[int]:
        """Return the rows that must not be shown."""
        barred = {*conversation.shown, *conversation.seen, *conversation.likes}
        for row in (*conversation.dislikes, *wish.excluded):
            barred |= self._series[self._groups[self.movies[row].tconst]]
        return barred

    def _tell_none(self, wish: Wish, barred: set[int], conversation: Conversation) -> str:
        if not wish.constraints:
            return NO_CANDIDATES
        free = np.ones(len(self.movies), dtype=bool)
        free[[*barred, *wish.seeds]] = False
        relaxed = [
            (condition, int((rest.allow(self.movies) & free).sum()), rest)
            for condition, rest in wish.constraints.split()
        ]
        relaxed = sorted((one for one in relaxed if one[1]), key=lambda one: -one[1])
        if relaxed:
            conversation.offered = replace(wish, constraints=relaxed[0][2])
        return tell_none_fits(wish.constraints.describe(), [one[:2] for one in relaxed], bool(conversation.shown))

    def tell_reasons(self, answer: Answer, movies: Sequence[Movie]) -> list[str]:
        """Return why each movie is recommended, a phrase each; see :class:`ReasonTeller`.

        Args:
            answer: to which they are recommended.
            movies: what is shown.
        """
        wish = answer.conversation.wish if answer.conversation is not None else None
        return self.explain(answer.query, movies, wish or Wish())

    def explain(self, query: str, movies: Sequence[Movie], wish: Wish) -> list[str]:
        """Return why each movie fits a wish and the words that it was told in, a phrase each."""
        liked = [self.movies[seed] for seed in wish.seeds]
        # What was asked for in the turns before is no part of the query: "something newer".
        asked = f"{wish.constraints.describe()} {query}"
        return [self.reasons.tell(movie, liked, asked) for movie in movies]

    def start(self, turn: Turn, intent: Intent, row: int | None = None, score: float = 0.0, text: str = "") -> Answer:
        """Begin the answer to a turn: about the movie of a row, or about none."""
        # A recalled movie stands nowhere in the query, but is the likeliest all the same.
        meant = list(dict.fromkeys(turn.found.rows if row is None else (row, *turn.found.rows)))
        return Answer(
            turn.text,
            intent,
            movie=None if row is None else self.movies[row],
            movie_score=score,
            movie_candidates=[self.movies[candidate] for candidate in meant[:MAX_CANDIDATES]],
            answer=text,
        )

    def say(self, turn: Turn, intent: Intent, text: str) -> Answer:
        """Answer a turn with a text about no movie."""
        return self.start(turn, intent, text=text)

    @cached_property
    def _groups(self) -> dict[str, str]:
        return group_movies(self.movies)

    @cached_property
    def _series(self) -> dict[str, set[int]]:
        rows: dict[str, set[int]] = defaultdict(set)
        for row, movie in enumerate(self.movies):
            rows[self._groups[movie.tconst]].add(row)
        return rows
