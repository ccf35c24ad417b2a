"""Descriptions from a file of the person's own: a table of ids, or of titles and years, with a text each."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from moviebot.data.column import match_columns
from moviebot.data.description_row import DescriptionRow, Unanswered, build_row
from moviebot.data.rejects import Rejects
from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.data.table_file import SUFFIXES, Cell, find_suffix, read_columns, read_rows
from moviebot.data.values import mend_mojibake, parse_text, parse_title, parse_year
from moviebot.errors import UserError

Name = tuple[str, int | None]


class DescriptionFile:
    """A table with a column of descriptions.

    A row belongs to the movie of its tconst; where the table has no such column, to the only movie of its title and
    year (of its title alone, where the row has no year).

    Args:
        path: the table.
        catalogue: all movies, to find a title's.
        rejects: where rows that can't be read go.
        licence: of the texts.

    Raises:
        UserError: the file is absent or of another kind, or lacks a column.
    """

    def __init__(self, path: Path, catalogue: Sequence[Movie], rejects: Rejects, licence: str | None = None) -> None:
        self.name = name_file(path)
        self.requests = 0
        self._licence = licence
        self._texts = _read_texts(path, catalogue, rejects)

    async def close(self) -> None:
        """Nothing is open."""

    async def look_up(self, movies: Sequence[Movie]) -> AsyncIterator[DescriptionRow | Unanswered]:
        """Yield the row of each movie that the file has a text of."""
        for movie in movies:
            if movie.tconst in self._texts:
                yield build_row(movie.tconst, self.name, self._texts[movie.tconst], licence=self._licence)


def name_file(path: Path) -> str:
    """Return what ``description_source`` says of texts from a file.

    Example:
        >>> name_file(Path("my/plots.tsv.gz"))
        'plots'
    """
    return path.name.removesuffix(".gz").rpartition(".")[0]


def _read_texts(path: Path, catalogue: Sequence[Movie], rejects: Rejects) -> dict[str, str]:
    if not path.is_file() or find_suffix(path) is None or path.stat().st_size == 0:
        raise UserError(f"--sources file:{path} is no table: give a file that is there ({', '.join(SUFFIXES)})")
    try:
        found = match_columns(read_columns(path, lambda names: "description" in match_columns(names)))
        if "description" not in found or not {"tconst", "title"} & found.keys():
            raise UserError(f"--sources file:{path} needs a column 'description', and one of 'tconst' and 'title': "
                            "name its columns so")  # fmt: skip
        by_title = _Titles(catalogue)
        texts: dict[str, str] = {}
        for row in read_rows(path, None, rejects):
            tconst = _read(row, "tconst") if "tconst" in found else by_title.find(row)
            text = _read(row, "description")
            if tconst is None or text is None:
                continue
            if tconst in texts:
                rejects.add("duplicate_id", tconst, text)
            else:
                texts[tconst] = text
    except UserError as error:
        raise UserError(str(error).replace("--table ", "--sources file:")) from error
    return texts


class _Titles:
    """Which movie a title and a year mean."""

    def __init__(self, catalogue: Sequence[Movie]) -> None:
        names: list[tuple[Name, str]] = []
        for movie in catalogue:
            title = normalise_title(movie.title)
            names += [((title, year), movie.tconst) for year in dict.fromkeys((movie.year, None))]
        times = Counter(name for name, _ in names)
        self._tconsts = {name: tconst for name, tconst in names if times[name] == 1}

    def find(self, row: dict[str, Cell]) -> str | None:
        title = parse_title(_join(row.get("title", "")))
        try:
            year = parse_year(_join(row.get("year", "")))
        except ValueError:
            return None
        return self._tconsts.get((normalise_title(title), year)) if title else None


def _read(row: dict[str, Cell], field: str) -> str | None:
    return parse_text(mend_mojibake(_join(row.get(field, ""))))


def _join(cell: Cell) -> str:
    return cell if isinstance(cell, str) else ", ".join(cell)
