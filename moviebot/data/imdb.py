"""IMDb's non-commercial TSV files to movies (https://developer.imdb.com/non-commercial-datasets/).

Only ``title.basics`` is needed; each of the others adds its facts where it is there. Ratings come before people, so
that ``--min_votes`` keeps the two big files (principals has about 90 million rows) from filling the memory.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from moviebot.data.rejects import Rejects
from moviebot.data.schemas import Movie
from moviebot.data.selection import Selection
from moviebot.data.splits import normalise_title
from moviebot.data.tsv import NULL, ImdbFile
from moviebot.data.values import parse_rating, parse_runtime, parse_text, parse_title, parse_votes, parse_year
from moviebot.errors import UserError

STEMS = ("title.basics", "title.ratings", "title.crew", "title.principals", "name.basics", "title.akas", "descriptions")
MAX_CAST = 5  # the prompt holds them all: at about 5 tokens a name, ten would cost as much as the description
MAX_AKAS = 40
_BASICS = ["tconst", "titleType", "primaryTitle", "originalTitle", "isAdult", "startYear", "runtimeMinutes", "genres"]
_CAST_CATEGORIES = ("actor", "actress", "self")
_MISSING = {
    "title.ratings": "movies get no rating and no votes",
    "title.crew": "directors are taken from title.principals where it is there",
    "title.principals": "movies get no cast",
    "name.basics": "movies get no directors and no cast",
    "title.akas": "movies get no other titles",
}
log = logging.getLogger(__name__)
People = dict[str, list[str]]


@dataclass(frozen=True)
class ImdbResult:
    """What a folder of IMDb TSVs gave.

    Attributes:
        movies: the movies selected, in file order.
        files: each file read, with its counts, ``title.basics`` first.
    """

    movies: list[Movie]
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
            f"{folder} holds no title.basics.tsv or title.basics.tsv.gz: download IMDb's files into it from "
            "https://datasets.imdbws.com/"
        )
    return found


def read_imdb(folder: Path, selection: Selection, rejects: Rejects) -> ImdbResult:
    """Read the movies wanted from a folder of IMDb TSVs.

    Args:
        folder: holds ``title.basics.tsv[.gz]`` and any of the others in :data:`STEMS`.
        selection: which movies; the adult titles and the other types are always counted out.
        rejects: where rows that can't be read go.

    Raises:
        UserError: no ``title.basics``, an empty file, or one that lacks its columns.
    """
    paths = find_files(folder)
    for stem in STEMS[1:]:
        if stem not in paths and stem != "descriptions":
            log.warning("%s has no %s.tsv[.gz]: %s", folder, stem, _MISSING[stem])
    files = {stem: ImdbFile(path, rejects) for stem, path in paths.items()}
    movies = _read_basics(files["title.basics"], selection)
    if "title.ratings" in files:
        movies = _add_ratings(files["title.ratings"], movies)
    movies = selection.select(movies)
    directors, cast = _read_people(files, {movie.tconst for movie in movies})
    akas = _read_akas(files["title.akas"], movies) if "title.akas" in files else {}
    texts = _read_descriptions(files["descriptions"], movies) if "descriptions" in files else {}
    movies = [
        replace(
            movie,
            directors=tuple(directors.get(movie.tconst, ())),
            cast=tuple(cast.get(movie.tconst, ())),
            akas=tuple(akas.get(movie.tconst, ())),
            description=texts.get(movie.tconst, (None, None))[0],
            description_source=texts.get(movie.tconst, (None, None))[1],
        )
        for movie in movies
    ]
    return ImdbResult(movies, list(files.values()))


def _read_basics(file: ImdbFile, selection: Selection) -> list[Movie]:
    types = pa.array([name.encode() for name in selection.title_types], pa.binary())
    movies: dict[str, Movie] = {}
    for batch in file.stream_batches(_BASICS):
        clean = batch.filter(pc.not_equal(batch["isAdult"], pa.scalar(b"1", pa.binary())))
        selection.filtered["adult"] += batch.num_rows - clean.num_rows
        typed = clean.filter(pc.is_in(clean["titleType"], value_set=types))
        selection.filtered["title_type"] += clean.num_rows - typed.num_rows
        for row in file.decode(typed, _BASICS):
            _add_movie(file, row, movies)
    return list(movies.values())


def _add_movie(file: ImdbFile, row: tuple[str, ...], movies: dict[str, Movie]) -> None:
    tconst, _, primary, original, _, year, runtime, genres = row
    raw = "\t".join(row)
    title = parse_title(primary)
    if parse_text(tconst) is None:
        file.reject("bad_value", None, f"no tconst: {raw}")
    elif title is None:
        file.reject("no_title", tconst, raw)
    elif tconst in movies:
        file.reject("duplicate_id", tconst, raw)
    else:
        try:
            movies[tconst] = Movie(
                tconst=tconst,
                title=title,
                original_title=parse_title(original),
                year=parse_year(year),
                runtime_minutes=parse_runtime(runtime),
                genres=tuple(genre for genre in map(parse_text, genres.split(",")) if genre),
            )
        except ValueError as error:
            file.reject("bad_value", tconst, f"{error}: {raw}")


def _add_ratings(file: ImdbFile, movies: Sequence[Movie]) -> list[Movie]:
    rated: dict[str, tuple[float | None, int | None]] = {}
    for block in file.stream(["tconst", "averageRating", "numVotes"], _ids(movie.tconst for movie in movies)):
        for tconst, rating, votes in block:
            try:
                rated[tconst] = parse_rating(rating), parse_votes(votes)
            except ValueError as error:
                file.reject("bad_value", tconst, f"{error}: {tconst}\t{rating}\t{votes}")
    return [
        replace(movie, rating=rated[movie.tconst][0], votes=rated[movie.tconst][1]) if movie.tconst in rated else movie
        for movie in movies
    ]


def _read_people(files: dict[str, ImdbFile], tconsts: set[str]) -> tuple[People, People]:
    directors: People = {}
    cast: People = {}
    if "title.crew" in files:
        for block in files["title.crew"].stream(["tconst", "directors"], _ids(tconsts)):
            for tconst, listed in block:
                directors[tconst] = [nconst for nconst in listed.split(",") if nconst != NULL.decode()]
    if "title.principals" in files:
        from_principals, cast = _read_principals(files["title.principals"], tconsts)
        directors = directors or from_principals
    if "name.basics" not in files:
        return {}, {}
    wanted = {nconst for listed in (*directors.values(), *cast.values()) for nconst in listed}
    names: dict[str, str] = {}
    for block in files["name.basics"].stream(["nconst", "primaryName"], _ids(wanted)):
        names.update({nconst: name for nconst, name in block if parse_text(name)})

    def name_all(people: People) -> People:
        return {tconst: [names[n] for n in dict.fromkeys(listed) if n in names] for tconst, listed in people.items()}

    return name_all(directors), name_all(cast)


def _read_principals(file: ImdbFile, tconsts: set[str]) -> tuple[People, People]:
    directors: People = {}
    billed: dict[str, list[tuple[int, str]]] = {}
    for block in file.stream(["tconst", "ordering", "nconst", "category"], _ids(tconsts)):
        for tconst, ordering, nconst, category in block:
            if category == "director":
                directors.setdefault(tconst, []).append(nconst)
            elif category in _CAST_CATEGORIES:
                if not ordering.isdecimal():
                    file.reject("bad_value", tconst, f"ordering {ordering!r}: {tconst}\t{nconst}\t{category}")
                    continue
                billed.setdefault(tconst, []).append((int(ordering), nconst))
    return directors, {tconst: [n for _, n in sorted(listed)[:MAX_CAST]] for tconst, listed in billed.items()}


def _read_akas(file: ImdbFile, movies: Sequence[Movie]) -> People:
    seen = {movie.tconst: {normalise_title(movie.title)} for movie in movies}
    akas: People = {}
    for movie in movies:
        _add_aka(movie.original_title, seen[movie.tconst], akas.setdefault(movie.tconst, []))
    for block in file.stream(["titleId", "title"], _ids(seen)):
        for tconst, title in block:
            _add_aka(parse_title(title), seen[tconst], akas[tconst])
    return akas


def _add_aka(title: str | None, seen: set[str], listed: list[str]) -> None:
    if title and normalise_title(title) not in seen and len(listed) < MAX_AKAS:
        seen.add(normalise_title(title))
        listed.append(title)


def _read_descriptions(file: ImdbFile, movies: Sequence[Movie]) -> dict[str, tuple[str | None, str | None]]:
    texts: dict[str, tuple[str | None, str | None]] = {}
    for block in file.stream(["tconst", "description", "source"], _ids(movie.tconst for movie in movies)):
        for tconst, description, source in block:
            text = parse_text(description)
            texts[tconst] = text, parse_text(source) if text else None
    return texts


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


def _ids(tconsts: Iterable[str]) -> list[bytes]:
    return [tconst.encode() for tconst in tconsts]
