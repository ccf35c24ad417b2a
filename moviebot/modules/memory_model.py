"""How much memory a training will take, from the config alone: before 13 GB are downloaded, not after.

The sum of what is held at the worst moment, in bytes. Checked against measured peaks in the README ("Will it fit?").

Legend: D features, F inner features of the MLP, H heads of queries and G of keys, E features of a head, L layers,
V vocabulary, T tokens of a batch, r rank.
"""

from dataclasses import dataclass, replace
from typing import Literal

from transformers import PretrainedConfig

from moviebot.errors import UserError
from moviebot.modules.answer_loss import CHUNK_TOKENS
from moviebot.modules.lora import TARGETS, LoraSettings
from moviebot.modules.optimiser import Optimiser

GIB = 2**30
# NF4 with double quantisation: 4 bits, one byte for each 64 weights, and four for each 64 x 256.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
_FLOAT = 4
# Python, torch, transformers, peft, bitsandbytes and Lightning, measured after their import; on CUDA its context.
HOST_BYTES = 0.55 * GIB
CUDA_BYTES = 0.6 * GIB
# What the C library's heap holds beyond its tensors: freed ones leave holes between those that are kept. Fitted to four
# measured peaks (README, "Will it fit?"); with a mapping for each large tensor, which is slower, the peaks are the sum
# of the other parts to 5 %.
_HEAP_HOLES = {False: 0.5, True: 1.0}
_STATE_BYTES: dict[Optimiser, int] = {"adamw": 8, "adamw_8bit": 2, "paged_adamw": 8, "paged_adamw_8bit": 2}


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a Llama-like model that decide its memory.

    Attributes:
        features: D.
        inner: F.
        layers: L.
        heads: H.
        key_heads: G.
        head_features: E.
        vocabulary: V.
        tied: the output matrix is the embedding.
    """

    features: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head_features: int
    vocabulary: int
    tied: bool

    @classmethod
    def of(cls, config: PretrainedConfig) -> "ModelShape":
        """Read the sizes from a model's config."""
        return cls(
            features=config.hidden_size,
            inner=config.intermediate_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            key_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
            head_features=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            vocabulary=config.vocab_size,
            tied=bool(config.tie_word_embeddings),
        )

    def projections(self) -> dict[str, tuple[int, int]]:
        """Return inputs and outputs of a layer's projections."""
        queries, keys = self.heads * self.head_features, self.key_heads * self.head_features
        return {
            "q_proj": (self.features, queries), "k_proj": (self.features, keys), "v_proj": (self.features, keys),
            "o_proj": (queries, self.features), "gate_proj": (self.features, self.inner),
            "up_proj": (self.features, self.inner), "down_proj": (self.inner, self.features),
        }  # fmt: skip

    def linear_weights(self) -> int:
        """Return the weights of all layers' projections: what is quantised."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.projections().values())

    def other_weights(self) -> int:
        """Return the weights that keep 16 bits: embeddings, output matrix and norms."""
        return self.vocabulary * self.features * (1 if self.tied else 2) + (2 * self.layers + 1) * self.features

    def flops_per_token(self) -> float:
        """Return the operations of a training step a token: 2 N forward and 2 N for the gradients of activations."""
        return 4.0 * self.linear_weights()


@dataclass(frozen=True)
class TrainingPlan:
    """What of a config decides memory.

    Attributes:
        tokens: T, of the largest batch: packed, the samples' tokens; padded, samples times the longest.
        bytes_a_number: of the base's dtype, 2 or 4.
        quantise: the base is in NF4.
        lora: the update.
        optimiser: its moments.
        cache_dequantised: weights are kept dense, too.
        gradient_checkpointing: activations are computed again.
        checkpoint_every: of the layers, every so many.
        checkpoint_offload: what recomputing starts from is kept in the host's memory, which is not counted.
        fast_layers: the layers are :mod:`moviebot.modules.fast_llama`'s.
        device: where.
    """

    tokens: int
    bytes_a_number: int
    quantise: bool
    lora: LoraSettings
    optimiser: Optimiser = "adamw"
    cache_dequantised: bool = False
    gradient_checkpointing: bool = False
    checkpoint_every: int = 1
    checkpoint_offload: bool = False
    fast_layers: bool = True
    device: Literal["cpu", "cuda"] = "cpu"


def count_trainable(shape: ModelShape, lora: LoraSettings) -> int:
    """Return the numbers that are trained: r (I + O) a projection, and O more with DoRA.

    Example:
        >>> llama2_7b = ModelShape(4096, 11008, 32, 32, 32, 128, 32000, tied=False)
        >>> count_trainable(llama2_7b, LoraSettings(r=32))
        79953920
    """
    names = lora.targets if isinstance(lora.targets, list) else TARGETS[lora.targets]
    sizes = [size for name, size in shape.projections().items() if name in names]
    per_layer = sum(lora.r * (inputs + outputs) + (outputs if lora.use_dora else 0) for inputs, outputs in sizes)
    return shape.layers * per_layer


def predict_memory(shape: ModelShape, plan: TrainingPlan) -> dict[str, float]:
    """Predict the peak memory of a training.

    Args:
        shape: of the base.
        plan: of the training.

    Returns:
        Bytes by part; their sum is the peak.
    """
    weights = shape.linear_weights() * (NF4_BYTES if plan.quantise else plan.bytes_a_number)
    weights += shape.other_weights() * plan.bytes_a_number
    if plan.cache_dequantised and plan.quantise:
        weights += shape.linear_weights() * plan.bytes_a_number
    trainable = count_trainable(shape, plan.lora)
    a_layer = plan.tokens * _layer_bytes_per_token(shape, plan)
    kept_whole = shape.layers
    between = 0.0
    if plan.gradient_checkpointing:
        recomputed = -(-shape.layers // plan.checkpoint_every)
        kept_whole = shape.layers - recomputed + 1  # the one that is computed again
        if not (plan.checkpoint_offload and plan.device == "cuda"):
            between = recomputed * plan.tokens * shape.features * plan.bytes_a_number
    activations = kept_whole * a_layer + between
    work = _work_bytes(shape, plan)
    holes = (activations + work) * _HEAP_HOLES[plan.gradient_checkpointing] if plan.device == "cpu" else 0.0
    return {
        "libraries": CUDA_BYTES if plan.device == "cuda" else HOST_BYTES,
        "weights": weights,
        "LoRA matrices": trainable * _FLOAT,
        "gradients": trainable * _FLOAT,
        "optimiser": trainable * _STATE_BYTES[plan.optimiser],
        "activations": activations,
        "work space": work,
        "holes in the heap": holes,
    }


def check_base_fits(base: str, shape: ModelShape, plan: TrainingPlan, free_bytes: int) -> None:
    """Refuse a base that can't fit, whatever the batch: before its weights are downloaded.

    Args:
        base: its name.
        shape: its sizes.
        plan: of the training; its tokens count as one.
        free_bytes: of the device.

    Raises:
        UserError: weights, LoRA matrices and optimiser alone are more than is free.
    """
    least = sum(predict_memory(shape, replace(plan, tokens=1)).values())
    if least > free_bytes:
        raise UserError(
            f"{base} does not fit: {least / GIB:.1f} GiB are wanted before the first sample and {free_bytes / GIB:.1f} "
            "are free; `moviebot doctor --config ...` says what to change"
        )


def _layer_bytes_per_token(shape: ModelShape, plan: TrainingPlan) -> float:
    """Return what a layer keeps for the backward pass, in bytes a token."""
    queries, keys = shape.heads * shape.head_features, shape.key_heads * shape.head_features
    if plan.fast_layers:
        numbers = (
            2 * shape.features  # what the two norms read: the residual stream
            + 2 * shape.features  # what they return: the input of q, k, v and of gate, up
            + queries + 2 * keys  # rotated queries and keys, values: kept by attention
            + 2 * queries  # attention's result, and as the input of o
            + 2 * shape.inner  # gate and up; their product is computed again
            + 7 * plan.lora.r
        )  # fmt: skip
        return numbers * plan.bytes_a_number + shape.heads * _FLOAT + 2 * _FLOAT
    # transformers' and PEFT's layers under autocast: float32 copies in the norms, and the update's input once more.
    norms = 2 * shape.features * (2 * _FLOAT + 2 * plan.bytes_a_number)
    inputs = 2 * (4 * shape.features + 2 * shape.inner + queries) * plan.bytes_a_number
    attention = (4 * queries + 4 * keys) * plan.bytes_a_number
    mlp = 5 * shape.inner * plan.bytes_a_number
    outputs = (2 * queries + 3 * keys + 2 * shape.inner + 2 * shape.features) * plan.bytes_a_number
    return norms + inputs + attention + mlp + outputs


def _work_bytes(shape: ModelShape, plan: TrainingPlan) -> float:
    """Return what is held for a moment: the larger of the loss's chunk of logits and an MLP's backward pass."""
    hidden = 3 * plan.tokens * shape.features * plan.bytes_a_number
    chunk = min(CHUNK_TOKENS, plan.tokens)
    logits = chunk * shape.vocabulary * (plan.bytes_a_number + 2 * _FLOAT)
    mlp = 5 * plan.tokens * shape.inner * plan.bytes_a_number
    mlp += 2 * shape.features * shape.inner * plan.bytes_a_number  # two dense weights
    return hidden + max(logits, mlp)
