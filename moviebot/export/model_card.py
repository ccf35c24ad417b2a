"""The card of an exported model: what it is, what it was made from, how it was verified, whose it is.

Names come from outside: they are escaped for Markdown, and the front matter is written by a YAML writer.
"""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from moviebot import __version__
from moviebot.artefact import METRICS_NAME, read_jsonl
from moviebot.data.card import escape_markdown
from moviebot.data.prompts import FOLLOW_UP, PROMPT, clean_text

LLAMA2_NOTICE = (
    "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. All Rights Reserved.\n"
)
# By the start of the base's own name, in lower case: the hub's name of the licence, and what people call it.
_LICENCES = {
    "llama-2-": ("llama2", "the Llama 2 Community License, with its Acceptable Use Policy"),
    "smollm2-": ("apache-2.0", "Apache-2.0"),
}
_FILES = {
    "safetensors": "the merged model, for Transformers and vLLM",
    "gguf/model-f16.gguf": "16 bits, for llama.cpp",
    "gguf/model-q8_0.gguf": "8 bits, for llama.cpp and Ollama",
    "gguf/model-q4_0.gguf": "4 bits (embedding, head, values and down projections 8), for llama.cpp and Ollama",
    "gguf/Modelfile": "for `ollama create`",
    "vllm": "the adapter alone, to be served beside the base",
}
_VERSIONED = ("moviebot", "torch", "transformers", "peft", "bitsandbytes", "gguf", "xllamacpp")


def find_licence(base: str) -> tuple[str, str]:
    """Return the hub's name of a base's licence, and what people call it; where it is not known, whom to ask.

    Example:
        >>> find_licence("meta-llama/Llama-2-7b-hf")[0], find_licence("someone/else")
        ('llama2', ('other', "not known to moviebot: see the base model's own page"))
    """
    name = short_name(base).lower()
    for start, licence in _LICENCES.items():
        if name.startswith(start):
            return licence
    return "other", "not known to moviebot: see the base model's own page"


def short_name(base: str) -> str:
    """Return a base's name without its owner, or without the folders it lies in."""
    return base.rstrip("/").rpartition("/")[2]


def public_name(base: str) -> str:
    """Return a base's name as others may see it: a hub name as it is, of a folder its last part."""
    return short_name(base) if Path(base).is_dir() else base


def read_metrics(run: Path | None) -> dict[str, float]:
    """Return the last value of each metric that a training run logged.

    Raises:
        UserError: the run has no metrics, or they are damaged.
    """
    last: dict[str, float] = {}
    for row in [] if run is None else read_jsonl(run / METRICS_NAME, skip_half_line=True):
        last |= {key: value for key, value in row.items() if isinstance(value, (int, float))}
    return {key: value for key, value in last.items() if key not in ("step", "epoch")}


def describe_machine() -> dict[str, str]:
    """Return what this machine is and runs."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    found = {
        "gpu": gpu, "cpu": f"{platform.machine()}, {os.cpu_count()} cores", "memory": f"{memory_gib:.0f} GiB",
        "python": platform.python_version(),
    }  # fmt: skip
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found | {"moviebot": __version__}


def render_card(report: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """Write the card.

    Args:
        report: what ``export.json`` holds: ``made_from``, ``parts``, ``metrics`` and ``machine``.
        sizes: the bytes of each part.
    """
    made_from = report["made_from"]
    base = made_from["base"]
    licence, told = find_licence(base)
    sections = [
        f"# A movie chatbot on {escape_markdown(short_name(base))}",
        "Answers questions about one movie from facts in its prompt, says so where they do not hold the answer, and "
        "picks movies to recommend from a list in its prompt. Made with moviebot: a LoRA adapter, and its base.",
        f"Base: {escape_markdown(base)}. Licence of the base, and so of this model: {told}.",
        _tell_files(report["parts"], sizes),
        _tell_prompt(),
        _tell_verification(report["parts"]),
        _tell_origin(made_from),
        _tell_metrics(report["metrics"]),
        "## Hardware and versions\n\nWhere it was merged and verified:\n\n"
        + _table(["what", "which"], [[k, escape_markdown(v)] for k, v in report["machine"].items()]),
        "## Limits\n\n"
        "- It knows what stands in its prompt: without facts its answers are the base's guesses.\n"
        "- English; trained on questions of fact (director, year, length, genres, cast, rating, plot) and on lists.\n"
        "- Text from outside goes through `moviebot.data.prompts.clean_text` in moviebot; other programs must see to "
        "it that headings (`###`) and special tokens in a text can't pass for the prompt's own.\n"
        "- Verified with greedy decoding on the prompts counted above, no more; sampling was not measured.",
    ]
    return _front_matter(base, licence) + "\n\n".join(part for part in sections if part) + "\n"


def _front_matter(base: str, licence: str) -> str:
    head = {
        "base_model": clean_text(base),
        "license": licence,
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["movies", "recommendation", "lora", "moviebot"],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n"


def _tell_files(parts: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]) -> str:
    rows = [
        [f"`{name}`", _FILES[name], f"{sizes[name] / 2**20:,.1f}", f"`{str(parts[name]['sha256'])[:16]}`"]
        for name in _FILES
        if name in sizes
    ]
    return "## Files\n\n" + _table(["file", "what", "MiB", "SHA-256 (first half)"], rows)


def _tell_prompt() -> str:
    return (
        "## The prompt\n\nThe one it was trained on; the chat template and the Modelfile give the same, with the facts "
        "as the system message and the question as the user message. Decode greedily, stop at the end token.\n\n"
        f"```text\n{PROMPT}```\n\nA further question about the same movie, after the answer's end token:\n\n"
        f"```text{FOLLOW_UP}```"
    )


def _tell_verification(parts: Mapping[str, Mapping[str, Any]]) -> str:
    merged = parts["safetensors"]["verification"]
    rows = [[key.replace("_", " "), str(value)] for key, value in merged.items()]
    text = [
        "## Verification",
        "Greedy answers on held-out prompts (test movies): the merged model read back from disk, the adapter beside "
        "the 16-bit base (`same answers`, token for token), and the adapter on the base as training rounded it "
        "(`same as trained`; `same facts as trained` counts answers that tell the same).",
        _table(["measure", "value"], rows),
    ]
    proofs = {name: part["llama_cpp"] for name, part in parts.items() if part.get("llama_cpp")}
    if proofs:
        keys = list(next(iter(proofs.values())))
        proved = [[f"`{name}`", *(str(found[key]) for key in keys)] for name, found in proofs.items()]
        text += [
            "The GGUF files in llama.cpp, against the merged model in Transformers:",
            _table(["file", *(key.replace("_", " ") for key in keys)], proved),
        ]
    elif any(name.endswith(".gguf") for name in parts):
        text.append("The GGUF files were not run in llama.cpp.")
    return "\n\n".join(text)


def _tell_origin(made_from: Mapping[str, Any]) -> str:
    rows = [[escape_markdown(name), f"`{hashed}`"] for name, hashed in made_from["hashes"].items()]
    prompts = "the data folder" if made_from["data"] else "moviebot's embedded sample"
    return (
        "## What it was made from\n\n"
        + _table(["input", "SHA-256"], rows)
        + f"\n\nThe held-out prompts are from {prompts}. Weights in {made_from['dtype']}."
    )


def _tell_metrics(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return ""
    rows = [[escape_markdown(name), f"{value:.4g}"] for name, value in sorted(metrics.items())]
    return "## Metrics of the training run\n\nThe last value of each:\n\n" + _table(["metric", "value"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
