"""Compare this project's QLoRA training with TRL's and with a plain PEFT loop, on the same samples and weights.

    python tools/bench_qlora.py --data DATA                        # SmolLM2 on a CPU
    python tools/random_llama.py --out llama7b                     # the 7B shape with random weights, then on a GPU:
    python tools/bench_qlora.py --data DATA --base llama7b --device cuda --max_length 1024

Each variant runs in a process of its own, so that its peak memory is its own; rounds are interleaved, and medians are
reported. All take the same samples, micro-batch, rank, targets, learning rate and optimiser, in bfloat16 where the
device has it. ``ours without X`` is ours with one optimisation switched off. DATA is a data folder
(``moviebot catalogue``, ``teach``, ``clean``).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig

from moviebot.callbacks.throughput import peak_rss_bytes
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.data.tokenise import IGNORE, collate_samples, pad_id_of
from moviebot.modules.lora import TARGETS, LoraSettings
from moviebot.modules.precision import choose_dtype
from moviebot.modules.qlora import QLoRALanguageModel
from moviebot.modules.quantisation import load_base
from moviebot.pretrained import SMOLLM2, resolve_model

GIB = 2**30
# Ours with one thing switched off; the values are arguments of the module and of the data module.
OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours + weights cached": {"cache_dequantised": True},
    "ours + compiled": {"compile_layers": True},
    "ours without packing": {"packing": False},
    "ours without fast layers": {"fast_layers": False},
    "ours with all logits": {"all_logits": True},
    "ours, dropout .05": {"dropout": 0.05},
    "ours, layers recomputed": {"gradient_checkpointing": True},
    "ours, no quantisation": {"quantise": False},
}
RIVALS = ("TRL", "plain PEFT loop")
Step = Callable[[list[dict[str, Any]]], float]


def main() -> int:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a data folder")
    parser.add_argument("--samples", type=int, default=512, help="training samples, with their own mix of lengths")
    parser.add_argument("--steps", type=int, default=12, help="measured steps a round, after one that is not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--max_length", type=int, default=512)
    parser.add_argument("--questions_per_sample", type=int, default=1)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--base", default=SMOLLM2, help="a model's folder or name; its samples are SmolLM2's tokens")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--variants", nargs="*", default=[*RIVALS, *OURS], help="some of the table's names")
    parser.add_argument("--profile", action="store_true", help="also print where ours spends its time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given)))
        return 0
    unknown = [name for name in given.variants if name not in (*RIVALS, *OURS)]
    if unknown:
        parser.error(f"--variants {unknown[0]!r} is not one of {', '.join((*RIVALS, *OURS))}")
    prepare(given)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in given.variants}
    for number in range(given.rounds):
        for name in given.variants:
            done = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--one", name], capture_output=True, text=True, check=False,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
            if done.returncode:
                print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                continue
            results[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(f"round {number + 1}, {name}: {results[name][-1]}", file=sys.stderr)
    show(results, given)
    return 0 if all(results.values()) else 1


def prepare(given: argparse.Namespace) -> None:
    """Tokenise the samples once, before anything is timed."""
    make_data(given, {}).prepare_data()


def make_data(given: argparse.Namespace, settings: dict[str, Any]) -> MovieQADataModule:
    """Return the data module of a variant."""
    return MovieQADataModule(
        data_dir=given.data, tokenizer=SMOLLM2, batch_size=given.batch_size, max_length=given.max_length,
        packing=settings.get("packing", True), limit_train=given.samples, limit_val=8, limit_test=8,
        questions_per_sample=given.questions_per_sample,
    )  # fmt: skip


def measure(name: str, given: argparse.Namespace) -> dict[str, float]:
    """Train one variant and return samples and supervised tokens a second, peak memory, and the losses."""
    torch.manual_seed(0)
    data = make_data(given, OURS.get(name, {}))
    data.prepare_data()
    data.setup("fit")
    vocabulary = AutoConfig.from_pretrained(resolve_model(given.base)).vocab_size
    rows = [fit_vocabulary(row, vocabulary) for row in data.samples("train")]
    # All variants see the same batches in the same order, but TRL, whose trainer draws the same samples itself.
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).tolist()
    size = given.batch_size
    batches = [[rows[i] for i in order[start : start + size]] for start in range(0, len(order) - size + 1, size)]
    wanted = (batches * (1 + (given.steps + 1) // len(batches)))[: given.steps + 1]
    run = {"TRL": run_trl, "plain PEFT loop": run_plain}.get(name, run_ours)
    seconds, losses = run(name, given, data, wanted)
    measured = wanted[1:]
    total = sum(seconds)
    tokens = sum(row["length"] for batch in measured for row in batch)
    supervised = sum(label != IGNORE for batch in measured for row in batch for label in row["labels"])
    if given.device == "cuda":
        peak = float(torch.cuda.max_memory_allocated())
    else:
        peak = float(max(peak_rss_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    third = max(1, len(losses) // 3)
    return {
        "samples_per_s": size * len(measured) / total,
        "tokens_per_s": tokens / total,
        "supervised_per_s": supervised / total,
        "peak_gib": peak / GIB,
        "final_loss": statistics.fmean(losses[-third:]),
    }


def fit_vocabulary(row: dict[str, Any], size: int) -> dict[str, Any]:
    """Keep a sample's lengths where the base has another vocabulary."""
    labels = [label if label == IGNORE else label % size for label in row["labels"]]
    return {"input_ids": [token % size for token in row["input_ids"]], "labels": labels, "length": row["length"]}


def run_ours(
    name: str, given: argparse.Namespace, data: MovieQADataModule, batches: list[list[dict[str, Any]]]
) -> tuple[list[float], list[float]]:
    """Train with this project's module; return each step's seconds and loss."""
    settings = OURS[name]
    module = QLoRALanguageModel(
        base=given.base, lora=LoraSettings(r=given.rank, alpha=2 * given.rank, dropout=settings.get("dropout", 0.0)),
        fast_layers=settings.get("fast_layers", True), cache_dequantised=settings.get("cache_dequantised", False),
        gradient_checkpointing=settings.get("gradient_checkpointing", False), quantise=settings.get("quantise", True),
        compile_layers=settings.get("compile_layers", False),
    )  # fmt: skip
    module.configure_model()
    module.train()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=given.lr, fused=True)

    def step(rows: list[dict[str, Any]]) -> float:
        batch = data.collate(rows)
        hidden = module(batch)
        if settings.get("all_logits"):
            loss_sum, tokens = loss_of_all_logits(module, hidden, batch["labels"])
        else:
            loss_sum, _, tokens = module._answer_loss(hidden, batch["labels"])
        (loss_sum / tokens).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return float(loss_sum) / tokens

    if given.profile and name == "ours":
        profile(step, batches)
    return time_steps(step, batches, given)


def loss_of_all_logits(
    module: QLoRALanguageModel, hidden: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Return the loss as most trainers take it: from the logits of all tokens, in float32."""
    head = module._peft_model().get_base_model().get_output_embeddings()
    logits = head(hidden)[:, :-1].float()  # (B, T - 1, V)
    targets = labels[:, 1:]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return loss, int((targets != IGNORE).sum())


def run_plain(
    name: str, given: argparse.Namespace, data: MovieQADataModule, batches: list[list[dict[str, Any]]]
) -> tuple[list[float], list[float]]:
    """Train with PEFT and transformers as their guides do it: padded batches, autocast, the model's own loss."""
    from peft import LoraConfig, get_peft_model

    device = torch.device(given.device)
    dtype = choose_dtype("auto", device)
    base = load_base(resolve_model(given.base), dtype, device)
    model = get_peft_model(base, plain_lora(given, LoraConfig))
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=given.lr)
    pad = pad_id_of(data.tokenizer)

    def step(rows: list[dict[str, Any]]) -> float:
        batch = collate_samples([(row["input_ids"], row["labels"]) for row in rows], pad)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model(**{key: value.to(device) for key, value in batch.items()}, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return float(loss)

    return time_steps(step, batches, given)


def plain_lora(given: argparse.Namespace, config: Callable[..., Any]) -> Any:  # noqa: ANN401 (peft's config)
    """Return PEFT's own settings of the same update."""
    return config(
        r=given.rank,
        lora_alpha=2 * given.rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(TARGETS["all"]),
        task_type="CAUSAL_LM",
    )


def run_trl(
    name: str, given: argparse.Namespace, data: MovieQADataModule, batches: list[list[dict[str, Any]]]
) -> tuple[list[float], list[float]]:
    """Train with TRL's SFTTrainer, PEFT and bitsandbytes, on the loss of the answers alone."""
    import datasets
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    device = torch.device(given.device)
    dtype = choose_dtype("auto", device)
    base = load_base(resolve_model(given.base), dtype, device)
    rows = [
        {"input_ids": row["input_ids"], "completion_mask": [int(label != IGNORE) for label in row["labels"]]}
        for batch in batches
        for row in batch
    ]
    marks: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
        def on_step_end(self, *_: object, **__: object) -> None:
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=base,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=data.tokenizer,
            peft_config=plain_lora(given, LoraConfig),
            callbacks=[Clock()],
            args=SFTConfig(
                output_dir=folder, per_device_train_batch_size=given.batch_size, max_length=given.max_length,
                learning_rate=given.lr, lr_scheduler_type="constant", max_grad_norm=1.0, num_train_epochs=1,
                completion_only_loss=True, bf16=dtype == torch.bfloat16, use_cpu=given.device == "cpu", report_to=[],
                gradient_checkpointing=False, logging_steps=1, save_strategy="no", disable_tqdm=True,
                shuffle_dataset=False, train_sampling_strategy="sequential", optim="adamw_torch",
            ),
        )  # fmt: skip
        trainer.train()
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return [after - before for before, after in pairwise(marks)], losses[1:]


def time_steps(
    step: Step, batches: list[list[dict[str, Any]]], given: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Take one step that is not measured, then the others; return seconds and losses."""
    step(batches[0])
    seconds, losses = [], []
    for batch in batches[1:]:
        started = time.perf_counter()
        losses.append(step(batch))
        if given.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds, losses


def profile(step: Step, batches: list[list[dict[str, Any]]]) -> None:
    """Print where a step's time goes."""
    step(batches[0])
    with torch.profiler.profile() as recorded:
        step(batches[1])
    table = recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=48)
    print(table, file=sys.stderr)


def count_flops_per_token(base: str) -> float:
    """Return the operations a token can't do without: 2 N forward, 2 N for the gradient of the input."""
    config = AutoConfig.from_pretrained(resolve_model(base))
    width, inner = config.hidden_size, config.intermediate_size
    key_value = width * config.num_key_value_heads // config.num_attention_heads
    linear = 2 * width * width + 2 * width * key_value + 3 * width * inner
    return float(4 * config.num_hidden_layers * linear)


def measure_matmul_flops(device: str) -> float:
    """Return what this device multiplies a second: the best of a few large products in the dtype that is trained in."""
    dtype = choose_dtype("auto", torch.device(device))
    a, b = (torch.randn(2048, 2048, device=device).to(dtype) for _ in range(2))

    def runs() -> Iterator[float]:
        for _ in range(12):
            started = time.perf_counter()
            a @ b
            if device == "cuda":
                torch.cuda.synchronize()
            yield time.perf_counter() - started

    return float(2 * 2048**3 / min(runs()))


def show(results: dict[str, list[dict[str, float]]], given: argparse.Namespace) -> None:
    """Print the medians, each beside ours and TRL's."""
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in results.items()
        if runs
    }
    table = Table(
        "", "samples/s", "tokens/s", "supervised/s", "x TRL", "x plain", "peak GiB", "of TRL's", "loss",
        title=f"batch {given.batch_size}, rank {given.rank}, {given.steps} steps, {given.rounds} rounds",
    )  # fmt: skip
    for name, values in medians.items():
        ratios = [
            f"{values['samples_per_s'] / medians[rival]['samples_per_s']:.2f}" if rival in medians else "-"
            for rival in RIVALS
        ]
        memory = f"{values['peak_gib'] / medians['TRL']['peak_gib']:.2f}" if "TRL" in medians else "-"
        table.add_row(
            name, f"{values['samples_per_s']:.2f}", f"{values['tokens_per_s']:.0f}",
            f"{values['supervised_per_s']:.0f}", *ratios, f"{values['peak_gib']:.2f}", memory,
            f"{values['final_loss']:.4f}",
        )  # fmt: skip
    Console(width=130).print(table)
    peak = measure_matmul_flops(given.device)
    limit = peak / count_flops_per_token(given.base)
    print(
        f"the limit: {count_flops_per_token(given.base) / 1e9:.2f} GFLOP a token in the frozen layers; this device "
        f"multiplies {peak / 1e12:.2f} TFLOP/s, so at most {limit:.0f} tokens/s"
        + (f"; ours reaches {medians['ours']['tokens_per_s'] / limit:.0%}" if "ours" in medians else "")
    )


if __name__ == "__main__":
    sys.exit(main())
