"""What stands before the page: a cookie for each browser, a limit on requests, and no more of Gradio than is used.

Gradio serves more than a chat needs (uploads, files, proxies); a path that is not of the page is not found here.
"""

import re
import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moviebot.rag.answer import MAX_QUERY_CHARS

COOKIE = "moviebot_session"
# A query in JSON is at most 12 bytes a character (an escaped surrogate pair); the rest is what Gradio sends around it.
MAX_BODY_BYTES = 12 * MAX_QUERY_CHARS + 100_000
_ALLOWED = re.compile(
    r"/(?:|config/?|theme\.css|favicon\.ico|robots\.txt|manifest\.json|(?:assets|static|svelte)/.*"
    r"|gradio_api/(?:info/?|app_id/?|startup-events|heartbeat/[\w-]+|queue/(?:join|data|status)|cancel|reset/?))"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    # The page's own scripts alone; Gradio's front end needs inline ones and evaluates its templates.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
        "form-action 'self'; base-uri 'self'; object-src 'none'; worker-src 'self' blob:"
    ),
}


class WebGuard:
    """ASGI middleware around the page.

    Args:
        app: the page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not the page's, or hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not _ALLOWED.fullmatch(scope["path"]):
            await PlainTextResponse("not found", 404)(scope, receive, send)
            return
        length = headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length[:20]) > MAX_BODY_BYTES):
            await PlainTextResponse("the request is too large", 413)(scope, receive, send)
            return
        if length is None and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            await PlainTextResponse("the request must tell its length", 411)(scope, receive, send)
            return
        new = None if read_token(headers.get("cookie")) else secrets.token_urlsafe(32)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out[name] = value
                if new is not None and scope["path"] == "/":
                    out.append("Set-Cookie", f"{COOKIE}={new}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        await self.app(scope, receive, send_guarded)


def read_token(cookies: str | None) -> str | None:
    """Return the browser's secret from its ``Cookie`` header, or None."""
    try:
        morsel = SimpleCookie(cookies or "").get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel and re.fullmatch(r"[\w-]{40,50}", morsel.value) else None
