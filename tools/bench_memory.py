"""How far is doctor's prediction from the memory that a training takes?

    python tools/bench_memory.py                                   # SmolLM2 at four settings
    python tools/random_llama.py --out llama7b                     # and the shape of Llama-2-7B, with random weights:
    python tools/bench_memory.py --base llama7b --rank 32 --tokens 512 --steps 1

Each setting takes its optimiser steps in a process of its own, on samples of random tokens; the peak is the process's
largest resident set while it trains (on CUDA, what was allocated and the context). While it loads, the weights' files
are mapped and count as resident, though the system takes such pages back where memory is short.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.table import Table

from moviebot.callbacks.throughput import peak_rss_bytes
from moviebot.data.tokenise import IGNORE, pack_samples
from moviebot.doctor import plan_of
from moviebot.modules.lora import LoraSettings
from moviebot.modules.machine import GIB, look_at_machine
from moviebot.modules.memory_model import CUDA_BYTES, count_trainable, predict_memory
from moviebot.modules.optimiser import build_optimiser
from moviebot.modules.qlora import QLoRALanguageModel, TextBatch
from moviebot.modules.shapes import find_shape
from moviebot.pretrained import SMOLLM2

SAMPLE_TOKENS, ANSWER_TOKENS = 256, 24
SETTINGS: dict[str, dict[str, Any]] = {
    "1,024 tokens": {"tokens": 1024},
    "4,096 tokens": {"tokens": 4096},
    "4,096 tokens, recomputed": {"tokens": 4096, "gradient_checkpointing": True},
    "2,048 tokens, 16 bits, 8-bit optimiser": {"tokens": 2048, "quantise": False, "optimiser": "adamw_8bit"},
}


def main() -> int:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=SMOLLM2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--tokens", type=int, help="one setting of so many tokens, recomputed, instead of the four")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.base, given.rank, given.steps, json.loads(given.one))))
        return 0
    settings = SETTINGS
    if given.tokens:
        settings = {f"{given.tokens:,} tokens, recomputed": {"tokens": given.tokens, "gradient_checkpointing": True}}
    table = Table("", "predicted GiB", "measured GiB", "off by", "s a step", "trainable", title=str(given.base))
    for name, setting in settings.items():
        command = [sys.executable, __file__, *sys.argv[1:], "--one", json.dumps(setting)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            return 1
        found = json.loads(done.stdout.strip().splitlines()[-1])
        off = found["predicted"] / found["measured"] - 1
        table.add_row(
            name, f"{found['predicted'] / GIB:.2f}", f"{found['measured'] / GIB:.2f}", f"{off:+.0%}",
            f"{found['seconds']:.1f}", f"{found['trainable']:,}",
        )  # fmt: skip
        print(f"{name}: {found['parts']}", file=sys.stderr)
    Console(width=110).print(table)
    return 0


def measure(base: str, rank: int, steps: int, setting: dict[str, Any]) -> dict[str, Any]:
    """Take optimiser steps and return predicted and measured bytes."""
    values = {name: value for name, value in setting.items() if name != "tokens"}
    machine = look_at_machine()
    torch.manual_seed(0)
    module = QLoRALanguageModel(
        base=str(Path(base)) if Path(base).is_dir() else base, lora=LoraSettings(r=rank), **values
    )
    module.configure_model()
    module.train()
    restart_peak()
    shape = find_shape(module.base)
    assert shape is not None
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = build_optimiser(module.optimiser, module.named_parameters(), 1e-3)
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        samples = []
        for _ in range(setting["tokens"] // SAMPLE_TOKENS):
            ids = torch.randint(3, shape.vocabulary, (SAMPLE_TOKENS,))
            labels = torch.where(torch.arange(SAMPLE_TOKENS) < SAMPLE_TOKENS - ANSWER_TOKENS, IGNORE, ids)
            samples.append((ids.to(module.device), labels.to(module.device)))
        batch = cast(TextBatch, pack_samples(samples))
        loss, _, tokens = module._answer_loss(module(batch), batch["labels"])
        (loss / tokens).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - started)
    parts = predict_memory(shape, plan_of(module, setting["tokens"], machine))
    counted = sum(parameter.numel() for parameter in trained)
    assert counted == count_trainable(shape, module.lora)
    measured = float(read_peak())
    if machine.device == "cuda":
        measured = torch.cuda.max_memory_allocated() + CUDA_BYTES
    return {
        "predicted": sum(parts.values()),
        "measured": measured,
        "seconds": min(seconds),
        "trainable": counted,
        "parts": {name: round(size / GIB, 2) for name, size in parts.items()},
    }


def restart_peak() -> None:
    """Let the kernel's record of the largest resident set begin anew, where there is one."""
    if Path("/proc/self/clear_refs").is_file():
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def read_peak() -> int:
    """Return the largest resident set since then, in bytes."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return peak_rss_bytes()
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(main())
