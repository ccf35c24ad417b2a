"""Descriptions that the catalogue lacks, looked up when somebody asks: off by default, politely, and remembered.

The sources are those of ``moviebot describe``; what they say is data, cleaned as there. Only the story is looked up: it
is all that they tell. A source that fails or is slow costs a few seconds once, and the answer is the one without it.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from moviebot.data.description_row import (
    DESCRIPTIONS_NAME,
    LINKED,
    DescriptionLog,
    DescriptionRow,
    Unanswered,
    read_description_rows,
)
from moviebot.data.description_source import SourceOpener, check_sources, name_source
from moviebot.data.description_text import cut_description
from moviebot.data.imdb_pages import IMDB_URL
from moviebot.data.polite_http import Manners
from moviebot.data.rejects import Rejects
from moviebot.data.schemas import Movie
from moviebot.data.tmdb import TMDB_URL
from moviebot.data.wikipedia import WIKIDATA_URL, WIKIPEDIA_URL
from moviebot.errors import UserError

MAX_WORDS = 120
PATIENCE_S = 6.0  # of the person who waits for an answer
_LIVE = ("wikipedia", "tmdb")
log = logging.getLogger(__name__)


def open_lookup(sources: Sequence[str], folder: Path | None, contact: str | None) -> "StoryLookup | None":
    """Return what the command line asks for; None without sources.

    Args:
        sources: what ``--lookup`` gave.
        folder: what ``--lookup_cache`` gave; by default one in the person's cache.
        contact: what ``--contact`` gave.
    """
    if not sources:
        return None
    if contact is None:
        log.warning("no --contact: give your e-mail address or page, so that the services can reach you")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return StoryLookup(sources, folder or cache / "moviebot" / "lookup", contact)


class StoryLookup:
    """Asks the sources about one movie at a time.

    Args:
        sources: ``wikipedia`` and ``tmdb``, in the order in which they are asked.
        folder: where answers are remembered, between runs too; the nothing that a source said is remembered as well.
        contact: your e-mail address or page, told to the services.
        patience_s: seconds after which the person gets the answer without it.
        wikidata_url: as ``moviebot describe`` has it, like the next two.
        wikipedia_url: the Wikipedia.
        tmdb_url: TMDB's API.

    Raises:
        UserError: a source is unknown or lacks its key, or the folder can't be used.
    """

    def __init__(
        self,
        sources: Sequence[str],
        folder: Path,
        contact: str | None = None,
        patience_s: float = PATIENCE_S,
        wikidata_url: str = WIKIDATA_URL,
        wikipedia_url: str = WIKIPEDIA_URL,
        tmdb_url: str = TMDB_URL,
    ) -> None:
        unknown = [source for source in sources if source not in _LIVE]
        problems = [f"--lookup: {', '.join(unknown)}: give {' or '.join(_LIVE)}"] if unknown else []
        if problems := problems or check_sources(sources, "en"):
            raise UserError(problems[0].replace("--sources", "--lookup"))
        folder.mkdir(parents=True, exist_ok=True)
        self.sources = tuple(sources)
        self.patience_s = patience_s
        self._path = folder / DESCRIPTIONS_NAME
        self._rows = read_description_rows(self._path)
        manners = Manners(contact, timeout_s=patience_s, attempts=1, cache_dir=folder / ".http_cache")
        self._opener = SourceOpener(
            manners, "en", None, "TMDB_API_KEY", wikidata_url, wikipedia_url, tmdb_url, IMDB_URL
        )
        for source in self.sources:  # a key that lacks shows at once
            self._opener.open_source(source, [], {}, Rejects("describe"))
        self._failed: set[tuple[str, str]] = set()

    def describe(self, movie: Movie) -> tuple[Movie, str | None]:
        """Return a movie with a description, and where it stands; the movie as it is where none is found in time.

        Args:
            movie: one that has a description is returned as it is.
        """
        if movie.description:
            return movie, None
        for source in self.sources:
            key = (movie.tconst, name_source(source))
            row = self._rows.get(key)
            if (row is None or row.reason == LINKED) and key not in self._failed:
                row = self._ask(source, movie)
            if row is None:
                self._failed.add(key)  # for this run: the next question about it need not wait again
            elif row.description:
                text = cut_description(row.description, MAX_WORDS)
                return replace(movie, description=text, description_source=row.source), row.url
        return movie, None

    def _ask(self, source: str, movie: Movie) -> DescriptionRow | None:
        try:
            found = asyncio.run(asyncio.wait_for(self._look_up(source, movie), self.patience_s))
        except TimeoutError:
            log.warning("%s said nothing about %s in %g s", source, movie.tconst, self.patience_s)
            return None
        except (OSError, RuntimeError, ValueError, UserError) as error:
            log.warning("%s could not be asked about %s (%s)", source, movie.tconst, error)
            return None
        for row in found:
            self._rows[row.key] = row
        with DescriptionLog(self._path) as answers:
            for row in found:
                answers.append(row)
        return self._rows.get((movie.tconst, name_source(source)))

    async def _look_up(self, source: str, movie: Movie) -> list[DescriptionRow]:
        opened = self._opener.open_source(source, [movie], self._rows, Rejects("describe"))
        found = []
        try:
            async with aclosing(opened.look_up([movie])) as answers:  # type: ignore[type-var]
                async for answer in answers:
                    if isinstance(answer, Unanswered):
                        log.warning("%s could not be asked about %s (%s)", source, movie.tconst, answer.why)
                    else:
                        found.append(answer)
        finally:
            await opened.close()
        return found
