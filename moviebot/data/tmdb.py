"""Descriptions from The Movie Database: the overview of the movie with an IMDb id.

Its API wants a key of the person's own (free for uses that earn nothing, with attribution: see TMDB's terms of use).
The key comes from an environment variable and goes into requests only at the last moment, below the cache and the logs:
a version 3 key as a parameter, a version 4 token as a header.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import islice

import httpx
from pydantic import BaseModel

from moviebot.data.description_row import DescriptionRow, Unanswered, build_row
from moviebot.data.polite_http import Manners, PoliteClient, RequestFailedError
from moviebot.data.schemas import Movie
from moviebot.data.wikipedia import IMDB_ID
from moviebot.errors import UserError

LICENCE = "TMDB terms of use"
TMDB_URL = "https://api.themoviedb.org"
PAGE_URL = "https://www.themoviedb.org"
RATE = 20.0  # TMDB turns away at about 40 requests a second
CONCURRENCY = 8
_KINDS = ("application/json",)


class _Result(BaseModel):
    id: int
    overview: str | None = None


class _FindReply(BaseModel):
    movie_results: list[_Result]
    tv_results: list[_Result] = []


class Tmdb:
    """The Movie Database.

    Args:
        manners: how to ask.
        key: a version 3 key or a version 4 token.
        language: of the overview, for example ``en`` or ``pt-BR``.
        url: the API.
    """

    def __init__(self, manners: Manners, key: str, language: str = "en", url: str = TMDB_URL) -> None:
        self.name = "tmdb" if language == "en" else f"tmdb-{language}"
        self._url = url.rstrip("/")
        self._language = language
        self._client = PoliteClient("tmdb", url, RATE, manners, _make_signer(key))

    @property
    def requests(self) -> int:
        """Requests sent."""
        return self._client.requests

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def look_up(self, movies: Sequence[Movie]) -> AsyncIterator[DescriptionRow | Unanswered]:
        """Yield what is found of each movie with an IMDb id.

        Raises:
            UserError: TMDB refuses the key.
        """
        waiting = (movie for movie in movies if IMDB_ID.fullmatch(movie.tconst))
        tasks: set[asyncio.Task[DescriptionRow | Unanswered]] = set()
        try:
            while True:
                tasks |= {asyncio.create_task(self._find(movie)) for movie in islice(waiting, CONCURRENCY - len(tasks))}
                if not tasks:
                    return
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
                    tasks.discard(task)
        finally:
            for task in tasks:
                task.cancel()
            # Several may have failed at the same time: asyncio warns of an error that nobody takes.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self, movie: Movie) -> DescriptionRow | Unanswered:
        params = {"external_source": "imdb_id", "language": self._language}
        url = f"{self._url}/3/find/{movie.tconst}"
        try:
            reply = await self._client.get(url, _FindReply.model_validate_json, _KINDS, params)
        except RequestFailedError as error:
            if error.status in (401, 403):
                raise UserError(
                    f"TMDB refuses the key ({error}): check the environment variable that --tmdb_key_env names"
                ) from None
            return Unanswered(movie.tconst, f"TMDB: {error}")
        if reply is None:
            return build_row(movie.tconst, self.name, None)
        kind, results = ("movie", reply.movie_results) if reply.movie_results else ("tv", reply.tv_results)
        if not results:
            return build_row(movie.tconst, self.name, None)
        page = f"{PAGE_URL}/{kind}/{results[0].id}"
        return build_row(movie.tconst, self.name, results[0].overview, licence=LICENCE, url=page)


def read_key(variable: str) -> str:
    """Return TMDB's key.

    Args:
        variable: the environment variable that holds it.

    Raises:
        UserError: there is none, or it can't be one. The message does not hold it.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(
            f"the source tmdb needs a key in the environment variable {variable}: set it (TMDB gives one to each "
            "account), name another variable with --tmdb_key_env, or leave tmdb out of --sources"
        )
    if not re.fullmatch(r"[\w.-]+", key, re.ASCII):
        raise UserError(f"what the environment variable {variable} holds is no key of TMDB: copy it again")
    return key


def _make_signer(key: str) -> Callable[[httpx.Request], httpx.Request]:
    def sign(request: httpx.Request) -> httpx.Request:
        # A token has two dots in it (JWT); a version 3 key is 32 hexadecimal digits.
        url = request.url if "." in key else request.url.copy_add_param("api_key", key)
        signed = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        if "." in key:
            signed.headers["Authorization"] = f"Bearer {key}"
        return signed

    return sign
