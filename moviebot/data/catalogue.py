"""The first stage: a source of movies becomes ``catalogue.parquet``."""

import logging
import time
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moviebot.artefact import is_current, remove, write_jsonl, write_stage_report
from moviebot.data.imdb import build_from_imdb, find_files, read_similar
from moviebot.data.imdb_files import IMDB_URL
from moviebot.data.rejects import Rejects
from moviebot.data.schemas import write_catalogue
from moviebot.data.selection import Selection
from moviebot.data.table import find_table_problems, read_table
from moviebot.data.tsv import ImdbFile
from moviebot.errors import UserError

CATALOGUE_NAME = "catalogue.parquet"
SIMILAR_NAME = "similar.jsonl"
MAX_REJECT_ROWS = 10_000  # of a reason: all are counted, and the first ones of a broken file of millions tell why
SIMILAR_SOURCE = "similar"  # the source of the lists that came with the data
log = logging.getLogger(__name__)


def build_catalogue(
    out: Path,
    imdb_dir: Path | None = None,
    table: Path | None = None,
    sample: bool = False,
    year_from: int | None = None,
    year_to: int | None = None,
    min_votes: int = 0,
    title_types: tuple[str, ...] = ("movie",),
    limit: int | None = None,
    genres: tuple[str, ...] = (),
    exclude_genres: tuple[str, ...] = (),
    adult: bool = False,
    regions: tuple[str, ...] = (),
    languages: tuple[str, ...] = (),
    download: bool = False,
    download_url: str = IMDB_URL,
    columns: dict[str, str] | None = None,
) -> None:
    """Build the catalogue of movies that everything else is about.

    Give just one of ``imdb_dir``, ``table`` and ``sample``. Rows that can't be read are counted in ``report.json`` and
    kept in ``rejects.jsonl``; the rest goes on.

    Args:
        out: the data folder; ``catalogue.parquet``, ``report.json`` and ``rejects.jsonl`` are written there.
        imdb_dir: a folder with IMDb's TSV files, plain or .gz: title.basics, and title.ratings, title.crew,
            title.principals, name.basics, title.akas where there. A descriptions.tsv (tconst, description, source) and
            a similar.jsonl beside them are read too.
        table: a table of your own (.tsv, .csv, .jsonl, each also .gz, or .parquet), one movie a row; it needs a column
            of titles.
        sample: use the embedded sample of well-known films.
        year_from: leave out movies before this year.
        year_to: leave out movies after this year.
        min_votes: leave out movies with fewer votes.
        title_types: IMDb's title types to keep, for example [movie,tvMovie]; of no effect with a table.
        limit: keep this many movies, those with the most votes.
        genres: keep movies with any of these genres, for example [Horror,Sci-Fi]; all where empty.
        exclude_genres: leave out movies with any of these genres.
        adult: keep IMDb's adult titles too; of no effect with a table.
        regions: of the other titles (title.akas), keep those of these regions, for example [DE,FR]; all where empty.
            Original titles are always kept; of no effect with a table.
        languages: of the other titles, keep those in these languages, for example [de,fr]; IMDb names the language
            of few. All where empty; of no effect with a table.
        download: fetch IMDb's files into imdb_dir first, those that are missing, cut short or have changed (about 2 GB
            in all the first time). They are for personal and non-commercial use only.
        download_url: the folder on the web that download fetches from, for example a mirror of your own.
        columns: which of the table's columns hold which fields, where their names don't say so, for example
            title=Film,year=Jahr or '{"title": "Film, deutsch"}'. The fields are tconst, title, original_title, year,
            runtime_minutes, genres, rating, votes, directors, cast, description, description_source and akas.

    Raises:
        UserError: not just one source, a source that can't be read, or no movie left.
    """
    started = time.monotonic()
    problems = _find_source_problems(imdb_dir, table, sample, download, download_url, columns)
    try:
        selection = Selection(
            year_from, year_to, min_votes, tuple(title_types), limit, tuple(genres), tuple(exclude_genres), adult,
            tuple(regions), tuple(languages),
        )  # fmt: skip
    except UserError as error:
        problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))
    if download and imdb_dir is not None:
        from moviebot.data.download import download_imdb

        download_imdb(imdb_dir, download_url)
    source = table or imdb_dir or sample_dir()  # just one of them is asked for
    settings = {
        "source": "table" if table else "sample" if sample else "imdb_dir",
        "year_from": year_from, "year_to": year_to, "min_votes": min_votes, "title_types": list(title_types),
        "limit": limit, "genres": list(genres), "exclude_genres": list(exclude_genres), "adult": adult,
        "regions": list(regions), "languages": list(languages), "columns": columns,
    }  # fmt: skip
    similar = None if table else _find_similar(source)
    inputs = [source] if table else [*find_files(source).values(), *([similar] if similar else [])]
    outputs = [out / CATALOGUE_NAME, *([out / SIMILAR_NAME] if similar else [])]
    if is_current(out, "catalogue", settings=settings, inputs=inputs, outputs=outputs):
        log.info("%s is up to date", outputs[0])
        return
    if table is not None:
        rejects, counts = _build_from_table(table, selection, columns, outputs[0])
    else:
        rejects, counts = _build_from_folder(source, selection, outputs[0])
    counts["filtered"] = dict(selection.filtered)
    _check_kept(counts, source)
    if similar:
        write_jsonl(out / SIMILAR_NAME, read_similar(similar, _read_ids(outputs[0])))
    else:
        remove(out / SIMILAR_NAME)  # lists of another source would be read by `moviebot teach`
    rejects.write(out)
    write_stage_report(
        out, "catalogue", counts={**counts, "absent": _count_absent(outputs[0])},
        seconds=time.monotonic() - started, settings=settings, inputs=inputs, outputs=outputs,
    )  # fmt: skip
    rejected_rows = sum(counts["rejected"].values())
    log.info("%s: %d movies of %d rows, %d rejected", outputs[0], counts["kept"], counts["in"], rejected_rows)


def sample_dir() -> Path:
    """Return the folder of the embedded sample: IMDb-format TSVs, descriptions and similar-movie lists."""
    return Path(str(resources.files("moviebot.data"))) / "sample"


def _find_source_problems(
    imdb_dir: Path | None, table: Path | None, sample: bool, download: bool, url: str, columns: dict[str, str] | None
) -> list[str]:
    problems = []
    if download and imdb_dir is None:
        problems.append("--download fetches IMDb's files: say where to with --imdb_dir DIR")
    if not download and url != IMDB_URL:
        problems.append(f"--download_url {url} has no effect without --download true: give both or neither")
    if not _is_web_address(url):
        problems.append(f"--download_url {url}: give an address that begins with https:// (or http://)")
    if columns and table is None:
        problems.append("--columns is for --table: IMDb's own columns are known; leave it out")
    if table is not None:
        problems += find_table_problems(table, columns)
    if (imdb_dir is not None) + (table is not None) + sample != 1:
        problems.append("moviebot catalogue needs just one of --imdb_dir DIR, --table FILE and --sample true: give one")
    return problems


def _is_web_address(url: str) -> bool:
    if url == IMDB_URL:
        return True
    import httpx

    try:
        return httpx.URL(url).scheme in ("http", "https") and bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        return False


def _find_similar(folder: Path) -> Path | None:
    path = folder / SIMILAR_NAME
    return path if path.is_file() else None


def _build_from_table(
    table: Path, selection: Selection, columns: dict[str, str] | None, target: Path
) -> tuple[Rejects, dict[str, Any]]:
    """Write the catalogue of a table, unless nothing of it is kept; return what was thrown away, and the counts."""
    _warn_of_no_effect(selection)
    rejects = Rejects("catalogue")
    found, total = read_table(table, rejects, columns)
    movies = selection.select(found)
    if movies:
        write_catalogue(target, movies)
    return rejects, {"in": total, "kept": len(movies), "rejected": rejects.count()}


def _build_from_folder(folder: Path, selection: Selection, target: Path) -> tuple[Rejects, dict[str, Any]]:
    """Write the catalogue of IMDb's files, unless nothing of them is kept; return as :func:`_build_from_table`."""
    rejects = Rejects("catalogue", max_rows=MAX_REJECT_ROWS)
    result = build_from_imdb(folder, selection, rejects, target)
    basics = result.files[0]
    # Only title.basics has a row a movie: what the other files lose is a fact, counted under their names.
    rejected = {reason: basics.rejected[reason] for reason in rejects.count()}
    counts = {"in": basics.rows, "kept": result.kept, "rejected": rejected, "files": _count_files(result.files)}
    if rejects.count_left_out():
        counts["rejects_not_in_file"] = rejects.count_left_out()
    return rejects, counts


def _warn_of_no_effect(selection: Selection) -> None:
    default = Selection()
    for name in ("title_types", "adult", "regions", "languages"):
        if getattr(selection, name) != getattr(default, name):
            log.warning("--%s has no effect with --table", name)


def _count_files(files: list[ImdbFile]) -> dict[str, dict[str, Any]]:
    return {
        file.path.name: {
            "in": file.rows,
            "rejected": dict(file.rejected),
            **({"filtered": dict(file.filtered)} if file.filtered else {}),
        }
        for file in files
    }


def _check_kept(counts: dict[str, Any], source: Path) -> None:
    if counts["kept"]:
        return
    if not counts["in"]:
        raise UserError(f"{source} holds no rows: give a source with at least one movie")
    why = {**counts["rejected"], **{f"outside --{name}": n for name, n in counts["filtered"].items()}}
    reasons = ", ".join(f"{reason} {number}" for reason, number in why.items() if number)
    raise UserError(
        f"no movie is left of the {counts['in']} rows of {source} ({reasons}): loosen the settings or mend it"
    )


def _read_ids(catalogue: Path) -> set[str]:
    return set(pq.read_table(catalogue, columns=["tconst"])["tconst"].to_pylist())


def _count_absent(catalogue: Path) -> dict[str, int]:
    columns = ["year", "runtime_minutes", "genres", "rating", "directors", "cast", "description"]
    absent = Counter(dict.fromkeys(columns, 0))
    for batch in pq.ParquetFile(catalogue).iter_batches(columns=columns):
        for name in columns:
            column = batch[name]
            lists = pc.equal(pc.list_value_length(column), 0) if pa.types.is_list(column.type) else column.is_null()
            absent[name] += pc.sum(lists).as_py() or 0
    return dict(absent)
