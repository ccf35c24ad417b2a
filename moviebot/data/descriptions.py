"""The stage between the catalogue and the teacher: each movie gets the first description that a source has of it.

``descriptions.jsonl`` is the stage's memory. While the stage runs, each answer is appended to it as it comes, so that a
kill loses none; at the end it is written whole, in the catalogue's order. What it holds is not asked for again.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress

from moviebot.artefact import (
    accept_output,
    hash_path,
    is_current,
    write_jsonl,
    write_stage_report,
    write_whole,
)
from moviebot.data.catalogue import CATALOGUE_NAME
from moviebot.data.description_file import DescriptionFile
from moviebot.data.description_inquiry import Inquiry
from moviebot.data.description_row import (
    DESCRIPTIONS_NAME,
    LINKED,
    DescriptionLog,
    DescriptionRow,
    Key,
    Unanswered,
    read_clock,
    read_description_rows,
)
from moviebot.data.description_source import SERVICES, Source, SourceOpener, check_sources, name_source
from moviebot.data.imdb_pages import IMDB_URL
from moviebot.data.polite_http import Manners
from moviebot.data.rejects import Rejects
from moviebot.data.schemas import CATALOGUE_SCHEMA, Movie, read_parquet
from moviebot.data.tmdb import TMDB_URL
from moviebot.data.wikipedia import WIKIDATA_URL, WIKIPEDIA_URL
from moviebot.errors import UserError

CACHE_NAME = ".http_cache"
log = logging.getLogger(__name__)


def describe(
    out: Path,
    sources: tuple[str, ...],
    contact: str | None = None,
    language: str = "en",
    max_words: int = 120,
    overwrite: bool = False,
    retry_missing: bool = False,
    licence: str | None = None,
    rate: float | None = None,
    timeout_s: float = 30.0,
    tmdb_key_env: str = "TMDB_API_KEY",
    wikidata_url: str = WIKIDATA_URL,
    wikipedia_url: str = WIKIPEDIA_URL,
    tmdb_url: str = TMDB_URL,
    imdb_url: str = IMDB_URL,
) -> None:
    """Add descriptions to the catalogue, politely: the first source that has a text wins, movie by movie.

    What was answered is kept in ``descriptions.jsonl`` with its source, licence and address, and is not asked for
    again, after a kill neither. A source that can't be reached leaves its movies without a description, rather than to
    a later source: the same command then asks for the rest. With the environment variable SOURCE_DATE_EPOCH set, that
    is the time noted, and two runs write the same bytes.

    Args:
        out: the data folder, with ``catalogue.parquet`` in it.
        sources: who is asked, in this order: ``wikipedia``, ``tmdb``, ``imdb`` (a crawl, only with IMDb's consent), and
            ``file:PATH``, a table of tconst (or title and year) and description.
        contact: your e-mail address or page, told to the services; Wikimedia asks for one.
        language: of the descriptions, for example de; wikipedia and tmdb only.
        max_words: longer texts are cut at the end of a sentence.
        overwrite: also describe movies that have a description.
        retry_missing: ask again about movies of which a source had nothing.
        licence: of the texts of ``file:PATH``, to be noted with them.
        rate: requests a second to a service at the most; by default wikipedia 5, tmdb 20, imdb 1.
        timeout_s: seconds without an answer after which a request is sent again.
        tmdb_key_env: the environment variable that holds your TMDB key.
        wikidata_url: Wikidata's query service, or a server that answers as it does.
        wikipedia_url: the Wikipedia; {language} is filled in.
        tmdb_url: TMDB's API.
        imdb_url: IMDb's site.

    Raises:
        UserError: no catalogue, a setting out of range, no key, or movies that a source could not be asked about.
    """
    started = time.monotonic()
    _check(sources, language, max_words=max_words, rate=rate, timeout_s=timeout_s)
    if contact is None and set(sources) & set(SERVICES):
        log.warning("no --contact: give your e-mail address or page, so that the services can reach you")
    catalogue, memory = out / CATALOGUE_NAME, out / DESCRIPTIONS_NAME
    files = [Path(source.removeprefix("file:")) for source in sources if source.startswith("file:")]
    settings = {
        "sources": list(sources), "language": language, "max_words": max_words, "overwrite": overwrite,
        "licence": licence, "urls": [wikidata_url, wikipedia_url, tmdb_url, imdb_url],
    }  # fmt: skip
    outputs = [catalogue, memory]
    if not retry_missing and is_current(out, "describe", settings=settings, inputs=files, outputs=outputs):
        log.info("%s is up to date", catalogue)
        return
    read_clock()  # a wrong SOURCE_DATE_EPOCH shows before anything is asked
    table = read_parquet(catalogue, CATALOGUE_SCHEMA, command="catalogue")
    rejects = Rejects("describe")
    rows = read_description_rows(memory)
    movies = _read_movies(table)
    manners = Manners(contact, rate, timeout_s, cache_dir=out / CACHE_NAME, fresh=retry_missing)
    opener = SourceOpener(manners, language, licence, tmdb_key_env, wikidata_url, wikipedia_url, tmdb_url, imdb_url)
    kinds = {name_source(source, language): source.startswith("file:") for source in sources}
    inquiry = Inquiry(movies, rows, kinds, overwrite, retry_missing)
    opened: list[Source] = []
    for source in sources:  # all before the first is asked: a key that lacks shows at once
        opened.append(opener.open_source(source, movies, rows, rejects))
    with DescriptionLog(memory) as answers:
        asyncio.run(_ask_all(opened, inquiry, answers))
    described = inquiry.settle(max_words, rejects)
    write_jsonl(memory, [asdict(row) for row in _sort_rows(inquiry.rows, movies)])
    _write_descriptions(catalogue, table, described)
    rejects.write(out)
    kept = sum(text is not None for text, _ in described)
    # Where movies were not looked up, the entry names no settings of a run: the next one then is not skipped.
    write_stage_report(
        out, "describe",
        counts={"in": len(movies), "kept": kept, "had": inquiry.had, "sources": inquiry.counts, "cut": inquiry.cut,
                "rejected": rejects.count()},
        seconds=time.monotonic() - started, settings={} if inquiry.failures else settings, inputs=files,
        outputs=outputs,
    )  # fmt: skip
    found = ", ".join(f"{name} {of['found']}" for name, of in inquiry.counts.items())
    log.info("%s: %d of %d movies are described (before %d, %s)", catalogue, kept, len(movies), inquiry.had, found)
    _check_failures(inquiry, catalogue)


def _check_failures(inquiry: Inquiry, catalogue: Path) -> None:
    if inquiry.failures:
        name, why = next(iter(inquiry.failures.values()))
        raise UserError(
            f"{len(inquiry.failures)} movies could not be looked up (the first: {name}: {why}); what was found is in "
            f"{catalogue}: run the same command again to ask for the rest, or leave {name} out of --sources"
        )


async def _ask_all(sources: Sequence[Source], inquiry: Inquiry, answers: DescriptionLog) -> None:
    """Ask one source after the other: each only about what those before it have no text of."""
    try:
        with Progress(transient=True) as progress:
            for source in sources:
                is_file = isinstance(source, DescriptionFile)  # it is quicker read again than remembered
                old = inquiry.forget(source.name) if is_file else {}
                pending = inquiry.find_pending(source.name)
                bar = progress.add_task(source.name, total=len(pending))
                async for answer in source.look_up(pending):
                    if isinstance(answer, Unanswered):
                        inquiry.failures[answer.tconst] = source.name, answer.why
                    else:
                        inquiry.learn(_keep_time(answer, old.get(answer.key)))
                        if not is_file:
                            answers.append(answer)
                    if isinstance(answer, Unanswered) or answer.reason != LINKED:
                        progress.advance(bar)
    finally:
        for source in sources:
            inquiry.counts[source.name]["requests"] = source.requests
            await source.close()


def _keep_time(row: DescriptionRow, old: DescriptionRow | None) -> DescriptionRow:
    """Return the old row where the new one says the same: the text is as old as it was."""
    same = old is not None and replace(old, retrieved_at=row.retrieved_at) == row
    return old if same and old is not None else row


def _sort_rows(rows: dict[Key, DescriptionRow], movies: Sequence[Movie]) -> list[DescriptionRow]:
    """Return the rows in the catalogue's order; those of movies that are not in it come last."""
    places = {movie.tconst: place for place, movie in enumerate(movies)}
    return sorted(rows.values(), key=lambda row: (places.get(row.tconst, len(places)), row.tconst, row.source))


def _read_movies(table: pa.Table) -> list[Movie]:
    names = ["tconst", "title", "year", "description", "description_source"]
    return [Movie(**row) for row in table.select(names).to_pylist()]


def _write_descriptions(path: Path, table: pa.Table, described: Sequence[tuple[str | None, str | None]]) -> None:
    """Put descriptions into the catalogue; the stage `catalogue` stays current."""
    columns = {"description": 0, "description_source": 1}
    arrays = [
        pa.array([pair[columns[field.name]] for pair in described], field.type)
        if field.name in columns
        else table[field.name].combine_chunks()
        for field in CATALOGUE_SCHEMA
    ]
    before = hash_path(path)
    with write_whole(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=CATALOGUE_SCHEMA), temporary, compression="zstd")
        accept_output(path.parent, "catalogue", path.name, before, hash_path(temporary))


def _check(sources: Sequence[str], language: str, *, max_words: int, rate: float | None, timeout_s: float) -> None:
    problems = check_sources(sources, language)
    if max_words < 1:
        problems.append(f"--max_words {max_words}: give at least 1")
    if rate is not None and not 0 < rate <= 1000:
        problems.append(f"--rate {rate}: give a number above 0, of requests a second")
    if not 0 < timeout_s <= 3600:
        problems.append(f"--timeout_s {timeout_s}: give a number above 0, of seconds")
    if problems:
        raise UserError("; ".join(problems))
