"""Generation from dense weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM

from moviebot.callbacks.adapter_checkpoint import export_adapter
from moviebot.errors import UserError
from moviebot.modules.dense import generate_texts, load_dense_model
from moviebot.modules.lora import LoraSettings
from moviebot.modules.qlora import QLoRALanguageModel

PROMPTS = ["Hi", "A much longer prompt than the first", "Third"]


@pytest.fixture
def trained(tiny_llama: Path) -> QLoRALanguageModel:
    model = QLoRALanguageModel(
        base=str(tiny_llama), lora=LoraSettings(r=4, alpha=8), max_new_tokens=12, compute_dtype="float32"
    )
    model.configure_model()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    return model


def test_exported_adapter_answers_as_the_module_does(
    trained: QLoRALanguageModel, tiny_llama: Path, tmp_path: Path
) -> None:
    export_adapter(trained, tmp_path / "adapter")
    assert sorted(file.name for file in (tmp_path / "adapter").iterdir() if file.suffix != ".md") == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    model, tokenizer = load_dense_model(str(tiny_llama), tmp_path / "adapter", dtype="float32")
    assert not any(isinstance(module, Linear4bit) for module in model.modules())
    assert not model.training
    expected = trained.generate_batch(PROMPTS)
    assert generate_texts(model, tokenizer, PROMPTS, max_new_tokens=12) == expected
    untuned, _ = load_dense_model(str(tiny_llama), dtype="float32")
    assert generate_texts(untuned, tokenizer, PROMPTS, max_new_tokens=12) != expected  # the adapter did something


def test_quantised_weights_are_not_the_published_ones(tiny_llama: Path) -> None:
    nf4, _ = load_dense_model(str(tiny_llama), dtype="float32")
    published, _ = load_dense_model(str(tiny_llama), as_quantised=False, dtype="float32")
    reference = AutoModelForCausalLM.from_pretrained(tiny_llama).model.layers[0].mlp.up_proj.weight
    assert torch.equal(published.model.layers[0].mlp.up_proj.weight, reference)
    difference = (nf4.model.layers[0].mlp.up_proj.weight - reference).abs().max()
    assert 0 < difference < 0.2 * reference.abs().max()


def test_batching_and_order_do_not_change_answers(trained: QLoRALanguageModel, tiny_llama: Path) -> None:
    model, tokenizer = load_dense_model(str(tiny_llama), dtype="float32")
    together = generate_texts(model, tokenizer, PROMPTS, max_new_tokens=10)
    assert together == [generate_texts(model, tokenizer, [prompt], max_new_tokens=10)[0] for prompt in PROMPTS]
    assert together == generate_texts(model, tokenizer, PROMPTS, max_new_tokens=10, batch_size=1)
    assert generate_texts(model, tokenizer, []) == []


def test_stops_at_the_end_token(tiny_llama: Path) -> None:
    model, tokenizer = load_dense_model(str(tiny_llama), dtype="float32")
    unstopped = generate_texts(model, tokenizer, ["Hi"], max_new_tokens=10)[0]
    letter = next(char for char in unstopped[1:] if char.isascii() and char.isalnum())
    tokenizer.eos_token = letter
    stopped = generate_texts(model, tokenizer, ["Hi"], max_new_tokens=10)[0]
    assert letter not in stopped[:-1]
    assert unstopped.startswith(stopped)
    assert len(stopped) < len(unstopped)


def test_missing_adapter_is_one_line(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no whole adapter folder: it lacks adapter_config.json and adapter_model"):
        load_dense_model(str(tiny_llama), tmp_path / "nowhere", dtype="float32")


@pytest.mark.parametrize("content", [b'{"r": 8,', b"\xff\xfe", b"", b"[]"])
def test_damaged_adapter_config_is_one_line(
    trained: QLoRALanguageModel, tiny_llama: Path, tmp_path: Path, content: bytes
) -> None:
    export_adapter(trained, tmp_path / "adapter")
    (tmp_path / "adapter/adapter_config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"adapter_config.json is damaged \(.*`moviebot fit`") as caught:
        load_dense_model(str(tiny_llama), tmp_path / "adapter", dtype="float32")
    assert "\n" not in str(caught.value)


def test_adapter_of_another_base_is_one_line(trained: QLoRALanguageModel, tiny_llama: Path, tmp_path: Path) -> None:
    export_adapter(trained, tmp_path / "adapter")
    other = tmp_path / "other_base"
    shutil.copytree(tiny_llama, other)
    with pytest.raises(UserError, match=r"was trained on .*tiny_llama.*, not on .*other_base"):
        load_dense_model(str(other), tmp_path / "adapter")


def test_adapter_of_another_shape_is_one_line(trained: QLoRALanguageModel, tiny_llama: Path, tmp_path: Path) -> None:
    export_adapter(trained, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    with pytest.raises(UserError, match="does not fit"):
        load_dense_model(str(tiny_llama), tmp_path / "adapter", dtype="float32")


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kept", [1, 3])
def test_the_output_matrix_is_not_copied(tiny_llama: Path, batch: int, kept: int) -> None:
    """Torch copies it for ``bmm``, once a row: half of the time of reading a prompt."""
    model, _ = load_dense_model(str(tiny_llama), dtype="float32")
    head = model.get_output_embeddings()
    hidden = torch.randn(batch, 5, head.weight.shape[1])[:, -kept:]  # the view that transformers hands over
    products, results = [], []
    for _ in range(2):
        with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as seen:
            results.append(head(hidden))
        products.append({event.key for event in seen.key_averages()} & {"aten::mm", "aten::bmm"})
        head._forward_pre_hooks.clear()
    assert products == [{"aten::mm"}, {"aten::bmm"}]
    torch.testing.assert_close(*results)
