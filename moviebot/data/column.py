"""Which column of a table holds which field: found by the names people give them, or as ``--columns`` says."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from rapidfuzz import fuzz, process, utils

SYNONYMS: dict[str, tuple[str, ...]] = {
    "tconst": ("tconst", "imdbid", "id", "movieid", "titleid"),
    "title": ("title", "primarytitle", "movietitle", "name", "movie", "film"),
    "original_title": ("originaltitle",),
    "year": ("year", "startyear", "releaseyear", "releasedate", "released"),
    "runtime_minutes": ("runtimeminutes", "runtime", "runtimeinminutes", "runtimemin", "duration", "minutes", "length"),
    "genres": ("genres", "genre"),
    "rating": ("rating", "averagerating", "imdbrating", "voteaverage", "score"),
    "votes": ("votes", "numvotes", "imdbvotes", "votecount"),
    "directors": ("directors", "director", "directedby"),
    "cast": ("cast", "actors", "stars", "starring"),
    "description": ("description", "overview", "plot", "synopsis", "summary", "outline", "storyline"),
    "description_source": ("descriptionsource",),
    "akas": ("akas", "aka", "alternativetitles", "alsoknownas"),
}
"""Column names understood, by field, best first; case, spaces and punctuation do not matter."""

MAX_SHOWN = 12  # columns of the table named in a message
LEAST_LIKE = 70  # of 100: "did you mean" for a name at least as like as this


def match_columns(columns: Sequence[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return which column holds which field.

    Args:
        columns: the table's column names.
        given: what ``--columns`` says, by field; the other fields are found among the columns that it leaves.

    Example:
        >>> match_columns(["ID", "Movie Title", "Runtime (in minutes)", "plot"])
        {'tconst': 'ID', 'title': 'Movie Title', 'runtime_minutes': 'Runtime (in minutes)', 'description': 'plot'}
        >>> match_columns(["Titel", "Jahr", "Name"], {"title": "Titel", "year": "Jahr", "cast": "Name"})
        {'title': 'Titel', 'year': 'Jahr', 'cast': 'Name'}
    """
    given = given or {}
    by_name: dict[str, str] = {}
    for column in columns:
        if column not in given.values():
            by_name.setdefault(re.sub(r"[^a-z0-9]", "", column.casefold()), column)
    found: dict[str, str] = {}
    for field, names in SYNONYMS.items():
        if field in given:
            if given[field] in columns:
                found[field] = given[field]
        elif known := [name for name in names if name in by_name]:
            found[field] = by_name[known[0]]
    return found


def find_field_problems(given: Mapping[str, str] | None) -> list[str]:
    """Return what is wrong with ``--columns`` whatever the table: names that are no fields, a column used twice.

    Example:
        >>> find_field_problems({"titel": "Film", "year": "Jahr", "rating": "Jahr"})[1]
        "--columns gives the column 'Jahr' to year and rating: give it to one of them"
    """
    given = given or {}
    problems = []
    unknown = [field for field in given if field not in SYNONYMS]
    if unknown:
        named = " and ".join(f"{field!r}{_suggest(field, tuple(SYNONYMS))}" for field in unknown)
        problems.append(f"--columns names what is no field, {named}: the fields are {', '.join(SYNONYMS)}")
    for column, number in Counter(given.values()).items():
        if number > 1:
            fields = " and ".join(field for field, value in given.items() if value == column)
            problems.append(f"--columns gives the column {column!r} to {fields}: give it to one of them")
    return problems


def find_column_problems(columns: Sequence[str], given: Mapping[str, str] | None) -> list[str]:
    """Return why a table's columns can't be used: one that ``--columns`` names is not there, none holds titles.

    Args:
        columns: the table's column names.
        given: what ``--columns`` says, by field.

    Example:
        >>> find_column_problems(["Film", "Jahr"], {"year": "Jaht"})
        ["has no column 'Jaht' (did you mean 'Jahr'?), which --columns names; it has 'Film', 'Jahr'"]
    """
    given = given or {}
    problems = []
    missing = dict.fromkeys(column for column in given.values() if column not in columns)
    if missing:
        named = " and no column ".join(f"{column!r}{_suggest(column, columns)}" for column in missing)
        problems.append(f"has no column {named}, which --columns names; it has {_show(columns)}")
    found = match_columns(columns, given)
    if "title" not in found and "title" not in given:
        problems.append(
            f"has no column of titles (it has {_show(columns)}): name one of them 'title', or say which it is with "
            "--columns title=COLUMN"
        )
    times = Counter(columns)
    twice = [column for column in dict.fromkeys(found.values()) if times[column] > 1]
    if twice:
        problems.append(f"has more than one column {' and '.join(map(repr, twice))}: rename all but one")
    return problems


def _suggest(name: str, choices: Sequence[str]) -> str:
    best = process.extractOne(
        name, choices, scorer=fuzz.ratio, processor=utils.default_process, score_cutoff=LEAST_LIKE
    )
    return f" (did you mean {best[0]!r}?)" if best else ""


def _show(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - MAX_SHOWN} more" if len(columns) > MAX_SHOWN else ""
    return ", ".join(repr(column[:60]) for column in columns[:MAX_SHOWN]) + more
