"""Checks of a training while it starts: each finds a fault that would otherwise spoil the result without a word.

The faults are real ones of the libraries below (each check names its own); the checks take the time of a batch or two.
"""

from collections.abc import Iterable

import torch
from bitsandbytes.nn import Linear4bit
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

PROBE_TOKENS = 256  # of each of the two samples
# bfloat16 rounds at 1/256, and a sum may round otherwise in a longer row; samples that see each other differ by half.
_HIDDEN_TOLERANCE = 0.1
_LOSS_TOLERANCE = 0.02


def check_not_repacked(model: nn.Module) -> None:
    """See that no 4-bit weight was repacked.

    bitsandbytes does that in an eval-mode forward on CPUs with AVX512-BF16; what comes after has no gradient.
    """
    for name, module in model.named_modules():
        if isinstance(module, Linear4bit) and getattr(module.weight.quant_state, "packing_format_for_cpu", False):
            raise RuntimeError(
                f"the 4-bit weights of {name} were repacked for inference: training on would learn nothing; "
                "load the base with moviebot.modules.quantisation.load_base, which forbids it"
            )


def check_gradients(parameters: Iterable[tuple[str, nn.Parameter]], scaled: bool) -> None:
    """See that each trained matrix got a gradient in the first step.

    Args:
        parameters: names and parameters.
        scaled: a gradient scaler is at work: its first steps may overflow, and are then skipped.
    """
    trained = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    without = [name for name, parameter in trained if parameter.grad is None]
    # A's gradient is zero while B is: B's own says whether the path to the layer is whole.
    still = [name for name, p in trained if ".lora_B." in name and p.grad is not None and not p.grad.any()]
    infinite = [] if scaled else [n for n, p in trained if p.grad is not None and not torch.isfinite(p.grad).all()]
    for what, names in (
        ("no gradient", without),
        ("a gradient of zero", still),
        ("a gradient that is not finite", infinite),
    ):
        if names:
            raise RuntimeError(
                f"{len(names)} of {len(trained)} LoRA matrices have {what} after the first batch, for example "
                f"{names[0]}: nothing would be learnt there; report this with the config (--print_config) and "
                "the versions"
            )


def check_packing(packed: tuple[Tensor, Tensor], alone: tuple[Tensor, Tensor]) -> None:
    """See that samples do not see each other when packed.

    transformers isolates packed samples only without an attention mask and without a cache; anything else is silent.

    Args:
        packed: the second of two packed samples: its hidden states (T, D), and the loss of both.
        alone: the same, each sample by itself.
    """
    (hidden, loss), (hidden_alone, loss_alone) = packed, alone
    difference = float((hidden.float() - hidden_alone.float()).norm() / hidden_alone.float().norm().clamp(min=1e-12))
    loss_difference = float((loss - loss_alone).abs() / loss_alone.abs().clamp(min=1e-6))
    if difference > _HIDDEN_TOLERANCE or loss_difference > _LOSS_TOLERANCE:
        raise RuntimeError(
            f"packed samples see each other: hidden states differ by {difference:.1%}, the loss by "
            f"{loss_difference:.1%} from the samples' alone; give --data.init_args.packing false, and report "
            "this with the versions"
        )


class CheckpointingCheck:
    """Counts how often a layer runs in a step: twice where its activations are computed again, else once.

    transformers leaves checkpointing off in eval mode, in which its models are returned.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.runs = 0
        # Before the layer, not after: computing again ends as soon as it has what it needs.
        self._handle: RemovableHandle = layer.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self.runs += 1

    def finish(self) -> None:
        """Raise where activations were kept, though they were to be computed again."""
        self._handle.remove()
        if self.runs < 2:
            raise RuntimeError(
                "gradient checkpointing was asked for and is not active: the layers' activations were kept; report "
                "this with the config (--print_config) and the versions"
            )
