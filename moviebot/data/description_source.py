"""Who may know a description: what all sources have in common, and what ``--sources`` calls them."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moviebot.data.description_file import DescriptionFile, name_file
from moviebot.data.description_row import LINKED, DescriptionRow, Key, Unanswered
from moviebot.data.imdb_pages import ImdbPages
from moviebot.data.polite_http import Manners
from moviebot.data.rejects import Rejects
from moviebot.data.schemas import Movie
from moviebot.data.tmdb import Tmdb, read_key
from moviebot.data.wikipedia import Wikipedia

SERVICES = ("wikipedia", "tmdb", "imdb")


class Source(Protocol):
    """Somebody who may know a description.

    Attributes:
        name: what ``description_source`` says.
    """

    name: str

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        ...

    def look_up(self, movies: Sequence[Movie]) -> AsyncIterator[DescriptionRow | Unanswered]:
        """Yield what is found of each movie; a movie that can't be looked up here is passed over."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


@dataclass(frozen=True)
class SourceOpener:
    """Opens the sources that ``--sources`` names.

    Attributes:
        manners: how services are asked.
        language: of the descriptions.
        licence: of the texts of files.
        tmdb_key_env: the environment variable that holds TMDB's key.
        wikidata_url: as `moviebot describe` has it, like the next three.
        wikipedia_url: the Wikipedia.
        tmdb_url: TMDB's API.
        imdb_url: IMDb's site.
    """

    manners: Manners
    language: str
    licence: str | None
    tmdb_key_env: str
    wikidata_url: str
    wikipedia_url: str
    tmdb_url: str
    imdb_url: str

    def open_source(
        self, source: str, movies: Sequence[Movie], rows: Mapping[Key, DescriptionRow], rejects: Rejects
    ) -> Source:
        """Open a source.

        Args:
            source: as ``--sources`` names it.
            movies: the catalogue.
            rows: what is known: articles whose text hasn't come yet are among them.
            rejects: where rows of a file that can't be read go.

        Raises:
            UserError: it lacks a key, or is a file that can't be read.
        """
        if source == "wikipedia":
            name = name_source(source, self.language)
            linked = {row.tconst: row.url for row in rows.values()
                      if row.source == name and row.reason == LINKED and row.url}  # fmt: skip
            return Wikipedia(self.manners, self.language, linked, self.wikidata_url, self.wikipedia_url)
        if source == "tmdb":
            return Tmdb(self.manners, read_key(self.tmdb_key_env), self.language, self.tmdb_url)
        if source == "imdb":
            return ImdbPages(self.manners, self.imdb_url)
        return DescriptionFile(Path(source.removeprefix("file:")), movies, rejects, self.licence)


def name_source(source: str, language: str = "en") -> str:
    """Return what ``description_source`` says of a source.

    Args:
        source: as ``--sources`` names it.
        language: as ``--language`` says.

    Example:
        >>> name_source("wikipedia"), name_source("wikipedia", "de"), name_source("file:my/plots.tsv.gz")
        ('wikipedia', 'wikipedia-de', 'plots')
    """
    if source.startswith("file:"):
        return name_file(Path(source.removeprefix("file:")))
    return source if language == "en" or source == "imdb" else f"{source}-{language}"


def check_sources(sources: Sequence[str], language: str) -> list[str]:
    """Return what is wrong with ``--sources`` and ``--language``, a line each."""
    problems = []
    if not sources:
        problems.append(f"--sources is empty: give at least one of {', '.join(SERVICES)} and file:PATH")
    unknown = [source for source in sources if source not in SERVICES and not source.startswith("file:")]
    if unknown:
        problems.append(f"--sources: {', '.join(unknown)}: give {', '.join(SERVICES)} or file:PATH")
    names = [name_source(source, language) for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.append(f"--sources: more than one is called {', '.join(twice)}: leave one out, or rename the file")
    taken = [name for name, source in zip(names, sources, strict=True)
             if source.startswith("file:") and (name.split("-")[0] in SERVICES or not name)]  # fmt: skip
    if taken:
        problems.append(f"--sources: a file can't be called {', '.join(map(repr, taken))}: rename it")
    if not re.fullmatch(r"[A-Za-z]{2,12}(-[A-Za-z0-9]{1,10}){0,3}", language):
        problems.append(f"--language {language!r}: give a code such as en, de or pt-BR")
    return problems
