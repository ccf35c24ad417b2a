"""Merging: the dense model is the base plus the adapter, and nothing that is not whole gets in."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from moviebot.errors import UserError
from moviebot.export.merge import check_lora, load_adapted, load_base_config, merge_adapter, save_merged
from tests.export.conftest import MakeAdapter

CPU = torch.device("cpu")
IDS = torch.arange(3, 60)[None]
WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True}, {"use_dora": True}, {"rank_pattern": {"v_proj": 2}}])
def test_merged_model_is_the_adapted_one(make_adapter: MakeAdapter, tiny_llama: Path, kind: dict[str, object]) -> None:
    adapter = make_adapter(**kind)
    adapted = load_adapted(str(tiny_llama), adapter, None, CPU)
    with torch.inference_mode():
        expected = adapted(input_ids=IDS).logits
        with adapted.disable_adapter():
            base = adapted(input_ids=IDS).logits
    merged = merge_adapter(load_adapted(str(tiny_llama), adapter, None, CPU), torch.float32)
    assert not [name for name, _ in merged.named_modules() if "lora" in name]
    with torch.inference_mode():
        difference = (merged(input_ids=IDS).logits - expected).abs().max()
    assert difference < 1e-3 * (base - expected).abs().max()


def test_sum_is_rounded_once(make_adapter: MakeAdapter, tiny_llama: Path) -> None:
    """Rounding the update and the sum apart, as adding in bfloat16 does, gives other weights."""
    adapter = make_adapter()
    matrices = load_file(adapter / WEIGHTS)
    prefix = "base_model.model.model.layers.1.self_attn.q_proj.lora_"
    update = 2.0 * matrices[f"{prefix}B.weight"] @ matrices[f"{prefix}A.weight"]  # alpha 8 over rank 4
    weight = AutoModelForCausalLM.from_pretrained(tiny_llama).model.layers[1].self_attn.q_proj.weight.detach()
    merged = merge_adapter(load_adapted(str(tiny_llama), adapter, None, CPU), torch.bfloat16)
    found = merged.model.layers[1].self_attn.q_proj.weight
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, (weight + update).bfloat16())
    assert not torch.equal(found, weight.bfloat16() + update.bfloat16())
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}


def test_saved_model_stops_and_speaks_the_training_prompt(
    make_adapter: MakeAdapter, tiny_llama: Path, tmp_path: Path
) -> None:
    merged = merge_adapter(load_adapted(str(tiny_llama), make_adapter(), None, CPU), torch.bfloat16)
    save_merged(merged, AutoTokenizer.from_pretrained(tiny_llama), tmp_path / "merged")
    settings = GenerationConfig.from_pretrained(tmp_path / "merged")
    assert (settings.eos_token_id, settings.do_sample) == (1, False)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    messages = [{"role": "user", "content": "Hi?"}]
    assert "### Instruction:\nHi?\n" in tokenizer.apply_chat_template(messages, tokenize=False)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert loaded.dtype == torch.bfloat16
    assert torch.equal(loaded.lm_head.weight, merged.lm_head.weight)


class TestRefused:
    def test_base_that_is_nowhere(self) -> None:
        with pytest.raises(UserError, match="no-such/model-at-all is neither a folder here nor"):
            load_base_config("no-such/model-at-all")

    def test_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"--base .* is no language model's folder"):
            load_base_config(str(tmp_path))

    def test_base_that_is_quantised(self, tiny_llama: Path, tmp_path: Path) -> None:
        config = json.loads((tiny_llama / "config.json").read_text())
        config["quantization_config"] = {"load_in_4bit": True, "quant_method": "bitsandbytes"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match="is itself quantised"):
            load_base_config(str(tmp_path))

    def test_base_without_weights(self, make_adapter: MakeAdapter, tiny_llama: Path, tmp_path: Path) -> None:
        folder = tmp_path / tiny_llama.name
        folder.mkdir()
        (folder / "config.json").write_bytes((tiny_llama / "config.json").read_bytes())
        with pytest.raises(UserError, match=r"--base .* can't be loaded"):
            load_adapted(str(folder), make_adapter(), None, CPU)

    def test_adapter_with_a_matrix_missing(self, make_adapter: MakeAdapter, tiny_llama: Path) -> None:
        adapter = make_adapter()
        matrices = load_file(adapter / WEIGHTS)
        matrices.pop("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight")
        save_file(matrices, adapter / WEIGHTS)
        with pytest.warns(UserWarning, match="missing adapter keys"), pytest.raises(UserError, match="1 matrices are"):
            load_adapted(str(tiny_llama), adapter, None, CPU)

    def test_adapter_cut_short(self, make_adapter: MakeAdapter, tiny_llama: Path) -> None:
        adapter = make_adapter()
        content = (adapter / WEIGHTS).read_bytes()
        (adapter / WEIGHTS).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="is damaged or does not fit") as caught:
            load_adapted(str(tiny_llama), adapter, None, CPU)
        assert "\n" not in str(caught.value)

    def test_adapter_of_another_base(self, make_adapter: MakeAdapter, tiny_llama: Path) -> None:
        adapter = make_adapter()
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "x/other"}))
        with pytest.raises(UserError, match="was trained on x/other, not on"):
            load_adapted(str(tiny_llama), adapter, None, CPU)

    @pytest.mark.parametrize("change", [{"modules_to_save": ["lm_head"]}, {"bias": "all"}])
    def test_adapter_that_trains_more(
        self, make_adapter: MakeAdapter, tiny_llama: Path, change: dict[str, object]
    ) -> None:
        adapter = make_adapter()
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match="also trains"):
            check_lora(adapter, str(tiny_llama))

    def test_adapter_of_another_kind(self, make_adapter: MakeAdapter, tiny_llama: Path) -> None:
        adapter = make_adapter()
        (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3", "task_type": "CAUSAL_LM"}))
        with pytest.raises(UserError, match="is no LoRA"):
            check_lora(adapter, str(tiny_llama))

    def test_adapter_of_no_known_kind(self, make_adapter: MakeAdapter, tiny_llama: Path) -> None:
        adapter = make_adapter()
        (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "NOTHING"}))
        with pytest.raises(UserError, match=r"adapter_config.json can't be read"):
            check_lora(adapter, str(tiny_llama))

    def test_adapter_on_an_embedding(self, make_adapter: MakeAdapter, tiny_llama: Path) -> None:
        adapted = load_adapted(str(tiny_llama), make_adapter(target_modules=["embed_tokens"]), None, CPU)
        with pytest.raises(UserError, match="which is no linear layer of its own"):
            merge_adapter(adapted, torch.bfloat16)

    def test_weights_too_large_for_float16(self, make_adapter: MakeAdapter, tiny_llama: Path) -> None:
        with pytest.raises(UserError, match="too large for float16: give --dtype bfloat16"):
            merge_adapter(load_adapted(str(tiny_llama), make_adapter(std=300.0), None, CPU), torch.float16)

    def test_matrices_that_are_no_numbers(self, make_adapter: MakeAdapter, tiny_llama: Path) -> None:
        adapter = make_adapter()
        matrices = {key: value.fill_(float("nan")) for key, value in load_file(adapter / WEIGHTS).items()}
        save_file(matrices, adapter / WEIGHTS)
        with pytest.raises(UserError, match="hold no numbers"):
            merge_adapter(load_adapted(str(tiny_llama), adapter, None, CPU), torch.bfloat16)
