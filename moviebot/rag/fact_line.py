"""A fact of the catalogue in one sentence, for a turn that asks for a fact and for recommendations at once."""

import re
from collections.abc import Callable

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie


def _join(names: tuple[str, ...]) -> str:
    cleaned = [clean_text(name) for name in names]
    return " and ".join(part for part in (", ".join(cleaned[:-1]), cleaned[-1]) if part) if cleaned else ""


_TOPICS: tuple[tuple[str, Callable[[Movie], str]], ...] = (
    (r"direct(?:ed|or|s)?\b|who made|filmmaker|behind the camera", lambda m: _join(m.directors) and f"{_name(m)} was directed by {_join(m.directors)}."),
    (r"\bwho(?:'s| is| was| are)? (?:in|star\w*|act\w*|play\w*)|\bcast\b|\bactors?\b|\bactress|\bstars?\b|\bstarring\b", lambda m: _join(m.cast[:4]) and f"{_name(m)} stars {_join(m.cast[:4])}."),
    (r"\bhow long|run(?:ning)? ?time|\blength\b|\bminutes\b", lambda m: f"{_name(m)} runs {m.runtime_minutes} minutes." if m.runtime_minutes else ""),
    (r"\brat(?:ed|ing)|\bscore\b|how good|\bimdb\b", lambda m: f"{_name(m)} is rated {m.rating:g}." if m.rating else ""),
    (r"\bwhen\b|what year|which year|\breleased?\b|come out|came out|how old", lambda m: f"{clean_text(m.title)} came out in {m.year}." if m.year else ""),
    (r"\bgenres?\b|what kind|what type|what sort", lambda m: f"{_name(m)} is filed under {_join(m.genres)}." if m.genres else ""),
    (r"\bplot\b|\babout\b|\bstory\b|what happens|\bsummary\b|describe", lambda m: _first_sentence(m.description) if m.description else ""),
)  # fmt: skip


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
