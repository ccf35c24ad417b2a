"""How fast are answers written: transformers' plain greedy decoding beside prompt lookup, and the first token's wait.

    python tools/bench_generation.py --data DATA --adapter runs/llm/smollm2_135m_qlora/adapter

Real prompts of the data folder's test questions, one at a time as in a chat (plain, then with drafts: words that the
answer copies from the facts or from earlier answers are proposed and checked several at a time), and together as for a
file. Medians over interleaved rounds.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from moviebot.data.prompts import render_question_prompt
from moviebot.data.schemas import read_catalogue, read_qa
from moviebot.data.tokenise import encode_prompt
from moviebot.modules.decoding import DraftDecoder
from moviebot.modules.dense import MAX_NEW_TOKENS, generate_texts, load_dense_model
from moviebot.pretrained import SMOLLM2


def main() -> int:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default=SMOLLM2)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--n", type=int, default=100, help="prompts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    given = parser.parse_args()
    model, tokenizer = load_dense_model(given.base, given.adapter, given.dtype)
    plain_model, _ = load_dense_model(given.base, given.adapter, given.dtype)
    plain_model.get_output_embeddings()._forward_pre_hooks.clear()  # as transformers loads it
    movies = {movie.tconst: movie for movie in read_catalogue(given.data / "catalogue.parquet")}
    pairs = [pair for pair in read_qa(given.data / "qa.jsonl") if pair.split == "test"]
    drawn = random.Random(0).sample(pairs, min(given.n, len(pairs)))
    prompts = [render_question_prompt(pair.question, movies[pair.tconst]) for pair in drawn]
    end: int = tokenizer.eos_token_id
    ways: dict[str, Callable[[], list[str]]] = {
        "plain, one at a time": lambda: generate_texts(plain_model, tokenizer, prompts, batch_size=1),
        "with drafts, one at a time": lambda: write_drafted(DraftDecoder(model, end), tokenizer, prompts),
        "drafts from the prompt alone": lambda: write_drafted(DraftDecoder(model, end, history=0), tokenizer, prompts),
        "neither": lambda: write_drafted(DraftDecoder(model, end, draft_tokens=0), tokenizer, prompts),
        "plain, 16 together": lambda: generate_texts(plain_model, tokenizer, prompts, batch_size=16),
        "ours, 16 together": lambda: generate_texts(model, tokenizer, prompts, batch_size=16),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    texts: dict[str, list[str]] = {}
    for _ in range(given.rounds):
        for name, run in ways.items():
            started = time.perf_counter()
            texts[name] = run()
            seconds[name].append(time.perf_counter() - started)
    plain = "plain, one at a time"
    tokens = sum(len(encode_prompt(tokenizer, text)) + 1 for text in texts[plain])
    lengths = [len(encode_prompt(tokenizer, prompt)) for prompt in prompts]
    table = Table(
        "", "tokens/s", "x plain", "same text",
        title=f"{len(prompts)} prompts of {statistics.median(lengths):.0f}, answers of {tokens / len(prompts):.0f}",
    )  # fmt: skip
    base = statistics.median(seconds[plain])
    for name, values in seconds.items():
        same = statistics.fmean(a == b for a, b in zip(texts[name], texts[plain], strict=True))
        median = statistics.median(values)
        table.add_row(name, f"{tokens / median:.1f}", f"{base / median:.2f}", f"{same:.2f}")
    Console(width=100).print(table)
    for name, first in (
        ("with drafts", wait_for_first(DraftDecoder(model, end), tokenizer, prompts)),
        ("plain", [wait_for_one(plain_model, tokenizer, prompt) for prompt in prompts]),
    ):
        first.sort()
        print(
            f"first token, {name}: median {first[len(first) // 2]:.0f} ms, p95 {first[int(0.95 * len(first))]:.0f} ms"
        )
    return 0


def write_drafted(decoder: DraftDecoder, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """Answer the prompts one after the other, as a chat does."""
    texts = []
    for prompt in prompts:
        ids = [token for found in decoder.decode(encode_prompt(tokenizer, prompt), MAX_NEW_TOKENS) for token in found]
        texts.append(str(tokenizer.decode(ids, skip_special_tokens=True)).strip())
    return texts


def wait_for_first(decoder: DraftDecoder, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[float]:
    """Return the milliseconds until each answer's first words; each answer is then written to its end."""
    waits = []
    for prompt in prompts:
        started = time.perf_counter()
        pieces = decoder.decode(encode_prompt(tokenizer, prompt), MAX_NEW_TOKENS)
        next(pieces)
        waits.append(1000 * (time.perf_counter() - started))
        list(pieces)
    return waits


def wait_for_one(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str) -> float:
    """Return the milliseconds that transformers takes for one token."""
    started = time.perf_counter()
    generate_texts(model, tokenizer, [prompt], max_new_tokens=1)
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
