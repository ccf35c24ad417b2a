"""Why a movie was recommended, told from the catalogue where no reason was written with it."""

from collections.abc import Sequence

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie
from moviebot.rag.constraints import Constraints
from moviebot.rag.words import fold


def explain(movie: Movie, liked: Sequence[Movie], constraints: Constraints) -> str:
    """Say what a movie shares with the movies that it was recommended for, and which conditions it meets.

    Example:
        >>> heat = Movie("tt1", "Heat", year=1995, genres=("Crime", "Drama"), cast=("Al Pacino",))
        >>> other = Movie("tt2", "Scarface", year=1983, genres=("Crime",), cast=("Al Pacino",))
        >>> explain(other, [heat], Constraints())
        'I picked Scarface (1983) because it shares Al Pacino and the genre Crime with Heat (1995).'
    """
    parts = []
    for one in liked[:3]:
        people = [name for name in dict.fromkeys((*movie.directors, *movie.cast)) if _took_part(one, name)][:3]
        genres = [genre for genre in movie.genres if genre in one.genres][:3]
        shared = people + ([f"the genre{'s' * (len(genres) > 1)} {', '.join(genres)}"] if genres else [])
        if shared:
            listed = " and ".join(part for part in (", ".join(shared[:-1]), shared[-1]) if part)
            parts.append(f"it shares {clean_text(listed)} with {clean_text(one.label)}")
    if constraints:
        parts.append(f"it fits what you asked for: {clean_text(constraints.describe())}")
    if not parts:
        facts = [", ".join(movie.genres)] if movie.genres else []
        facts += [f"rated {movie.rating:g}"] if movie.rating else []
        told = f" ({clean_text('; '.join(facts))})" if facts else ""
        return (
            f"I picked {clean_text(movie.label)} because it came closest to your words among the movies I know{told}."
        )
    return f"I picked {clean_text(movie.label)} because {', and '.join(parts)}."


def _took_part(movie: Movie, name: str) -> bool:
    plain = fold(name)
    return any(fold(other) == plain for other in (*movie.directors, *movie.cast))
