"""Wikidata, Wikipedia, TMDB and IMDb on loopback: they answer in the real services' shapes, and fail as told."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

WIKIDATA, WIKIPEDIA, TMDB, IMDB, ROBOTS = "/sparql", "/w/api.php", "/3/find/", "/title/", "/robots.txt"
KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "eyJh.eyJz-dWIi.c2ln_bmF0"


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: bool = False


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


def reply_json(value: object, kind: str = "application/json", **headers: str) -> Reply:
    return Reply(
        body=json.dumps(value).encode(), kind=kind, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


BUSY = Reply(429, b"slow down", "text/plain", {"Retry-After": "0"})
BROKEN = Reply(500, b"<h1>Internal error</h1>", "text/html")
INVALID = Reply(body=b'{"query": {"pages": [{"ti')
EMPTY = Reply(body=b"")
HUGE = Reply(body=b'"' + b"x" * (10 << 20) + b'"')
CUT = Reply(body=b'{"query": {"pages": []}}', cut=True)
HANG = Reply(hang=True)
WRONG_KIND = Reply(body=b"<html><body>Log in to the hotel's network</body></html>", kind="text/html")
MAXLAG = reply_json(
    {"error": {"code": "maxlag", "info": "Waiting for db1: 6.2 seconds lagged", "host": "db1", "lag": 6.2}},
    Retry_After="0",
)
FAULTS = {"429": BUSY, "500": BROKEN, "invalid": INVALID, "empty": EMPTY, "cut": CUT, "wrong_kind": WRONG_KIND}


class Services:
    """What the four services know, what they were asked, and how they are to fail.

    Attributes:
        articles: article title by tconst, for Wikidata.
        leads: the lead by article title; None is a missing page.
        redirects: article title by the title that leads to it; with a fragment after a ``#``.
        disambiguations: titles of such pages.
        overviews: TMDB's overview by tconst.
        pages: IMDb's page by tconst.
        robots: the reply to robots.txt.
        faults: by path, the replies to give first, one a request.
        permanent: by path, the reply to give always.
        requests: all that came.
    """

    def __init__(self) -> None:
        self.url = ""
        self.articles: dict[str, str] = {}
        self.leads: dict[str, str | None] = {}
        self.redirects: dict[str, str] = {}
        self.disambiguations: set[str] = set()
        self.overviews: dict[str, str] = {}
        self.pages: dict[str, bytes] = {}
        self.robots = Reply(404, b"", "text/plain")
        self.faults: dict[str, list[Reply]] = {}
        self.permanent: dict[str, Reply] = {}
        self.requests: list[Request] = []
        self.extracts_a_reply = 20
        self.delay_s = 0.0
        self.released = threading.Event()
        self.lock = threading.Lock()

    def find(self, path: str) -> list[Request]:
        """Return the requests to a service."""
        return [request for request in self.requests if request.path.startswith(path)]

    def count_ids(self) -> Counter[str]:
        """Return how often Wikidata was asked for each id."""
        return Counter(tt for request in self.find(WIKIDATA) for tt in re.findall(r'"(tt\d+)"', request.query["query"]))

    def answer(self, request: Request) -> Reply:
        with self.lock:
            self.requests.append(request)
            for path, replies in self.faults.items():
                if request.path.startswith(path) and replies:
                    return replies.pop(0)
        for path, reply in self.permanent.items():
            if request.path.startswith(path):
                return reply
        if self.delay_s:
            self.released.wait(self.delay_s)
        routes: dict[str, Callable[[Request], Reply]] = {
            WIKIDATA: self._answer_sparql, WIKIPEDIA: self._answer_extracts, TMDB: self._answer_find,
            IMDB: self._answer_page, ROBOTS: lambda _: self.robots,
        }  # fmt: skip
        route = next((route for path, route in routes.items() if request.path.startswith(path)), None)
        return route(request) if route else Reply(404, b"no such page", "text/plain")

    def _answer_sparql(self, request: Request) -> Reply:
        assert request.method == "POST"
        query = request.query["query"]
        assert "wdt:P345" in query
        assert "schema:isPartOf <https://en.wikipedia.org/>" in query
        bindings = [
            {
                "imdb": {"type": "literal", "value": tconst},
                "item": {"type": "uri", "value": f"http://www.wikidata.org/entity/Q{int(tconst[2:])}"},
                "article": {"type": "uri", "value": "https://en.wikipedia.org/wiki/" + quote(title.replace(" ", "_"))},
                "title": {"xml:lang": "en", "type": "literal", "value": title},
            }
            for tconst in re.findall(r'"(tt\d+)"', query)
            if (title := self.articles.get(tconst)) is not None
        ]
        value = {"head": {"vars": ["imdb", "item", "article", "title"]}, "results": {"bindings": bindings}}
        return reply_json(value, "application/sparql-results+json;charset=utf-8")

    def _answer_extracts(self, request: Request) -> Reply:
        titles = request.query["titles"].split("|")
        assert len(titles) <= 20
        normalized, redirects, pages = [], [], []
        for title in titles:
            name = title[:1].upper() + title[1:]
            if name != title:
                normalized.append({"fromencoded": False, "from": title, "to": name})
            if name in self.redirects:
                target, _, fragment = self.redirects[name].partition("#")
                redirects.append({"from": name, "to": target} | ({"tofragment": fragment} if fragment else {}))
                name = target
            lead = self.leads.get(name)
            page: dict[str, object] = {"ns": 0, "title": name}
            pages.append(page | ({"missing": True} if lead is None else {"pageid": len(name), "extract": lead}))
            if name in self.disambiguations:
                pages[-1]["pageprops"] = {"disambiguation": ""}
        start = int(request.query.get("excontinue", "0"))
        end = start + self.extracts_a_reply
        for place, page in enumerate(pages):
            if not start <= place < end:
                page.pop("extract", None)
        value: dict[str, object] = {"batchcomplete": True, "query": {"pages": pages}}
        if end < len(pages):
            value = {"continue": {"excontinue": end, "continue": "||pageprops"}, "query": {"pages": pages}}
        query = value["query"]
        assert isinstance(query, dict)
        query |= {"normalized": normalized} if normalized else {}
        query |= {"redirects": redirects} if redirects else {}
        return reply_json(value, "application/json; charset=utf-8")

    def _answer_find(self, request: Request) -> Reply:
        assert request.query["external_source"] == "imdb_id"
        if request.query.get("api_key") != KEY and request.headers.get("authorization") != f"Bearer {TOKEN}":
            message = "Invalid API key: You must be granted a valid key."
            reply = reply_json({"status_code": 7, "status_message": message, "success": False})
            reply.status = 401
            return reply
        overview = self.overviews.get(request.path.removeprefix(TMDB))
        results = [] if overview is None else [{"id": 77, "title": "X", "overview": overview, "media_type": "movie"}]
        empty: dict[str, object] = {key: [] for key in ("person_results", "tv_results", "tv_episode_results")}
        return reply_json({"movie_results": results} | empty)

    def _answer_page(self, request: Request) -> Reply:
        page = self.pages.get(request.path.split("/")[2])
        return Reply(404, b"<html></html>", "text/html") if page is None else Reply(body=page, kind="text/html")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10.0  # a connection that the client keeps open
    services: Services

    def do_GET(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def _serve(self, form: str) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(form or parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.services.answer(Request(self.command, parts.path, query, headers))
        if reply.hang:
            self.services.released.wait(60)
            self.close_connection = True
            return
        try:
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.body) + 100 * reply.cut))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
        except ConnectionError:  # the client has had enough
            self.close_connection = True
        if reply.cut:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them: no thread outlives its test

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the client was killed, or has had enough."""


@contextmanager
def run_services() -> Iterator[Services]:
    services = Services()
    handler = type("Handler", (_Handler,), {"services": services})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    services.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield services
    finally:
        services.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
