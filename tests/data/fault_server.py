"""A chat-completions endpoint on loopback that goes wrong on a schedule: a real server, real sockets, a seed.

Each prompt has its own list of faults, drawn from the seed, and is answered well when they are used up. Which faults a
prompt meets does not depend on the order of the requests. The server counts the good answers that went out whole.
"""

import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, get_args

Fault = Literal[
    "429", "429_seconds", "429_date", "500", "503_seconds", "hang", "cut", "bad_json", "no_choices", "empty", "huge"
]
FAULTS: tuple[Fault, ...] = get_args(Fault)
HANG_S = 30.0  # far beyond the tests' --timeout_s


def write_answer(prompt: str) -> str:
    """Return the good answer to a prompt, the same every time: a pair that the cleaning keeps."""
    title = next(line for line in prompt.splitlines() if line.startswith("Title: ")).removeprefix("Title: ")
    name, _, year = title.rstrip(")").rpartition(" (")
    pair = {"question": f"When was {name} ({year}) released?", "answer": f"In {year}.", "topic": "year"}
    return json.dumps({"pairs": [pair]})


class FaultServer(ThreadingHTTPServer):
    """Serves ``/v1/chat/completions``.

    Args:
        seed: of the faults.
        faults: those to draw from.
        most: faults a prompt at the most.
        delay_s: how long a good answer takes.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, seed: int = 0, faults: Sequence[Fault] = FAULTS, most: int = 2, delay_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seed, self.faults, self.most, self.delay_s = seed, faults, most, delay_s
        self.served: Counter[str] = Counter()  # good answers that went out whole, by prompt
        self.written: Counter[str] = Counter()  # good answers, whether or not anybody was there to hear them
        self.met: Counter[str] = Counter()  # faults by kind
        self.flying = self.most_flying = 0  # good answers being written
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._left: dict[str, list[Fault]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> "FaultServer":
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def next_fault(self, prompt: str) -> Fault | None:
        """Return what goes wrong with this try; None: nothing."""
        with self.lock:
            if prompt not in self._left:
                rng = random.Random(f"{self.seed}:{prompt}")
                self._left[prompt] = [rng.choice(self.faults) for _ in range(rng.randint(0, self.most))]
            fault = self._left[prompt].pop() if self._left[prompt] else None
            if fault:
                self.met[fault] += 1
            return fault

    def count(self, prompt: str) -> None:
        """Note that a good answer went out whole."""
        with self.lock:
            self.served[prompt] += 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed, or gave up waiting, is no error here."""


class _Handler(BaseHTTPRequestHandler):
    server: FaultServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        fault = self.server.next_fault(prompt)
        if fault is not None:
            self.fail(fault)
            return
        with self.server.lock:
            self.server.flying += 1
            self.server.most_flying = max(self.server.most_flying, self.server.flying)
        self.server.closing.wait(self.server.delay_s)
        with self.server.lock:  # before the answer goes out: the client may send its next request at once
            self.server.flying -= 1
        with self.server.lock:
            self.server.written[prompt] += 1
        self.reply(write_answer(prompt))
        self.server.count(prompt)

    def fail(self, fault: Fault) -> None:
        if fault == "429":
            self.send(429, b"slow down")
        elif fault == "429_seconds":
            self.send(429, b"slow down", {"Retry-After": "0.2"})
        elif fault == "429_date":
            self.send(429, b"slow down", {"Retry-After": formatdate(time.time() + 1, usegmt=True)})
        elif fault == "500":
            self.send(500, b'{"error": {"message": "oops"}}')
        elif fault == "503_seconds":
            self.send(503, b"overloaded", {"Retry-After": "0.1"})
        elif fault == "hang":
            self.server.closing.wait(HANG_S)
            self.close_connection = True
        elif fault == "cut":
            self.cut()
        elif fault == "bad_json":
            self.send(200, b'{"choices": [{"message": {"content": "half')
        elif fault == "no_choices":
            self.send(200, b'{"choices": []}')
        elif fault == "empty":
            self.reply("")
        elif fault == "huge":
            self.reply("x" * 10_000_000)

    def reply(self, text: str) -> None:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        self.send(200, json.dumps({"choices": [choice], "usage": usage}).encode())

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        """Send half of what was announced, then reset the connection."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"message": {"cont')
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
