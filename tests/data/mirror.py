"""A real HTTP server on loopback that holds files, as IMDb's does, and misbehaves as it is told."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests: the next fault set for the file, or else as HTTP says."""

    protocol_version = "HTTP/1.1"
    server: "Mirror"

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.seen.append((name, dict(self.headers), time.monotonic()))
        faults = self.server.faults.get(name, [])
        if faults:
            faults.pop(0)(self, name)
        elif name not in self.server.files:
            self.answer(404, b"no such file")
        else:
            self.serve(name)

    def serve(
        self, name: str, *, cut: int | None = None, ranges: bool = True, before_rest: threading.Event | None = None
    ) -> None:
        """Send a file, or the part of it asked for.

        Args:
            name: the file.
            cut: close the connection after this many bytes of the body.
            ranges: heed Range.
            before_rest: with ``cut``, wait for this before closing.
        """
        data, validators = self.server.files[name], self.server.validators(name)
        condition = self.headers.get("If-Range")
        wanted = self.headers.get("Range") if ranges and condition in (None, *validators.values()) else None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if self.headers.get("If-None-Match", "none") == validators.get("ETag"):
            return self.answer(304, b"", validators)
        if wanted and start >= len(data):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        if wanted:
            validators["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.answer(206 if wanted else 200, data[start:], validators, cut=cut, before_rest=before_rest)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        cut: int | None = None,
        before_rest: threading.Event | None = None,
    ) -> None:
        """Send one answer; ``cut`` and ``before_rest`` as in :meth:`serve`."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may be dead by now: a test kills it
            self.wfile.write(body[:cut])
            self.wfile.flush()
        self.server.body_bytes += len(body[:cut])
        if cut is not None:
            if before_rest is not None:
                before_rest.wait(60)
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


Fault = Callable[[Handler, str], None]


class Mirror(ThreadingHTTPServer):
    """The server.

    Attributes:
        files: what it holds, by name.
        faults: what it does in place of serving a file, one a request, by name.
        seen: each request's file, headers and time.
        body_bytes: bytes of bodies sent.
        etags: give the files ETags.
        dates: give the files a Last-Modified.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.faults: dict[str, list[Fault]] = {}
        self.seen: list[tuple[str, dict[str, str], float]] = []
        self.body_bytes = 0
        self.etags = self.dates = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def validators(self, name: str) -> dict[str, str]:
        """Return a file's ETag, which depends on its bytes, and its Last-Modified."""
        digest = sha256(self.files[name]).hexdigest()
        headers = {"ETag": f'"{digest[:16]}"'} if self.etags else {}
        if self.dates:
            headers["Last-Modified"] = formatdate(int(digest[:7], 16), usegmt=True)
        return headers

    def asked(self, name: str) -> list[dict[str, str]]:
        """Return the headers of each request for a file."""
        return [headers for asked, headers, _ in self.seen if asked == name]


@contextlib.contextmanager
def run_mirror(files: dict[str, bytes]) -> Iterator[Mirror]:
    """Run a server in a thread."""
    mirror = Mirror(files)
    thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        mirror.shutdown()
        mirror.server_close()
        thread.join()


def cut(after: int, before_rest: threading.Event | None = None) -> Fault:
    """Close the connection in the middle of the body."""
    return lambda handler, name: handler.serve(name, cut=after, before_rest=before_rest)


def status(code: int, **headers: str) -> Fault:
    """Answer with a status; ``Retry_After="1"`` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, name: handler.answer(code, b"<html>sorry</html>", named)


def send(body: bytes, code: int = 200, **headers: str) -> Fault:
    """Answer with a body of our own and a length that matches it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, name: handler.answer(code, body, named)


def ignore_range(handler: Handler, name: str) -> None:
    """Send the whole file whatever was asked for."""
    handler.serve(name, ranges=False)
