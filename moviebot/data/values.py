r"""Cells of a table to typed facts: ``\N``, ``nan`` and the like are absent; what can't be right is an error."""

import re

YEARS = range(1000, 2101)  # films begin in 1874; the table may be of books
MAX_RUNTIME_MINUTES = 60_000  # the longest film known runs 857 hours
_MOJIBAKE = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u2122]")
_ABSENT = {"", "\\n", "nan", "none", "null", "n/a", "na", "<na>"}


def parse_text(cell: str) -> str | None:
    r"""Return a cell's text on one line, or None where it is absent.

    Example:
        >>> parse_text(" Up "), parse_text("\\N"), parse_text("nan")
        ('Up', None, None)
    """
    text = " ".join(cell.split())
    return None if len(text) <= 4 and text.lower() in _ABSENT else text  # 4: the longest of them; a plot is long


def parse_title(cell: str) -> str | None:
    r"""Return a title: as :func:`parse_text`, but only ``\N`` and the empty cell are absent ("Nan", "None" are films).

    Example:
        >>> parse_title("None"), parse_title("\\N")
        ('None', None)
    """
    text = " ".join(cell.split())
    return None if text in ("", "\\N") else text


def mend_mojibake(text: str) -> str:
    """Undo UTF-8 that was once read as Windows-1252; any other text comes back as it is.

    Example:
        >>> mend_mojibake("SÃ©verine"), mend_mojibake("Séverine"), mend_mojibake("This Boyâ€™s Life")
        ('Séverine', 'Séverine', 'This Boy’s Life')
    """
    if not _MOJIBAKE.search(text):
        return text
    try:
        # Windows-1252 leaves five bytes open; what was read as such a byte stands as a control character.
        return b"".join(char.encode("latin-1" if "\x80" <= char <= "\x9f" else "cp1252") for char in text).decode()
    except UnicodeError:
        return text


def parse_year(cell: str) -> int | None:
    """Return a year; a date gives its year.

    Raises:
        ValueError: the cell is neither a year of 1000 to 2100 nor a date of one.

    Example:
        >>> parse_year("1999"), parse_year("1999.0"), parse_year("1999-03-31"), parse_year("")
        (1999, 1999, 1999, None)
    """
    text = parse_text(cell)
    if text is None:
        return None
    match = re.fullmatch(r"(\d{4})(?:\.0+|[-/]\d{1,2}(?:[-/]\d{1,2}.*)?)?", text)
    if not match or int(match[1]) not in YEARS:
        raise ValueError(f"year {text!r}")
    return int(match[1])


def parse_runtime(cell: str) -> int | None:
    """Return a length in minutes; 0 is absent.

    Raises:
        ValueError: the cell is no number of minutes.

    Example:
        >>> parse_runtime("96"), parse_runtime("96.0"), parse_runtime("96 min"), parse_runtime("0")
        (96, 96, 96, None)
    """
    text = parse_text(cell)
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:m|min|mins|minutes)?\.?", text.lower())
    if not match or float(match[1]) > MAX_RUNTIME_MINUTES:
        raise ValueError(f"runtime {text!r}")
    return round(float(match[1])) or None


def parse_rating(cell: str) -> float | None:
    """Return a mean rating of up to 10; 0 is absent.

    Raises:
        ValueError: the cell is no number of 0 to 10.
    """
    text = parse_text(cell)
    if text is None:
        return None
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) > 10:
        raise ValueError(f"rating {text!r}")
    return round(float(text), 2) or None


def parse_votes(cell: str) -> int | None:
    """Return a number of votes; thousands may be set off by commas.

    Raises:
        ValueError: the cell is no whole number.

    Example:
        >>> parse_votes("1,234"), parse_votes("1234.0")
        (1234, 1234)
    """
    text = parse_text(cell)
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:\.0+)?", text.replace(",", ""))
    if not match:
        raise ValueError(f"votes {text!r}")
    return int(match[1])
