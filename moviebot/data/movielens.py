"""A MovieLens folder: who liked what, checked row by row before anything is computed from it.

Source: https://grouplens.org/datasets/movielens/ (``ratings.csv``, ``links.csv``, ``movies.csv``). The data is for
non-commercial use and is not shipped with this project.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv

from moviebot.data.matching import TitleMatcher
from moviebot.data.schemas import Movie
from moviebot.errors import UserError

if TYPE_CHECKING:
    from scipy import sparse

LIKED = 4.0
"""Stars from which a movie counts as liked: on held-out users 4 did better than 3.5, than any rating, and than the
user's own mean with or without a margin."""
COLUMNS = {
    "ratings": {"userId": pa.int64(), "movieId": pa.int64(), "rating": pa.float64()},
    "links": {"movieId": pa.int64(), "imdbId": pa.string()},
    "movies": {"movieId": pa.int64(), "title": pa.string()},
}
_TITLE = re.compile(r"^(.*\S)\s*\((\d{4})\)\s*$")


@dataclass(frozen=True)
class Likes:
    """Who liked what.

    Attributes:
        matrix: (U, N) ones where a user liked a movie; N are the catalogue's movies, in its order.
        linked: how many of the ratings' movies are in the catalogue.
        unlinked: how many are not.
    """

    matrix: "sparse.csr_matrix"
    linked: int
    unlinked: int


def find_movielens(folder: Path | None) -> dict[str, Path]:
    """Return the files of a MovieLens folder by kind: ``ratings``, ``links`` and ``movies``.

    Files are known by their published names (``ratings.csv``), or by being the only CSV with the word in its name
    (``movielens_ratings_80pct_users.csv``).

    Raises:
        UserError: no folder, or files that lack or can't be told apart; the message names them all.
    """
    if folder is None:
        raise UserError(
            "--teacher movielens needs --movielens_dir DIR, a folder with ratings.csv, links.csv, movies.csv"
        )
    if not folder.is_dir():
        raise UserError(f"--movielens_dir {folder} is no folder: give one with ratings.csv, links.csv and movies.csv")
    files, problems = {}, []
    for kind in COLUMNS:
        exact = folder / f"{kind}.csv"
        found = [exact] if exact.is_file() else sorted(path for path in folder.glob("*.csv") if kind in path.name)
        if len(found) == 1:
            files[kind] = found[0]
        elif found:
            problems.append(f"{kind}.csv could be any of {', '.join(path.name for path in found)}: rename one")
        else:
            problems.append(f"{kind}.csv is not there")
    if problems:
        raise UserError(f"--movielens_dir {folder}: {'; '.join(problems)}")
    return files


def read_likes(files: dict[str, Path], movies: Sequence[Movie]) -> Likes:
    """Read who liked which of the catalogue's movies.

    A MovieLens movie is the catalogue's movie of its IMDb id; where the catalogue has other ids, of its title and year.

    Args:
        files: from :func:`find_movielens`.
        movies: the catalogue.

    Raises:
        UserError: columns lack or rows can't be read; the message names every problem.
    """
    from scipy import sparse

    problems: list[str] = []
    tables = {kind: _read_table(files[kind], columns, problems) for kind, columns in COLUMNS.items()}
    stars = tables["ratings"].column("rating").to_numpy() if "rating" in tables["ratings"].column_names else np.empty(0)
    outside = np.flatnonzero(~((stars >= 0) & (stars <= 5)))
    if len(outside):
        problems.append(
            f"{files['ratings'].name}: {len(outside)} ratings are not 0 to 5 (the first: {stars[outside[0]]:g})"
        )
    if problems:
        raise UserError(f"{files['ratings'].parent}: {'; '.join(problems)}: mend the rows, or unpack the files again")
    rows = _link(tables["links"], tables["movies"], movies)
    rated = tables["ratings"].column("movieId").to_numpy()
    unique, inverse = np.unique(rated, return_inverse=True)
    columns = np.array([rows.get(int(id_), -1) for id_ in unique])
    column = columns[inverse]  # (ratings,)
    kept = (stars >= LIKED) & (column >= 0)
    users, row = np.unique(tables["ratings"].column("userId").to_numpy()[kept], return_inverse=True)
    ones = np.ones(int(kept.sum()), dtype=np.float32)
    matrix = sparse.csr_matrix((ones, (row, column[kept])), shape=(len(users), len(movies)))
    matrix.data[:] = 1.0  # a user may have rated twice
    return Likes(matrix, int((columns >= 0).sum()), int((columns < 0).sum()))


def _read_table(path: Path, columns: dict[str, pa.DataType], problems: list[str]) -> pa.Table:
    """Read some columns; note in ``problems`` what can't be read."""
    cut: list[str] = []

    def note(row: pv.InvalidRow) -> str:
        cut.append(row.text or "")
        return "skip"

    def read(types: dict[str, pa.DataType]) -> pa.Table:
        cut.clear()
        return pv.read_csv(
            path, read_options=pv.ReadOptions(use_threads=False),
            parse_options=pv.ParseOptions(invalid_row_handler=note),
            convert_options=pv.ConvertOptions(include_columns=list(types), column_types=types, null_values=[""]),
        )  # fmt: skip

    try:
        table = read(columns)
    except pa.ArrowKeyError:
        problems.append(f"{path.name} lacks one of the columns {', '.join(columns)}")
        return pa.table({})
    except pa.ArrowInvalid as error:  # a value of another type: look again for how many
        if "conversion error" not in str(error):
            problems.append(f"{path.name} is empty or not UTF-8 CSV")
            return pa.table({})
        table = read(dict.fromkeys(columns, pa.string()))
        bad = [str(value) for name, kind in columns.items() if kind != pa.string()
               for value in table.column(name).to_pylist() if not _is_number(value)]  # fmt: skip
        problems.append(f"{path.name}: {len(bad)} values are no numbers (the first: {bad[0] if bad else error!r})")
        table = pa.table({})
    empty = sum(column.null_count for column in table.columns)
    if cut:
        problems.append(f"{path.name}: {len(cut)} rows have too few or too many fields (the first: {cut[0][:60]!r})")
    if empty:
        problems.append(f"{path.name}: {empty} empty fields")
    if table.column_names and not table.num_rows and not cut:
        problems.append(f"{path.name} holds no rows")
    return table


def _is_number(value: str | None) -> bool:
    return value is not None and re.fullmatch(r"-?\d+(?:\.\d+)?", value) is not None


def _link(links: pa.Table, titles: pa.Table, movies: Sequence[Movie]) -> dict[int, int]:
    """Return the catalogue's row of each MovieLens movie that is there."""
    position = {movie.tconst: row for row, movie in enumerate(movies)}
    rows = {}
    for id_, imdb in zip(links.column("movieId").to_pylist(), links.column("imdbId").to_pylist(), strict=True):
        row = position.get(f"tt{imdb.zfill(7)}")
        if row is not None:
            rows[id_] = row
    taken = set(rows.values())
    if len(taken) == len(movies):
        return rows
    matcher = TitleMatcher(movies)
    for id_, label in zip(titles.column("movieId").to_pylist(), titles.column("title").to_pylist(), strict=True):
        parsed = _TITLE.match(label) if id_ not in rows else None
        if parsed:
            found = matcher.find(re.sub(r"\s*\([^()]*\)$", "", parsed[1]), int(parsed[2]), fuzzy=False)
            if found.how == "exact" and found.movie is not None and position[found.movie.tconst] not in taken:
                rows[id_] = position[found.movie.tconst]
    return rows
