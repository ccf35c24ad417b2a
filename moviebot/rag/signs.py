"""What stands around a title in a query, and how likely it makes that a title is meant.

``Up`` in "who directed Up" is a title, ``up`` in "what's up" is none: the difference is in the capitals, the quotes,
the words before and behind, and in how much the words themselves say.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from moviebot.rag.words import COMMON, Word, weigh_words

_PRONOUNS = frozenset(
    "it he she her him his they them me us you we i one this that those these what who when".split()  # noqa: SIM905
)
_NAMING = frozenset(("movie", "film", "called", "titled", "directed", "watched"))  # a title comes next
_BEFORE_WORDS = """
    movie film picture flick called titled named directed wrote made in of watched watch seen saw see about like
    liked loved love enjoyed starred starring stars for is was did does recommend suggest to
"""
_BEFORE = frozenset(_BEFORE_WORDS.split())
_AFTER_WORDS = "movie film movies series trailer trilogy starred stars directed written released about"
_AFTER = frozenset(_AFTER_WORDS.split())


class Signs(NamedTuple):
    """The signs that a run of words is meant as a title; each is a number of about 0 to 1."""

    information: float  # what the words say, of at most three telling ones
    length: float  # words beyond the first, of at most ten
    quoted: float
    capital: float  # capitals that no sentence's start explains
    lower_amid_capitals: float  # no capitals, though the query has some elsewhere
    whole_query: float
    after_talk: float  # behind a word that titles stand behind ("of", "liked")
    after_naming: float  # behind "movie", "called"
    before_talk: float  # before "movie", "trailer"
    last: float  # nothing stands behind it
    before_mark: float  # a comma, a question mark or a bracket comes next
    common: float  # made of common words only
    pronoun: float  # a single pronoun, not quoted
    capital_pronoun: float  # the same with a capital that no sentence's start explains
    inside_name: float  # part of a director's or actor's name
    beside_capital: float  # a single capitalised word beside another: part of a name that is not known
    year_told: float  # the year of its likeliest movie is told elsewhere
    decade_told: float
    weak_name: float  # how far it is from being the title itself: an alias, no article, no subtitle


# Set by hand: they choose among spans that overlap, and say how sure the best name is. What each sign is worth for a
# movie is fitted anew in the resolver's ChoiceModel, which gets them one by one.
_BIAS = -1.6
_WEIGHTS = Signs(
    information=4.5,
    length=3.0,
    quoted=3.0,
    capital=1.5,
    lower_amid_capitals=-1.5,
    whole_query=1.5,
    after_talk=0.6,
    after_naming=1.6,
    before_talk=0.3,
    last=0.6,
    before_mark=0.3,
    common=-0.8,
    pronoun=-2.5,
    capital_pronoun=2.1,
    inside_name=-3.0,
    beside_capital=-1.0,
    year_told=2.0,
    decade_told=1.5,
    weak_name=-4.0,
)


def weigh_signs(signs: Signs) -> float:
    """Return the probability that a title is meant, 0 to 1, by a logistic model."""
    odds = _BIAS + sum(weight * sign for weight, sign in zip(_WEIGHTS, signs, strict=True))
    return 1 / (1 + math.exp(-odds))


def read_signs(
    query: str,
    words: Sequence[Word],
    first: int,
    last: int,
    *,
    inside_name: bool = False,
    year_told: bool = False,
    decade_told: bool = False,
    strength: float = 1.0,
) -> Signs:
    """Read the signs around words ``first`` to ``last`` of a query.

    Args:
        query: the person's words.
        words: the same, cut.
        first: the first word of the run.
        last: the last.
        inside_name: the run is part of a known person's name.
        year_told: the year of its likeliest movie stands elsewhere in the query.
        decade_told: so does its decade.
        strength: how good a name of its likeliest movie it is, 0 to 1.
    """
    span = words[first : last + 1]
    rare = [word for word in span if word.plain not in COMMON]
    weighty = [word for word in (rare or span) if word.text[0].isalpha()]
    before = words[first - 1].plain if first else ""
    after = words[last + 1].plain if last + 1 < len(words) else ""
    left, right = query[: span[0].start].rstrip(" ")[-1:], query[span[-1].end :][:40].lstrip(" ")
    quoted = bool(re.search(r"[\"“‘'*_]$", left)) and bool(re.match(r"[.,!?]?[\"”’'*_]", right))
    all_capital = bool(weighty) and all(word.text[0].isupper() for word in weighty)
    capital = all_capital and not all(word.starts_sentence for word in weighty)
    uses_capitals = any(word.is_capital for word in (*words[:first], *words[last + 1 :]))
    pronoun = len(span) == 1 and span[0].plain in _PRONOUNS and not quoted
    return Signs(
        information=min(weigh_words(word.plain for word in span), 3.0) / 3,
        length=min(len(span) - 1, 10) / 10,
        quoted=float(quoted),
        capital=float(capital),
        lower_amid_capitals=float(bool(weighty) and not all_capital and uses_capitals),
        whole_query=float(len(span) == len(words)),
        after_talk=float(before in _BEFORE),
        after_naming=float(before in _NAMING),
        before_talk=float(after in _AFTER),
        last=float(last + 1 == len(words)),
        before_mark=float(bool(re.match(r"[,?(]", right))),
        common=float(not rare),
        pronoun=float(pronoun),
        capital_pronoun=float(pronoun and capital),
        inside_name=float(inside_name),
        beside_capital=float(not inside_name and len(span) == 1 and all_capital and _touches(query, words, first)),
        year_told=float(year_told),
        decade_told=float(decade_told),
        weak_name=1.0 - strength,
    )


def _touches(query: str, words: Sequence[Word], at: int) -> bool:
    """Say whether the next word on either side is capitalised too, with nothing but a space between: part of a name."""
    for here, there in ((at, at - 1), (at, at + 1)):
        if 0 <= there < len(words) and words[there].is_capital:
            low, high = sorted((here, there))
            if query[words[low].end : words[high].start] == " ":
                return True
    return False
