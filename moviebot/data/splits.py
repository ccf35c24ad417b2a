"""Which movies train, which validate, which test.

A split belongs to a movie, not to a row: whatever is written about a movie (questions, lists, pairs) is on one side.
The side follows from a hash of the normalised title, so that it never changes when movies are added, and remakes that
share a title stay together.
"""

import hashlib
import unicodedata
from collections.abc import Iterable

from moviebot.data.schemas import Movie, Split

VAL_SHARE = 0.10
TEST_SHARE = 0.20


def assign_split(title: str, seed: int = 0) -> Split:
    """Return the split of all movies of this title.

    Args:
        title: the movie's title; case, accents and punctuation do not matter.
        seed: another seed gives another draw.

    Example:
        >>> assign_split("Amélie") == assign_split("AMELIE")
        True
    """
    digest = hashlib.sha256(f"{seed}:{normalise_title(title)}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < TEST_SHARE:
        return "test"
    return "val" if position < TEST_SHARE + VAL_SHARE else "train"


def split_movies(movies: Iterable[Movie], seed: int = 0) -> dict[str, Split]:
    """Return the split of each movie, by its id."""
    return {movie.tconst: assign_split(movie.title, seed) for movie in movies}


def normalise_title(title: str) -> str:
    """Fold case, accents and punctuation: ``"The Lord of the Rings: ..."`` -> ``"the lord of the rings ..."``.

    Letters of scripts without a Latin form are kept as they are; a title of punctuation alone keeps its characters.
    """
    folded = "".join(c for c in unicodedata.normalize("NFKD", title.casefold()) if not unicodedata.combining(c))
    words = "".join(c if c.isalnum() else " " for c in folded.replace("'", "").replace("’", "")).split()
    return " ".join(words) or folded.strip()
