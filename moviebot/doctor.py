"""``moviebot doctor``: what this machine can run, and whether a config fits it, before anything large is downloaded."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table

from moviebot.artefact import write_whole
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.errors import UserError
from moviebot.modules.machine import GIB, Machine, describe_bf16, look_at_machine, measure_matmul_flops
from moviebot.modules.memory_model import TrainingPlan, count_trainable, predict_memory
from moviebot.modules.plan_choice import RECOMPUTE_COST, Choice, choose_plan, rate_plan, recomputed_share
from moviebot.modules.precision import choose_dtype
from moviebot.modules.qlora import QLoRALanguageModel
from moviebot.modules.shapes import find_shape
from moviebot.training import instantiate_config

HEADROOM = 0.9  # of the free memory: allocators round up, and other processes live too
# Of the speed of large matrix products, what a training step reaches. Measured on CPUs (AVX2 in float32; AMX in
# bfloat16, whose products leave the rest of a step behind); on GPUs it is the aim, and not measured.
EFFICIENCY = {
    ("cpu", torch.float32): 0.35, ("cpu", torch.bfloat16): 0.15, ("cuda", torch.float32): 0.4,
    ("cuda", torch.float16): 0.4, ("cuda", torch.bfloat16): 0.4,
}  # fmt: skip


def doctor(
    config: Sequence[Path] = (), data: Path | None = None, write: Path | None = None, flags: Sequence[str] = ()
) -> None:
    """Say what this machine can run; with a config, whether its training fits, how long it takes, and what to change.

    Nothing is downloaded but a model's config. Exits with 1 where the machine or the training has a fault.

    Args:
        config: the training's config, as for `moviebot fit`; may be given several times, and later ones win.
        data: the data folder; without it, the config's. Where it is there, real lengths are counted.
        write: write the fastest way that fits there, as a config to be given after the others: batch size, what is
            computed again, what is cached.
        flags: the training's flags; they may also be written as for `moviebot fit`
            (--data.init_args.batch_size=4).

    Raises:
        UserError: the config is not a language model's.
    """
    machine = look_at_machine()
    console = Console(markup=False, highlight=False)
    print_machine(console, machine)
    faults = machine.find_faults()
    if config:
        faults += examine(console, machine, config, data, write, flags)
    elif flags or data or write:
        raise UserError("--data, --write and a training's flags belong to a config: give --config too")
    for fault in faults:
        print(f"moviebot: {fault}", file=sys.stderr)
    if faults:
        raise SystemExit(1)


def print_machine(console: Console, machine: Machine) -> None:
    """Print what the machine is."""
    table = Table(show_header=False, box=None)
    capability = f", capability {machine.capability[0]}.{machine.capability[1]}" if machine.device == "cuda" else ""
    table.add_row("computes on", f"{machine.name} ({machine.device}{capability}), {machine.cores} CPU cores")
    table.add_row("memory", f"{machine.free_bytes / GIB:.1f} GiB free of {machine.total_bytes / GIB:.1f}")
    table.add_row("bfloat16", describe_bf16(machine))
    table.add_row("versions", ", ".join(f"{name} {text}" for name, text in machine.versions.items()))
    if machine.architectures:
        table.add_row("torch's kernels", ", ".join(machine.architectures))
    console.print(table)


def examine(
    console: Console,
    machine: Machine,
    config: Sequence[Path],
    data: Path | None,
    write: Path | None,
    flags: Sequence[str],
) -> list[str]:
    """Print a training's memory and time; return what is wrong."""
    # What the training runs on is not looked at: a GPU's config is examined on any machine.
    module, datamodule, trainer = instantiate_config(config, data, flags)
    if not isinstance(module, QLoRALanguageModel) or not isinstance(datamodule, MovieQADataModule):
        raise UserError("doctor predicts the memory of a language model's training: give a config of configs/llm")
    shape = find_shape(module.base)
    if shape is None:
        return [f"{module.base}: its config can't be read here (no connection?), so that nothing can be predicted"]
    tokens, steps_tokens, how = count_tokens(datamodule)
    plan = plan_of(module, tokens, machine)
    parts = predict_memory(shape, plan)
    peak = sum(parts.values())
    console.print(f"\n{module.base}, {tokens} tokens a batch ({how})", soft_wrap=True)
    table = Table("held at the worst moment", "GiB")
    for name, size in parts.items():
        table.add_row(name, f"{size / GIB:.2f}")
    table.add_row("together", f"{peak / GIB:.2f}", style="bold")
    console.print(table)
    console.print(f"trainable: {count_trainable(shape, plan.lora):,} numbers")
    dtype = choose_dtype(module.compute_dtype, _device(machine))
    rate = measure_matmul_flops(machine.device, dtype)
    speed = EFFICIENCY[machine.device, dtype] * rate / shape.flops_per_token()
    speed /= 1 + RECOMPUTE_COST * recomputed_share(plan)
    time = f"about {speed:,.0f} tokens/s ({rate / 1e12:.2f} TFLOP/s in matrix products)"
    if steps_tokens:
        time += f"; an epoch of {steps_tokens:,} tokens takes about {steps_tokens / speed / 60:.0f} minutes"
    console.print(time, soft_wrap=True)
    available = machine.free_bytes * HEADROOM
    asked = rate_plan(shape, plan, datamodule.batch_size, trainer.accumulate_grad_batches, plan)
    best = choose_plan(shape, plan, asked.batch_size, asked.accumulate, available)
    fault = f"it does not fit: {peak / GIB:.1f} GiB are wanted and {machine.free_bytes / GIB:.1f} are free"
    if best is None:
        return [f"{fault}; nothing that doctor knows makes it fit: take a smaller base or a larger machine"]
    if peak <= available:
        console.print(f"It fits: {peak / GIB:.1f} of {machine.free_bytes / GIB:.1f} GiB that are free.")
        if best.is_better_than(asked):
            console.print(f"There is room to go faster: {best.flags_from(asked)}", soft_wrap=True)
        else:
            best = asked
    if write:
        write_overlay(write, best, machine)
        console.print(f"{write}: {best.peak / GIB:.1f} GiB; give it to `moviebot fit` after the other configs")
    elif peak > available:
        return [f"{fault}; this does ({best.peak / GIB:.1f} GiB): {best.flags_from(asked)}"]
    return []


def plan_of(module: QLoRALanguageModel, tokens: int, machine: Machine) -> TrainingPlan:
    """Read from a module what decides memory."""
    return TrainingPlan(
        tokens=tokens,
        bytes_a_number=choose_dtype(module.compute_dtype, _device(machine)).itemsize,
        quantise=module.quantise,
        lora=module.lora,
        optimiser=module.optimiser,
        cache_dequantised=module.cache_dequantised,
        gradient_checkpointing=module.gradient_checkpointing,
        checkpoint_every=module.checkpoint_every,
        checkpoint_offload=module.checkpoint_offload,
        fast_layers=module.fast_layers,
        device="cuda" if machine.device == "cuda" else "cpu",
    )


def count_tokens(data: MovieQADataModule) -> tuple[int, int, str]:
    """Return the tokens of the largest batch, those of an epoch (0: not known), and where they are from."""
    try:
        data.prepare_data()
        data.setup("fit")
    except UserError:
        return data.batch_size * data.max_length, 0, "batch_size x max_length, for the data are not there yet"
    largest = 0
    lengths = data.samples("train")["length"]
    batch: list[int] = []
    for index in data.train_dataloader().sampler:
        batch.append(lengths[index])
        if len(batch) == data.batch_size:
            largest = max(largest, sum(batch) if data.packing else len(batch) * max(batch))
            batch = []
    largest = max(largest, sum(batch))
    return largest, sum(lengths), "the largest of the data's first epoch"


def write_overlay(path: Path, choice: Choice, machine: Machine) -> None:
    """Write a choice as a config, to be given after the training's own."""
    settings: dict[str, Any] = {}
    for section, values in choice.settings().items():
        place = settings
        for name in section.split("."):
            place = place.setdefault(name, {})
        place.update(values)
    head = (
        f"# Chosen by `moviebot doctor` for {machine.name}, {machine.free_bytes / GIB:.1f} GiB free; predicted peak: "
        f"{choice.peak / GIB:.1f} GiB.\n# Give it last: moviebot fit --config ... --config {path.name}\n"
    )
    with write_whole(path) as temporary:
        temporary.write_text(head + yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _device(machine: Machine) -> torch.device:
    return torch.device(machine.device)
