"""The adapter's folder for vLLM."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from moviebot.errors import UserError
from moviebot.export.merge import check_lora
from moviebot.export.vllm import check_for_vllm, write_vllm_folder
from moviebot.modules.quantisation import quiet_peft
from tests.export.conftest import MakeAdapter

IDS = torch.arange(3, 60)[None]


def read_logits(base: Path, adapter: Path) -> torch.Tensor:
    with quiet_peft(), torch.inference_mode():
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval()
        logits: torch.Tensor = model(input_ids=IDS).logits
        return logits


def test_folder_loads_and_answers_alike(make_adapter: MakeAdapter, tiny_llama: Path, tmp_path: Path) -> None:
    adapter = make_adapter(lora_dropout=0.1, use_rslora=True)
    config = check_lora(adapter, str(tiny_llama))
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    write_vllm_folder(adapter, tmp_path / "vllm", config, tokenizer, "a; rm -rf $HOME `x`", torch.bfloat16)
    matrices = load_file(tmp_path / "vllm/adapter_model.safetensors")
    assert {matrix.dtype for matrix in matrices.values()} == {torch.bfloat16}
    assert matrices.keys() == load_file(adapter / "adapter_model.safetensors").keys()
    found, expected = (read_logits(tiny_llama, folder) for folder in (tmp_path / "vllm", adapter))
    with torch.inference_mode():
        untuned = AutoModelForCausalLM.from_pretrained(tiny_llama)(input_ids=IDS).logits
    assert (found - expected).abs().max() < 0.02 * (untuned - expected).abs().max()  # rounding to 16 bits alone
    written = json.loads((tmp_path / "vllm/adapter_config.json").read_text())
    assert (written["inference_mode"], written["lora_dropout"], written["use_rslora"]) == (True, 0.0, True)
    readme = (tmp_path / "vllm/README.md").read_text()
    assert "    vllm serve 'a; rm -rf $HOME `x`' --enable-lora" in readme
    assert "--max-lora-rank 8 " in readme
    assert "### Instruction:" in (tmp_path / "vllm/chat_template.jinja").read_text()


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"use_dora": True}, "is a DoRA"), ({"rank_pattern": {"v_proj": 2}}, "of different ranks"), ({"r": 600}, "600")],
)
def test_what_vllm_has_not_is_refused(
    make_adapter: MakeAdapter, tiny_llama: Path, settings: dict[str, object], told: str
) -> None:
    adapter = make_adapter(**settings)
    with pytest.raises(UserError, match=f"{told}.*leave vllm out of --formats"):
        check_for_vllm(check_lora(adapter, str(tiny_llama)), adapter)


@pytest.mark.parametrize(("r", "wanted"), [(4, 8), (32, 32), (33, 64)])
def test_least_rank_that_holds_it(make_adapter: MakeAdapter, tiny_llama: Path, r: int, wanted: int) -> None:
    adapter = make_adapter(r=r)
    assert check_for_vllm(check_lora(adapter, str(tiny_llama)), adapter) == wanted
