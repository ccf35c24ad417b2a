"""A query cut into words, and which words are common: shared by everything that looks for titles in running text."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from moviebot.data.matching import SAME_WORDS
from moviebot.data.splits import normalise_title

MAX_WORDS = 200  # of a query: what stands behind them is not looked at for titles
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_YEAR = re.compile(r"(?<!\d)(?:18|19|20)\d\d(?!\d)")
_DECADE = re.compile(r"(?<!\d)(?:(?:19|20)?(\d)0)['’]?s\b")
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
COMMON = frozenset(SAME_WORDS.get(word, word) for word in (*ENGLISH_STOP_WORDS, *_TALK_WORDS.split()))
"""Words that say little about which movie is meant: English stop words, and words of talk about movies."""


@dataclass(frozen=True)
class Word:
    """A word of a query.

    Attributes:
        start: offset of its first character.
        end: offset behind its last.
        text: as written.
        plain: case, accents and numerals folded; several words where the folding splits it.
        is_capital: it has a capital that the start of a sentence does not explain.
        starts_sentence: it is a sentence's first.
    """

    start: int
    end: int
    text: str
    plain: str
    is_capital: bool
    starts_sentence: bool


def split_words(query: str) -> list[Word]:
    """Cut a query into its words, at most :data:`MAX_WORDS`.

    Example:
        >>> [(word.plain, word.is_capital) for word in split_words("Who's in Rocky II?")]
        [('whos', False), ('in', False), ('rocky', True), ('2', True)]
    """
    words: list[Word] = []
    shouted = query.upper() == query
    for match in _WORD.finditer(query):
        before = query[: match.start()].rstrip(" \"'“‘(")[-1:]
        starts_sentence = not before or before in ".!?:\n"
        is_capital = match[0][0].isupper() and not starts_sentence and not shouted and match[0] not in ("I", "I'm")
        words.append(Word(match.start(), match.end(), match[0], fold(match[0]), is_capital, starts_sentence))
        if len(words) == MAX_WORDS:
            break
    return words


def fold(text: str) -> str:
    """Normalise a title or a word as titles are, and write numerals as figures.

    Example:
        >>> fold("Amélie II: the Return")
        'amelie 2 the return'
    """
    return " ".join(SAME_WORDS.get(word, word) for word in normalise_title(text).split())


def weigh_words(words: Iterable[str]) -> float:
    """Return how much folded words say about which movie is meant: 1 a word, 0.2 a common one."""
    return sum(0.2 if word in COMMON else 1.0 for word in words)


def find_years(query: str) -> dict[int, int]:
    """Return the years told, and where."""
    return {int(match[0]): match.start() for match in _YEAR.finditer(query)}


def find_decades(query: str) -> set[int]:
    """Return the decades told, by their digit: 8 for "the 80s"."""
    return {int(match[1]) for match in _DECADE.finditer(query)}
