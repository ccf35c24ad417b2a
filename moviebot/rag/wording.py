"""What both faces (the terminal and the web page) tell of an answer, as plain text made from the catalogue."""

import re

from moviebot.data.prompts import clean_text, render_facts
from moviebot.data.schemas import Movie
from moviebot.rag.answer import Answer

_IMDB_ID = re.compile(r"tt\d{5,10}", re.ASCII)
_MAX_FACTS = 3


def find_link(movie: Movie) -> str | None:
    """Return the movie's page at IMDb, or None where its id is the table's own.

    Example:
        >>> find_link(Movie("tt0113277", "Heat")), find_link(Movie("tt1/../../evil", "Heat"))
        ('https://www.imdb.com/title/tt0113277/', None)
    """
    return f"https://www.imdb.com/title/{movie.tconst}/" if _IMDB_ID.fullmatch(movie.tconst) else None


def tell_source(movie: Movie) -> str:
    """Say where an answer is from.

    Example:
        >>> tell_source(Movie("tt0113277", "Heat", year=1995))
        'from my catalogue: Heat (1995), https://www.imdb.com/title/tt0113277/'
    """
    link = find_link(movie)
    return f"from my catalogue: {clean_text(movie.label)}" + (f", {link}" if link else "")


def tell_heading(answer: Answer) -> str:
    """Return what an answer says above its list of recommendations; the faces lay the list out themselves."""
    lines = [line for line in answer.answer.splitlines() if not line.startswith(("- ", "  "))]
    return "\n".join(lines).strip()


def tell_reasons(answer: Answer) -> list[str]:
    """Return a reason for each recommendation, empty where there is none: the answer's own, or what the movies share.

    Example:
        >>> heat, ronin = Movie("tt1", "Heat", genres=("Crime",)), Movie("tt2", "Ronin", genres=("Action", "Crime"))
        >>> tell_reasons(Answer("like Heat", "recommend", movie=heat, recommendations=[ronin]))
        ['also Crime']
    """
    told = [clean_text(reason) for reason in answer.reasons[: len(answer.recommendations)]]
    told += [""] * (len(answer.recommendations) - len(told))
    if answer.movie is None:
        return told
    return [
        reason or _tell_shared(answer.movie, movie) for reason, movie in zip(told, answer.recommendations, strict=True)
    ]


def tell_facts(movie: Movie) -> list[tuple[str, str]]:
    """Return the facts that a prompt holds, as (name, value) pairs in its order.

    Example:
        >>> tell_facts(Movie("tt1", "Up", year=2009, runtime_minutes=96))
        [('Release Year', '2009'), ('Runtime(in minutes)', '96')]
    """
    pairs = [line.partition(": ") for line in render_facts(movie).splitlines()]
    return [(name, value) for name, _, value in pairs]


def _tell_shared(seed: Movie, movie: Movie) -> str:
    shared = (
        ("also directed by", [name for name in movie.directors if name in seed.directors]),
        ("also with", [name for name in movie.cast if name in seed.cast]),
        ("also", [genre for genre in movie.genres if genre in seed.genres]),
    )
    told = [f"{words} {', '.join(found[:_MAX_FACTS])}" for words, found in shared if found]
    return clean_text("; ".join(told[:2]))
