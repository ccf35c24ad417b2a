r"""The shape of every artefact: what one row is, and of what type each field is.

A movie is read from ``catalogue.parquet`` once and walks through the package as a :class:`Movie`. Absent facts are
``None`` or an empty tuple, never the string ``"nan"`` or ``"\N"``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from moviebot.artefact import read_jsonl, write_whole
from moviebot.errors import UserError

Split = Literal["train", "val", "test"]
Task = Literal["qa", "recommend"]
Topic = Literal["director", "year", "runtime", "genre", "cast", "rating", "plot", "unanswerable"]
Row = TypeVar("Row")
SPLITS: tuple[Split, ...] = get_args(Split)
TOPICS: tuple[Topic, ...] = get_args(Topic)

CATALOGUE_SCHEMA = pa.schema(
    [
        pa.field("tconst", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("original_title", pa.string()),
        pa.field("year", pa.int32()),
        pa.field("runtime_minutes", pa.int32()),
        pa.field("genres", pa.list_(pa.string()), nullable=False),
        pa.field("rating", pa.float64()),
        pa.field("votes", pa.int64()),
        pa.field("directors", pa.list_(pa.string()), nullable=False),
        pa.field("cast", pa.list_(pa.string()), nullable=False),
        pa.field("description", pa.string()),
        pa.field("description_source", pa.string()),
        pa.field("akas", pa.list_(pa.string()), nullable=False),
    ]
)

PAIR_SCHEMA = pa.schema(
    [
        pa.field("anchor", pa.string(), nullable=False),
        pa.field("sample", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("tconst_anchor", pa.string(), nullable=False),
        pa.field("tconst_sample", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Movie:
    """One row of ``catalogue.parquet``.

    Attributes:
        tconst: IMDb's id, or the id a table gives its rows.
        title: IMDb's ``primaryTitle``.
        original_title: the title in the original language.
        year: year of release.
        runtime_minutes: length in minutes.
        genres: genre words, as IMDb orders them.
        rating: mean rating, 1 to 10.
        votes: number of ratings.
        directors: full names.
        cast: full names, top-billed first.
        description: a plot outline, one paragraph.
        description_source: where the description is from, for example ``sample`` or ``wikipedia``.
        akas: other titles of the movie, without the title itself.
    """

    tconst: str
    title: str
    original_title: str | None = None
    year: int | None = None
    runtime_minutes: int | None = None
    genres: tuple[str, ...] = ()
    rating: float | None = None
    votes: int | None = None
    directors: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()
    description: str | None = None
    description_source: str | None = None
    akas: tuple[str, ...] = ()

    def __hash__(self) -> int:  # as a key of caches a movie is hashed a million times: one field is enough
        return hash(self.tconst)

    @property
    def label(self) -> str:
        """``Title (year)``, or the bare title where the year is unknown."""
        return self.title if self.year is None else f"{self.title} ({self.year})"


def read_parquet(path: Path, schema: pa.Schema, command: str) -> pa.Table:
    """Read a Parquet artefact's columns, in the schema's order.

    Args:
        path: the artefact.
        schema: the columns it must have.
        command: the ``moviebot`` command that writes it, for the person's next step.

    Raises:
        UserError: the file is absent, is not Parquet, or lacks a column of the schema.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: run `moviebot {command} --out {path.parent}` first")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a whole Parquet file: build it again with `moviebot {command}`") from error
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise UserError(f"{path} lacks the column(s) {', '.join(missing)}: build it again with `moviebot {command}`")
    return table.select(schema.names)


def read_catalogue(path: Path) -> list[Movie]:
    """Read ``catalogue.parquet``, in file order.

    Raises:
        UserError: the file is absent, is not Parquet, or lacks a column of the schema.
    """
    table = read_parquet(path, CATALOGUE_SCHEMA, command="catalogue")
    lists = {field.name for field in CATALOGUE_SCHEMA if pa.types.is_list(field.type)}
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        row.update({name: tuple(row[name] or ()) for name in lists})
    return [Movie(**row) for row in rows]


def write_catalogue(path: Path, movies: Iterable[Movie]) -> None:
    """Write ``catalogue.parquet``, whole or not at all."""
    rows = list(movies)
    arrays = [pa.array([getattr(movie, field.name) for movie in rows], field.type) for field in CATALOGUE_SCHEMA]
    with write_whole(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=CATALOGUE_SCHEMA), temporary, compression="zstd")


@dataclass(frozen=True)
class QAPair:
    """One row of ``qa.jsonl``.

    Attributes:
        tconst: the movie the question is about.
        question: as a person would ask it, the title in it.
        answer: one or two sentences.
        source: the teacher, for example ``template`` or the language model's name.
        split: by movie.
        topic: what is asked for, where the teacher said so.
    """

    tconst: str
    question: str
    answer: str
    source: str
    split: Split
    topic: Topic | None = None


@dataclass(frozen=True)
class RecommendationList:
    """One row of ``recommendations.jsonl``.

    Attributes:
        tconst: the movie the list is for.
        recommended: ids of similar movies, best first, without the movie itself.
        source: the teacher.
        split: by movie.
    """

    tconst: str
    recommended: tuple[str, ...]
    source: str
    split: Split


def read_qa(path: Path) -> list[QAPair]:
    """Read ``qa.jsonl``.

    Raises:
        UserError: the file is absent or a row lacks a field.
    """
    known = {field.name for field in fields(QAPair)}
    return [_build(QAPair, {k: v for k, v in row.items() if k in known}, path) for row in read_jsonl(path)]


def read_recommendations(path: Path) -> list[RecommendationList]:
    """Read ``recommendations.jsonl``.

    Raises:
        UserError: the file is absent or a row lacks a field.
    """
    known = {field.name for field in fields(RecommendationList)}
    rows = [{k: v for k, v in row.items() if k in known} for row in read_jsonl(path)]
    return [
        _build(RecommendationList, {**row, "recommended": tuple(row.get("recommended") or ())}, path) for row in rows
    ]


def _build(kind: type[Row], values: dict[str, object], path: Path) -> Row:
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"{path}: a row lacks a field ({error}): run `moviebot clean` again") from error
