"""A query, what it came to, and the words in which that is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie
from moviebot.data.template_teacher import join_names
from moviebot.errors import UserError
from moviebot.rag.conversation import Conversation
from moviebot.rag.intent import Intent

MAX_QUERY_CHARS = 2000
_MOST_LIKED = 3  # named above a list
HELP = (
    "I can answer questions about a movie (who directed it, who is in it, when it came out, how long it is, what it is "
    "about) and recommend movies, for example ones like a movie you loved."
)
NOT_FOUND = "I couldn't find that movie in my catalogue. Could you give me its title, and the year if you know it?"
NO_CANDIDATES = "I found nothing else to recommend in my catalogue."
START_OVER = "All right, we start over. What are you in the mood for, or which movie do you want to know about?"
NOTHING_SHOWN = "I haven't recommended that one. Ask me for a recommendation, or about a movie."


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
        grounded: the facts bear the answer out; every recommendation was a candidate.
        abstained: the bot said that it does not know.
        prompt: exactly what the model saw; empty where it was not asked.
        seconds: for each step, this query's share of its batch; ``total`` is their sum.
        faults: lines of the model's list that named no candidate, or one twice.
        reasons: why each recommendation, in its order, told from the catalogue; empty where none is told.
        liked: the movies that the recommendations are to be like; ``movie`` is the first.
        preface: what is said before the recommendations: a fact asked for in the same turn, or what was noted.
        notes: what is said behind them: what the catalogue cannot tell, or that no more fit.
        fallback: the answer to a question is not the model's: its own failed the check, or there was none.
        looked_up: where the story in the facts was looked up; empty where all facts are the catalogue's.
        conversation: the thread it belongs to, which is told what was shown.
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
    reasons: list[str] = field(default_factory=list)
    liked: list[Movie] = field(default_factory=list)
    preface: str = ""
    notes: list[str] = field(default_factory=list)
    fallback: bool = False
    looked_up: str = ""
    conversation: Conversation | None = field(default=None, repr=False)

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


def show_recommendations(answer: Answer) -> str:
    """Write the recommendations as the person sees them: numbered, so that "the second one" is plain, with reasons."""
    reasons = answer.reasons or [""] * len(answer.recommendations)
    lines = [
        f"{place}. {clean_text(movie.label)}" + (f": {clean_text(reason)}" if reason else "")
        for place, (movie, reason) in enumerate(zip(answer.recommendations, reasons, strict=True), start=1)
    ]
    movies = answer.liked or ([] if answer.movie is None else [answer.movie])
    liked = [clean_text(movie.label) for movie in movies]
    opening = f"If you liked {join_names(liked[:_MOST_LIKED])}, you could" if liked else "You could"
    return frame(answer, "\n".join([f"{opening} watch:", *lines]))


def frame(answer: Answer, text: str) -> str:
    """Put an answer's preface before a text and its notes behind it, a line each."""
    return "\n".join(part for part in (answer.preface, text, *answer.notes) if part)


def tell_none_fits(described: str, relaxed: Sequence[tuple[str, int]], shown_some: bool = False) -> str:
    """Say that no movie meets all conditions, and which one to give up.

    Args:
        described: the conditions in words.
        relaxed: conditions, each with how many movies there are without it; the best first.
        shown_some: movies that meet them may have been shown before.

    Example:
        >>> print(tell_none_fits("western, from 2015 on", [("from 2015 on", 4)]))
        No movie I know is all of that: western, from 2015 on. Without "from 2015 on" there are 4: shall I leave it out?
    """
    nothing = f"No {'other ' * shown_some}movie I know is all of that: {clean_text(described)}."
    if not relaxed:
        return f"{nothing} You could ask for less at once."
    condition, count = relaxed[0]
    there = "is 1" if count == 1 else f"are {count}"
    return f'{nothing} Without "{clean_text(condition)}" there {there}: shall I leave it out?'


def ask_which(movies: Sequence[Movie]) -> str:
    """Ask which of up to three movies is meant.

    Example:
        >>> ask_which([Movie("tt1", "Up", year=2009), Movie("tt2", "Her", year=2013)])
        'I am not sure which movie you mean. Did you mean Up (2009) or Her (2013)?'
    """
    names = [clean_text(movie.label) for movie in movies]
    listed = " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
    return f"I am not sure which movie you mean. Did you mean {listed}?"


def check_query(text: str) -> str:
    """Return a query, or raise where it can't be answered.

    Raises:
        UserError: it is empty, longer than :data:`MAX_QUERY_CHARS` characters, or no valid Unicode.
    """
    if not text.strip():
        raise UserError("the query is empty: ask something")
    if len(text) > MAX_QUERY_CHARS:
        raise UserError(f"the query has {len(text):,} characters, at most {MAX_QUERY_CHARS:,} are read: shorten it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # a lone surrogate: bytes that were no UTF-8, or half of a JSON escape
        raise UserError("the query is not valid Unicode: write it again") from error
    return text


def _describe(movie: Movie) -> dict[str, Any]:
    return {"tconst": movie.tconst, "title": movie.title, "year": movie.year}
