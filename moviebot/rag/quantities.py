"""Years, lengths and ratings in a wish: an explicit grammar over its normalised words.

A number is read with what stands around it: the unit says what it measures, the words before and behind say which side
of it is meant ("under", "no longer than", "or less"), and a "not" before those turns them round.
"""

import re
from typing import Literal, NamedTuple

from moviebot.rag.constraints import Constraints, unite_ranges
from moviebot.rag.intent import MASK

Side = Literal["less", "at most", "more", "at least", "not"]
SHORT_MINUTES, LONG_MINUTES, NOT_TOO_LONG_MINUTES = 90, 150, 120
WELL_RATED, HIGHLY_RATED = 7.0, 7.5
OLD_UNTIL = 1979
RECENT_YEARS = 10  # the newest years of the catalogue that "recent" stands for
_ABOUT_MINUTES = 10

_UNIT_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_UNITS = {word: number for number, word in enumerate(_UNIT_WORDS)}
_TEN_WORDS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TENS = {word: 10 * number for number, word in enumerate(_TEN_WORDS, 2)}
_UNIT, _TEN = "|".join(_UNITS), "|".join(_TENS)
_WORD_YEAR = re.compile(rf"\b(nineteen|twenty)[ -](?:({_TEN})(?:[ -]({_UNIT}))?|({_UNIT}))\b(?! ?(?:minutes?|mins?))")
_THOUSANDS = re.compile(rf"\btwo thousand(?: (?:and )?({_UNIT}))?\b")
_HUNDRED = re.compile(rf"\b(?:a|one|an) hundred(?: (?:and )?(?:({_TEN})(?:[ -]({_UNIT}))?|({_UNIT})))?\b")
_TENS_WORD = re.compile(rf"\b({_TEN})(?:[ -]({_UNIT}))?\b")
_UNIT_WORD = re.compile(rf"\b({'|'.join(word for word in _UNITS if word != 'one')})\b")
_DECADE_WORDS = {
    "twenties": "1920s", "thirties": "1930s", "forties": "1940s", "fifties": "1950s", "sixties": "1960s",
    "seventies": "1970s", "eighties": "1980s", "nineties": "1990s", "noughties": "2000s", "aughts": "2000s",
    "two thousands": "2000s", "twenty tens": "2010s", "twenty-tens": "2010s",
}  # fmt: skip
_DECADE_WORD = re.compile(rf"\b(?:nineteen[ -])?({'|'.join(_DECADE_WORDS)})\b")

_PERIOD = re.compile(
    r"(?:\b(early|mid|late)[ -]+)?(?<![\d.])(?:((?:18|19|20)\d)0'?s|'?(\d)0'?s|((?:18|19|20)\d\d))(?![\d.]*\d)"
)
_JOIN = re.compile(r"\s*(?:and|to|-|until|till|through|up to)\s*(?:the\s+)?(?:year\s+)?")
_DURATION = re.compile(
    r"(?<![\d.])(?:(\d+(?:\.\d+)?)[ -]?(?:hours?|hrs?|h)(?:[ ,]*(?:and )?(\d+)[ -]?(?:minutes?|mins?|"
    r"m)?)?|(\d+)[ -]?(?:minutes?|mins?|m))\b"
)
_BARE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:and|to|-)\s*$")
_RATING = re.compile(
    r"(?<![\d.:])(\d\d?(?:\.\d+)?)\b(%)?(?:\s*(?:/|out of|of)\s*10\b)?(?!\d| ?(?:movies?|films?|more|"
    r"others?|suggestions?|ideas?|people|"
    r"seasons?|picks?|titles?|recommendations?|hours?|minutes?|mins?|years?|year))"
)
_RATING_CUE = re.compile(r"\b(?:rat(?:ed|ings?)|scor(?:ed?|es|ing)|imdb|stars?|out of 10)\b|/\s*10\b")

# What stands right before a number, and which side of it that means.
_LESS = r"before|prior to|(?:earlier|older|less|shorter|fewer|lower|worse|smaller) than|under|below|pre-?|predating"
_MORE = (
    r"after|(?:later|newer|more recent|more|longer|higher|greater|better|younger|bigger) than|over|above|past|post-?|"
    r"exceed(?:s|ing)?|beyond"
)
_AT_MOST = r"until|till|up to|at (?:the )?most|max(?:imum|imally)?(?: of)?|within|through to"
_AT_LEAST = r"since|at least|min(?:imum)?(?: of)?|(?:starting|beginning) (?:from|in|with|at)|as of"
_FILLER = r"(?:\s+(?:the|a|an|year|about|around|of|say|in|made in|from|stars?|rating|imdb|score))*\s*$"
_NOT = (
    r"(?:\b(?:no|not|nothing|never|none|neither|without)|n't)\b(?:\s+(?:be|is|are|was|a|an|any|anything|"
    r"something|movies?|films?|that|that's|made|released|rated|much|too|want|come out|came out|go|went|"
    r"run|last))*"
)
_BEFORE: tuple[tuple[re.Pattern[str], Side], ...] = (
    (re.compile(rf"\b(?:{_LESS}){_FILLER}"), "less"),
    (re.compile(rf"\b(?:{_MORE}){_FILLER}"), "more"),
    (re.compile(rf"\b(?:{_AT_MOST}){_FILLER}"), "at most"),
    (re.compile(rf"\b(?:{_AT_LEAST}){_FILLER}"), "at least"),
)
_TURNED: dict[Side, Side] = {"less": "at least", "more": "at most", "at most": "more", "at least": "less", "not": "not"}
_NOT_BEFORE = re.compile(rf"{_NOT}\s*$")
_NOT_FROM = re.compile(
    rf"{_NOT}\s+(?:from|of|in|made in|released in)(?:\s+the)?\s*$|\b(?:except|anything "
    rf"but)\s+(?:from\s+|of\s+|in\s+)?(?:the\s+)?$"
)
_BEHIND: tuple[tuple[re.Pattern[str], Side], ...] = (
    (re.compile(r"\s*,?\s*(?:or|and) (?:less|shorter|under|earlier|older|before|lower|below|fewer|down)\b"), "at most"),
    (re.compile(r"\s*(?:max(?:imum)?|tops|at (?:the )?most)\b"), "at most"),
    (
        re.compile(
            r"\s*,?\s*(?:or|and) (?:more|longer|over|later|newer|more recent|after|higher|better|"
            r"above|up|on|onwards?|upwards?|beyond)\b"
        ),
        "at least",
    ),
    (
        re.compile(
            r"\s*(?:\+|plus\b|onwards?\b|upwards?\b|on\b(?! (?:imdb|netflix|a\b|the\b))|min(?:imum)?\b|at least\b)"
        ),
        "at least",
    ),
)
_HAVE = re.compile(r"\b(?:have|got|only|just|within|in)(?: (?:only|just|got|about|around))*\s*$")
_WISHING = re.compile(r"\b(?:from|in|of|since|after|around|about|year|made|released)\s+(?:the\s+year\s+)?$")
_NAMING = re.compile(rf"[(\[]\s*$|{MASK}[\s,]*(?:from\s+|of\s+)?$")

_MOVIE_WORD = r"(?:movies?|films?|flicks?|pictures?|ones?|stuff|something|cinema|hollywood)"
_OLD = re.compile(
    rf"\b(?:old|older|classic|vintage|old-?fashioned|old-?school)(?: (?!{_MOVIE_WORD}\b)[\w-]+){{0,2}} {_MOVIE_WORD}\b|"
    r"\b(?:an?|some|any|good|great) (?:old|vintage|classic)\b(?! (?:friend|man|men|woman|lady|couple|"
    r"dog|house|school|people))|"
    r"\b(?:something|anything) (?:old|classic)\b|\boldies?\b|\b(?:a|some|any|the) classics?\b(?! "
    r"(?:case|example))|\bclassics\b|"
    r"\bold classic"
)
_RECENT = re.compile(
    rf"\b(?:recent|new|latest|newest|modern|contemporary)(?: (?!{_MOVIE_WORD}\b)[\w-]+){{0,2}} {_MOVIE_WORD}\b|"
    r"\b(?:something|anything|quite|fairly|more or less|pretty) (?:recent|modern)\b|\brecent\b|"
    r"\b(?:of|from) (?:the )?(?:last|past|recent) (?:few |couple of )?years\b"
)
_NOT_TOO_LONG = re.compile(
    r"(?:\bnot|n't)(?: be| a)?(?: (?:too|very|so|that|really))? long\b|\bnothing (?:too )?long\b"
)
_SHORT = re.compile(
    rf"\ban? short\b(?! (?:list|time|while|story|break))|\bshort(?: (?!{_MOVIE_WORD}\b)[\w-]+){{0,2}} "
    rf"{_MOVIE_WORD}\b|\b(?:something|anything|fairly|pretty|quite|rather|nice and|and|but) short\b(?! "
    rf"on)|\bquick watch\b"
)
_LONG = re.compile(
    rf"\b(?<!not a )(?<!too )long(?: (?!{_MOVIE_WORD}\b)[\w-]+){{0,2}} {_MOVIE_WORD}\b|\b(?:something|"
    rf"really|very) long\b(?! ago| time)"
)
_HIGHLY = re.compile(
    r"\b(?:highly|top|best)[ -](?:rated|reviewed|ranked)\b|\b(?:critically |highly |widely "
    r")?acclaimed\b|\b(?:high|great|excellent|top) (?:ratings?|scores?|reviews)\b"
)
_WELL = re.compile(
    r"\bwell[ -](?:rated|reviewed|received)\b|\b(?:good|decent|solid) (?:ratings?|scores?|reviews|"
    r"imdb rating)\b|\brated well\b"
)


class Quantities(NamedTuple):
    """The conditions read, and the text without what told them."""

    constraints: Constraints
    rest: str


def read_quantities(text: str, seed_years: frozenset[int] = frozenset(), newest: int | None = None) -> Quantities:
    """Read the years, lengths and ratings that a wish asks for.

    Args:
        text: the wish, each title in it masked.
        seed_years: the years of the movies it names: one of them told beside a title names it.
        newest: the year that "recent" is reckoned from; None where there is none.

    Example:
        >>> read_quantities("a western before 1980, under two hours").constraints.describe()
        'up to 1979, at most 119 minutes'
        >>> read_quantities("something from the nineties rated above 7").constraints.describe()
        'from the 1990s, rated at least 7.1'
    """
    text = spell_numbers(text)
    lengths, text = _read_lengths(text)
    years, text = _read_years(text, seed_years, newest)
    ratings, text = _read_ratings(text)
    low, high, ranges, without = years
    found = Constraints(
        year_from=low,
        year_to=high,
        years=ranges,
        without_years=without,
        runtime_at_least=None if lengths[0] is None else round(lengths[0]),
        runtime_at_most=None if lengths[1] is None else round(lengths[1]),
        rating_at_least=ratings[0],
        rating_at_most=ratings[1],
    )
    return Quantities(found, text)


def spell_numbers(text: str) -> str:
    """Return a text in small letters, its numbers in figures.

    Example:
        >>> spell_numbers("Two and a half hours, from nineteen ninety-nine or the Eighties; seven or better")
        '2.5 hours, from 1999 or the 1980s; 7 or better'
    """
    text = re.sub(r"[’‘`´]", "'", text.lower())
    text = re.sub(r"[–—−]", "-", text)
    text = _DECADE_WORD.sub(lambda match: _DECADE_WORDS[match[1]], text)
    text = _WORD_YEAR.sub(_write_year, text)
    text = _THOUSANDS.sub(lambda match: str(2000 + _UNITS.get(match[1] or "", 0)), text)
    text = _HUNDRED.sub(lambda m: str(100 + _TENS.get(m[1] or "", 0) + _UNITS.get(m[2] or m[3] or "", 0)), text)
    text = _TENS_WORD.sub(lambda match: str(_TENS[match[1]] + _UNITS.get(match[2] or "", 0)), text)
    text = _UNIT_WORD.sub(lambda match: str(_UNITS[match[1]]), text)
    text = re.sub(r"\bhalf an hour\b", "30 minutes", text)
    text = re.sub(r"\b(?:an|one|1) hour and a half\b|\bone and a half hours?\b", "1.5 hours", text)
    text = re.sub(r"\b(\d+) and a half\b", r"\1.5", text)
    text = re.sub(r"\b(\d+) hours? and a half\b", r"\1.5 hours", text)
    text = re.sub(r"\b(\d) point (\d)\b", r"\1.\2", text)
    return re.sub(r"\b(?:an|one) hour\b", "1 hour", text)


def _write_year(match: re.Match[str]) -> str:
    century = 1900 if match[1] == "nineteen" else 2000
    number = _TENS.get(match[2] or "", 0) + _UNITS.get(match[3] or match[4] or "", 0)
    if number < 10:  # "twenty one" is a number, "nineteen five" no year that anybody tells
        return match[0]
    return str(century + number)


def _find_side(text: str, start: int, end: int) -> tuple[Side | None, int, int]:
    """Return which side of the number at ``start`` to ``end`` is meant, and the bounds of the words that say so."""
    before, behind = text[:start], text[end:]
    for pattern, side in _BEFORE:
        if match := pattern.search(before):
            if turn := _NOT_BEFORE.search(before[: match.start()]):
                return _TURNED[side], turn.start(), end
            return side, match.start(), end
    for pattern, side in _BEHIND:
        if match := pattern.match(behind):
            return side, start, end + match.end()
    if match := _NOT_FROM.search(before):
        return "not", match.start(), end
    return None, start, end


def _blank(text: str, start: int, end: int) -> str:
    return f"{text[:start]}{' ' * (end - start)}{text[end:]}"


_Bounds = tuple[float | None, float | None]


def _narrow(bounds: _Bounds, side: Side | None, low: float, high: float, step: float) -> _Bounds:
    """Apply a side of a range: "before the 80s" ends before its first year, "after" begins behind its last."""
    least, most = bounds
    if side == "less":
        return least, low - step
    if side == "at most":
        return least, high
    if side == "more":
        return high + step, most
    if side == "at least":
        return low, most
    return bounds


def _read_years(
    text: str, seed_years: frozenset[int], newest: int | None
) -> tuple[tuple[int | None, int | None, tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]], str]:
    bounds: _Bounds = (None, None)
    ranges: list[tuple[int, int]] = []
    without: list[tuple[int, int]] = []
    at = 0
    while match := _PERIOD.search(text, at):
        at = match.end()
        low, high = _read_period(match)
        start, end = match.span()
        joined = _JOIN.match(text, end)
        other = _PERIOD.match(text, joined.end()) if joined else None
        opened = re.search(r"\b(?:between|from)\s+(?:the\s+)?(?:years?\s+)?$", text[:start])
        if other and joined and (opened or joined[0].strip() in ("-", "to", "until", "till", "through")):
            ranges.append((low, _read_period(other)[1]))
            begin = opened.start() if opened else start
            text, at = _blank(text, begin, other.end()), other.end()
            continue
        side, begin, stop = _find_side(text, start, end)
        if side is None:
            single = match[4] is not None
            names_seed = single and low in seed_years and not _WISHING.search(text[:start])
            if names_seed or (single and _NAMING.search(text[:start])):
                continue
            ranges.append((low, high))
        elif side == "not":
            without.append((low, high))
        elif MASK in text[begin:start]:
            continue
        else:
            bounds = _narrow(bounds, side, low, high, 1)
        text, at = _blank(text, begin, stop), stop
    least, most = (None if bound is None else int(bound) for bound in bounds)
    if least is None and most is None and not ranges and not without:
        if found := _OLD.search(text):
            most, text = OLD_UNTIL, _blank_words(text, found, r"old|older|classics?|vintage|old-?fashioned|oldies?")
        elif newest is not None and (found := _RECENT.search(text)):
            least = newest - RECENT_YEARS + 1
            text = _blank_words(text, found, r"recent|new|latest|newest|modern|contemporary")
    return (least, most, unite_ranges(ranges), unite_ranges(without)), text


def _blank_words(text: str, found: re.Match[str], words: str) -> str:
    piece = re.sub(rf"\b(?:{words})\b", lambda word: " " * len(word[0]), found[0])
    return text[: found.start()] + piece + text[found.end() :]


def _read_period(match: re.Match[str]) -> tuple[int, int]:
    """Return the first and the last year of a year, a decade or a part of one."""
    part, century_decade, digit, year = match.groups()
    if year is not None:
        return int(year), int(year)
    if century_decade is not None:
        low = int(century_decade) * 10
    else:  # "the 20s" to "the 90s" are of the last century, "the 00s" and "the 10s" of this one
        low = 1900 + 10 * int(digit) if int(digit) >= 2 else 2000 + 10 * int(digit)
    first, last = {"early": (0, 3), "mid": (4, 6), "late": (7, 9)}.get(part or "", (0, 9))
    return low + first, low + last


def _read_lengths(text: str) -> tuple[_Bounds, str]:
    bounds: _Bounds = (None, None)
    at = 0
    while match := _DURATION.search(text, at):
        minutes = 60 * float(match[1]) + int(match[2] or 0) if match[1] else float(match[3])
        start, end = match.span()
        at = end
        if joined := _BARE.search(text[:start]):  # "between 90 and 120 minutes", "1.5 to 2 hours"
            opened = re.search(r"\b(?:between|from)\s+$", text[: joined.start()])
            unit = 60.0 if match[1] and float(joined[1]) < 10 else 1.0
            bounds = (float(joined[1]) * unit, minutes)
            text = _blank(text, opened.start() if opened else joined.start(), end)
            continue
        if opened := re.search(r"\b(?:between)\s+$", text[:start]):  # "between 1 hour and 2 hours"
            joined_to = re.match(r"\s*and\s*", text[end:])
            other = _DURATION.match(text, end + joined_to.end()) if joined_to else None
            if other:
                upper = 60 * float(other[1]) + int(other[2] or 0) if other[1] else float(other[3])
                bounds, at = (minutes, upper), other.end()
                text = _blank(text, opened.start(), at)
                continue
        side, begin, stop = _find_side(text, start, end)
        if side is None or side == "not":
            if _HAVE.search(text[:start]):
                bounds = (bounds[0], minutes)
            else:
                bounds = (minutes - _ABOUT_MINUTES, minutes + _ABOUT_MINUTES)
        else:
            bounds = _narrow(bounds, side, minutes, minutes, 1)
        text, at = _blank(text, begin, stop), stop
    if bounds == (None, None):
        for pattern, told in (
            (_NOT_TOO_LONG, (None, NOT_TOO_LONG_MINUTES)),
            (_SHORT, (None, SHORT_MINUTES)),
            (_LONG, (LONG_MINUTES, None)),
        ):
            if found := pattern.search(text):
                return told, _blank_words(text, found, "short|long|not too|nothing too")
    return bounds, text


def _read_ratings(text: str) -> tuple[_Bounds, str]:
    bounds: _Bounds = (None, None)
    at = 0
    while match := _RATING.search(text, at):
        at = match.end()
        value = float(match[1]) / (10 if match[2] else 1)
        if not 0 < value <= 10 or (not match[2] and float(match[1]) > 10):
            continue
        side, begin, stop = _find_side(text, *match.span())
        clause = re.split(r"[.;!?](?!\d)", text[: match.start()])[-1][-40:] + text[match.start() : match.end() + 30]
        cued = match[2] or "/" in match[0] or "of" in match[0] or _RATING_CUE.search(clause)
        if side is None and not cued:
            continue
        if side is None:
            before = re.search(r"\b(?:rated|rating(?: of)?|score(?: of)?|scored)\s*$", text[: match.start()])
            if not before:
                continue
            side = "at least"
        if side == "not":
            continue
        bounds = _narrow(bounds, side, value, value, 0.1)
        text, at = _blank(text, begin, stop), stop
    if bounds == (None, None):
        if found := _HIGHLY.search(text):
            return (HIGHLY_RATED, None), _blank(text, *found.span())
        if found := _WELL.search(text):
            return (WELL_RATED, None), _blank(text, *found.span())
    least, most = (None if bound is None else round(bound, 3) for bound in bounds)
    return (least, most), text
