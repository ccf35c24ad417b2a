"""The people of a catalogue, by name, by surname, and misspelt."""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

from moviebot.data.schemas import Movie
from moviebot.rag.constraints import Person, Role
from moviebot.rag.words import COMMON, Word, fold, split_words

_MOST_WORDS = 4
_LEAST_LIKENESS = 0.82
_FAMOUS = 500_000  # votes of all the movies that a person had a part in
_DIRECTED = re.compile(
    r"(?:\b(?:by|from director|from the director|directors?|director's|filmmakers?|helmed by|by "
    r"director)|\bdirected)\s+(?:by\s+)?$",
    re.I,
)
_STARRED = re.compile(
    r"\b(?:with|starring|stars|starred|featuring|features|feature|actors?|actress(?:es)?|casts?|has|"
    r"have|including|includes|"
    r"that has|where)\s+(?:the (?:actor|actress)\s+)?$",
    re.I,
)
_MOVIES_BEHIND = re.compile(
    r"(?:['’]s?)?\s+(?:movies?|films?|flicks?|pictures?|ones?|comed(?:y|ies)|dramas?|thrillers?)\b", re.I
)
_LISTED = re.compile(r"(?:,|\band\b|\bor\b|&|/)\s*$", re.I)


class PersonHit(NamedTuple):
    """Somebody named in a text.

    Attributes:
        start: offset of the name's first character.
        end: offset behind its last.
        person: who, and the role that the words around the name tell.
        is_exact: the whole name stands there as the catalogue writes it.
    """

    start: int
    end: int
    person: Person
    is_exact: bool


class PeopleIndex:
    """Finds a catalogue's directors and actors in text.

    Args:
        movies: the catalogue.

    Example:
        >>> people = PeopleIndex([Movie("tt1", "Up", directors=("Pete Docter",), cast=("Ed Asner",), votes=9)])
        >>> [(hit.person.shown, hit.person.role) for hit in people.find("something by Docter, with Ed Asnre")]
        [('Pete Docter', 'director'), ('Ed Asner', 'cast')]
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self._shown: dict[str, str] = {}
        self._roles: dict[str, set[Role]] = defaultdict(set)
        self._fame: dict[str, int] = defaultdict(int)
        for movie in movies:
            credits: tuple[tuple[Role, Sequence[str]], ...] = (("director", movie.directors), ("cast", movie.cast))
            for role, names in credits:
                for name in names:
                    plain = fold(name)
                    self._shown.setdefault(plain, name)
                    self._roles[plain].add(role)
                    self._fame[plain] += (movie.votes or 0) + 1
        self._by_surname: dict[str, list[str]] = defaultdict(list)
        for plain in self._shown:
            if " " in plain:
                self._by_surname[plain.split()[-1]].append(plain)

    @cached_property
    def _names(self) -> list[str]:
        return [name for name in self._shown if " " in name]

    def find(self, text: str, fuzzy: bool = True) -> list[PersonHit]:
        """Return who is named in a text, in order.

        Args:
            text: the person's words, titles in it masked.
            fuzzy: look for misspelt names too.
        """
        words = split_words(text)
        hits: list[PersonHit] = []
        at = 0
        while at < len(words):
            hit, used = self._read_at(text, words, at, hits, fuzzy)
            if hit is not None:
                hits.append(hit)
            at += used
        return hits

    def _read_at(
        self, text: str, words: Sequence[Word], at: int, hits: Sequence[PersonHit], fuzzy: bool
    ) -> tuple[PersonHit | None, int]:
        start = words[at].start
        before = text[:start]
        role = self._read_role(before, hits)
        for length in range(min(_MOST_WORDS, len(words) - at), 0, -1):
            plain, end = _join(words[at : at + length])
            if plain not in self._shown or (length == 1 and (role is None or plain in COMMON)):
                continue
            return PersonHit(start, end, self._cast_as(plain, role), True), length
        plain, end = _join(words[at : at + 1])
        if plain in COMMON:
            return None, 1
        film_of = _MOVIES_BEHIND.match(text[end:]) and (words[at].text[0].isupper() or self._is_famous(plain))
        if (role is not None or film_of) and (known := self._by_surname.get(plain)):
            wanted = [name for name in known if role is None or role in self._roles[name]] or known
            best = max(wanted, key=lambda name: self._fame[name])
            return PersonHit(start, end, self._cast_as(best, role), False), 1
        if not fuzzy:
            return None, 1
        for length in (3, 2):
            plain, end = _join(words[at : at + length])
            parts = plain.split()
            if at + length > len(words) or any(part in COMMON for part in parts) or len(plain) < 7:
                continue
            if role is None and not _MOVIES_BEHIND.match(text[end:]):
                continue
            found = process.extractOne(
                plain, self._names, scorer=OSA.normalized_similarity, score_cutoff=_LEAST_LIKENESS, processor=None
            )
            if found is not None:
                return PersonHit(start, end, self._cast_as(found[0], role), False), length
        return None, 1

    def _is_famous(self, surname: str) -> bool:
        """Say whether a surname is one famous person's: "tarantino movies", but not "space movies"."""
        fame = [self._fame[name] for name in self._by_surname.get(surname, ())]
        return bool(fame) and max(fame) >= max(_FAMOUS, sum(fame) / 2)

    def _read_role(self, before: str, hits: Sequence[PersonHit]) -> Role | None:
        if _DIRECTED.search(before):
            return "director"
        if _STARRED.search(before):
            return "cast"
        if hits and (listed := _LISTED.search(before)) and not before[hits[-1].end : listed.start()].strip(" ,"):
            return hits[-1].person.role  # "with Tom Hanks or Meg Ryan"
        return None

    def _cast_as(self, name: str, role: Role | None) -> Person:
        # Nobody asks for a role that the person never had: "with Hitchcock" is by him.
        sure: Role = role if role is not None and role in self._roles[name] else "any"
        return Person(name, sure, self._shown[name])


def find_strangers(text: str, hits: Sequence[PersonHit]) -> list[str]:
    """Return capitalised names behind "with" or "by" that are nobody's of the catalogue.

    Args:
        text: the person's words, titles in it masked.
        hits: who was found in it.
    """
    found = []
    for match in re.finditer(
        r"\b(?:[Ww]ith|[Ss]tarring|[Bb]y|[Ff]eaturing)\s+((?:[A-Z][\w'’.-]+)(?:\s+[A-Z][\w'’.-]+){1,2})", text
    ):
        if not any(hit.start < match.end(1) and hit.end > match.start(1) for hit in hits):
            found.append(match[1].rstrip("."))
    return found


def _join(words: Sequence[Word]) -> tuple[str, int]:
    """Return words folded, a possessive's ending left out, and the offset of their end."""
    last = words[-1]
    bare = re.sub(r"['’]s?$", "", last.text)
    plain = " ".join([*(word.plain for word in words[:-1]), fold(bare)])
    return plain, last.end - (len(last.text) - len(bare))
