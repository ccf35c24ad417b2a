r"""A teacher's recommendation reply becomes names: JSON, broken JSON, numbered lines, bullets, lines or commas.

What a reply looks like decides only where a name begins and ends; whether such a movie exists is for
:class:`moviebot.data.matching.TitleMatcher` to say. All work is bounded: a reply of 10 MB costs no more than its first
200,000 characters.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from moviebot.data.broken_json import load_json

MAX_CHARS = 200_000  # of a reply that is no JSON; far more than 200 names with a sentence each
MAX_LINE_CHARS = 10_000
MAX_NAMES = 200
MAX_NAME_CHARS = 300
MAX_NODES = 10_000  # of JSON looked at for the list

Form = Literal["json", "marked", "years", "lines", "commas"]
Reading = tuple[str, int | None]

_LIST_KEYS = (
    "recommended",
    "recommendations",
    "recommend",
    "movies",
    "films",
    "titles",
    "suggestions",
    "list",
    "results",
)
_TITLE_KEYS = ("title", "name", "movie", "film", "movie_title", "label")
_YEAR_KEYS = ("year", "release_year", "released", "date")
_ABOUT_KEYS = ("seed", "about", "for", "input", "query", "liked", "movie", "film", "title", "based_on", "similar_to")
_FENCE = re.compile(r"^\s*```[\w-]*\s*$", re.MULTILINE)
_NUMBERED = re.compile(r"^(\s{0,12})(?:\*\*)?(?:\(\d{1,2}\)|\[\d{1,2}\]|#?\d{1,3}\s?[.):|])\**\s+(?=\S)")
_BULLET = re.compile(r"^(\s{0,12})(?:[-*+•–—·▪►◦‣⁃]|\([a-z]\)|[a-z]\))\s+(?=\S)")
_YEAR_TEXT = r"(?:18[89]|19\d|20\d)\d"
_BRACKETED = re.compile(rf"\s*[(\[]\s*({_YEAR_TEXT})(?:\s*[-–/]\s*(?:{_YEAR_TEXT})?)?\s*(?:,[^)\]]{{0,60}})?[)\]]")
_TRAILING = re.compile(rf"^(.*\S)\s*(?:[,;:|]|\s[-–—])\s*({_YEAR_TEXT})\b[\s.]*(?=$|[-–—:;,|])")
_SEPARATED = re.compile(r"\s+[-–—|]\s+|:\s+|\s+by\s+|\s*[;|]\s*")
_QUOTES = "\"'`*_“”‘’«»„"
_SPANS = re.compile(r"^(?:\*\*|__|\*|[\"“«„])(.{1,200}?)(?:\*\*|__|\*|[\"”»“])(?=\W|$)")
_ABOUT = re.compile(
    r"\b(?:similar to|(?:movies|films|titles|something|more) like|liked|likes|enjoyed|enjoys|loved|loves|fans? of|"
    r"based on|recommendations? for|(?:if|who) (?:you |they )?(?:like|love|enjoy))\s+(?:the (?:movie|film) )?"
    r"(?=[\"“'*_A-Z0-9«])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Name:
    """One recommended movie as a teacher wrote it.

    Attributes:
        raw: the piece of the reply.
        readings: what title and year it may mean, likeliest first.
    """

    raw: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class ParsedList:
    """What a reply holds.

    Attributes:
        names: best first; at most 200.
        form: how they stood there; ``lines`` and ``commas`` are guesses that only known titles can confirm.
        about: the movie that the reply says the list is for, where it does.
        mended: the JSON had to be repaired.
        left_over: names behind the 200th.
    """

    names: tuple[Name, ...]
    form: Form
    about: tuple[Reading, ...] = ()
    mended: bool = False
    left_over: int = 0


def parse_list(reply: str) -> ParsedList | None:
    r"""Read a reply to a recommend request.

    Args:
        reply: verbatim.

    Returns:
        The names in it, or None where it holds no list.

    Example:
        >>> found = parse_list("If you liked Ronin (1998):\n1. **Heat** (1995) - a crime\n2. Collateral [2004]")
        >>> [name.readings[0] for name in found.names], found.about[0]
        ([('Heat', 1995), ('Collateral', 2004)], ('Ronin', 1998))
        >>> parse_list('{"recommended": ["Heat (1995)"]}').names[0].readings
        (('Heat', 1995),)
        >>> parse_list("I am a language model.") is None
        True
    """
    found, mended = load_json(reply)
    if isinstance(found, dict | list):
        names, about = _search_json(found)
        if mended and names and not _is_whole(names[-1], reply):
            names = names[:-1]  # the reply was cut in the middle of this one
        if names:
            read = tuple(_read_item(item) for item in names[:MAX_NAMES])
            return ParsedList(read, "json", read_name(about) if about else (), mended, len(names) - len(read))
        if not found or (isinstance(found, dict) and any(found.get(key) == [] for key in _LIST_KEYS)):
            return ParsedList((), "json", mended=mended)
        text = _search_text(found)
        return parse_text(text) if text else None
    return parse_text(reply)


def parse_text(text: str) -> ParsedList | None:
    """Read names out of a reply that is not JSON; None where there is no list."""
    lines = [_clear_line(line) for line in _FENCE.sub("", text[:MAX_CHARS]).splitlines()]
    for pattern in (_NUMBERED, _BULLET):
        marked = [(match, number) for number, line in enumerate(lines) if (match := pattern.match(line))]
        if marked:
            outer = min(len(match[1]) for match, _ in marked)  # what is set in further is about a movie, not a movie
            kept = [(match, number) for match, number in marked if len(match[1]) == outer]
            pieces = [lines[number][match.end() :] for match, number in kept]
            return _collect(pieces, "marked", _find_about("\n".join(lines[: kept[0][1]])))
    plain = [line.strip() for line in lines if line.strip()]
    dated = [number for number, line in enumerate(plain) if _BRACKETED.search(line)]
    if dated:
        return _parse_dated(plain, dated)
    short = [line for line in plain if len(line.split()) <= 12 and not line.endswith((":", "!", "?"))]
    if len(short) >= 2 and len(short) >= len(plain) - 2 and all(line.count(",") < 3 for line in short):
        return _collect(short, "lines", _find_about(plain[0] if plain[0] not in short else ""))
    longest = max(plain, key=lambda line: line.count(","), default="")
    pieces = [piece.strip() for piece in re.sub(r"^[^:]{0,80}:\s(?=.*,)", "", longest).rstrip(" .").split(",")]
    pieces = _join_years(pieces)
    is_list = len(pieces) >= 2 and all(len(piece.split()) <= 12 for piece in pieces)
    return _collect(pieces, "commas", ()) if is_list else None


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
    dated = _BRACKETED.search(text)
    if span and not _BRACKETED.search(span[1]) and not _TRAILING.match(span[1]):
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


def _clear_line(line: str) -> str:
    """Take Markdown's quote and table marks off a line, and runs of blanks within it."""
    line = re.sub(r"^\s{0,3}[>|][\s>|]{0,8}", "", line[:MAX_LINE_CHARS].replace("\t", "    "))
    return re.sub(r"(?<=\S)\s+", " ", line).rstrip("| ")


def _match_tail(tail: str) -> re.Match[str] | None:
    return re.match(rf"[\s,:–—-]*[(\[]?({_YEAR_TEXT})\b", tail)


def _unique(readings: list[Reading]) -> tuple[Reading, ...]:
    cleaned = [(title.strip().strip(_QUOTES).strip(" ,;:-–—").strip(_QUOTES), year) for title, year in readings]
    return tuple(dict.fromkeys((title, year) for title, year in cleaned if title))


def _is_whole(name: object, reply: str) -> bool:
    return not isinstance(name, str) or any(f"{name}{quote}" in reply for quote in "\"'") or "\\" in reply


def _search_json(found: object) -> tuple[list[object], str | None]:
    """Return the likeliest list of names in JSON, and the movie it is said to be for."""
    level: list[tuple[object, str | None, bool]] = [(found, None, False)]
    seen = 0
    while level and seen < MAX_NODES:
        following: list[tuple[object, str | None, bool]] = []
        for node, about, is_list in level:
            seen += 1
            if isinstance(node, list):
                if any(_is_name(item) for item in node[:MAX_NODES]):
                    return node, about
                following += [(item, about, False) for item in node[:MAX_NODES]]
            elif isinstance(node, dict):
                numbered = [value for key, value in node.items() if str(key).strip(" .").isdigit()]
                if numbered and any(_is_name(value) for value in numbered):
                    return numbered, about
                if is_list and node and all(isinstance(value, str) for value in node.values()):
                    return _pick_side(node), about
                following += _list_members(node, about)
        level = following
    return [], None


def _list_members(node: dict[str, object], about: str | None) -> Iterator[tuple[object, str | None, bool]]:
    """Yield an object's members, the likeliest first, each with the movie it is for and whether it is called a list."""
    told = next((value for key in _ABOUT_KEYS if isinstance(value := node.get(key), str)), about)
    first = [key for key in _LIST_KEYS if key in node]
    for key in [*first, *(key for key in node if key not in _LIST_KEYS)]:
        named = key if key.casefold() not in (*_LIST_KEYS, *_ABOUT_KEYS, "data", "response", "output") else None
        yield node[key], told or (named if isinstance(node[key], list) else None), key in first


def _pick_side(node: dict[str, object]) -> list[object]:
    """Return the names of ``{"first": "Heat (1995)"}``, or of ``{"Heat (1995)": "why"}``."""
    values: list[object] = list(node.values())
    keys: list[object] = list(node)
    dated = [
        sum(bool(_BRACKETED.search(str(text)[:MAX_NAME_CHARS])) for text in side[:MAX_NAMES]) for side in (values, keys)
    ]
    return keys if dated[1] > dated[0] else values


def _search_text(found: dict[str, object] | list[object]) -> str | None:
    """Return the list that stands as one text in a JSON object."""
    values = [found[key] for key in _LIST_KEYS if key in found] if isinstance(found, dict) else []
    return next((value for value in values if isinstance(value, str) and value.strip()), None)


def _is_name(item: object) -> bool:
    if isinstance(item, dict):
        return any(isinstance(item.get(key), str | int) for key in _TITLE_KEYS)
    if isinstance(item, list):  # ["Heat", 1995]
        return len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], int)
    return isinstance(item, str)


def _read_item(item: object) -> Name:
    if isinstance(item, dict):
        title = next((str(item[key]) for key in _TITLE_KEYS if isinstance(item.get(key), str | int)), "")
        told = next((str(item[key]) for key in _YEAR_KEYS if key in item), "")
        year = re.search(_YEAR_TEXT, told[:MAX_NAME_CHARS])
        raw = json.dumps(item, ensure_ascii=False)[:MAX_NAME_CHARS]
        readings = read_name(title)
        return Name(
            raw, tuple((name, int(year[0])) if year and not dated else (name, dated) for name, dated in readings)
        )
    if isinstance(item, list):
        return _read_item(f"{item[0]} ({item[1]})") if _is_name(item) else Name(str(item[:2])[:MAX_NAME_CHARS], ())
    text = "" if item is None else str(item)[:MAX_NAME_CHARS]
    marker = _NUMBERED.match(text)
    numbered = read_name(text[marker.end() :]) if marker else ()  # "2. Heat"; but "9. April" is a film
    return Name(text, (*read_name(text), *numbered))


def _parse_dated(lines: list[str], dated: list[int]) -> ParsedList | None:
    """Read lines, or running text, in which each name has its year in brackets."""
    pieces = []
    for number in dated:
        start = 0
        for match in _BRACKETED.finditer(lines[number]):
            pieces.append(re.sub(r"^[\s,;.]*(?:(?:and|or|&)\s+)?", "", lines[number][start : match.end()]))
            start = match.end()
    about = _find_about("\n".join(lines[: dated[0]]))
    if not about and len(pieces) > 1 and (about := _find_about(pieces[0])):
        pieces = pieces[1:]  # "If you liked Ronin (1998), try ..."
    return _collect(pieces, "years", about)


def _join_years(pieces: list[str]) -> list[str]:
    joined: list[str] = []
    for piece in pieces:
        if joined and re.fullmatch(_YEAR_TEXT, piece):
            joined[-1] += f", {piece}"
        elif piece:
            joined.append(re.sub(r"^(?:and|or)\s+", "", piece))
    return joined


def _collect(pieces: list[str], form: Form, about: tuple[Reading, ...]) -> ParsedList | None:
    names = [Name(piece.strip(), read_name(piece)) for piece in pieces[:MAX_NAMES]]
    if not any(name.readings for name in names):
        return None
    return ParsedList(tuple(names), form, about, left_over=len(pieces) - len(names))


def _find_about(prose: str) -> tuple[Reading, ...]:
    """Return the movie that the words before a list say it is for."""
    match = _ABOUT.search(prose[-2000:])
    if match is None:
        return ()
    rest = prose[-2000:][match.end() :].split("\n")[0]
    sentence = re.split(r"[!?:]\s|[!?:]$|,\s+(?:here|you|try|i|then|these|check)\b", rest, flags=re.IGNORECASE)[0]
    return read_name(sentence)
