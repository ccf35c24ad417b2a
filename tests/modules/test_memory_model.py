"""Predicted memory: the parts that can be counted are exact, and each saving saves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from moviebot.errors import UserError
from moviebot.modules.lora import LoraSettings
from moviebot.modules.memory_model import (
    GIB,
    NF4_BYTES,
    ModelShape,
    TrainingPlan,
    check_base_fits,
    count_trainable,
    predict_memory,
)
from moviebot.modules.qlora import QLoRALanguageModel
from moviebot.modules.quantisation import load_base
from moviebot.modules.shapes import find_shape

LLAMA_7B = ModelShape(4096, 11008, 32, 32, 32, 128, 32000, tied=False)
PLAN = TrainingPlan(tokens=2048, bytes_a_number=2, quantise=True, lora=LoraSettings(r=32))


@pytest.mark.parametrize(
    "lora",
    [
        LoraSettings(r=4),
        LoraSettings(r=3, targets="qv"),
        LoraSettings(r=2, use_dora=True),
        LoraSettings(targets=["up_proj"]),
    ],
)
def test_trainable_numbers_are_counted_exactly(tiny_llama: Path, lora: LoraSettings) -> None:
    model = QLoRALanguageModel(base=str(tiny_llama), lora=lora, compute_dtype="float32")
    model.configure_model()
    counted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    shape = find_shape(str(tiny_llama))
    assert shape is not None
    assert count_trainable(shape, lora) == counted


def test_weights_are_counted_exactly(tiny_llama: Path) -> None:
    shape = ModelShape.of(AutoConfig.from_pretrained(tiny_llama))
    model = load_base(tiny_llama, torch.float32, torch.device("cpu"), quantise=False)
    assert shape.linear_weights() + shape.other_weights() == sum(p.numel() for p in model.parameters())


def test_four_bits_are_what_bitsandbytes_holds(tiny_llama: Path) -> None:
    model = load_base(tiny_llama, torch.float32, torch.device("cpu"))
    weight = model.model.layers[0].mlp.up_proj.weight
    state = weight.quant_state
    held = weight.data.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    assert held == pytest.approx(64 * 128 * NF4_BYTES, rel=0.01)


def test_seven_billion_fit_where_published_figures_say() -> None:
    # torchtune: 9.29 GB reserved with another 4-bit type, 2 x 512 tokens, recomputed; litgpt: 13.68 GB at 2 x 512.
    parts = predict_memory(LLAMA_7B, replace(PLAN, tokens=1024, gradient_checkpointing=True, device="cuda"))
    assert 5 < sum(parts.values()) / GIB < 10


@pytest.mark.parametrize(
    "change",
    [{"gradient_checkpointing": True}, {"tokens": 1024}, {"optimiser": "adamw_8bit"}],
)
def test_savings_save(change: dict[str, object]) -> None:
    saved = replace(PLAN, **change)  # type: ignore[arg-type]
    assert sum(predict_memory(LLAMA_7B, saved).values()) < sum(predict_memory(LLAMA_7B, PLAN).values())


@pytest.mark.parametrize("change", [{"quantise": False}, {"cache_dequantised": True}, {"fast_layers": False}])
def test_luxuries_cost(change: dict[str, object]) -> None:
    more = replace(PLAN, **change)  # type: ignore[arg-type]
    assert sum(predict_memory(LLAMA_7B, more).values()) > sum(predict_memory(LLAMA_7B, PLAN).values())


def test_a_base_that_can_not_fit_is_refused_before_it_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"llama does not fit: .* GiB are wanted .* 2.0 are free; `moviebot doctor"):
        check_base_fits("llama", LLAMA_7B, PLAN, 2 * GIB)
    check_base_fits("llama", LLAMA_7B, PLAN, 16 * GIB)
    monkeypatch.setattr("moviebot.modules.qlora.read_host_memory", lambda: (GIB, GIB))
    monkeypatch.setattr("moviebot.modules.qlora.find_shape", lambda base: LLAMA_7B)
    monkeypatch.setattr("moviebot.modules.qlora.resolve_model", lambda base: pytest.fail("it was asked for"))
    with pytest.raises(UserError, match="meta-llama/Llama-2-7b-hf does not fit"):
        QLoRALanguageModel(base="meta-llama/Llama-2-7b-hf").configure_model()


def test_shapes_of_gated_models_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Path:
        raise UserError("no connection")

    monkeypatch.setattr("moviebot.modules.shapes.find_config", refuse)
    assert find_shape("meta-llama/Llama-2-7b-chat-hf") == LLAMA_7B
    assert find_shape("somebody/else") is None
