"""The words by which people name genres, right and misspelt.

Only words that say the genre itself are here: a movie that lacks the genre does not meet the wish. What merely hints at
one ("spooky house", "a heist") is weighed in :mod:`moviebot.rag.candidates`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from rapidfuzz.distance import OSA

from moviebot.data.splits import normalise_title
from moviebot.rag.words import COMMON

# The names a genre goes by in tables, the usual one first, and how people say it.
_GENRES: Mapping[tuple[str, ...], str] = {
    ("action",): "action",
    ("adventure",): "adventure adventures adventurous",
    ("animation",): "animation animations animated cartoon cartoons anime",
    ("biography",): "biography biographies biographical biopic biopics",
    ("comedy",): "comedy comedies comedic funny hilarious",
    ("crime",): "crime",
    ("documentary",): "documentary documentaries doc docs docu",
    ("drama",): "drama dramas dramatic",
    ("family",): "family",
    ("fantasy",): "fantasy fantasies",
    ("film noir",): "film-noir|film noir|film noirs|noir|noirs",
    ("history", "historical"): "history historical historic",
    ("horror",): "horror horrors scary slasher slashers",
    ("music",): "music",
    ("musical", "music"): "musical musicals",
    ("mystery",): "mystery mysteries whodunit whodunits",
    ("romance",): "romance romances romantic",
    ("sci fi", "science fiction", "scifi"): "sci-fi|sci fi|scifi|science fiction|science-fiction|sf",
    ("sport", "sports"): "sport sports",
    ("thriller",): "thriller thrillers",
    ("war",): "war",
    ("western",): "western westerns",
}
_PAIRS = {"rom com": ("romance", "comedy"), "romcom": ("romance", "comedy"), "dramedy": ("drama", "comedy")}
_PAIRS["rom-com"] = _PAIRS["rom com"]
_PAIRS |= {f"{name}s": both for name, both in list(_PAIRS.items())} | {"dramedies": ("drama", "comedy")}
# Words that say a genre only beside a word for movies, or in a list of genres: "a war film", but "lots of war paint".
_ADJACENT = frozenset(("family", "music", "sport", "sports", "history", "scary", "dramatic", "historic", "sf", "doc"))
_MOVIES = r"(?:movies?|films?|flicks?|pictures?|ones?|stuff|genres?|comed(?:y|ies)|dramas?|epics?)"
_LEAST_LETTERS, _TWO_EDITS_FROM = 5, 8


class GenreHit(NamedTuple):
    """A genre named in a text.

    Attributes:
        start: offset of its first character.
        end: offset behind its last.
        genres: what it names, as the catalogue writes it; two for "romcom".
        is_plural: "comedies".
    """

    start: int
    end: int
    genres: frozenset[str]
    is_plural: bool


class GenreReader:
    """Finds the genres of a catalogue in text.

    Args:
        known: the catalogue's genres, normalised.
        vocabulary: words that are no misspellings.

    Example:
        >>> reader = GenreReader({"comedy", "sci fi", "horror"})
        >>> [sorted(hit.genres) for hit in reader.find("a funny science-fiction film, no horor")]
        [['comedy'], ['sci fi'], ['horror']]
    """

    def __init__(self, known: Collection[str], vocabulary: Collection[str] = frozenset()) -> None:
        self.vocabulary = vocabulary
        self._named: dict[str, frozenset[str]] = {}
        for names, said in _GENRES.items():
            here = next((name for name in names if name in known), names[0])
            for word in said.split("|") if "|" in said else said.split():
                self._named[word] = frozenset({here})
        for word, both in _PAIRS.items():
            self._named[word] = frozenset(both)
        covered = frozenset(name for names in _GENRES for name in names)
        for genre in known:  # a table may have genres of its own
            if genre not in covered and genre not in COMMON and len(genre) > 4:
                self._named.setdefault(genre, frozenset({genre}))
        longest_first = sorted(self._named, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![\w'])(?:{'|'.join(map(re.escape, longest_first))})(?!\w|'s\b)")
        self._single = [word for word in self._named if " " not in word and "-" not in word and len(word) >= 5]

    def find(self, text: str) -> list[GenreHit]:
        """Return the genres named in a lower-case text, in order."""
        hits = list(self._find_exact(text))
        taken = [(hit.start, hit.end) for hit in hits]
        for match in re.finditer(r"[a-z]+", text):
            if any(start <= match.start() < end for start, end in taken):
                continue
            if (word := self.correct(match[0])) is not None:
                hits.append(GenreHit(*match.span(), self._named[word], word.endswith("s")))
        return sorted(hits)

    def _find_exact(self, text: str) -> Iterator[GenreHit]:
        for match in self._pattern.finditer(text):
            word = match[0]
            behind, before = text[match.end() :], text[: match.start()]
            if word in _ADJACENT and not re.match(rf"[\s,/-]*(?:(?:and|or)\s+)?(?:[\w-]+ )?{_MOVIES}\b", behind):
                lists = re.search(
                    r"\b(?:no|not|without|nothing|something|anything|bit|any|more)\s+(?:too\s+|really\s+)?$", before
                )
                if not lists and normalise_title(text) != normalise_title(word):
                    continue
            if re.search(
                r"\b(?:about|good|great|the|soundtrack|her|his|my|whole|true|real|love|with)\s+$", before
            ) and (word in ("music", "war", "crime", "family", "history") and not re.match(rf"\s+{_MOVIES}\b", behind)):
                continue  # "a film about war", "with my family"
            yield GenreHit(*match.span(), self._named[word], word.endswith("s") and word not in ("sports", "hilarious"))

    def correct(self, word: str) -> str | None:
        """Return the genre word that a misspelt one stands for, or None."""
        if len(word) < _LEAST_LETTERS or word in COMMON or word in self.vocabulary or word in self._named:
            return None
        edits = 2 if len(word) >= _TWO_EDITS_FROM else 1
        near = [(OSA.distance(word, known, score_cutoff=edits), known) for known in self._single]
        best = min(((far, known) for far, known in near if far <= edits and known[0] == word[0]), default=None)
        return None if best is None else best[1]

    def is_genre(self, text: str) -> bool:
        """Say whether a folded text is nothing but a genre word."""
        return text in self._named
