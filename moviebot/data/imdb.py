"""IMDb's non-commercial TSV files to ``catalogue.parquet`` (https://developer.imdb.com/non-commercial-datasets/).

Only ``title.basics`` is needed; each of the others adds its facts where it is there. Ratings come before people, so
that ``--min_votes`` and ``--limit`` keep the big files (principals has about 90 million rows) from filling the disk.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from moviebot.artefact import remove, write_whole
from moviebot.data.imdb_files import IMDB_STEMS, IMDB_URL
from moviebot.data.imdb_rows import BASICS, RATINGS
from moviebot.data.rejects import Rejects
from moviebot.data.selection import Selection
from moviebot.data.tsv import ImdbFile
from moviebot.errors import UserError

STEMS = (*IMDB_STEMS, "descriptions")
_COLUMNS = {
    "title.basics": BASICS,
    "title.ratings": RATINGS,
    "title.crew": ["tconst", "directors"],
    "title.principals": ["tconst", "ordering", "nconst", "category"],
    "name.basics": ["nconst", "primaryName"],
    "title.akas": ["titleId", "title"],
    "descriptions": ["tconst", "description", "source"],
}
_MISSING = {
    "title.ratings": "movies get no rating and no votes",
    "title.crew": "directors are taken from title.principals where it is there",
    "title.principals": "movies get no cast",
    "name.basics": "movies get no directors and no cast",
    "title.akas": "movies get no other titles",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImdbResult:
    """What a folder of IMDb TSVs gave.

    Attributes:
        kept: how many movies were written; at 0 nothing was.
        files: each file read, with its counts, ``title.basics`` first.
    """

    kept: int
    files: list[ImdbFile]


def find_files(folder: Path) -> dict[str, Path]:
    """Return the IMDb files of a folder by stem; ``.tsv`` is preferred to ``.tsv.gz``.

    Raises:
        UserError: the folder is absent or has no ``title.basics``.
    """
    if not folder.is_dir():
        raise UserError(f"--imdb_dir {folder} is not a folder: give the one that holds title.basics.tsv.gz")
    found: dict[str, Path] = {}
    for stem in STEMS:
        for path in (folder / f"{stem}.tsv", folder / f"{stem}.tsv.gz"):
            if path.is_file():
                found.setdefault(stem, path)
    if "title.basics" not in found:
        raise UserError(
            f"{folder} holds no title.basics.tsv or title.basics.tsv.gz: download IMDb's files into it from {IMDB_URL}"
        )
    return found


def build_from_imdb(folder: Path, selection: Selection, rejects: Rejects, target: Path) -> ImdbResult:
    """Write the movies wanted of a folder of IMDb TSVs as ``catalogue.parquet``.

    Args:
        folder: holds ``title.basics.tsv[.gz]`` and any of the others in :data:`STEMS`.
        selection: which movies; the other types and, unless asked for, adult titles are always counted out.
        rejects: where rows that can't be read go.
        target: the Parquet file; it is left alone where no movie is wanted. What does not fit into the memory lies
            beside it for as long as it takes.

    Raises:
        UserError: no ``title.basics``, an empty file, one that lacks its columns, or no room for the joins.
    """
    import duckdb

    from moviebot.data.imdb_tables import ImdbTables

    files = _open_files(folder, selection, rejects)
    get = files.get
    with _make_scratch(target.parent) as scratch, _show_progress(files), ImdbTables(scratch) as tables:
        try:
            tables.load_basics(files["title.basics"], selection)
            tables.load_ratings(get("title.ratings"))
            kept = tables.select(selection)
            if kept:
                tables.load_people(get("title.crew"), get("title.principals"), get("name.basics"))
                tables.load_akas(get("title.akas"), selection)
                tables.load_descriptions(get("descriptions"))
                with write_whole(target) as temporary:
                    tables.write(temporary)
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"no room to join {folder} beside {target} ({reason}): free memory or disk, or ask for fewer movies "
                "with --min_votes or --limit"
            ) from error
    return ImdbResult(kept, list(files.values()))


def _open_files(folder: Path, selection: Selection, rejects: Rejects) -> dict[str, ImdbFile]:
    """Return the files to read by stem, once the columns of all are known to be there."""
    paths = find_files(folder)
    for stem, without in _MISSING.items():
        if stem not in paths:
            log.warning("%s has no %s.tsv[.gz]: %s", folder, stem, without)
    if "name.basics" not in paths:  # ids of people are of no use without their names
        paths = {stem: path for stem, path in paths.items() if stem not in ("title.crew", "title.principals")}
    files = {stem: ImdbFile(paths[stem], rejects) for stem in STEMS if stem in paths}
    columns = {**_COLUMNS, "title.akas": [
        *_COLUMNS["title.akas"], *(["region"] if selection.regions else []),
        *(["language"] if selection.languages else []),
    ]}  # fmt: skip
    problems = [problem for stem, file in files.items() if (problem := file.find_problem(columns[stem]))]
    if problems:
        raise UserError("; ".join(problems))
    return files


@contextmanager
def _make_scratch(folder: Path) -> Iterator[Path]:
    """Yield an empty folder and remove it afterwards, with those that killed runs left."""
    for old in folder.glob(".imdb.*.tmp"):
        if not _is_running(old.name.split(".")[2]):
            remove(old)
    scratch = folder / f".imdb.{os.getpid()}.tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        yield scratch
    finally:
        remove(scratch)


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()


@contextmanager
def _show_progress(files: dict[str, ImdbFile]) -> Iterator[None]:
    """Show how much of all files' bytes is read."""
    with Progress(transient=True) as progress:
        task = progress.add_task("reading IMDb's files", total=sum(file.path.stat().st_size for file in files.values()))

        def advance_by(stem: str) -> Callable[[int], None]:
            def advance(size: int) -> None:
                progress.update(task, advance=size, description=f"reading {stem}")

            return advance

        for stem, file in files.items():
            file.on_read = advance_by(stem)
        yield


def read_similar(path: Path, known: set[str]) -> list[dict[str, object]]:
    """Read ``similar.jsonl``, lists of similar movies that somebody chose, and keep what is in the catalogue.

    Args:
        path: one ``{"tconst": ..., "recommended": [tconst, ...]}`` a line, best first.
        known: the catalogue's ids.

    Raises:
        UserError: a line is not such an object.
    """
    rows: list[dict[str, object]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else {"tconst": "", "recommended": []}
            tconst, recommended = row["tconst"], [str(other) for other in row["recommended"]]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f'{path}, line {number}: not {{"tconst": ..., "recommended": [...]}}: mend the line'
            ) from error
        kept = [other for other in dict.fromkeys(recommended) if other in known and other != tconst]
        if tconst in known and kept:
            rows.append({"tconst": tconst, "recommended": kept})
    return rows
