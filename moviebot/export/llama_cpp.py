"""Run a GGUF file in llama.cpp itself, on this machine: the proof that the file is what it should be.

``xllamacpp`` is llama.cpp as a package with binaries. Its server listens on this machine only, at a port that the
system picks, and ends with the object.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.progress import track

from moviebot.errors import UserError

_TIMEOUT_S = 600.0  # one answer of a 7B model on two cores


def is_available() -> bool:
    """Say whether llama.cpp is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


@dataclass(frozen=True)
class LlamaCppRun:
    """What llama.cpp made of some prompts.

    Attributes:
        prompt_ids: each prompt's tokens, by its own tokenizer.
        answer_ids: each greedy answer's tokens, the end token included where it ended.
        texts: the answers' texts.
    """

    prompt_ids: list[list[int]]
    answer_ids: list[list[int]]
    texts: list[str]


def run_gguf(path: Path, prompts: Sequence[str], max_new_tokens: int, threads: int = 2) -> LlamaCppRun:
    """Answer prompts greedily with a GGUF file.

    Prompts go in as plain text, so that llama.cpp's tokenizer is proven as well. They hold no special tokens
    (``clean_text`` defuses them), and none are looked for.

    Args:
        path: the file.
        prompts: as :mod:`moviebot.data.prompts` renders them.
        max_new_tokens: where an answer without an end token is cut.
        threads: of the CPU.

    Returns:
        Tokens and texts, in order.

    Raises:
        UserError: llama.cpp is not installed, or can't load the file.
    """
    if not is_available():
        raise UserError("llama.cpp is not installed: pip install xllamacpp, or give --check_gguf false")
    address, server = _start(path, threads)
    prompt_ids, answer_ids, texts = [], [], []
    # trust_env: a proxy of the environment must not see what goes to this very machine.
    with httpx.Client(base_url=address, timeout=_TIMEOUT_S, trust_env=False) as client:
        for prompt in track(prompts, description=f"llama.cpp: {path.name}", transient=True):
            ids = _post(client, "/tokenize", {"content": prompt, "add_special": True, "parse_special": False})["tokens"]
            reply = _post(
                client,
                "/completion",
                {"prompt": ids, "n_predict": max_new_tokens, "temperature": 0.0, "samplers": ["top_k"], "top_k": 1,
                 "cache_prompt": False, "return_tokens": True},
            )  # fmt: skip
            prompt_ids.append(ids)
            answer_ids.append(reply["tokens"])
            texts.append(str(reply["content"]).strip())
    del server
    return LlamaCppRun(prompt_ids, answer_ids, texts)


def _start(path: Path, threads: int) -> tuple[str, object]:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx = 2048
    settings.n_parallel = 1
    settings.verbosity = -1
    settings.warmup = False
    settings.cpuparams.n_threads = threads
    settings.cpuparams_batch.n_threads = threads
    try:
        server = xllamacpp.Server(settings)
    except RuntimeError as error:
        raise UserError(f"llama.cpp can't load {path.name} ({error}): export again") from error
    return server.listening_address, server


def _post(client: httpx.Client, route: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = client.post(route, json=body)
    reply.raise_for_status()
    found: dict[str, Any] = reply.json()
    return found
