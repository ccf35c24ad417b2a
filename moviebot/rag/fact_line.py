"""A fact of the catalogue in one sentence, for a turn that asks for a fact and for recommendations at once."""

import re
from collections.abc import Callable

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie


def _join(names: tuple[str, ...]) -> str:
    cleaned = [clean_text(name) for name in names]
    return " and ".join(part for part in (", ".join(cleaned[:-1]), cleaned[-1]) if part) if cleaned else ""


def _tell_director(movie: Movie) -> str:
    return f"{_name(movie)} was directed by {_join(movie.directors)}." if movie.directors else ""


def _tell_cast(movie: Movie) -> str:
    return f"{_name(movie)} stars {_join(movie.cast[:4])}." if movie.cast else ""


def _tell_length(movie: Movie) -> str:
    return f"{_name(movie)} runs {movie.runtime_minutes} minutes." if movie.runtime_minutes else ""


def _tell_rating(movie: Movie) -> str:
    return f"{_name(movie)} is rated {movie.rating:g}." if movie.rating else ""


def _tell_year(movie: Movie) -> str:
    return f"{clean_text(movie.title)} came out in {movie.year}." if movie.year else ""


def _tell_genres(movie: Movie) -> str:
    return f"{_name(movie)} is filed under {_join(movie.genres)}." if movie.genres else ""


def _tell_plot(movie: Movie) -> str:
    return _first_sentence(movie.description) if movie.description else ""


_TOPICS: tuple[tuple[str, Callable[[Movie], str]], ...] = (
    (r"direct(?:ed|or|s)?\b|who made|filmmaker|behind the camera", _tell_director),
    (
        r"\bwho(?:'s| is| was| are)? (?:in|star\w*|act\w*|play\w*)|\bcast\b|\bact(?:ors?|ress)\b|\bstar(?:s|ring)\b",
        _tell_cast,
    ),
    (r"\bhow long|run(?:ning)? ?time|\blength\b|\bminutes\b", _tell_length),
    (r"\brat(?:ed|ing)|\bscore\b|how good|\bimdb\b", _tell_rating),
    (r"\bwhen\b|what year|which year|\breleased?\b|come out|came out|how old", _tell_year),
    (r"\bgenres?\b|what kind|what type|what sort", _tell_genres),
    (r"\bplot\b|\babout\b|\bstory\b|what happens|\bsummary\b|describe", _tell_plot),
)


def tell_fact(question: str, movie: Movie) -> str:
    """Answer a question about a movie from its facts.

    Args:
        question: the person's words.
        movie: the movie asked about.

    Example:
        >>> tell_fact("who directed it", Movie("tt1", "Up", year=2009, directors=("Pete Docter", "Bob Peterson")))
        'Up (2009) was directed by Pete Docter and Bob Peterson.'
        >>> tell_fact("what did it cost", Movie("tt1", "Up", year=2009))
        "I don't know that about Up (2009)."
    """
    plain = question.lower().replace("’", "'")
    for pattern, tell in _TOPICS:
        if re.search(pattern, plain) and (line := tell(movie)):
            return line
    return f"I don't know that about {_name(movie)}."


def _name(movie: Movie) -> str:
    return clean_text(movie.label)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", clean_text(text))[0]
