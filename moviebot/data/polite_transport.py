"""The last layer before the wire: a request waits for its turn, is counted, and is given the service's key."""

import asyncio
import urllib.request
from collections.abc import Callable

import httpx
from aiolimiter import AsyncLimiter


class PoliteTransport(httpx.AsyncBaseTransport):
    """Sends requests one after the other at a bounded rate, and counts them.

    Args:
        transport: sends them.
        rate: requests a second at the most.
        sign: puts a service's key into a request, just before it is sent.

    Attributes:
        sent: requests sent so far.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, rate: float, sign: Callable[[httpx.Request], httpx.Request] | None
    ) -> None:
        self.sent = 0
        self._transport = transport
        self._sign = sign
        self._seconds_between = 1 / rate
        self._limiter = AsyncLimiter(1, self._seconds_between)  # one a period: no bursts
        self._not_before = 0.0

    def slow_down(self, seconds_between: float) -> None:
        """Leave at least so many seconds between two requests from now on."""
        if seconds_between > self._seconds_between:
            self._seconds_between = seconds_between
            self._limiter = AsyncLimiter(1, seconds_between)

    def pause(self, seconds: float) -> None:
        """Send nothing for so many seconds."""
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request when its turn has come."""
        while (left := self._not_before - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)
        await self._limiter.acquire()
        self.sent += 1
        return await self._transport.handle_async_request(self._sign(request) if self._sign else request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def open_transport(url: str) -> httpx.AsyncHTTPTransport:
    """Return what sends requests to a service, by the proxy that the environment names for it, if any.

    Args:
        url: any address of the service.
    """
    parts = httpx.URL(url)
    proxies = urllib.request.getproxies()
    proxy = None if urllib.request.proxy_bypass(parts.host) else proxies.get(parts.scheme)
    return httpx.AsyncHTTPTransport(proxy=proxy)
