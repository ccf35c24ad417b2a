"""The texts that stand for a movie in the retrievers' indices, beside its label."""

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie


def movie_text(movie: Movie) -> str:
    """Write a movie as one paragraph; absent facts are left out.

    The label comes first and the description last, so that an encoder's length limit cuts the description.

    Args:
        movie: any movie.

    Returns:
        ``Title (year). Genres. Directed by A. With B, C. Description``

    Example:
        >>> movie_text(Movie("tt1", "Up", year=2009, genres=("Animation", "Comedy"), directors=("Pete Docter",)))
        'Up (2009). Animation, Comedy. Directed by Pete Docter.'
    """
    parts = [movie.label]
    if movie.genres:
        parts.append(", ".join(movie.genres))
    if movie.directors:
        parts.append("Directed by " + ", ".join(movie.directors))
    if movie.cast:
        parts.append("With " + ", ".join(movie.cast))
    text = " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)
    return clean_text(f"{text} {movie.description or ''}".strip())


def story_text(movie: Movie) -> str:
    """Write what a movie tells: its label and its description, for people who describe a movie instead of naming it.

    Without genres and people, which a plot seldom tells: they would take the place of words that it does.

    Example:
        >>> story_text(Movie("tt1", "Up", year=2009, description="An old man flies to South America in his house."))
        'Up (2009). An old man flies to South America in his house.'
    """
    return clean_text(f"{movie.label}. {movie.description or ''}".strip())
