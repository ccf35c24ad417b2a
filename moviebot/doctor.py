"""``moviebot doctor``: what this machine can run, and whether a config fits it, before anything large is downloaded."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.errors import UserError
from moviebot.modules.machine import GIB, Machine, describe_bf16, look_at_machine, measure_matmul_flops
from moviebot.modules.memory_model import ModelShape, TrainingPlan, count_trainable, predict_memory
from moviebot.modules.precision import choose_dtype
from moviebot.modules.qlora import QLoRALanguageModel
from moviebot.modules.shapes import find_shape
from moviebot.training import instantiate_config

HEADROOM = 0.9  # of the free memory: allocators round up, and other processes live too
# Of the speed of large matrix products, what a training step reaches: measured, see the README ("Will it fit?").
EFFICIENCY = {"cpu": 0.35, "cuda": 0.4}


@dataclass(frozen=True)
class Change:
    """A change of a config that saves memory.

    Attributes:
        flags: as given to `moviebot fit`.
        plan: with the change.
    """

    flags: str
    plan: TrainingPlan


def doctor(config: Sequence[Path] = (), data: Path | None = None, flags: Sequence[str] = ()) -> None:
    """Say what this machine can run; with a config, whether its training fits, how long it takes, and what to change.

    Nothing is downloaded but a model's config. Exits with 1 where the machine or the training has a fault.

    Args:
        config: the training's config, as for `moviebot fit`; may be given several times, and later ones win.
        data: the data folder; without it, the config's. Where it is there, real lengths are counted.
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
        faults += examine(console, machine, config, data, flags)
    elif flags or data:
        raise UserError("--data and a training's flags belong to a config: give --config too")
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
    console: Console, machine: Machine, config: Sequence[Path], data: Path | None, flags: Sequence[str]
) -> list[str]:
    """Print a training's memory and time; return what is wrong."""
    # What the training runs on is not looked at: a GPU's config is examined on any machine.
    module, datamodule = instantiate_config(config, data, flags)
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
    rate = measure_matmul_flops(machine.device, choose_dtype(module.compute_dtype, _device(machine)))
    recompute = 1.5 if plan.gradient_checkpointing else 1.0
    speed = EFFICIENCY[machine.device] * rate / shape.flops_per_token() / recompute
    time = f"about {speed:,.0f} tokens/s ({rate / 1e12:.2f} TFLOP/s in matrix products)"
    if steps_tokens:
        time += f"; an epoch of {steps_tokens:,} tokens takes about {steps_tokens / speed / 60:.0f} minutes"
    console.print(time, soft_wrap=True)
    available = machine.free_bytes * HEADROOM
    if peak <= available:
        console.print(f"It fits: {peak / GIB:.1f} of {machine.free_bytes / GIB:.1f} GiB that are free.")
        advise_speed(console, shape, plan, available)
        return []
    fault = f"it does not fit: {peak / GIB:.1f} GiB are wanted and {machine.free_bytes / GIB:.1f} are free"
    for change in list_changes(plan, datamodule.batch_size):
        if sum(predict_memory(shape, change.plan).values()) <= available:
            wanted = sum(predict_memory(shape, change.plan).values())
            return [f"{fault}; this does ({wanted / GIB:.1f} GiB): {change.flags}"]
    return [f"{fault}; nothing that doctor knows makes it fit: take a smaller base or a larger machine"]


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


def list_changes(plan: TrainingPlan, batch_size: int) -> Iterator[Change]:
    """Yield what saves memory, what costs least first."""
    module = "--model.init_args"
    if plan.cache_dequantised:
        plan = replace(plan, cache_dequantised=False)
        yield Change(f"{module}.cache_dequantised false", plan)
    if not plan.quantise:
        plan = replace(plan, quantise=True)
        yield Change(f"{module}.quantise true", plan)
    flags = ""
    size = batch_size
    while size > 1:  # the same step, from smaller batches: costs next to nothing
        size //= 2
        flags = f"--data.init_args.batch_size {size} --trainer.accumulate_grad_batches {batch_size // size}"
        yield Change(flags, replace(plan, tokens=-(-plan.tokens * size // batch_size)))
    plan = replace(plan, tokens=-(-plan.tokens // batch_size))
    if not plan.gradient_checkpointing:
        plan = replace(plan, gradient_checkpointing=True)
        yield Change(f"{flags} {module}.gradient_checkpointing true".strip(), plan)
    if plan.optimiser == "adamw":
        plan = replace(plan, optimiser="adamw_8bit")
        yield Change(f"{flags} {module}.gradient_checkpointing true {module}.optimiser adamw_8bit".strip(), plan)


def advise_speed(console: Console, shape: ModelShape, plan: TrainingPlan, available: float) -> None:
    """Print what makes a training that fits faster, and fits too."""
    advice: list[str] = []
    if plan.gradient_checkpointing:
        for every in (4, 2, 0):
            other = replace(plan, gradient_checkpointing=every > 0, checkpoint_every=max(every, 1))
            if sum(predict_memory(shape, other).values()) <= available:
                flag = f"checkpoint_every {every}" if every else "gradient_checkpointing false"
                if every == 0:
                    advice = []
                advice = [f"--model.init_args.{flag}"]
    cached = replace(plan, cache_dequantised=True)
    if plan.quantise and not plan.cache_dequantised and sum(predict_memory(shape, cached).values()) <= available:
        advice.append("--model.init_args.cache_dequantised true")
    if advice:
        console.print(f"There is room to go faster: {' '.join(advice)}", soft_wrap=True)


def _device(machine: Machine) -> torch.device:
    return torch.device(machine.device)
