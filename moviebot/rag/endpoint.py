"""A language model behind an OpenAI-compatible endpoint (vLLM, Ollama, ``transformers serve``), in the place of ours.

It is sent the very prompt that the adapter was trained with, as raw text (``/v1/completions``), so it should serve the
merged model that ``moviebot export`` writes. It can't be held to a list of titles: what it lists is read and filled up
(:func:`moviebot.rag.checks.choose_recommendations`), so that nothing but candidates is shown all the same.
"""

import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from moviebot.data.prompts import clean_text
from moviebot.errors import UserError

KEY_ENV = "MOVIEBOT_LLM_API_KEY"
CONNECT_S = 5.0
REPLY_S = 60.0  # a whole reply: a loaded machine of two cores writes a few tokens a second
MAX_TOKENS = 96  # as `moviebot.modules.dense.MAX_NEW_TOKENS`, which would load the model's libraries
MAX_BYTES = 1 << 20  # of one reply: a thousand times the longest wanted
CONCURRENCY = 8
_SAID_CHARS = 200
_STOP = ("\n\n###",)  # a model that was not trained to end begins the next question
logger = logging.getLogger(__name__)


class EndpointError(UserError):
    """The endpoint gave no whole reply: absent, refusing, silent, or gone amid it."""


class EndpointGenerator:
    """Writes answers by asking an endpoint.

    Args:
        url: the address up to and including the version, for example ``http://localhost:8000/v1``.
        model: the model's name there.
        key: sent as a bearer token; None sends none.
        timeout_s: of one reply, from connecting to its last byte.
        concurrency: requests under way at a time, for files.

    Raises:
        UserError: the address is not one, or holds a password.
    """

    def __init__(
        self, url: str, model: str, key: str | None = None, timeout_s: float = REPLY_S, concurrency: int = CONCURRENCY
    ) -> None:
        check_url(url)
        self.url, self.model, self.timeout_s, self.concurrency = url.rstrip("/"), model, timeout_s, concurrency
        self._key = key
        # Uncompressed, so that a small body can't unpack into a large one.
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        self._http = httpx.Client(headers=headers, timeout=timeout)
        weakref.finalize(self, self._http.close)  # kept for a whole session: nobody else closes it
        self._warned = ""
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise a :class:`EndpointError` where no server answers at the address, or it refuses the key."""
        try:
            status = self._http.get(f"{self.url}/models", timeout=min(CONNECT_S, self.timeout_s)).status_code
        except httpx.TransportError as error:
            raise self._explain(error) from error
        if status in (401, 403):
            raise EndpointError(f"--llm {self.url} refuses the key ({status}): set {KEY_ENV}")

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """Return the model's text for each prompt, in order; empty where the endpoint failed, which is logged."""
        with ThreadPoolExecutor(max_workers=max(1, min(self.concurrency, len(prompts)))) as pool:
            return list(pool.map(self._write, prompts))

    def stream(self, prompt: str) -> Iterator[str]:
        """Yield the model's text in pieces, as it comes.

        Raises:
            EndpointError: there was no reply, or no whole one; what was yielded is then half an answer.
        """
        body = {
            "model": self.model, "prompt": prompt, "max_tokens": MAX_TOKENS, "temperature": 0, "stream": True,
            "stop": list(_STOP),
        }  # fmt: skip
        deadline = time.monotonic() + self.timeout_s
        ended = False
        try:
            with self._http.stream("POST", f"{self.url}/completions", json=body) as response:
                if response.status_code != 200:
                    raise self._refuse(response.status_code, _read_some(response))
                if "json" in response.headers.get("content-type", ""):  # the whole reply at once
                    yield self._read_chunk(_read_some(response, MAX_BYTES))[0]
                    return
                for data in self._read_events(response, deadline):
                    if data == "[DONE]":
                        return
                    text, finished = self._read_chunk(data)
                    ended = ended or finished
                    if text:
                        yield text
        except (httpx.TransportError, httpx.StreamError) as error:
            raise self._explain(error) from error
        if not ended:
            raise EndpointError(f"--llm {self.url} broke off amid a reply: is the server still there?")

    def _write(self, prompt: str) -> str:
        try:
            return "".join(self.stream(prompt)).strip()
        except EndpointError as error:
            with self._lock:  # one line for one reason, not one for each of a file's questions
                said, self._warned = self._warned, str(error)
            if said != str(error):
                logger.warning("%s", error)
            return ""

    def _read_events(self, response: httpx.Response, deadline: float) -> Iterator[str]:
        """Yield what stands behind ``data:`` in a stream of server-sent events."""
        received, rest = 0, b""
        for block in response.iter_bytes():
            received += len(block)
            if received > MAX_BYTES:
                raise EndpointError(f"--llm {self.url}: the reply is longer than {MAX_BYTES >> 20} MiB")
            if time.monotonic() > deadline:
                raise EndpointError(f"--llm {self.url}: no whole reply in {self.timeout_s:g} s")
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    yield line[5:].decode("utf-8", "replace").strip()
        if rest.startswith(b"data:"):
            yield rest[5:].decode("utf-8", "replace").strip()

    def _read_chunk(self, data: str) -> tuple[str, bool]:
        """Return a piece's text, and whether it is the last one."""
        try:
            content = json.loads(data)
            if content.get("error"):
                raise EndpointError(f"--llm {self.url} failed amid a reply: {self._quote(str(content['error']))}")
            choice = content["choices"][0] if content["choices"] else {}
            text, reason = choice.get("text") or "", choice.get("finish_reason")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            raise EndpointError(
                f"--llm {self.url} sent no completion ({type(error).__name__}): give an OpenAI-compatible address"
            ) from error
        if not isinstance(text, str):
            raise EndpointError(f"--llm {self.url} sent no completion: its text is no text")
        return text, reason is not None

    def _refuse(self, status: int, said: str) -> EndpointError:
        quoted = self._quote(said)
        if status in (401, 403):
            return EndpointError(f"--llm {self.url} refuses the key ({status}: {quoted}): set {KEY_ENV}")
        if status == 404:
            return EndpointError(f"--llm {self.url} does not know {self.model!r} or /completions ({quoted})")
        return EndpointError(f"--llm {self.url} refuses the request ({status}: {quoted})")

    def _explain(self, error: Exception) -> EndpointError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return EndpointError(f"--llm {self.url} can't be reached: start the server, or leave --llm out")
        if isinstance(error, httpx.TimeoutException):
            return EndpointError(f"--llm {self.url}: no whole reply in {self.timeout_s:g} s")
        return EndpointError(f"--llm {self.url}: the connection broke ({type(error).__name__})")

    def _quote(self, said: str) -> str:
        """Return what a server says as one short line, without the key that it may repeat."""
        return clean_text(said.replace(self._key, "...") if self._key else said, _SAID_CHARS)


def connect(url: str, model: str | None, timeout_s: float = REPLY_S) -> EndpointGenerator:
    """Return the generator at an endpoint that answers; its key is read from the environment.

    Args:
        url: what ``--llm`` gave.
        model: what ``--llm_model`` gave.
        timeout_s: of one reply.

    Raises:
        UserError: no model is named, the address or the key is none, or no server answers.
    """
    if not model:
        raise UserError(f"--llm {url} needs --llm_model: the name under which the server knows the model")
    key = (os.environ.get(KEY_ENV) or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the environment variable {KEY_ENV} holds letters that no key has: set it again")
    generator = EndpointGenerator(url, model, key or None, timeout_s)
    generator.check()
    return generator


def check_url(url: str) -> None:
    """Raise a :class:`UserError` where a text is no endpoint's address, or holds a password: errors would show it."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UserError("--llm is no web address: give one like http://localhost:8000/v1") from error
    if parsed.userinfo:
        raise UserError(f"--llm must hold no user or password: set {KEY_ENV} instead")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UserError(f"--llm {clean_text(url, 100)} is no web address: give one like http://localhost:8000/v1")


def _read_some(response: httpx.Response, most: int = 4096) -> str:
    received = b""
    for block in response.iter_bytes():
        received += block
        if len(received) > most:
            break
    return received[:most].decode("utf-8", "replace")
