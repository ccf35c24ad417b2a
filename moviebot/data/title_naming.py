"""Does a question say which movie? Exact titles, titles that another movie's longer title covers, misspelt titles."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import TOPICS, Movie
from moviebot.data.splits import normalise_title
from moviebot.data.wordings import WORDINGS

# Set by hand. `tools/bench_cleaning.py --sweep` tries other values of MIN_FIXABLE_CHARS and ANCHOR_CHARS on half of the
# corrupted pairs; 158 of the embedded sample's are good but for a misspelt title.
MIN_FIXABLE_CHARS = 5
"""Shorter titles are one edit from ordinary words: ``Ran``, ``Run``; ``Heat``, ``Hear``. In the sweep 4 mends more
titles wrongly (4 for 2), 6 and 8 mend fewer rightly (148 and 132 for 151)."""
EDITS_BY_CHARS = ((8, 1), (16, 2), (10_000, 3))
"""Titles below 8 characters may have one edit (a swap of neighbours is one), below 16 two, others three."""
LONG_WORD_CHARS = 5
LONG_ANCHOR_CHARS = 6
"""A shorter word may have one edit, a longer two; or two as well, where so many letters of other words are right:
``star walt`` is no misspelt ``star wars``."""
ANCHOR_CHARS = 4
"""Where what is misspelt reads as other words, this many letters of the title's other words must be right. In the
sweep 3 mends 152 titles, 100 mends 149, and no more or fewer wrongly: there it hardly matters."""
_PROBE = 70.0  # partial ratio below which no window can be near enough: three edits in 16 leave 81, one in five 80
_MAX_WORDS_AROUND = 5
_VOCABULARY_MOVIES = 20_000
_ARTICLE = re.compile(r"^(the|a|an) (?=\w{4})", re.I)
_LAST_ARTICLE = re.compile(r"^(.+), (the|a|an|le|la|les|el|il|der|die|das)$", re.I)  # Jungle Book, The
_PRONOUNS = frozenset(
    ["i", "it", "he", "she", "him", "they", "them", "this", "that", "these", "those", "we", "us", "you", "me"]
)
_WORD = re.compile(r"[^\W_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W_]+)*")
_YEAR_BEHIND = re.compile(r"\W{0,3}\((\d{4})\)")
_POSSESSIVE = re.compile(r"(?<=\w)['\N{RIGHT SINGLE QUOTATION MARK}]s?(?!\w)")
_LATIN = re.compile(r"[a-z0-9\u00c0-\u024f]")


@dataclass(frozen=True)
class Title:
    """A way to name a movie.

    Attributes:
        normal: case, accents and punctuation folded.
        text: as it is written.
    """

    normal: str
    text: str


@lru_cache(maxsize=64)  # a movie's pairs come one after the other
def titles_of(movie: Movie) -> tuple[Title, ...]:
    """Return the movie's title, original title and other titles, also without article, and "and" for "&"."""
    found: dict[str, Title] = {}
    for title in (movie.title, movie.original_title, *movie.akas):
        if title:
            written = clean_text(title)
            text = _LAST_ARTICLE.sub(r"\2 \1", written)
            for form in (text, _ARTICLE.sub("", text), text.replace(" & ", " and "), written):
                found.setdefault(normalise_title(form), Title(normalise_title(form), form))
    return tuple(title for title in found.values() if title.normal)


class TitleIndex:
    """All titles of a catalogue, to tell one movie's misspelt title from another's right one.

    Args:
        movies: the catalogue.
    """

    def __init__(self, movies: Iterable[Movie]) -> None:
        movies = list(movies)
        self._titles = {title.normal for movie in movies for title in titles_of(movie)}
        self._neighbours = {pair for normal in self._titles for words in [normal.split()] for pair in pairwise(words)}
        self._by_length: dict[int, list[str]] = defaultdict(list)
        for normal in sorted(self._titles):
            self._by_length[len(normal)].append(normal)
        main = Counter(normalise_title(movie.title) for movie in movies)
        self._shared = {normal for normal, number in main.items() if number > 1}
        self._words = _read_vocabulary(movies)

    def is_shared(self, movie: Movie) -> bool:
        """Say whether another movie has the same title, so that a question must say the year."""
        return normalise_title(movie.title) in self._shared

    def names(self, question: str, movie: Movie) -> bool:
        """Say whether a question names this movie, and not another whose longer title holds this one's (``Aliens 2``).

        It may be named by its title, its original title or another title; articles may lack. A year in brackets behind
        the title that is off by more than one names another movie too.

        Example:
            >>> godfather = Movie("tt1", "The Godfather")
            >>> index = TitleIndex([godfather])
            >>> index.names("who directed godfather", godfather), index.names("Who directed it?", godfather)
            (True, False)
        """
        own = {title.normal for title in titles_of(movie)}
        words = _normalise_question(question).split()
        for title, behind in _find_mentions(question, movie):
            year = _YEAR_BEHIND.match(behind)
            if year and movie.year is not None:
                if abs(int(year[1]) - movie.year) <= 1:
                    return True
            elif not self._is_covered(words, title.normal.split(), own):
                return True
        return False

    def fix(self, question: str, movie: Movie) -> str | None:
        """Return the question with the movie's misspelt title put right, or None where that is not safe.

        Safe is: few edits for its length; no digit changed; no other movie's title as near; and what is misspelt is no
        word of its own, or the title's other words make up for it.

        Example:
            >>> jaws = Movie("tt1", "The Godfather")
            >>> TitleIndex([jaws]).fix("Who directed The Godfahter?", jaws)
            'Who directed The Godfather?'
        """
        asked = _normalise_question(question)
        own = {title.normal for title in titles_of(movie)}
        best: tuple[int, int, int, int, Title] | None = None
        matched: set[str] = set()
        spans = list(_WORD.finditer(question))
        words = [normalise_title(span[0]) for span in spans]
        for title in titles_of(movie):
            if (
                title.text in matched
                or len(title.normal) < MIN_FIXABLE_CHARS
                or fuzz.partial_ratio(title.normal, asked) < _PROBE
            ):
                continue
            for start, end in _windows(len(words), len(title.normal.split())):
                edits = self._count_edits(words[start:end], title.normal, own)
                if edits:
                    matched.add(_ARTICLE.sub("", title.text))  # with its article, if it is there
                if edits and (best is None or (edits, -len(title.normal)) < (best[0], best[1])):
                    best = (edits, -len(title.normal), spans[start].start(), spans[end - 1].end(), title)
        return None if best is None else _put_right(question, best[2], best[3], best[4].text)

    def _count_edits(self, words: Sequence[str], title: str, own: set[str]) -> int | None:
        """Return the edits between a piece of a question and a title, or None where they are not safely the same."""
        piece = " ".join(words)
        allowed = next(edits for chars, edits in EDITS_BY_CHARS if len(title) < chars)
        edits = OSA.distance(piece, title, score_cutoff=allowed)
        if not 0 < edits <= allowed or _digits(piece) != _digits(title) or not self._is_slip(words, title.split()):
            return None
        for length in range(len(piece) - edits, len(piece) + edits + 1):
            near = process.extract_iter(piece, self._by_length.get(length, ()), scorer=OSA.distance, score_cutoff=edits)
            if any(other not in own for other, _, _ in near):
                return None
        return edits

    def _is_slip(self, words: Sequence[str], title: Sequence[str]) -> bool:
        """Say whether what differs is a slip of the fingers and no other word: ``jaw`` is not a misspelt ``jaws``."""
        right = Counter(title)
        wrong = [word for word in words if word not in right]
        if len(words) != len(title) and "".join(words) == "".join(title):
            return True
        kept = sum(len(word) for word in words if word in right and word not in ("the", "and", "of"))
        if kept < LONG_ANCHOR_CHARS and len(words) == len(title) and not all(map(_is_near, words, title)):
            return False
        return not all(word in self._words for word in wrong) or kept >= ANCHOR_CHARS

    def _is_covered(self, words: list[str], title: list[str], own: set[str]) -> bool:
        """Say whether each place of a title is part of another movie's longer title."""
        places = [n for n, word in enumerate(words) if word == title[0] and words[n : n + len(title)] == title]
        return bool(places) and all(self._find_longer(words, place, place + len(title), own) for place in places)

    def _find_longer(self, words: Sequence[str], start: int, end: int, own: set[str]) -> bool:
        before, behind = tuple(words[max(0, start - 1) : start + 1]), tuple(words[end - 1 : end + 1])
        if before not in self._neighbours and behind not in self._neighbours:
            return False  # nearly always: no title has the words around this one beside it
        for first in range(max(0, start - _MAX_WORDS_AROUND), start + 1):
            for last in range(end, min(len(words), end + _MAX_WORDS_AROUND) + 1):
                longer = " ".join(words[first:last])
                if (first, last) != (start, end) and longer in self._titles:
                    stripped = _ARTICLE.sub("", longer)
                    if longer not in own and stripped not in own:
                        return True
        return False


def _find_mentions(question: str, movie: Movie) -> Iterator[tuple[Title, str]]:
    """Yield the titles a question names exactly, each with the text behind it where that is known."""
    asked, raw = f" {_normalise_question(question)} ", question.casefold()
    for title in titles_of(movie):
        text = title.text.casefold()
        at = raw.find(text)
        behind = question[at + len(text) :] if at >= 0 and len(raw) == len(question) else ""
        if f" {title.normal} " in asked:
            if title.normal not in _PRONOUNS or _means_title(question, title, movie):
                yield title, behind
        elif not _LATIN.search(title.normal) and text in raw:
            yield title, behind


def _means_title(question: str, title: Title, movie: Movie) -> bool:
    """Say whether a pronoun is a title: "who directed it" names no movie, "who directed It" and "it (1990)" do."""
    if movie.year is not None and str(movie.year) in question:
        return True
    if not title.text[-1].isalnum():  # Them!
        return title.text.casefold() in question.casefold()
    return bool(re.search(rf"(?<!^)(?<![.?!] )(?<!\w){re.escape(title.text)}(?!\w)", question)) or (
        f'"{title.text.casefold()}"' in question.casefold()
    )


@lru_cache(maxsize=64)
def _normalise_question(question: str) -> str:
    """Normalise a question as it stands, and once more without the possessive: ``Arrival's genre``."""
    without = _POSSESSIVE.sub("", question)
    return normalise_title(question) + (f" | {normalise_title(without)}" if without != question else "")


def _put_right(question: str, start: int, end: int, title: str) -> str:
    """Put a title in the place of its misspelt words; its own punctuation may stand around them (``Airplane!``)."""
    words = list(_WORD.finditer(title))
    before, behind = title[: words[0].start()], title[words[-1].end() :]
    if before and question.endswith(before, 0, start):
        start -= len(before)
    if behind and question.startswith(behind, end):
        end += len(behind)
    return f"{question[:start]}{title}{question[end:]}"


def _is_near(word: str, right: str) -> bool:
    """Say whether a word is the right one or a slip of it: two slips in four letters are another word."""
    return OSA.distance(word, right) <= (1 if len(right) < LONG_WORD_CHARS else 2)


def _windows(words: int, size: int) -> Iterator[tuple[int, int]]:
    for length in range(max(1, size - 1), min(words, size + 1) + 1):
        for start in range(words - length + 1):
            yield start, start + length


def _digits(text: str) -> str:
    return re.sub(r"\D+", " ", text).strip()


def _read_vocabulary(movies: Sequence[Movie]) -> frozenset[str]:
    """Return words that are words: of descriptions (twice, where there are many), of titles and of how people ask."""
    described: Counter[str] = Counter()
    for movie in movies[:_VOCABULARY_MOVIES]:
        described.update(set(_WORD.findall((movie.description or "").casefold())))
    least = 1 if len(movies) < 1000 else 2
    words = {word for word, number in described.items() if number >= least}
    wordings = " ".join(wording for topic in TOPICS for texts in WORDINGS[topic].values() for wording in texts)
    words.update(_WORD.findall(wordings.casefold()))
    words.update(word for movie in movies for word in normalise_title(movie.title).split())
    return frozenset(words)
