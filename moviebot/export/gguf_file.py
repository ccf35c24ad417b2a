"""Write a merged model as one GGUF file: what llama.cpp, Ollama and LM Studio read.

Only the Llama architecture (Llama 2, SmolLM2), whose names and numbers are written here one by one. Legend: R rows
(outputs) of a weight, C its columns (inputs), H heads, D a head's width.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from gguf import GGUFWriter, quants
from gguf.constants import GGMLQuantizationType, LlamaFileType
from numpy.typing import NDArray
from rich.progress import track
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer

from moviebot.errors import UserError
from moviebot.export.gguf_vocabulary import add_vocabulary, read_vocabulary

GgufFormat = Literal["gguf_f16", "gguf_q8", "gguf_q4"]


class _Kind(NamedTuple):
    """How a format stores weights.

    Attributes:
        file: the file's name.
        inner: of the projections.
        outer: of the embedding, the head, and the projections where rounding shows first (:data:`_TENDER`).
        told: what the file says of itself.
    """

    file: str
    inner: GGMLQuantizationType
    outer: GGMLQuantizationType
    told: LlamaFileType


# The 4-bit kind is not Q4_1, though that rounds less: a base that was itself once Q4_1 (the packaged SmolLM2) lies on
# that very grid, and rounding drops the adapter's small update almost everywhere (1 of 24 answers was still right; Q4_0
# 18, with the tender weights in 8 bits 22). The k-quants of llama.cpp are better for their size, but no package writes
# them; of their mixes this takes which weights to spare.
KINDS: dict[GgufFormat, _Kind] = {
    "gguf_f16": _Kind("model-f16.gguf", GGMLQuantizationType.F16, GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "gguf_q8": _Kind(
        "model-q8_0.gguf", GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0
    ),
    "gguf_q4": _Kind(
        "model-q4_0.gguf", GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q4_0
    ),
}
_TENDER = ("attn_v", "ffn_down")
_OUTER = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight"}
_BLOCK = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def check_architecture(config: Any) -> None:  # noqa: ANN401 (every architecture has a class of its own)
    """See that a model is one that can be written.

    Args:
        config: its ``transformers`` configuration.

    Raises:
        UserError: another architecture, or a variant of Llama's that needs more than is written here.
    """
    problems = []
    if config.model_type != "llama":
        problems.append(f"its architecture is {config.model_type}")
    else:
        rope = config.rope_parameters or {}
        if rope.get("rope_type", "default") != "default":
            problems.append(f"its positions are of type {rope['rope_type']}")
        if config.attention_bias or config.mlp_bias:
            problems.append("its projections have biases")
        if config.hidden_act != "silu":
            problems.append(f"its activation is {config.hidden_act}")
    if problems:
        raise UserError(
            f"GGUF is written for the Llama architecture only (Llama 2, SmolLM2), and of this base {problems[0]}: "
            "leave the gguf formats and ollama out of --formats"
        )


def write_gguf(folder: Path, form: GgufFormat, path: Path, name: str) -> None:
    """Write a merged model's GGUF file, one tensor in memory at a time.

    Args:
        folder: the merged model (safetensors, config, tokenizer).
        form: which format.
        path: the new file.
        name: what the file calls the model.

    Raises:
        UserError: the architecture or the tokenizer is one that can't be written.
    """
    config = AutoConfig.from_pretrained(folder)
    check_architecture(config)
    kind = KINDS[form]
    tensors = [_Tensor(file, key, *_place(key, kind)) for file, key in _list_tensors(folder)]
    writer = GGUFWriter(path, "llama")
    try:
        _add_head(writer, config, kind, name)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        add_vocabulary(writer, tokenizer, read_vocabulary(tokenizer, config.vocab_size))
        writer.add_chat_template(str(tokenizer.chat_template))
        for tensor in tensors:
            shape = tensor.read_shape()
            stored = tensor.choose_type(shape)
            if stored in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
                dtype = np.dtype(np.float32 if stored == GGMLQuantizationType.F32 else np.float16)
                writer.add_tensor_info(tensor.target, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
            else:
                packed = quants.quant_shape_to_byte_shape(shape, stored)
                writer.add_tensor_info(
                    tensor.target, packed, np.dtype(np.uint8), int(np.prod(packed)), raw_dtype=stored
                )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in track(tensors, description=f"Writing {kind.file}", transient=True):
            weight = _arrange(tensor, config)
            writer.write_tensor_data(_pack(weight, tensor.choose_type(weight.shape), tensor.target))
    finally:
        writer.close()


class _Tensor(NamedTuple):
    """One weight: the file and the name it has, the name it gets, and how it is to be stored."""

    file: Path
    key: str
    target: str
    wanted: GGMLQuantizationType

    def read_shape(self) -> tuple[int, ...]:
        with safe_open(self.file, framework="pt") as file:
            return tuple(file.get_slice(self.key).get_shape())

    def read(self) -> NDArray[np.float32]:
        with safe_open(self.file, framework="pt") as file:
            values: NDArray[np.float32] = file.get_tensor(self.key).to(torch.float32).numpy()
            return values

    def choose_type(self, shape: tuple[int, ...]) -> GGMLQuantizationType:
        """Norms stay float32; rows that do not divide into blocks of 32 stay float16."""
        if len(shape) == 1:
            return GGMLQuantizationType.F32
        quantised = self.wanted not in (GGMLQuantizationType.F16, GGMLQuantizationType.F32)
        return GGMLQuantizationType.F16 if quantised and shape[-1] % 32 else self.wanted


def _list_tensors(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            yield from ((path, key) for key in file.keys())  # noqa: SIM118 (it is no dictionary)


def _place(key: str, kind: _Kind) -> tuple[str, GGMLQuantizationType]:
    """Return a weight's name in GGUF, and how it is stored."""
    if key in _OUTER:
        return _OUTER[key], kind.outer
    if key == "model.norm.weight":
        return "output_norm.weight", GGMLQuantizationType.F32
    prefix, _, rest = key.removeprefix("model.layers.").partition(".")
    part = rest.removesuffix(".weight")
    if not (key.startswith("model.layers.") and prefix.isdecimal() and part in _BLOCK):
        raise UserError(f"the merged model has a weight {key!r} that GGUF's Llama has no place for: leave GGUF out")
    return f"blk.{prefix}.{_BLOCK[part]}.weight", kind.outer if _BLOCK[part] in _TENDER else kind.inner


def _arrange(tensor: _Tensor, config: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """Return a weight, with the rows of query and key in the order of llama.cpp's rotation.

    Transformers turns the first half of a head's rows against the second, llama.cpp each row against its neighbour.
    """
    weight = tensor.read()
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(tensor.key.split(".")[-2])
    if heads is None or tensor.key.count(".") < 4:
        return weight
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)  # (H, 2, D/2, C)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)  # (H, D/2, 2, C) -> (R, C)


def _pack(weight: NDArray[np.float32], stored: GGMLQuantizationType, name: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        packed: NDArray[Any] = quants.quantize(weight, stored)
    if stored == GGMLQuantizationType.F16 and not np.isfinite(packed).all():
        raise UserError(f"weights of {name} are too large for 16-bit GGUF: leave the gguf formats out")
    return packed


def _add_head(writer: GGUFWriter, config: Any, kind: _Kind, name: str) -> None:  # noqa: ANN401
    width = config.hidden_size // config.num_attention_heads
    head = getattr(config, "head_dim", None) or width
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(kind.told)
    writer.add_quantization_version(2)  # of the layout of quantised blocks: GGML's since 2023
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float((config.rope_parameters or {}).get("rope_theta", 10_000.0)))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
