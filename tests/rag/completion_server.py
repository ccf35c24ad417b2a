"""An OpenAI-compatible server on loopback that writes what it is told, in pieces, and fails where it is told to."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["", "cut", "cut_clean", "hang", "500", "401", "404", "error_event", "no_json", "endless", "whole"]


class CompletionServer(ThreadingHTTPServer):
    """Serves ``/v1/models`` and ``/v1/completions``.

    Args:
        reply: from a prompt to the whole text.
        fault: what goes wrong behind the second piece, or before the first.
    """

    daemon_threads = True

    def __init__(self, reply: Callable[[str], str], fault: Fault = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.fault = reply, fault
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> "CompletionServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: CompletionServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        self.server.keys.append(self.headers.get("Authorization"))
        refused = self.server.fault == "401"
        self._send(401 if refused else 200, b'{"data": []}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        fault = self.server.fault
        if fault in ("500", "401", "404"):
            self._send(int(fault), f'{{"error": "no\\n luck with {self.headers.get("Authorization")}"}}'.encode())
            return
        text = self.server.reply(body["prompt"])
        if fault == "whole":
            self._send(200, json.dumps({"choices": [{"text": text, "finish_reason": "stop"}]}).encode())
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        if fault == "cut":
            self.send_header("Content-Length", "100000")
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked has gone
            self._write_pieces(text, fault)

    def _write_pieces(self, text: str, fault: Fault) -> None:
        pieces = [text[n : n + 5] for n in range(0, len(text), 5)]
        for n, piece in enumerate(pieces):
            if n == 2 and fault in ("cut", "cut_clean"):
                return
            if n == 2 and fault == "hang":
                self.server.closing.wait(30)
                return
            if n == 2 and fault == "error_event":
                self._event({"error": {"message": "out of memory"}})
                return
            if n == 2 and fault == "no_json":
                self.wfile.write(b"data: {oops\n\n")
                return
            self._event({"choices": [{"text": piece, "finish_reason": None}]})
        while fault == "endless" and not self.server.closing.is_set():
            self._event({"choices": [{"text": "more " * 1000, "finish_reason": None}]})
        self._event({"choices": [{"text": "", "finish_reason": "stop"}]})
        self.wfile.write(b": a comment\n\ndata: [DONE]\n\n")

    def _event(self, content: dict[str, Any]) -> None:
        encoded = f"data: {json.dumps(content)}\r\n\r\n".encode()
        self.wfile.write(encoded[:9])  # events do not come in whole packets
        self.wfile.flush()
        time.sleep(0.001)
        self.wfile.write(encoded[9:])
        self.wfile.flush()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
