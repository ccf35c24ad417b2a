"""Verification: a right merge passes, each wrong one is found."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import AutoTokenizer, GenerationConfig

from moviebot.errors import UserError
from moviebot.export.held_out import HeldOut, read_held_out
from moviebot.export.merge import load_adapted, load_base_tokenizer, merge_adapter, save_merged
from moviebot.export.verify import Verification, verify_merged
from moviebot.modules.dense import load_dense_model
from tests.export.conftest import MakeAdapter


@pytest.fixture
def adapter(make_adapter: MakeAdapter) -> Path:
    return make_adapter(std=0.06)  # not so large that the base no longer counts


@pytest.fixture
def held_out(qa_data_dir: Path) -> list[HeldOut]:
    return read_held_out(qa_data_dir, 6)


def merge(base: Path, adapter: Path, folder: Path, scale: float = 1.0) -> Path:
    model = load_adapted(str(base), adapter, None, torch.device("cpu"))
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scaling = {name: value * scale for name, value in module.scaling.items()}
    save_merged(merge_adapter(model, torch.bfloat16), load_base_tokenizer(str(base)), folder)
    return folder


def verify(folder: Path, base: Path, adapter: Path, held_out: list[HeldOut]) -> Verification:
    return verify_merged(folder, str(base), adapter, held_out, compute_dtype="float32", trained_quantised=False)


def test_right_merge_passes(tiny_llama: Path, adapter: Path, held_out: list[HeldOut], tmp_path: Path) -> None:
    found = verify(merge(tiny_llama, adapter, tmp_path / "merged"), tiny_llama, adapter, held_out)
    assert (found.prompts, found.compute_dtype) == (6, "float32")
    assert found.adapter_effect_mean > 0.02  # the adapter does something, so that there is something to lose
    assert 0 < found.logit_error_mean < 0.02 * found.adapter_effect_mean
    assert found.find_faults() == []


@pytest.mark.parametrize("scale", [0.0, 0.7, 0.9, 1.1, 1.5, 4.0])
def test_wrong_scale_is_found(
    tiny_llama: Path, adapter: Path, held_out: list[HeldOut], tmp_path: Path, scale: float
) -> None:
    found = verify(merge(tiny_llama, adapter, tmp_path / "merged", scale), tiny_llama, adapter, held_out)
    assert [fault for fault in found.find_faults() if "merging moves a logit" in fault]


def test_wrong_template_is_found(tiny_llama: Path, adapter: Path, held_out: list[HeldOut], tmp_path: Path) -> None:
    folder = merge(tiny_llama, adapter, tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("### Response:", "### Answer:")
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="chat template does not give the training prompt"):
        verify(folder, tiny_llama, adapter, held_out)


def test_other_tokenizer_is_found(tiny_llama: Path, adapter: Path, held_out: list[HeldOut], tmp_path: Path) -> None:
    folder = merge(tiny_llama, adapter, tmp_path / "merged")
    spec = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = spec["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(UserError, match="exported tokenizer gives other tokens"):
        verify(folder, tiny_llama, adapter, held_out)


@pytest.mark.parametrize("eos", [None, 7])
def test_lost_end_token_is_found(
    tiny_llama: Path, adapter: Path, held_out: list[HeldOut], tmp_path: Path, eos: int | None
) -> None:
    folder = merge(tiny_llama, adapter, tmp_path / "merged")
    settings = GenerationConfig.from_pretrained(folder)
    settings.eos_token_id = eos
    settings.save_pretrained(folder)
    with pytest.raises(UserError, match="lost its end token"):
        verify(folder, tiny_llama, adapter, held_out)


def test_each_measure_has_its_fault() -> None:
    good = Verification(24, 1.0, 1.0, 0.01, 0.1, 5.0, 1.0, 1.0, 1.0, 1.0, "float32")
    assert good.find_faults() == []
    changes: list[dict[str, float]] = [
        {"token_agreement": 0.9}, {"logit_error_mean": 2.0}, {"same_answers": 0.5}, {"ended": 0.2},
        {"same_facts_as_trained": 0.5},
    ]  # fmt: skip
    for change in changes:
        assert len(Verification(**{**good.as_dict(), **change}).find_faults()) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("quantised", [True, False])
def test_training_base_is_the_one_it_was_trained_on(
    tiny_llama: Path,
    adapter: Path,
    held_out: list[HeldOut],
    tmp_path: Path,
    quantised: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default the adapter also answers on the 4-bit base; what rounds there shows in no other measure."""
    seen = []

    def load(base: str, folder: Path, dtype: Any, as_quantised: bool) -> object:
        seen.append(as_quantised)
        return load_dense_model(base, folder, dtype, as_quantised)

    monkeypatch.setattr("moviebot.export.verify.load_dense_model", load)
    folder = merge(tiny_llama, adapter, tmp_path / "merged")
    found = verify_merged(
        folder, str(tiny_llama), adapter, held_out, compute_dtype="float32", trained_quantised=quantised
    )
    assert seen == [quantised]
    assert found.same_answers == 1.0
    assert (found.same_as_trained == 1.0) is not quantised
