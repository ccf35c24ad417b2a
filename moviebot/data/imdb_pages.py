"""Descriptions from IMDb's own pages, one title after the other: the published crawl, off unless it is asked for.

IMDb's conditions of use allow no crawl without its consent: name this source only where you have that. It obeys
robots.txt (RFC 9309), waits between two requests, and says who it is.
"""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace

from protego import Protego
from selectolax.lexbor import LexborHTMLParser

from moviebot.data.description_row import DescriptionRow, Unanswered, build_row, read_clock
from moviebot.data.polite_http import PRODUCT, Manners, PoliteClient, RequestFailedError
from moviebot.data.remote_file import TryAgain
from moviebot.data.schemas import Movie
from moviebot.data.wikipedia import IMDB_ID

LICENCE = "IMDb conditions of use"
IMDB_URL = "https://www.imdb.com"
RATE = 1.0
MAX_ROBOTS_BYTES = 500 << 10  # what RFC 9309 asks a crawler to read at the least
_KINDS = ("text/html", "application/xhtml+xml")
_SUMMARY = '[data-testid="sub-section-summaries"] .ipc-html-content-inner-div'


class ImdbPages:
    """The plot pages of IMDb.

    Args:
        manners: how to ask.
        url: the site.
    """

    name = "imdb"

    def __init__(self, manners: Manners, url: str = IMDB_URL) -> None:
        self._url = url.rstrip("/")
        self._client = PoliteClient("imdb", url, RATE, manners)
        # What a site allows is asked for anew in each run.
        self._robots_client = PoliteClient("imdb", url, RATE, replace(manners, cache_dir=None))

    @property
    def requests(self) -> int:
        """Requests sent, those for robots.txt too."""
        return self._client.requests + self._robots_client.requests

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
        await self._robots_client.close()

    async def look_up(self, movies: Sequence[Movie]) -> AsyncIterator[DescriptionRow | Unanswered]:
        """Yield what is found of each movie with an IMDb id; a page that robots.txt forbids is never fetched."""
        known = [movie for movie in movies if IMDB_ID.fullmatch(movie.tconst)]
        if not known:
            return
        robots = await self._read_robots()
        for movie in known:
            url = f"{self._url}/title/{movie.tconst}/plotsummary/"
            if robots is not None and not robots.can_fetch(url, PRODUCT):
                yield DescriptionRow(movie.tconst, None, self.name, None, url, read_clock(), "robots", url)
                continue
            try:
                text = await self._client.get(url, parse_page, _KINDS)
            except RequestFailedError as error:
                yield Unanswered(movie.tconst, f"IMDb: {error}")
                continue
            yield build_row(movie.tconst, self.name, text, licence=LICENCE, url=url)

    async def _read_robots(self) -> Protego | None:
        """Return the rules; None where there are none. A site whose rules can't be read is not crawled."""
        try:
            robots = await self._robots_client.get(f"{self._url}/robots.txt", _parse_robots, ("text/plain",))
        except RequestFailedError as error:
            if error.status is not None and 400 <= error.status < 500:
                return None  # RFC 9309, 2.3.1.3: no rules
            self._client.give_up(f"robots.txt can't be read ({error}), so nothing is")
            return None
        delay = robots.crawl_delay(PRODUCT) if robots is not None else None
        if delay:
            self._client.slow_down(delay)
        return robots


def parse_page(body: bytes) -> str:
    """Return the description of a title's page, empty where it holds none.

    What the page says to machines (JSON-LD) comes first, then the first summary of a plot page, then the ``meta``
    description.

    Args:
        body: the page, untrusted.

    Raises:
        TryAgain: the page is cut short.

    Example:
        >>> parse_page(b'<html><head><meta name="description" content="A man sails."></head></html>')
        'A man sails.'
    """
    if b"</html>" not in body[-2000:].lower():
        raise TryAgain("sent a page that is cut short")
    tree = LexborHTMLParser(body.decode("utf-8", "replace"))
    for script in tree.css('script[type="application/ld+json"]'):
        for text in _find_descriptions(script.text()):
            return text
    summary = tree.css_first(_SUMMARY)
    if summary is not None and summary.text(strip=True):
        return str(summary.text(separator=" ", strip=True))
    meta = tree.css_first('meta[name="description"]') or tree.css_first('meta[property="og:description"]')
    return (meta.attributes.get("content") or "") if meta is not None else ""


def _find_descriptions(script: str) -> Iterator[str]:
    try:
        data = json.loads(script)
    except (ValueError, RecursionError):
        return
    graph = data.get("@graph", data) if isinstance(data, dict) else data
    for thing in graph if isinstance(graph, list) else [graph]:
        text = thing.get("description") if isinstance(thing, dict) else None
        if isinstance(text, str) and text.strip():
            yield text


def _parse_robots(body: bytes) -> Protego:
    return Protego.parse(body[:MAX_ROBOTS_BYTES].decode("utf-8", "replace"))
