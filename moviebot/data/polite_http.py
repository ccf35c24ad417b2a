"""Requests to somebody else's service: under our own name, at a bounded rate, cached, retried, and never trusted.

The layers, from the outside in: a request is retried (tenacity), answered by the cache on disk where it can be
(hishel), else waits for its turn (aiolimiter), is given the service's key where there is one, and is sent (httpx). The
key is put in below the cache and below all logs, so that neither ever holds it.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from hishel import AsyncSqliteStorage
from hishel.httpx import AsyncCacheTransport
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from moviebot import USER_AGENT
from moviebot.data.polite_transport import PoliteTransport, open_transport
from moviebot.data.remote_file import TryAgain
from moviebot.data.retry_after import read_retry_after

PRODUCT = USER_AGENT.partition("/")[0]  # what robots.txt may name
MAX_BODY_BYTES = 8 << 20
MAX_HOPS = 5
MAX_BACKOFF_S = 60.0
CACHE_TTL_S = 30 * 24 * 3600.0
GIVE_UP_AFTER = 5  # failures in a row, each after its retries: the service is down, or doesn't want us
_TRY_AGAIN = {408, 425, 429}
_ABSENT = {404, 410}
Result = TypeVar("Result")
logging.getLogger("hishel").addHandler(logging.NullHandler())  # a cache that fails costs a request, nothing else


class RequestFailedError(Exception):
    """A request brought nothing, and asking again now won't help.

    Args:
        why: what happened.
        status: the HTTP status, where that was it.
    """

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Manners:
    """How a service is asked.

    Attributes:
        contact: an e-mail address or a page by which the service's owners can reach the person who runs this.
        rate: requests a second at the most; None takes the service's own default.
        timeout_s: seconds without a byte before a request is given up; a whole body may take four times as long.
        attempts: how often a request is sent at the most.
        backoff_s: the most that is waited before the second attempt; it doubles with each, drawn at random.
        max_wait_s: a service that asks to wait longer (Retry-After) is left alone for this run.
        cache_dir: where replies are kept; None keeps none.
        fresh: don't take replies from the cache.
    """

    contact: str | None = None
    rate: float | None = None
    timeout_s: float = 30.0
    attempts: int = 5
    backoff_s: float = 2.0
    max_wait_s: float = 300.0
    cache_dir: Path | None = None
    fresh: bool = False

    @property
    def user_agent(self) -> str:
        """The name under which requests are made.

        Example:
            >>> Manners(contact="me@example.org").user_agent.partition("/")[0]
            'moviebot'
        """
        return USER_AGENT + (f" (+{self.contact})" if self.contact else "")


class PoliteClient:
    """Asks one service.

    Args:
        service: the service's name, for messages and the cache.
        url: any address of the service; it decides which proxy of the environment is used.
        rate: requests a second at the most, where ``manners`` sets none.
        manners: how to ask.
        sign: puts the service's key into a request, just before it is sent.
    """

    def __init__(
        self,
        service: str,
        url: str,
        rate: float,
        manners: Manners,
        sign: Callable[[httpx.Request], httpx.Request] | None = None,
    ) -> None:
        self.service = service
        self.manners = manners
        self._outlet = PoliteTransport(open_transport(url), manners.rate or rate, sign)
        self._storage: AsyncSqliteStorage | None = None
        transport: httpx.AsyncBaseTransport = self._outlet
        if manners.cache_dir is not None:
            manners.cache_dir.mkdir(parents=True, exist_ok=True)
            self._storage = AsyncSqliteStorage(
                database_path=manners.cache_dir / f"{service}.db",
                default_ttl=CACHE_TTL_S,
                max_stream_size=MAX_BODY_BYTES,
            )
            transport = AsyncCacheTransport(transport, self._storage)
        self._client = httpx.AsyncClient(
            transport=transport, timeout=manners.timeout_s, headers={"User-Agent": manners.user_agent}
        )
        self._failed_in_row = 0
        self._given_up: str | None = None

    @property
    def requests(self) -> int:
        """How many requests were sent; those that the cache answered are not among them."""
        return self._outlet.sent

    def slow_down(self, seconds_between: float) -> None:
        """Leave at least so many seconds between two requests from now on."""
        self._outlet.slow_down(seconds_between)

    def give_up(self, why: str) -> None:
        """Send no request any more: each fails at once, for this reason."""
        self._given_up = why

    async def close(self) -> None:
        """Close the connections and the cache."""
        await self._client.aclose()

    async def get(
        self, url: str, parse: Callable[[bytes], Result], kinds: Sequence[str], params: dict[str, str] | None = None
    ) -> Result | None:
        """Ask for a page.

        Args:
            url: its address.
            parse: makes the result of the body; a ValueError says that this is no sound reply, and it is asked for
                again.
            kinds: the content types that are taken.
            params: the query.

        Returns:
            The result; None where there is no such page.

        Raises:
            RequestFailedError: the service refused, sent what can't be used, or can't be reached, even after retries.
        """
        return await self._ask(lambda: self._client.build_request("GET", url, params=params), parse, kinds)

    async def post(
        self, url: str, parse: Callable[[bytes], Result], kinds: Sequence[str], data: dict[str, str]
    ) -> Result | None:
        """Ask by a form; the cache holds no such replies. Arguments as :meth:`get`."""
        headers = {"Accept": ", ".join(kinds)}
        return await self._ask(
            lambda: self._client.build_request("POST", url, data=data, headers=headers), parse, kinds
        )

    async def _ask(
        self, build: Callable[[], httpx.Request], parse: Callable[[bytes], Result], kinds: Sequence[str]
    ) -> Result | None:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.manners.attempts),
            wait=self._draw_wait,
            retry=retry_if_exception_type(TryAgain),
            reraise=True,
        )
        result: Result | None = None
        try:
            async for attempt in retrying:
                with attempt:
                    result = await self._try_once(build, parse, kinds)
        except TryAgain as error:
            raise self._note_failure(RequestFailedError(str(error))) from error
        except RequestFailedError as error:
            raise self._note_failure(error) from error.__cause__
        self._failed_in_row = 0
        return result

    def _draw_wait(self, state: RetryCallState) -> float:
        return wait_random_exponential(multiplier=self.manners.backoff_s, max=MAX_BACKOFF_S)(state)

    def _note_failure(self, error: RequestFailedError) -> RequestFailedError:
        self._failed_in_row += 1
        if self._failed_in_row >= GIVE_UP_AFTER and self._given_up is None:
            self.give_up(f"given up after {GIVE_UP_AFTER} failures in a row, the last: {error}")
        return error

    async def _try_once(
        self, build: Callable[[], httpx.Request], parse: Callable[[bytes], Result], kinds: Sequence[str]
    ) -> Result | None:
        if self._given_up is not None:
            raise RequestFailedError(self._given_up)
        request = build()
        if self.manners.fresh:
            await self._forget(request)
        try:
            response, body = await self._fetch(request)
            if response.status_code in _ABSENT:
                return None
            self._check_status(response)
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind not in kinds:
                raise TryAgain(f"sent {kind or 'something without a content type'}, not {kinds[0]}")
            try:
                return parse(body)
            except (ValueError, RecursionError) as error:
                raise TryAgain(f"sent {kind} that is not a sound reply ({_cut_line(error)})") from error
        except TryAgain as error:
            await self._forget(request)  # or the cache would give the same again
            if error.retry_after_s is not None:
                self._heed(error)
            raise
        except (httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
            await self._forget(request)
            raise TryAgain(f"{type(error).__name__} {_cut_line(error)}".strip()) from error
        except httpx.InvalidURL as error:
            raise RequestFailedError(f"sends us on to what is no address ({_cut_line(error)})") from error

    async def _fetch(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        """Return a response and its body; redirects are followed on the same host only."""
        for _ in range(MAX_HOPS):
            request.extensions["caching"] = {"key": _make_key(request)}
            response = await self._client.send(request, stream=True)
            try:
                target = response.url.join(response.headers["Location"]) if response.has_redirect_location else None
                if target is None:
                    body = await self._read(response) if response.is_success or response.status_code < 500 else b""
                    return response, body
            finally:
                await response.aclose()
            if request.method != "GET" or not _is_same_host(request.url, target):
                raise RequestFailedError(f"sends us on to {target.host}: not followed", response.status_code)
            request = self._client.build_request("GET", target)
        raise RequestFailedError(f"sent us on more than {MAX_HOPS} times")

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async with asyncio.timeout(4 * self.manners.timeout_s):
            async for block in response.aiter_bytes():
                body += block
                if len(body) > MAX_BODY_BYTES:
                    raise RequestFailedError(f"sent more than {MAX_BODY_BYTES >> 20} MiB")
        if response.status_code == 200:
            return bytes(body)
        return b""  # what an error page says is of no use, and may repeat the key

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        said = f"answered {status} {response.reason_phrase}".strip()
        # A 2xx other than 200 is a part, or a page that wants a browser.
        if status in _TRY_AGAIN or status >= 500 or (response.is_success and status != 200):
            raise TryAgain(said, read_retry_after(response.headers))
        if status != 200:
            raise RequestFailedError(said, status)

    def _heed(self, error: TryAgain) -> None:
        """Let all requests to the service wait as long as it asks for."""
        seconds = error.retry_after_s or 0.0
        if seconds > self.manners.max_wait_s:
            self.give_up(f"{error}, and asks to wait {seconds:.0f} s")
            raise RequestFailedError(str(self._given_up)) from error
        self._outlet.pause(seconds)

    async def _forget(self, request: httpx.Request) -> None:
        if self._storage is not None and request.method == "GET":
            for entry in await self._storage.get_entries(_make_key(request)):
                await self._storage.remove_entry(entry.id)


def _is_same_host(url: httpx.URL, target: httpx.URL) -> bool:
    if url.host != target.host:
        return False
    return (url.scheme, url.port) == (target.scheme, target.port) or (url.scheme, target.scheme) == ("http", "https")


def _make_key(request: httpx.Request) -> str:
    return hashlib.sha256(f"{request.method} {request.url}".encode()).hexdigest()


def _cut_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
