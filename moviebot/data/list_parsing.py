r"""A teacher's recommendation reply becomes names: JSON, broken JSON, numbered lines, bullets, lines or commas.

What a reply looks like decides only where a name begins and ends; whether such a movie exists is for
:class:`moviebot.data.matching.TitleMatcher` to say. All work is bounded: a reply of 10 MB costs no more than its first
200,000 characters.
"""

import re
from dataclasses import dataclass
from typing import Literal

from moviebot.data.broken_json import load_json
from moviebot.data.list_json import holds_empty_list, read_item, search_json, search_text
from moviebot.data.list_name import BRACKETED_YEAR, MAX_NAMES, NUMBERED, YEAR, Name, Reading, read_name

MAX_CHARS = 200_000  # of a reply that is no JSON; far more than 200 names with a sentence each
MAX_LINE_CHARS = 10_000

Form = Literal["json", "marked", "years", "lines", "commas"]

_FENCE = re.compile(r"^\s*```[\w-]*\s*$", re.MULTILINE)
_BULLET = re.compile(r"^(\s{0,12})(?:[-*+•–—·▪►◦‣⁃]|\([a-z]\)|[a-z]\))\s+(?=\S)")
_ABOUT = re.compile(
    r"\b(?:similar to|(?:movies|films|titles|something|more) like|liked|likes|enjoyed|enjoys|loved|loves|fans? of|"
    r"based on|recommendations? for|(?:if|who) (?:you |they )?(?:like|love|enjoy))\s+(?:the (?:movie|film) )?"
    r"(?=[\"“'*_A-Z0-9«])",
    re.IGNORECASE,
)


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
        names, about = search_json(found)
        if mended and names and not _is_whole(names[-1], reply):
            names = names[:-1]  # the reply was cut in the middle of this one
        if names:
            read = tuple(read_item(item) for item in names[:MAX_NAMES])
            return ParsedList(read, "json", read_name(about) if about else (), mended, len(names) - len(read))
        if not found or holds_empty_list(found):
            return ParsedList((), "json", mended=mended)
        text = search_text(found)
        return parse_text(text) if text else None
    return parse_text(reply)


def parse_text(text: str) -> ParsedList | None:
    """Read names out of a reply that is not JSON; None where there is no list."""
    lines = [_clear_line(line) for line in _FENCE.sub("", text[:MAX_CHARS]).splitlines()]
    for pattern in (NUMBERED, _BULLET):
        marked = [(match, number) for number, line in enumerate(lines) if (match := pattern.match(line))]
        if marked:
            outer = min(len(match[1]) for match, _ in marked)  # what is set in further is about a movie, not a movie
            kept = [(match, number) for match, number in marked if len(match[1]) == outer]
            pieces = [lines[number][match.end() :] for match, number in kept]
            return _collect(pieces, "marked", _find_about("\n".join(lines[: kept[0][1]])))
    plain = [line.strip() for line in lines if line.strip()]
    dated = [number for number, line in enumerate(plain) if BRACKETED_YEAR.search(line)]
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


def _is_whole(name: object, reply: str) -> bool:
    return not isinstance(name, str) or any(f"{name}{quote}" in reply for quote in "\"'") or "\\" in reply


def _clear_line(line: str) -> str:
    """Take Markdown's quote and table marks off a line, and runs of blanks within it."""
    line = re.sub(r"^\s{0,3}[>|][\s>|]{0,8}", "", line[:MAX_LINE_CHARS].replace("\t", "    "))
    return re.sub(r"(?<=\S)\s+", " ", line).rstrip("| ")


def _parse_dated(lines: list[str], dated: list[int]) -> ParsedList | None:
    """Read lines, or running text, in which each name has its year in brackets."""
    pieces = []
    for number in dated:
        start = 0
        for match in BRACKETED_YEAR.finditer(lines[number]):
            pieces.append(re.sub(r"^[\s,;.]*(?:(?:and|or|&)\s+)?", "", lines[number][start : match.end()]))
            start = match.end()
    about = _find_about("\n".join(lines[: dated[0]]))
    if not about and len(pieces) > 1 and (about := _find_about(pieces[0])):
        pieces = pieces[1:]  # "If you liked Ronin (1998), try ..."
    return _collect(pieces, "years", about)


def _join_years(pieces: list[str]) -> list[str]:
    joined: list[str] = []
    for piece in pieces:
        if joined and re.fullmatch(YEAR, piece):
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
