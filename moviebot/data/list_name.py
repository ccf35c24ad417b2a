"""One recommended movie as a teacher wrote it: which title and which year a piece of text may mean."""

import re
from dataclasses import dataclass

MAX_NAMES = 200
MAX_NAME_CHARS = 300

Reading = tuple[str, int | None]

YEAR = r"(?:18[89]|19\d|20\d)\d"
BRACKETED_YEAR = re.compile(rf"\s*[(\[]\s*({YEAR})(?:\s*[-–/]\s*(?:{YEAR})?)?\s*(?:,[^)\]]{{0,60}})?[)\]]")
NUMBERED = re.compile(r"^(\s{0,12})(?:\*\*)?(?:\(\d{1,2}\)|\[\d{1,2}\]|#?\d{1,3}\s?[.):|])\**\s+(?=\S)")
_TRAILING = re.compile(rf"^(.*\S)\s*(?:[,;:|]|\s[-–—])\s*({YEAR})\b[\s.]*(?=$|[-–—:;,|])")
_SEPARATED = re.compile(r"\s+[-–—|]\s+|:\s+|\s+by\s+|\s*[;|]\s*")
_QUOTES = "\"'`*_“”‘’«»„"
_SPANS = re.compile(r"^(?:\*\*|__|\*|[\"“«„])(.{1,200}?)(?:\*\*|__|\*|[\"”»“])(?=\W|$)")


@dataclass(frozen=True)
class Name:
    """One recommended movie as a teacher wrote it.

    Attributes:
        raw: the piece of the reply.
        readings: what title and year it may mean, likeliest first.
    """

    raw: str
    readings: tuple[Reading, ...]


def read_name(text: str) -> tuple[Reading, ...]:
    """Return what title and year a piece of text may mean, likeliest first.

    Example:
        >>> read_name('"Matrix, The" (1999), a film by ...')
        (('Matrix, The', 1999),)
        >>> read_name("Title, 1995")[0], read_name("Wonder Woman 1984")
        (('Title', 1995), (('Wonder Woman 1984', None),))
        >>> read_name("Heat - a crime film")
        (('Heat - a crime film', None), ('Heat', None))
    """
    text = " ".join(text[:MAX_NAME_CHARS].split())
    span = _SPANS.match(text)
    tail = text[span.end() :] if span else ""
    dated = BRACKETED_YEAR.search(text)
    if span and not BRACKETED_YEAR.search(span[1]) and not _TRAILING.match(span[1]):
        year = dated if dated and dated.start() <= span.end() + 1 else _match_tail(tail)
        return _unique([(span[1], int(year[1]) if year else None)])
    if span:
        return read_name(span[1])
    if dated and dated.start() > 0:
        title, year_told = text[: dated.start()], int(dated[1])
        bare = re.sub(r"\s*\([^()]*\)", "", title)
        inside = re.findall(r"\(([^()]+)\)", title)
        return _unique([(title, year_told), (bare, year_told), *((other, year_told) for other in inside)])
    trailing = _TRAILING.match(text)
    readings: list[Reading] = [(trailing[1], int(trailing[2]))] if trailing else []
    readings.append((text.rstrip(" .;,"), None))
    cut = [text[: match.start()] for match in _SEPARATED.finditer(text)]
    return _unique([*readings, *((piece, None) for piece in cut[:4])])


def _match_tail(tail: str) -> re.Match[str] | None:
    return re.match(rf"[\s,:–—-]*[(\[]?({YEAR})\b", tail)


def _unique(readings: list[Reading]) -> tuple[Reading, ...]:
    cleaned = [(title.strip().strip(_QUOTES).strip(" ,;:-–—").strip(_QUOTES), year) for title, year in readings]
    return tuple(dict.fromkeys((title, year) for title, year in cleaned if title))
