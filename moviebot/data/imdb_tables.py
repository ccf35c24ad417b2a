"""The joins of IMDb's files, out of core: DuckDB holds what belongs to the movies wanted and spills to disk.

Each file flows through once as Arrow batches, so memory does not grow with it. Rows know their place in the file
(``position``), so that the result does not depend on the order in which DuckDB works. The small table stands on the
right of each join: DuckDB can't know how long a stream is, so it is kept from choosing.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from moviebot.data.cells import normalise_titles, parse_texts, parse_titles
from moviebot.data.imdb_rows import BASICS_SCHEMA, RATINGS_SCHEMA, read_basics, read_ratings
from moviebot.data.rejects import CatalogueReason
from moviebot.data.schemas import CATALOGUE_SCHEMA
from moviebot.data.selection import Selection
from moviebot.data.tsv import POSITION, ImdbFile

MAX_CAST = 5  # the prompt holds them all: at about 5 tokens a name, ten would cost as much as the description
MAX_AKAS = 40
MEMORY = "1GiB"  # the rest of 3 GiB: Python and Arrow 0.4 GiB, blocks read ahead 0.2 GiB, the writer's row group
_THREADS = 2  # reading is one stream: more threads would wait, and each takes memory
_ROW_GROUP = 100_000


class ImdbTables:
    """Takes in IMDb's files, the basics first, and writes the catalogue; a context manager.

    Args:
        scratch: a folder for what does not fit into the memory.
        memory: how much DuckDB may hold.
    """

    def __init__(self, scratch: Path, memory: str = MEMORY) -> None:
        self._connection = duckdb.connect(
            config={
                "memory_limit": memory,
                "threads": _THREADS,
                "temp_directory": str(scratch),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,  # never fetch code
                "autoload_known_extensions": False,
            }
        )
        self._connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        functions = {"parse_title": parse_titles, "parse_text": parse_texts, "normalise_title": normalise_titles}
        for name, convert in functions.items():
            self._connection.create_function(
                name, _take_chunks(convert), ["VARCHAR"], "VARCHAR", type="arrow", null_handling="special"
            )

    def __enter__(self) -> "ImdbTables":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def load_basics(self, file: ImdbFile, selection: Selection) -> None:
        """Take in the titles of the types wanted; adult titles and other types are counted out."""
        self._load(file, read_basics(file, selection), BASICS_SCHEMA, "CREATE TABLE basics AS SELECT * FROM stream")
        self._reject_duplicates(file, "basics", ["tconst"], "raw")

    def load_ratings(self, file: ImdbFile | None) -> None:
        """Take in the ratings of these titles; None where there is no such file."""
        columns = "tconst VARCHAR, rating DOUBLE, votes BIGINT, position BIGINT, raw VARCHAR"
        self._connection.execute(f"CREATE TABLE ratings ({columns})")
        if file is not None:
            query = "INSERT INTO ratings SELECT * FROM stream SEMI JOIN basics USING (tconst)"
            self._load(file, read_ratings(file), RATINGS_SCHEMA, query)
            self._reject_duplicates(file, "ratings", ["tconst"], "raw")

    def select(self, selection: Selection) -> int:
        """Keep the movies wanted, count the others, and return how many are kept."""
        why_not, parameters = selection.write_sql()
        self._connection.execute(
            f"CREATE TABLE movies AS SELECT *, {why_not} AS why_not FROM (SELECT basics.* EXCLUDE (raw), rating, votes "
            "FROM basics LEFT JOIN ratings USING (tconst))",
            parameters,
        )
        reasons = "SELECT why_not, count(*) FROM movies WHERE why_not IS NOT NULL GROUP BY why_not"
        for name, number in self._connection.execute(reasons).fetchall():
            selection.filtered[name] += number
        self._connection.execute("DELETE FROM movies WHERE why_not IS NOT NULL; DROP TABLE basics; DROP TABLE ratings")
        kept = self._count("movies")
        if selection.limit is not None and kept > selection.limit:
            selection.filtered["limit"] += kept - selection.limit
            most_voted = f"SELECT position FROM movies ORDER BY votes DESC NULLS LAST, position LIMIT {selection.limit}"
            self._connection.execute(f"DELETE FROM movies WHERE position NOT IN ({most_voted})")
            kept = selection.limit
        return kept

    def load_people(self, crew: ImdbFile | None, principals: ImdbFile | None, names: ImdbFile | None) -> None:
        """Take in directors and cast; without the names there are none.

        Directors are those of ``title.crew``; a movie without one there has those of ``title.principals``.
        """
        self._connection.execute("CREATE TABLE credits (movie BIGINT, role VARCHAR, rank BIGINT, nconst VARCHAR)")
        self._connection.execute("CREATE TABLE people (movie BIGINT, role VARCHAR, names VARCHAR[])")
        if names is None:
            return
        if crew is not None:
            self._load_text(crew, ["tconst", "directors"], "crew", "directors NOT IN ('', '\\N')")
            self._reject_duplicates(crew, "crew", ["movie"], r"concat_ws(chr(9), tconst, directors)")
            listed = r"string_split(directors, ',')"
            self._connection.execute(
                f"INSERT INTO credits SELECT movie, 'director', min(rank), trim(nconst) FROM (SELECT movie, "
                f"unnest({listed}) AS nconst, generate_subscripts({listed}, 1) AS rank FROM crew) "
                r"WHERE trim(nconst) NOT IN ('', '\N') GROUP BY movie, trim(nconst); DROP TABLE crew"
            )
        if principals is not None:
            self._load_principals(principals)
        self._connection.execute("CREATE TABLE wanted AS SELECT DISTINCT nconst AS tconst, 0 AS position FROM credits")
        self._load_text(names, ["nconst", "primaryName"], "names", key="wanted")
        self._reject_duplicates(names, "names", ["nconst"], "concat_ws(chr(9), nconst, primaryName)")
        self._connection.execute(
            "INSERT INTO people SELECT movie, role, list(name ORDER BY rank) FROM credits JOIN "
            "(SELECT nconst, parse_text(primaryName) AS name FROM names) AS named USING (nconst) "
            "WHERE name IS NOT NULL GROUP BY movie, role; DROP TABLE names; DROP TABLE wanted; DROP TABLE credits"
        )

    def load_akas(self, file: ImdbFile | None, selection: Selection) -> None:
        """Take in the other titles of the regions and languages wanted, the original title first."""
        self._connection.execute("CREATE TABLE others (movie BIGINT, titles VARCHAR[])")
        if file is None:
            return
        header = file.read_header()
        columns = ["titleId", "title", *(name for name in ("ordering", "region", "language") if name in header)]
        self._load_text(file, columns, "akas")
        self._reject_duplicates(file, "akas", ["movie", *columns[1:]], f"concat_ws(chr(9), {', '.join(columns)})")
        for name, words in (("region", selection.regions), ("language", selection.languages)):
            if words:
                before = self._count("akas")
                wanted = [word.strip().lower() for word in words]
                self._connection.execute(f"DELETE FROM akas WHERE NOT list_contains($1, lower({name}))", [wanted])
                file.filtered[f"{name}s"] += before - self._count("akas")
        self._connection.execute(
            f"""
            INSERT INTO others SELECT movie, arg_min(title, rank, {MAX_AKAS}) FROM (
                SELECT movie, normalise_title(title) AS folded, min(rank) AS rank, arg_min(title, rank) AS title FROM (
                    SELECT movie, parse_title(title) AS title, position AS rank FROM akas
                    UNION ALL SELECT position, original_title, -1 FROM movies
                ) WHERE title IS NOT NULL GROUP BY movie, folded
            ) ANTI JOIN (SELECT position AS movie, normalise_title(title) AS folded FROM movies) AS own
            USING (movie, folded) GROUP BY movie;
            DROP TABLE akas
            """
        )

    def load_descriptions(self, file: ImdbFile | None) -> None:
        """Take in descriptions and where they are from."""
        self._connection.execute("CREATE TABLE texts (movie BIGINT, description VARCHAR, description_source VARCHAR)")
        if file is None:
            return
        self._load_text(file, ["tconst", "description", "source"], "described")
        self._reject_duplicates(file, "described", ["movie"], "concat_ws(chr(9), tconst, description, source)")
        self._connection.execute(
            "INSERT INTO texts SELECT movie, parse_text(description), "
            "CASE WHEN parse_text(description) IS NOT NULL THEN parse_text(source) END FROM described; "
            "DROP TABLE described"
        )

    def write(self, path: Path) -> None:
        """Write the catalogue as Parquet, in the order of the basics."""
        none = "CAST([] AS VARCHAR[])"
        result = self._connection.sql(
            f"""
            SELECT movies.tconst, title, original_title, year, runtime_minutes, genres, rating, votes,
                coalesce(directors.names, {none}) AS directors, coalesce(cast_.names, {none}) AS cast,
                description, description_source, coalesce(titles, {none}) AS akas
            FROM movies
            LEFT JOIN (FROM people WHERE role = 'director') AS directors ON directors.movie = movies.position
            LEFT JOIN (FROM people WHERE role = 'cast') AS cast_ ON cast_.movie = movies.position
            LEFT JOIN texts ON texts.movie = movies.position
            LEFT JOIN others ON others.movie = movies.position
            ORDER BY movies.position
            """
        )
        with pq.ParquetWriter(path, CATALOGUE_SCHEMA, compression="zstd") as writer:
            for group in _regroup(pa.RecordBatchReader.from_stream(result)):
                writer.write_table(group, row_group_size=_ROW_GROUP)

    def _load_principals(self, file: ImdbFile) -> None:
        columns = ["tconst", "ordering", "nconst", "category"]
        self._load_text(file, columns, "principals", "category IN ('director', 'actor', 'actress', 'self')")
        raw = f"concat_ws(chr(9), {', '.join(columns)})"
        self._reject_duplicates(file, "principals", ["movie", "ordering", "nconst", "category"], raw)
        wrong = "NOT regexp_full_match(ordering, '[0-9]{1,9}')"
        self._reject(file, "bad_value", "principals", wrong, f"concat('ordering: ', {raw})")
        # Ordering and place in one number: 30 bits and 33.
        rank = "min((ordering::BIGINT << 33) + position)"
        self._connection.execute(
            f"""
            INSERT INTO credits SELECT movie, 'director', {rank}, nconst FROM principals
            ANTI JOIN (SELECT DISTINCT movie FROM credits) AS known USING (movie)
            WHERE category = 'director' GROUP BY movie, nconst;
            INSERT INTO credits SELECT movie, 'cast', unnest(range({MAX_CAST})), unnest(billed) FROM (
                SELECT movie, list_resize(arg_min(nconst, rank, {MAX_CAST}), {MAX_CAST}) AS billed FROM (
                    SELECT movie, nconst, {rank} AS rank FROM principals WHERE category <> 'director'
                    GROUP BY movie, nconst
                ) GROUP BY movie
            );
            DELETE FROM credits WHERE nconst IS NULL;
            DROP TABLE principals
            """
        )

    def _load_text(
        self, file: ImdbFile, columns: Sequence[str], table: str, condition: str = "true", key: str = "movies"
    ) -> None:
        """Keep the columns of a file's rows whose first column is an id of the table ``key``."""
        schema = pa.schema([*((name, pa.string()) for name in columns), (POSITION, pa.int64())])
        query = (
            f"CREATE TABLE {table} AS SELECT {key}.position AS movie, stream.* FROM stream "
            f"JOIN {key} ON stream.{columns[0]} = {key}.tconst WHERE {condition}"
        )
        self._load(file, file.stream(list(columns)), schema, query)

    def _load(self, file: ImdbFile, batches: "Iterator[pa.RecordBatch]", schema: "pa.Schema", query: str) -> None:
        self._connection.register("stream", pa.RecordBatchReader.from_batches(schema, batches))
        try:
            self._connection.execute(query)
        except duckdb.Error as error:
            if file.fault is not None:
                raise file.fault from error
            raise
        finally:
            self._connection.unregister("stream")

    def _reject_duplicates(self, file: ImdbFile, table: str, keys: Sequence[str], raw: str) -> None:
        """Keep the first row of each key."""
        names = ", ".join(keys)
        first = f"SELECT min(position) FROM {table} GROUP BY {names}"
        if self._count(f"(SELECT DISTINCT {names} FROM {table})") < self._count(table):
            self._reject(file, "duplicate_id", table, f"position NOT IN ({first})", raw)

    def _reject(self, file: ImdbFile, reason: CatalogueReason, table: str, condition: str, raw: str) -> None:
        about = {"akas": "titleId", "names": "NULL"}.get(table, "tconst")
        rows = self._connection.sql(
            f"SELECT {about} AS about, {raw} AS raw FROM {table} WHERE {condition} ORDER BY {POSITION}"
        )
        for batch in pa.RecordBatchReader.from_stream(rows):
            for tconst, text in zip(batch["about"].to_pylist(), batch["raw"].to_pylist(), strict=True):
                file.reject(reason, tconst, text)
        self._connection.execute(f"DELETE FROM {table} WHERE {condition}")

    def _count(self, table: str) -> int:
        [(number,)] = self._connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(number)


def _take_chunks(convert: "Callable[[pa.Array], pa.Array]") -> "Callable[[pa.ChunkedArray], pa.Array]":
    return lambda cells: convert(cells.combine_chunks())


def _regroup(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.Table]":
    """Yield row groups of the same length whatever the batches', so that equal rows make equal files."""
    held: list[pa.Table] = []
    for batch in batches:
        arrays = [batch[field.name].cast(field.type) for field in CATALOGUE_SCHEMA]
        held.append(pa.Table.from_arrays(arrays, schema=CATALOGUE_SCHEMA))
        while sum(table.num_rows for table in held) >= _ROW_GROUP:
            whole = pa.concat_tables(held)
            yield whole.slice(0, _ROW_GROUP).combine_chunks()
            held = [whole.slice(_ROW_GROUP)]
    rest = pa.concat_tables(held) if held else None
    if rest is not None and rest.num_rows:
        yield rest.combine_chunks()
