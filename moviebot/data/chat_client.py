"""One request to a chat-completions endpoint, and what can come back."""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import httpx

from moviebot.data.endpoints import Endpoint
from moviebot.data.prompts import clean_text
from moviebot.data.replies import Request
from moviebot.data.retry_after import read_retry_after
from moviebot.data.teacher_replies import REPLY_MODELS
from moviebot.errors import UserError

MAX_BODY_BYTES = 2 << 20  # 2 MiB: a hundred times the longest reply wanted
ReplyFormat = Literal["json_schema", "json_object", "text"]
_NEXT_FORMAT: dict[ReplyFormat, ReplyFormat] = {"json_schema": "json_object", "json_object": "text"}
_OVERLOADED = {429, 503, 529}
_TRANSIENT = {408, 409, 425, 500, 502, 504, 520, 522, 524} | _OVERLOADED
_NO_CREDIT = re.compile(r"insufficient_quota|insufficient (credit|balance|funds)|billing", re.I)
_OUT_OF_RANGE = re.compile(r"too (large|big|high|long)|at most|maximum|exceed|range|less than|greater than", re.I)
_NAMES_FORMAT = re.compile(r"response_?format|json_schema|json_object|structured.?output", re.I)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        text: the model's reply, verbatim.
        prompt_tokens: as the server counts.
        completion_tokens: as the server counts.
        finish_reason: in the server's words.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None

    @property
    def is_void(self) -> bool:
        """Whether nothing came though nothing says why: to be asked for again."""
        return not self.text.strip() and self.finish_reason in (None, "stop")


class FaultError(Exception):
    """A request failed in a way that another try may mend.

    Args:
        what: one line.
        overloaded: whether the server says that it is too much.
        pause_s: how long the server wants to be left alone, None where it does not say.
        perhaps_paid: whether the server may have computed, and count, a reply that did not arrive.
        unreached: whether no connection was made.
    """

    def __init__(
        self, what: str, *, overloaded: bool = False, pause_s: float | None = None, perhaps_paid: bool = False,
        unreached: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(what)
        self.overloaded, self.pause_s = overloaded, pause_s
        self.perhaps_paid, self.unreached = perhaps_paid, unreached


class RefusalError(UserError):
    """The server refuses a request, and would refuse it again."""


class ChatClient:
    """Sends requests, one at a time each, and settles with the server what it knows of the protocol.

    A JSON schema is asked for first; a server that refuses it by name is asked for a JSON object, then for text. What
    it refuses is remembered, and the request sent again: no reply is lost to it. So are settings that it names.

    Args:
        endpoint: where.
        key: sent as a bearer token; None sends none.
        model: the model's name there.
        temperature: 0 to 2.
        seed: for servers that heed it.
        max_tokens: the longest reply.
        timeout_s: of one whole request, from connecting to the reply's last byte.
        connections: open at a time.

    Raises:
        UserError: the endpoint's address is not one.
    """

    def __init__(
        self, endpoint: Endpoint, key: str | None, *, model: str, temperature: float, seed: int, max_tokens: int,
        timeout_s: float, connections: int,
    ) -> None:  # fmt: skip
        self.where, self.model, self.timeout_s = endpoint.base_url, model, timeout_s
        self.format: ReplyFormat = "json_schema"
        self._url = f"{endpoint.base_url}/chat/completions"
        self._options: dict[str, float] = {"temperature": temperature, "seed": seed, "max_tokens": max_tokens}
        try:
            httpx.URL(self._url)
        except httpx.InvalidURL as error:
            raise UserError(
                f"--base_url {endpoint.base_url}: {error}: give one like http://localhost:8000/v1"
            ) from error
        # Uncompressed, so that a small body can't unpack into a large one.
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout_s, limits=limits)

    async def send(self, request: Request) -> Answer:
        """Send a request until the server understands it, and return the answer.

        Raises:
            FaultError: it failed; another try may succeed.
            RefusalError: the server refuses this request.
            UserError: the server refuses every such request: the key, the model or the credit is lacking.
        """
        while True:
            form, options = self.format, dict(self._options)
            try:
                async with asyncio.timeout(self.timeout_s):
                    status, headers, body = await self._post(self._write_body(request, form, options))
            except TimeoutError as error:
                raise FaultError(f"no whole reply in {self.timeout_s:g} s", perhaps_paid=True) from error
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol) as error:
                raise FaultError(str(error) or type(error).__name__, unreached=True) from error
            except httpx.HTTPError as error:
                raise FaultError(
                    f"the connection broke ({error or type(error).__name__})", perhaps_paid=True
                ) from error
            if status == 200:
                return _read_answer(body)
            said = clean_text(body.decode("utf-8", "replace"), 300)
            if status in (400, 422) and self._learn(body.decode("utf-8", "replace"), form, options):
                continue
            self._raise_for(status, headers, said)

    async def close(self) -> None:
        """Close the connections; what is in flight is broken off."""
        await self._http.aclose()

    def _write_body(self, request: Request, form: ReplyFormat, options: Mapping[str, float]) -> dict[str, object]:
        system, *turns = [*request.preface, request.prompt] if request.preface else ["", request.prompt]
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
        body: dict[str, object] = {"model": self.model, "messages": messages, **options}
        if form == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif form == "json_schema":
            schema = {"name": request.task, "strict": True, "schema": REPLY_MODELS[request.task].model_json_schema()}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    async def _post(self, body: Mapping[str, object]) -> tuple[int, httpx.Headers, bytes]:
        content = json.dumps(body, ensure_ascii=True).encode()  # ASCII: half a surrogate pair in a title can be sent
        headers = {"Content-Type": "application/json"}
        async with self._http.stream("POST", self._url, content=content, headers=headers) as response:
            received = bytearray()
            async for block in response.aiter_bytes():
                received += block
                if len(received) > MAX_BODY_BYTES:
                    raise FaultError(f"the reply is longer than {MAX_BODY_BYTES >> 20} MiB", perhaps_paid=True)
            return response.status_code, response.headers, bytes(received)

    def _learn(self, said: str, form: ReplyFormat, options: Mapping[str, float]) -> bool:
        """Leave out what the server refuses by name; say whether there is now something else to try."""
        refused = next((name for name in options if re.search(rf"\b{name}\b", said)), None)
        if form != "text" and _NAMES_FORMAT.search(said):
            if self.format == form:  # requests sent at the same time are refused for the same reason: learn it once
                self.format = _NEXT_FORMAT[form]
                log.info("%s does not know the reply format %s: %s from now on", self.where, form, self.format)
            return True
        if refused is None or _OUT_OF_RANGE.search(said):  # known, but not of this value: for the person to mend
            return False
        value = self._options.pop(refused, None)
        if value is not None:
            if refused == "max_tokens":  # newer names of the same thing
                self._options["max_completion_tokens"] = value
            log.warning("%s refuses %s: left out from now on", self.where, refused)
        return True

    def _raise_for(self, status: int, headers: httpx.Headers, said: str) -> None:
        if status == 402 or (status == 429 and _NO_CREDIT.search(said)):
            raise UserError(
                f"{self.where} gives no more credit ({status}: {said}): top it up, then run the same command"
            )
        if status in _TRANSIENT or status > 500:
            raise FaultError(
                f"status {status}: {said}", overloaded=status in _OVERLOADED, pause_s=read_retry_after(headers)
            )
        if status in (401, 403):
            raise UserError(f"{self.where} refuses the key ({status}: {said}): check --api_key_env")
        if status == 404:
            raise UserError(f"{self.where} does not know {self.model!r} ({said}): check --model and --base_url")
        raise RefusalError(
            f"{self.where} refuses the request ({status}: {said}): check --model, --temperature and --max_tokens"
        )


def _read_answer(body: bytes) -> Answer:
    try:
        content = json.loads(body)
        choices = content["choices"]
        usage = content.get("usage") or {}
        choice = choices[0] if choices else {}
        message = choice.get("message") or {}
        text, reason = message.get("content") or message.get("refusal") or "", choice.get("finish_reason")
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise FaultError(f"the body is no chat completion ({type(error).__name__})", perhaps_paid=True) from error
    if not isinstance(text, str):
        raise FaultError("the reply is no text", perhaps_paid=True)
    tokens_in, tokens_out = (count if type(count) is int and count >= 0 else None for count in counts)
    return Answer(text, tokens_in, tokens_out, reason if isinstance(reason, str) else None)
