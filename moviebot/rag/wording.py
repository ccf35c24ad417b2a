"""What both faces (the terminal and the web page) tell of an answer, as plain text made from the catalogue."""

import re

from moviebot.data.prompts import clean_text, render_facts
from moviebot.data.schemas import Movie

_IMDB_ID = re.compile(r"tt\d{5,10}", re.ASCII)


def find_link(movie: Movie) -> str | None:
    """Return the movie's page at IMDb, or None where its id is the table's own.

    Example:
        >>> find_link(Movie("tt0113277", "Heat")), find_link(Movie("tt1/../../evil", "Heat"))
        ('https://www.imdb.com/title/tt0113277/', None)
    """
    return f"https://www.imdb.com/title/{movie.tconst}/" if _IMDB_ID.fullmatch(movie.tconst) else None


def tell_source(movie: Movie, looked_up: str = "") -> str:
    """Say where an answer is from.

    Args:
        movie: what it is about.
        looked_up: who else was asked, and where.

    Example:
        >>> tell_source(Movie("tt0113277", "Heat", year=1995))
        'from my catalogue: Heat (1995), https://www.imdb.com/title/tt0113277/'
    """
    link = find_link(movie)
    also = f"; the story from {clean_text(looked_up)}" if looked_up else ""
    return f"from my catalogue: {clean_text(movie.label)}" + (f", {link}" if link else "") + also


def tell_facts(movie: Movie) -> list[tuple[str, str]]:
    """Return the facts that a prompt holds, as (name, value) pairs in its order.

    Example:
        >>> tell_facts(Movie("tt1", "Up", year=2009, runtime_minutes=96))
        [('Release Year', '2009'), ('Runtime(in minutes)', '96')]
    """
    pairs = [line.partition(": ") for line in render_facts(movie).splitlines()]
    return [(name, value) for name, _, value in pairs]
