"""What a story is about: words of descriptions that name a thing, and that belong to a kind of movie.

"Ghost" and "heist" tell something of a story, "though" and "entire" do not; no list of words is needed to tell them
apart. A theme stands behind an article or the like as nouns do, and is commoner in some genre than chance allows.

Legend: N movies, n descriptions with a word, c of them in a genre of g movies.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from moviebot.data.schemas import Movie

MOST = 0.03
"""A word of more than this share of the descriptions says little."""
LIFT = 1.8
"""How much commoner than by chance, (c / n) / (g / N), in the genre it belongs to; c less one standard deviation."""
NOUN_SHARE = 0.4
"""Share of a word's occurrences that stand behind one of :data:`_DETERMINERS`."""
_DETERMINERS = frozenset(["a", "an", "the", "his", "her", "their", "its", "this", "of", "two", "three", "with", "by"])
_WORD = re.compile(r"(?<![\w'’-])[a-z]{5,}(?![\w'’-])")  # in small letters: no names
_PAIR = re.compile(r"(?<![\w'’-])([\w'’-]+) (?=([a-z]{5,})(?![\w'’-]))")
_NO_THEME = re.compile(r"(ly|ing|ed|ous|ful|ive|est|able|less)$")  # how something is done, or what it is like


class Themes:
    """The themes of a catalogue.

    Args:
        movies: the catalogue, with descriptions.
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        told: Counter[str] = Counter()
        behind: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        by_genre: Counter[tuple[str, str]] = Counter()
        genres = Counter(genre for movie in movies for genre in set(movie.genres))
        for movie in movies:
            words = _find_words(movie.description or "")
            told.update(words)
            by_genre.update((word, genre) for genre in set(movie.genres) for word in words)
            for before, word in _PAIR.findall(movie.description or ""):
                seen[word] += 1
                behind[word] += before.casefold() in _DETERMINERS
        belongs = {
            word
            for (word, genre), count in by_genre.items()
            if count >= 3 and (count - count**0.5) * len(movies) >= LIFT * told[word] * genres[genre]
        }
        most = max(3.0, MOST * len(movies))
        nouns = (word for word in belongs if behind[word] >= NOUN_SHARE * max(1, seen[word]))
        self._count = {word: told[word] for word in nouns if told[word] <= most}

    def find(self, text: str | None) -> list[str]:
        """Return the themes of a text, the rarest first.

        Example:
            >>> ghosts = [Movie(f"tt{n}", "Boo", genres=("Horror",), description="A ghost entire.") for n in range(20)]
            >>> others = [Movie(f"tt{n}", "Hm", genres=("Drama",), description="Talk entire.") for n in range(20, 700)]
            >>> Themes([*ghosts, *others]).find("The ghost is the entire story.")
            ['ghost']
        """
        return sorted((word for word in _find_words(text or "") if word in self._count), key=self._rank)

    def count(self, theme: str) -> int:
        """Return how many descriptions hold a theme."""
        return self._count[theme]

    def _rank(self, theme: str) -> tuple[int, str]:
        return self._count[theme], theme


@lru_cache(maxsize=4096)
def _find_words(text: str) -> frozenset[str]:
    return frozenset(word for word in _WORD.findall(text) if not _NO_THEME.search(word))
