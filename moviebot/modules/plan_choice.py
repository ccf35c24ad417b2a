"""Choose how to train within a memory: whole activations or recomputed ones, a weight cache, smaller batches.

Every combination is predicted (:mod:`moviebot.modules.memory_model`), and the cheapest that fits is taken. What changes
what is learnt (4 bits instead of 16, 8-bit moments) costs so much that it is the last resort.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from moviebot.modules.memory_model import ModelShape, TrainingPlan, predict_memory
from moviebot.modules.optimiser import Optimiser

RECOMPUTE_COST = 0.36  # of a step's time when every layer is recomputed: measured, see the README's table
_OFFLOAD_COST = 0.1  # moving a layer's input to the host and back; guessed
_HALF_BATCH_COST = 0.02  # more kernels for the same tokens; guessed
_CACHE_GAIN = 0.1  # of a GPU's time; on a CPU the cache gains nothing (README)
_CACHE_SHARE = 0.5  # of what is free: only a card that is large for the model keeps its weights twice
_LAST_RESORT = 10.0
_LEAST_GAIN = 0.05  # a change for less is not worth its words


@dataclass(frozen=True)
class Choice:
    """A way to train.

    Attributes:
        plan: what decides its memory.
        batch_size: samples of a micro-batch.
        accumulate: micro-batches of a step; times ``batch_size`` it is what the config asks for.
        peak: predicted bytes.
        cost: of a step's time, beside the fastest way.
    """

    plan: TrainingPlan
    batch_size: int
    accumulate: int
    peak: float
    cost: float

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the settings of a config, by the section they belong to."""
        plan = self.plan
        return {
            "trainer": {"accumulate_grad_batches": self.accumulate},
            "model.init_args": {
                "gradient_checkpointing": plan.gradient_checkpointing, "checkpoint_every": plan.checkpoint_every,
                "checkpoint_offload": plan.checkpoint_offload, "cache_dequantised": plan.cache_dequantised,
                "quantise": plan.quantise, "optimiser": plan.optimiser,
            },
            "data.init_args": {"batch_size": self.batch_size},
        }  # fmt: skip

    def flags_from(self, other: "Choice") -> str:
        """Return what to give to `moviebot fit` for this choice instead of another."""
        before = other.settings()
        return " ".join(
            f"--{section}.{name} {str(value).lower()}"
            for section, values in self.settings().items()
            for name, value in values.items()
            if before[section][name] != value
        )

    def is_better_than(self, other: "Choice") -> bool:
        """Say whether this is so much faster that it is worth a change."""
        return self.cost < other.cost - _LEAST_GAIN


def rate_plan(shape: ModelShape, plan: TrainingPlan, batch_size: int, accumulate: int, asked: TrainingPlan) -> Choice:
    """Predict a plan's memory and cost.

    Args:
        shape: of the base.
        plan: to rate.
        batch_size: its samples.
        accumulate: its micro-batches a step.
        asked: what the config says.
    """
    cost = recomputed_share(plan) * RECOMPUTE_COST
    cost += _OFFLOAD_COST if plan.gradient_checkpointing and plan.checkpoint_offload else 0.0
    cost += _HALF_BATCH_COST * max(0, (accumulate - 1).bit_length())
    cost -= _CACHE_GAIN if plan.cache_dequantised and plan.device == "cuda" else 0.0
    cost += _LAST_RESORT * ((plan.quantise != asked.quantise) + (plan.optimiser != asked.optimiser))
    return Choice(plan, batch_size, accumulate, sum(predict_memory(shape, plan).values()), cost)


def recomputed_share(plan: TrainingPlan) -> float:
    """Return the part of the layers whose activations are computed again."""
    return 1 / plan.checkpoint_every if plan.gradient_checkpointing else 0.0


def choose_plan(
    shape: ModelShape, asked: TrainingPlan, batch_size: int, accumulate: int, available: float
) -> Choice | None:
    """Return the cheapest way to train that fits; None where none does.

    Args:
        shape: of the base.
        asked: what the config says.
        batch_size: the config's samples of a micro-batch.
        accumulate: the config's micro-batches of a step.
        available: bytes.
    """
    fitting = []
    for size in _divisors(batch_size):
        tokens = -(-asked.tokens * size // batch_size)
        for plan in _variants(replace(asked, tokens=tokens)):
            choice = rate_plan(shape, plan, size, accumulate * (batch_size // size), asked)
            cached_in_vain = plan.cache_dequantised and not asked.cache_dequantised and (
                plan.device == "cpu" or choice.peak > _CACHE_SHARE * available
            )  # fmt: skip
            if choice.peak <= available and not cached_in_vain:
                fitting.append(choice)
    return min(fitting, key=lambda choice: (round(choice.cost, 6), choice.peak), default=None)


def _divisors(batch_size: int) -> list[int]:
    """Return the sizes whose accumulated step has just as many samples, largest first."""
    return [size for size in range(batch_size, 0, -1) if batch_size % size == 0]


def _variants(plan: TrainingPlan) -> Iterator[TrainingPlan]:
    """Yield a plan with every way to keep activations and weights."""
    keeps = [_keep(False, 1, False), *(_keep(True, every, False) for every in (4, 2, 1))]
    if plan.device == "cuda":
        keeps.append(_keep(True, 1, True))
    eight_bit: dict[Optimiser, Optimiser] = {"adamw": "adamw_8bit", "paged_adamw": "paged_adamw_8bit"}
    for keep in keeps:
        for quantise in {plan.quantise, True}:
            for cached in (False, True) if quantise else (False,):
                for optimiser in {plan.optimiser, eight_bit.get(plan.optimiser, plan.optimiser)}:
                    yield replace(plan, **keep, quantise=quantise, cache_dequantised=cached, optimiser=optimiser)


def _keep(recompute: bool, every: int, offload: bool) -> dict[str, Any]:
    return {"gradient_checkpointing": recompute, "checkpoint_every": every, "checkpoint_offload": offload}
