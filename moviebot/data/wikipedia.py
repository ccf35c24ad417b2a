"""Descriptions from Wikipedia: Wikidata knows which article has which IMDb id, the article's lead is the description.

The lead and not the section "Plot": a plot section tells the whole story, its end included, at five to ten times the
length; the lead says what the film is and what it is about. Its text is CC BY-SA 4.0: whoever passes it on names the
article (``url``) and keeps the licence.

Both services ask for one request after the other rather than several at a time (Wikimedia's API etiquette), so that is
what is done: a batch of ids to Wikidata's query service, then their articles, twenty a request.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from urllib.parse import unquote

import httpx
from pydantic import BaseModel, Field

from moviebot.data.description_row import LINKED, DescriptionRow, Unanswered, build_row, read_clock
from moviebot.data.polite_http import Manners, PoliteClient, RequestFailedError
from moviebot.data.remote_file import TryAgain
from moviebot.data.schemas import Movie

LICENCE = "CC BY-SA 4.0"
WIKIDATA_URL = "https://query.wikidata.org/sparql"
WIKIPEDIA_URL = "https://{language}.wikipedia.org"
RATE = 5.0
IDS_PER_REQUEST = 150
TITLES_PER_REQUEST = 20  # the most for which the API gives leads at once
MAX_CONTINUES = 40
MAX_LAG_S = 5  # ask to be turned away while the databases are this far behind: people who read come first
IMDB_ID = re.compile(r"tt\d{7,10}")
# One line of Blazegraph's time-outs is JSON cut short: a reply that doesn't parse is asked for again.
_QUERY = """\
SELECT ?imdb ?item ?article ?title WHERE {{
  VALUES ?imdb {{ {ids} }}
  ?item wdt:P345 ?imdb .
  ?article schema:about ?item ; schema:isPartOf <https://{language}.wikipedia.org/> ; schema:name ?title .
}}"""


class _Term(BaseModel):
    value: str


class _Binding(BaseModel):
    imdb: _Term
    item: _Term
    article: _Term
    title: _Term


class _Bindings(BaseModel):
    bindings: list[_Binding]


class _SparqlReply(BaseModel):
    results: _Bindings


class _Alias(BaseModel):
    source: str = Field(alias="from")
    to: str
    tofragment: str | None = None


class _Page(BaseModel):
    title: str
    missing: bool = False
    invalid: bool = False
    extract: str | None = None
    pageprops: dict[str, str] = {}


class _Query(BaseModel):
    normalized: list[_Alias] = []
    redirects: list[_Alias] = []
    pages: list[_Page] = []


class _Error(BaseModel):
    code: str
    info: str = ""


class _ExtractReply(BaseModel):
    error: _Error | None = None
    query: _Query = _Query()
    more: dict[str, str | int] = Field(default={}, alias="continue")


class Wikipedia:
    """Wikipedia in one language.

    Args:
        manners: how to ask.
        language: of the Wikipedia, as its host name has it.
        linked: the articles that an earlier run found and whose text it didn't get, by tconst.
        wikidata_url: the SPARQL endpoint.
        wikipedia_url: the wiki; ``{language}`` is filled in.
    """

    def __init__(
        self,
        manners: Manners,
        language: str = "en",
        linked: Mapping[str, str] | None = None,
        wikidata_url: str = WIKIDATA_URL,
        wikipedia_url: str = WIKIPEDIA_URL,
    ) -> None:
        self.name = "wikipedia" if language == "en" else f"wikipedia-{language}"
        self._language = language
        self._linked = dict(linked or {})
        self._wikidata_url = wikidata_url
        self._api_url = wikipedia_url.replace("{language}", language).rstrip("/") + "/w/api.php"
        self._wikidata = PoliteClient("wikidata", wikidata_url, RATE, manners)
        self._wikipedia = PoliteClient(self.name, self._api_url, RATE, manners)

    @property
    def requests(self) -> int:
        """Requests sent to both services."""
        return self._wikidata.requests + self._wikipedia.requests

    async def close(self) -> None:
        """Close the connections."""
        await self._wikidata.close()
        await self._wikipedia.close()

    async def look_up(self, movies: Sequence[Movie]) -> AsyncIterator[DescriptionRow | Unanswered]:
        """Yield what is found of each movie with an IMDb id; a movie that has an article yields that first."""
        known = [movie.tconst for movie in movies if IMDB_ID.fullmatch(movie.tconst)]
        linked = {tconst: self._linked[tconst] for tconst in known if tconst in self._linked}
        async for answer in self._read_leads(linked):
            yield answer
        for tconsts in _batch([tconst for tconst in known if tconst not in linked], IDS_PER_REQUEST):
            try:
                articles = await self._find_articles(tconsts)
            except RequestFailedError as error:
                for tconst in tconsts:
                    yield Unanswered(tconst, f"Wikidata: {error}")
                continue
            for tconst in tconsts:
                if tconst in articles:
                    yield DescriptionRow(tconst, None, self.name, None, articles[tconst], read_clock(), LINKED)
                else:
                    yield build_row(tconst, self.name, None)
            async for answer in self._read_leads(articles):
                yield answer

    async def _find_articles(self, tconsts: Sequence[str]) -> dict[str, str]:
        ids = " ".join(f'"{tconst}"' for tconst in tconsts)
        query = _QUERY.format(ids=ids, language=self._language)
        kinds = ("application/sparql-results+json", "application/json")
        reply = await self._wikidata.post(self._wikidata_url, _parse_bindings, kinds, {"query": query})
        articles: dict[str, str] = {}
        # Two items may claim an id: the older one, whose number is lower, is seldom the mistaken one.
        for row in sorted(reply or [], key=lambda row: (_read_number(row.item.value), row.article.value)):
            if row.imdb.value in tconsts:
                articles.setdefault(row.imdb.value, row.article.value)
        return articles

    async def _read_leads(self, articles: Mapping[str, str]) -> AsyncIterator[DescriptionRow | Unanswered]:
        for tconsts in _batch(list(articles), TITLES_PER_REQUEST):
            titles = {tconst: _read_title(articles[tconst]) for tconst in tconsts}
            try:
                reply = await self._fetch_pages(list(dict.fromkeys(titles.values())))
            except RequestFailedError as error:
                for tconst in tconsts:
                    yield Unanswered(tconst, f"Wikipedia: {error}")
                continue
            for tconst in tconsts:
                yield self._settle(tconst, titles[tconst], articles[tconst], reply)

    async def _fetch_pages(self, titles: Sequence[str]) -> _Query:
        params = {
            "action": "query", "format": "json", "formatversion": "2", "maxlag": str(MAX_LAG_S), "redirects": "1",
            "prop": "extracts|pageprops", "ppprop": "disambiguation", "exintro": "1", "explaintext": "1",
            "exlimit": "max", "titles": "|".join(titles),
        }  # fmt: skip
        found = _Query()
        more: dict[str, str] = {}
        for _ in range(MAX_CONTINUES):
            reply = await self._wikipedia.get(self._api_url, _parse_extracts, ("application/json",), params | more)
            if reply is None:
                raise RequestFailedError(f"{httpx.URL(self._api_url).host} has no API at its usual place", 404)
            found.normalized += reply.query.normalized
            found.redirects += reply.query.redirects
            found.pages += reply.query.pages
            if not reply.more:
                return found
            more = {name: str(value) for name, value in reply.more.items()}
        raise RequestFailedError(f"went on and on: more than {MAX_CONTINUES} parts of {len(titles)} articles")

    def _settle(self, tconst: str, title: str, url: str, found: _Query) -> DescriptionRow | Unanswered:
        renamed = {alias.source: alias for alias in (*found.normalized, *found.redirects)}
        for _ in range(len(renamed)):
            alias = renamed.get(title)
            if alias is None:
                break
            if alias.tofragment:  # a section of another subject's article: its lead is not about the movie
                return build_row(tconst, self.name, None, url=url)
            title = alias.to
        pages = [page for page in found.pages if page.title == title]
        extract = next((page.extract for page in pages if page.extract is not None), None)
        if any(page.missing or page.invalid for page in pages):
            return build_row(tconst, self.name, None, url=url)
        if extract is None:
            return Unanswered(tconst, f"Wikipedia: the reply lacks the text of {title!r}")
        row = build_row(tconst, self.name, extract, licence=LICENCE, url=url)
        if row.description is not None and any("disambiguation" in page.pageprops for page in pages):
            return DescriptionRow(
                tconst, None, self.name, None, url, row.retrieved_at, "disambiguation", row.description[:2000]
            )
        return row


def _batch(tconsts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (tconsts[start : start + size] for start in range(0, len(tconsts), size))


def _parse_bindings(body: bytes) -> list[_Binding]:
    return _SparqlReply.model_validate_json(body).results.bindings


def _parse_extracts(body: bytes) -> _ExtractReply:
    reply = _ExtractReply.model_validate_json(body)
    if reply.error is None:
        if not reply.query.pages and not reply.more:
            raise ValueError("neither pages nor an error in it")
        return reply
    said = f"answered {reply.error.code}: {reply.error.info[:200]}"
    if reply.error.code in ("maxlag", "ratelimited", "readonly") or reply.error.code.startswith("internal_api_error"):
        raise TryAgain(said)
    raise RequestFailedError(said)


def _read_number(item: str) -> int:
    match = re.search(r"Q(\d{1,18})$", item)
    return int(match[1]) if match else 1 << 62


def _read_title(article: str) -> str:
    return unquote(article.rpartition("/wiki/")[2]).replace("_", " ").replace("|", " ")
