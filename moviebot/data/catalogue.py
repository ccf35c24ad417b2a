"""The first stage: a source of movies becomes ``catalogue.parquet``."""

import logging
import time
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from moviebot.artefact import is_current, remove, write_jsonl, write_stage_report
from moviebot.data.download import IMDB_URL, download_imdb
from moviebot.data.imdb import find_files, read_imdb, read_similar
from moviebot.data.rejects import Rejects
from moviebot.data.schemas import Movie, write_catalogue
from moviebot.data.selection import Selection
from moviebot.data.table import find_table_problems, read_table
from moviebot.errors import UserError

CATALOGUE_NAME = "catalogue.parquet"
SIMILAR_NAME = "similar.jsonl"
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
    problems = _find_download_problems(imdb_dir, download, download_url)
    if columns and table is None:
        problems.append("--columns is for --table: IMDb's own columns are known; leave it out")
    if table is not None:
        problems += find_table_problems(table, columns)
    if (imdb_dir is not None) + (table is not None) + sample != 1:
        problems.append("moviebot catalogue needs just one of --imdb_dir DIR, --table FILE and --sample true: give one")
    try:
        selection = Selection(year_from, year_to, min_votes, tuple(title_types), limit)
    except UserError as error:
        problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))
    if download and imdb_dir is not None:
        download_imdb(imdb_dir, download_url)
    settings = {
        "source": "table" if table else "sample" if sample else "imdb_dir",
        "year_from": year_from, "year_to": year_to, "min_votes": min_votes, "title_types": list(title_types),
        "limit": limit, "columns": columns,
    }  # fmt: skip
    folder = sample_dir() if sample else imdb_dir
    similar = folder / SIMILAR_NAME if folder is not None else None
    inputs = [table] if table is not None else []
    if folder is not None:
        inputs = [*find_files(folder).values(), *([similar] if similar and similar.is_file() else [])]
    outputs = [out / CATALOGUE_NAME]
    if similar in inputs:
        outputs.append(out / SIMILAR_NAME)
    if is_current(out, "catalogue", settings=settings, inputs=inputs, outputs=outputs):
        log.info("%s is up to date", outputs[0])
        return
    rejects = Rejects("catalogue")
    counts: dict[str, Any]
    if table is not None:
        if selection.title_types != ("movie",):
            log.warning("--title_types has no effect with --table")
        found, total = read_table(table, rejects, columns)
        movies, rejected, files = selection.select(found), rejects.count(), {}
    else:
        assert folder is not None
        result = read_imdb(folder, selection, rejects)
        movies, total = result.movies, result.files[0].rows
        # Only title.basics has a row a movie: what the other files lose is a fact, counted under their names.
        rejected = {reason: result.files[0].rejected[reason] for reason in rejects.count()}
        files = {file.path.name: {"in": file.rows, "rejected": dict(file.rejected)} for file in result.files}
    counts = {"in": total, "kept": len(movies), "rejected": rejected, "filtered": dict(selection.filtered)}
    _check_kept(movies, counts, table or folder)
    write_catalogue(outputs[0], movies)
    if similar in inputs and similar is not None:
        write_jsonl(out / SIMILAR_NAME, read_similar(similar, {movie.tconst for movie in movies}))
    else:
        remove(out / SIMILAR_NAME)  # lists of another source would be read by `moviebot teach`
    rejects.write(out)
    write_stage_report(
        out, "catalogue", counts={**counts, **({"files": files} if files else {}), "absent": _count_absent(movies)},
        seconds=time.monotonic() - started, settings=settings, inputs=inputs, outputs=outputs,
    )  # fmt: skip
    log.info("%s: %d movies of %d rows, %d rejected", outputs[0], len(movies), total, sum(rejected.values()))


def sample_dir() -> Path:
    """Return the folder of the embedded sample: IMDb-format TSVs, descriptions and similar-movie lists."""
    return Path(str(resources.files("moviebot.data"))) / "sample"


def _find_download_problems(imdb_dir: Path | None, download: bool, url: str) -> list[str]:
    problems = []
    if download and imdb_dir is None:
        problems.append("--download fetches IMDb's files: say where to with --imdb_dir DIR")
    if not download and url != IMDB_URL:
        problems.append(f"--download_url {url} has no effect without --download true: give both or neither")
    try:
        usable = httpx.URL(url).scheme in ("http", "https") and bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        usable = False
    if not usable:
        problems.append(f"--download_url {url}: give an address that begins with https:// (or http://)")
    return problems


def _check_kept(movies: list[Movie], counts: dict[str, Any], source: Path | None) -> None:
    if movies:
        return
    if not counts["in"]:
        raise UserError(f"{source} holds no rows: give a source with at least one movie")
    why = {**counts["rejected"], **{f"outside --{name}": n for name, n in counts["filtered"].items()}}
    reasons = ", ".join(f"{reason} {number}" for reason, number in why.items() if number)
    raise UserError(
        f"no movie is left of the {counts['in']} rows of {source} ({reasons}): loosen the settings or mend it"
    )


def _count_absent(movies: list[Movie]) -> dict[str, int]:
    fields = ("year", "runtime_minutes", "genres", "rating", "directors", "cast", "description")
    return {name: sum(not getattr(movie, name) for movie in movies) for name in fields}
