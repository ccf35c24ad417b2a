"""Titles in running text: the exact and alias dictionary, and misspelt titles.

A query is cut into words; every run of words that is a known title, alias or variant is a candidate, and the evidence
around it (capitals, quotes, a year, the words before it) says how likely a title is meant: ``Up`` in "who directed Up"
is one, ``up`` in "what's up" is none.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title

MAX_MENTIONS = 12
_MAX_TITLE_WORDS = 14
_FUZZY_POOL = 60  # titles that the n-grams hand to the alignment
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_YEAR = re.compile(r"(?<!\d)(?:18|19|20)\d\d(?!\d)")
_DECADE = re.compile(r"(?<!\d)(?:(?:19|20)?(\d)0)['’]?s\b")
_SAME_WORD = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "versus": "vs", "pt": "part"}
_ARTICLES = ("the", "a", "an")
_PRONOUN_WORDS = "it he she her him his they them me us you we i one this that those these what who when"
_PRONOUNS = frozenset(_PRONOUN_WORDS.split())
# Words of talk about movies; a title made of nothing else needs more evidence than being there.
_TALK_WORDS = """
    accept accepted act acted acting action actor actors actress adventure amazing animated animation any
    anything awesome awful bad based beautiful best better big bit book bored boring box bye called came can
    cast category cause check chose classic come comedies comedy comes cool could crime cute date day days
    describe did different direct directed director directors documentary does doing dont drama dramas enjoy
    enjoyed excellent exciting family famous fan fantasy fast favorite favourite fiction film filmmaker films
    fine first five four friend friends fun funny genre genres girl go going gonna good got great guess guy guys
    happy hate hated have havent heard hello help hey hi hit home horror how huge idea ill im imdb interested
    interesting involved is ive job just kid kids kind know known language last lead length let like liked list
    listen listed little live lol long longest look looking lot love loved made mainly make makes man marvel
    matter maybe mean men mind minutes mood more most mother movie movies much music musical mystery name nature
    near need never new next nice night no not now of office oh ok okay old on one opinion other part people
    perfect person pick please plot popular pretty primary probably produced production question quick rated
    rating rather real really recent recently recommend recommendation recommended release released review right
    romance romantic runtime said saw say scary sci score screenplay script search see seen series set she short
    show similar since so soldier some someone something song soon sort sound sounds star starred starring stars
    start still stop story strange style stuff suggest suggestion summary super superhero sure suspense tag tags
    take talk tell ten terms thank thanks theater theme thing things think thought three thriller thrillers time
    title today together tomorrow tonight too top topic topics totally trailer true try tv two type understand
    up usually very view want war was watch watched watching way weekend welcome well went were western what
    whats when where which who whos why wife will wonder wonderful words work world would wow write writer
    written wrong wrote year years yes yesterday yet you young your youre
"""
_TALK = frozenset(_TALK_WORDS.split())
_COMMON = frozenset(ENGLISH_STOP_WORDS) | _TALK
_BEFORE_WORDS = """
    movie film picture flick called titled named directed wrote made in of watched watch seen saw see about like
    liked loved love enjoyed starred starring stars for is was did does recommend suggest to
"""
_NAMING = frozenset(("movie", "film", "called", "titled", "directed", "watched"))  # a title comes next
_BEFORE = frozenset(_BEFORE_WORDS.split())
_AFTER_WORDS = "movie film movies series trailer trilogy starred stars directed written released about"
_AFTER = frozenset(_AFTER_WORDS.split())


@dataclass(frozen=True)
class Mention:
    """A piece of a query that is a known title.

    Attributes:
        start: offset of its first character.
        end: offset behind its last.
        rows: the movies of that title, likeliest first (the year in the query, then exactness and votes).
        score: 0 to 1, how likely the movie is meant.
    """

    start: int
    end: int
    rows: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class _Word:
    start: int
    end: int
    text: str
    plain: str
    is_capital: bool  # a capital that the start of a sentence does not explain
    starts_sentence: bool


class TitleIndex:
    """Finds titles of a catalogue in text.

    Args:
        movies: the catalogue.

    Example:
        >>> titles = TitleIndex([Movie("tt1", "Up", year=2009), Movie("tt2", "Night Ferry", year=1962)])
        >>> [mention.rows for mention in titles.find_mentions("who directed night ferry?")]
        [(1,)]
        >>> titles.find_mentions("what's up?")
        []
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self.movies = movies
        self._keys: dict[str, dict[int, float]] = defaultdict(dict)
        for row, movie in enumerate(movies):
            for key, strength in _list_keys(movie):
                known = self._keys[key].get(row, 0.0)
                self._keys[key][row] = max(known, strength)
        self._people = {
            plain for movie in movies for name in (*movie.directors, *movie.cast) if " " in (plain := _plain(name))
        }
        self._fame = [math.log10((movie.votes or 0) + 1) for movie in movies]

    def find_mentions(self, query: str, least: float = 0.35) -> list[Mention]:
        """Return the titles in a query that do not overlap, likeliest first.

        Args:
            query: the person's words.
            least: mentions of a lower score are left out.
        """
        words = _split_words(query)
        spans = [span for span in self._list_spans(query, words) if span.score >= least]
        # The longest mention wins over what it contains, unless it has much less evidence.
        spans.sort(key=lambda span: (-span.score - 0.015 * (span.end - span.start), span.start))
        chosen: list[Mention] = []
        for span in spans:
            if all(span.end <= other.start or span.start >= other.end for other in chosen):
                chosen.append(span)
        return sorted(chosen, key=lambda span: (-round(span.score, 1), span.start))[:MAX_MENTIONS]

    def find_similar(self, query: str, k: int = 20) -> list[tuple[int, float]]:
        """Return the movies whose titles are spelt most like a part of the query.

        Args:
            query: the person's words; a title may be misspelt in them.
            k: how many movies.

        Returns:
            Rows and scores of 0 to 1, best first. 1 is a part of the query letter by letter.
        """
        words = [word.plain for word in _split_words(query)]
        if not words:
            return []
        rare = " ".join(word for word in words if word not in _COMMON) or " ".join(words)
        weights = (self._ngrams[1] @ self._ngrams[0].transform([rare, " ".join(words)]).T).toarray().max(axis=1)
        pool = np.argsort(-weights, kind="stable")[:_FUZZY_POOL]
        scored: dict[int, float] = {}
        for entry in pool:
            if weights[entry] <= 0:
                break
            row, title = self._spellings[entry]
            score = _align(title.split(), words)
            scored[row] = max(scored.get(row, 0.0), score)
        best = sorted(scored.items(), key=lambda item: (-round(item[1], 3), -self._fame[item[0]]))
        years = _find_years(query)
        best.sort(key=lambda item: -item[1] - (0.1 if self.movies[item[0]].year in years else 0.0))
        return best[:k]

    def find_people(self, query: str) -> list[str]:
        """Return the directors and actors named in a query, in normalised form."""
        words = [word.plain for word in _split_words(query)]
        runs = (" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 2, min(i + 5, len(words)) + 1))
        return [run for run in runs if run in self._people]

    @cached_property
    def _spellings(self) -> list[tuple[int, str]]:
        return [
            (row, _plain(name))
            for row, movie in enumerate(self.movies)
            for name in dict.fromkeys((movie.title, movie.original_title or movie.title, *movie.akas))
        ]

    @cached_property
    def _ngrams(self) -> tuple[TfidfVectorizer, "_Matrix"]:
        # 2 to 4 letters within words: a typo leaves most of a title's n-grams whole.
        vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
        return vectoriser, vectoriser.fit_transform(title for _, title in self._spellings)

    def _list_spans(self, query: str, words: list[_Word]) -> Iterable[Mention]:
        years = _find_years(query)
        decades = {int(match[1]) for match in _DECADE.finditer(query)}
        names = self._find_name_spans(words)
        for first in range(len(words)):
            key = ""
            for last in range(first, min(first + _MAX_TITLE_WORDS, len(words))):
                prefix = f"{key} " if key else ""
                key = prefix + words[last].plain
                for plain in {key, prefix + _drop_possessive(words[last])}:
                    rows = self._keys.get(plain)
                    if not rows:
                        continue
                    outside = [year for year, at in years.items() if not words[first].start <= at < words[last].end]
                    ranked = self._rank(rows, outside, decades)
                    inside_name = any(a <= first and last <= b and (a, b) != (first, last) for a, b in names)
                    z = _weigh_evidence(query, words, first, last, inside_name)
                    made = self.movies[ranked[0]].year
                    z += 2.0 * (made in outside) + 1.5 * (made is not None and made // 10 % 10 in decades)
                    z += 4.0 * (max(rows.values()) - 1.0)
                    end = words[last].end - (len(key) - len(plain) if plain != key else 0)
                    yield Mention(words[first].start, end, tuple(ranked), 1 / (1 + math.exp(-z)))

    def _rank(self, rows: dict[int, float], years: Iterable[int], decades: set[int]) -> list[int]:
        def worth(row: int) -> float:
            year = self.movies[row].year
            bonus = 0.0
            if year is not None:
                bonus = max((1.0 if year == told else 0.3 for told in years if abs(year - told) <= 1), default=0.0)
                bonus = max(bonus, 0.3 * (year // 10 % 10 in decades))
            return rows[row] + bonus + 0.06 * self._fame[row]

        return sorted(rows, key=lambda row: (-worth(row), row))

    def _find_name_spans(self, words: list[_Word]) -> list[tuple[int, int]]:
        return [
            (first, first + length - 1)
            for first in range(len(words))
            for length in (2, 3, 4)
            if " ".join(word.plain for word in words[first : first + length]) in self._people
        ]


def _list_keys(movie: Movie) -> Iterable[tuple[str, float]]:
    names = [(movie.title, 1.0)]
    if movie.original_title:
        names.append((movie.original_title, 1.0))
    names += [(aka, 0.95) for aka in movie.akas]
    for name, strength in names:
        plain = _plain(name)
        if not plain:
            continue
        yield plain, strength
        joined = _plain(re.sub(r"[&+]", " and ", name))
        yield joined, strength
        if " and " in plain:
            yield plain.replace(" and ", " "), strength - 0.02
        words = joined.split()
        if len(words) > 1 and words[0] in _ARTICLES:
            yield " ".join(words[1:]), strength - 0.1
        elif len(words) <= 2:  # "the Alien movies" are those of "Alien", not of a little-known "The Alien"
            yield f"the {joined}", strength - 0.15
        if strength == 1.0 and (match := re.search(r":\s|\s[-–—]\s", name)):
            for part in (name[: match.start()], name[match.end() :]):
                if any(word not in _COMMON for word in _plain(part).split()):
                    yield _plain(part), 0.65


def _weigh_evidence(query: str, words: list[_Word], first: int, last: int, inside_name: bool) -> float:
    """Return the log odds that words first..last are meant as a title. The weights are set by hand on public sets."""
    span = words[first : last + 1]
    info = sum(0.2 if word.plain in _COMMON else 1.0 for word in span)
    rare = [word for word in span if word.plain not in _COMMON]
    before = words[first - 1].plain if first else ""
    after = words[last + 1].plain if last + 1 < len(words) else ""
    left, right = query[: span[0].start].rstrip(" "), query[span[-1].end :].lstrip(" ")
    is_last = not re.search(r"\w", right)
    quoted = bool(re.search(r"[\"“‘'*_]$", left)) and bool(re.match(r"[.,!?]?[\"”’'*_]", right))
    weighty = [word for word in (rare or span) if word.text[0].isalpha()]
    capital = bool(weighty) and all(word.text[0].isupper() for word in weighty)
    explained = all(word.starts_sentence for word in weighty)
    uses_capitals = any(word.is_capital for word in words if word not in span)
    z = -1.6 + 1.5 * min(info, 3.0) + 0.3 * (len(span) - 1)
    if quoted:
        z += 3.0
    if capital and not explained:
        z += 1.5
    elif weighty and not capital and uses_capitals:
        z -= 1.5
    if len(span) == len(words):
        z += 1.5
    z += 0.6 * (before in _BEFORE) + (1.6 if before in _NAMING else 0.0)
    z += 0.3 * (after in _AFTER) + 0.6 * is_last + 0.3 * bool(re.match(r"[,?(]", right))
    if not rare:
        z -= 0.8
        if len(span) == 1 and span[0].plain in _PRONOUNS and not quoted:
            z -= 0.4 if capital and not explained else 2.5
    if inside_name:
        z -= 3.0
    elif len(span) == 1 and capital and _touches_capital(query, words, first, last):
        z -= 1.0
    return z


def _touches_capital(query: str, words: list[_Word], first: int, last: int) -> bool:
    """Say whether the next word on either side is capitalised too, with nothing but a space between: part of a name."""
    for here, there in ((first, first - 1), (last, last + 1)):
        if 0 <= there < len(words) and words[there].is_capital:
            low, high = sorted((here, there))
            if query[words[low].end : words[high].start] == " ":
                return True
    return False


def _split_words(query: str) -> list[_Word]:
    words = []
    shouted = query.upper() == query
    for match in _WORD.finditer(query):
        before = query[: match.start()].rstrip(" \"'“‘(")
        starts_sentence = not before or before[-1] in ".!?:\n"
        is_capital = match[0][0].isupper() and not starts_sentence and not shouted and match[0] not in ("I", "I'm")
        plain = _plain(match[0])
        words.append(_Word(match.start(), match.end(), match[0], plain, is_capital, starts_sentence))
    return words


def _drop_possessive(word: _Word) -> str:
    return _plain(re.sub(r"['’]s?$", "", word.text))


def _plain(text: str) -> str:
    return " ".join(_SAME_WORD.get(word, word) for word in normalise_title(text).split())


def _find_years(query: str) -> dict[int, int]:
    return {int(match[0]): match.start() for match in _YEAR.finditer(query)}


def _align(title: list[str], words: list[str]) -> float:
    """Return the likeness of a title to the best run of words, less where the title says little."""
    whole = " ".join(title)
    best = 0.0
    for length in {len(title) - 1, len(title), len(title) + 1}:
        if length < 1:
            continue
        for first in range(max(1, len(words) - length + 1)):
            run = " ".join(words[first : first + length])
            if all(word in _COMMON for word in words[first : first + length]):
                continue  # "directed" is no misspelt "Redirected"
            best = max(best, fuzz.ratio(whole, run, score_cutoff=100 * best) / 100)
    info = sum(0.2 if word in _COMMON else 1.0 for word in title) + 0.05 * len(whole)
    return best * min(1.0, 0.6 + 0.2 * info)


_Matrix = NDArray[np.float32]  # a scipy.sparse matrix, which has no types
