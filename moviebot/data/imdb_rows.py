"""The rows of ``title.basics`` and ``title.ratings``, their values read: Arrow batches without what is wrong."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from moviebot.data.cells import parse_cells, parse_genres, parse_texts, parse_titles
from moviebot.data.schemas import CATALOGUE_SCHEMA
from moviebot.data.selection import Selection
from moviebot.data.tsv import POSITION, ImdbFile
from moviebot.data.values import parse_rating, parse_runtime, parse_votes, parse_year

BASICS = ["tconst", "titleType", "primaryTitle", "originalTitle", "isAdult", "startYear", "runtimeMinutes", "genres"]
RATINGS = ["tconst", "averageRating", "numVotes"]
BASICS_SCHEMA = pa.schema(
    [
        *((name, CATALOGUE_SCHEMA.field(name).type) for name in CATALOGUE_SCHEMA.names[:6]),
        (POSITION, pa.int64()),
        ("raw", pa.string()),
    ]
)
RATINGS_SCHEMA = pa.schema(
    [("tconst", pa.string()), ("rating", pa.float64()), ("votes", pa.int64()), (POSITION, pa.int64()),
     ("raw", pa.string())]
)  # fmt: skip


def read_basics(file: ImdbFile, selection: Selection) -> "Iterator[pa.RecordBatch]":
    """Yield the titles of the types wanted; adult titles and other types are counted out.

    Args:
        file: ``title.basics``; rows without an id or a title, or with a value that can't be read, are rejected there.
        selection: which types, and whether adult titles too.

    Yields:
        Batches of :data:`BASICS_SCHEMA`.
    """
    types = pa.array(selection.title_types, pa.string())
    for batch in file.stream(BASICS):
        clean = batch if selection.adult else batch.filter(pc.not_equal(batch["isAdult"], "1"))
        selection.filtered["adult"] += batch.num_rows - clean.num_rows
        typed = clean.filter(pc.is_in(clean["titleType"], value_set=types))
        selection.filtered["title_type"] += clean.num_rows - typed.num_rows
        titles, ids = parse_titles(typed["primaryTitle"]), parse_texts(typed["tconst"])
        year, year_faults = parse_cells(typed["startYear"], parse_year, pa.int32())
        runtime, runtime_faults = parse_cells(typed["runtimeMinutes"], parse_runtime, pa.int32())
        genres, _ = parse_cells(typed["genres"], parse_genres, pa.list_(pa.string()))
        faults = pc.coalesce(pc.if_else(pc.is_null(ids), "no tconst", None), year_faults, runtime_faults)
        raw = pc.binary_join_element_wise(*(typed[name] for name in BASICS), "\t")
        yield pa.record_batch(
            [typed["tconst"], titles, parse_titles(typed["originalTitle"]), year, runtime, genres, typed[POSITION],
             raw], schema=BASICS_SCHEMA,
        ).filter(_reject_faults(file, typed["tconst"], faults, pc.is_null(titles), raw))  # fmt: skip


def read_ratings(file: ImdbFile) -> "Iterator[pa.RecordBatch]":
    """Yield the ratings as batches of :data:`RATINGS_SCHEMA`; rows whose values can't be read are rejected."""
    for batch in file.stream(RATINGS):
        rating, rating_faults = parse_cells(batch["averageRating"], parse_rating, pa.float64())
        votes, votes_faults = parse_cells(batch["numVotes"], parse_votes, pa.int64())
        raw = pc.binary_join_element_wise(*(batch[name] for name in RATINGS), "\t")
        good = _reject_faults(file, batch["tconst"], pc.coalesce(rating_faults, votes_faults), None, raw)
        yield pa.record_batch([batch["tconst"], rating, votes, batch[POSITION], raw], schema=RATINGS_SCHEMA).filter(
            good
        )


def _reject_faults(
    file: ImdbFile, ids: "pa.Array", faults: "pa.Array", untitled: "pa.Array | None", raw: "pa.Array"
) -> "pa.Array":
    """Reject the rows with a fault or without a title, and return which rows are good."""
    bad = pc.is_valid(faults)
    bad = bad if untitled is None else pc.or_(bad, untitled)
    if pc.any(bad).as_py():
        for tconst, fault, text in zip(*(part.filter(bad).to_pylist() for part in (ids, faults, raw)), strict=True):
            if fault is None:
                file.reject("no_title", tconst, text)
            else:
                file.reject("bad_value", None if fault == "no tconst" else tconst, f"{fault}: {text}")
    return pc.invert(bad)
