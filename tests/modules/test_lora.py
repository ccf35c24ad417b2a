"""The low-rank update's settings: each does what its paper says, and bad ones give one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from moviebot.callbacks.adapter_checkpoint import export_adapter
from moviebot.errors import UserError
from moviebot.modules.lora import LoraSettings
from moviebot.modules.optimiser import build_optimiser
from moviebot.modules.qlora import QLoRALanguageModel
from moviebot.modules.quantisation import dequantise_weight, load_base, quiet_peft
from moviebot.modules.schedule import warm_up_and_decay


def make_model(base: Path, quantise: bool = True, **lora: Any) -> QLoRALanguageModel:
    settings = LoraSettings(**{"r": 4, "alpha": 8, **lora})
    model = QLoRALanguageModel(base=str(base), lora=settings, compute_dtype="float32", quantise=quantise)
    model.configure_model()
    return model


def lora_layers(model: QLoRALanguageModel) -> list[LoraLayer]:
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def hidden_states(model: QLoRALanguageModel) -> torch.Tensor:
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        result: torch.Tensor = model({"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)})
    return result


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora": LoraSettings(r=0)}, r"lora\.r: 0 is not allowed; give a rank of at least 1"),
        ({"lora": LoraSettings(alpha=0)}, r"lora\.alpha: 0 is not allowed"),
        ({"lora": LoraSettings(dropout=1.0)}, r"lora\.dropout: 1\.0 is not allowed"),
        ({"lora": LoraSettings(targets=[])}, r"lora\.targets: nothing is adapted"),
        ({"lora": LoraSettings(init="pissa", use_dora=True)}, r"lora\.init: pissa does not go with use_dora"),
        ({"lr": 0.0}, r"model\.init_args\.lr: 0\.0 is not allowed"),
        ({"checkpoint_every": 0}, "checkpoint_every: 0 is not allowed"),
        ({"warmup_share": 1.5}, "warmup_share: 1.5 is not allowed"),
    ],
)
def test_bad_settings_are_refused_before_anything_loads(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        QLoRALanguageModel(base="nowhere", **settings)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UserError, match=r"lora\.r.*lora\.dropout.*lr"):
        QLoRALanguageModel(base="nowhere", lora=LoraSettings(r=-1, dropout=2.0), lr=-1.0)


def test_unknown_target_lists_the_real_ones(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="query_key_value is no linear layer of this model; its own are down_proj"):
        make_model(tiny_llama, targets=["q_proj", "query_key_value"])


def test_targets_may_be_named(tiny_llama: Path) -> None:
    assert len(lora_layers(make_model(tiny_llama, targets=["down_proj"]))) == 2
    assert len(lora_layers(make_model(tiny_llama, targets="mlp"))) == 6


def test_rslora_scales_by_the_root(tiny_llama: Path) -> None:
    assert {layer.scaling["default"] for layer in lora_layers(make_model(tiny_llama))} == {2.0}
    assert {layer.scaling["default"] for layer in lora_layers(make_model(tiny_llama, use_rslora=True))} == {4.0}


def test_dora_trains_row_lengths(tiny_llama: Path) -> None:
    model = make_model(tiny_llama, use_dora=True)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sum("lora_magnitude_vector" in name for name in names) == 14
    hidden_states(model).sum()


def test_loftq_makes_up_for_quantisation(tiny_llama: Path) -> None:
    published = load_base(tiny_llama, torch.float32, torch.device("cpu"), quantise=False)
    model = make_model(tiny_llama, init="loftq", r=16)
    layer = model._peft_model().get_base_model().model.layers[0].mlp.up_proj
    wanted = published.model.layers[0].mlp.up_proj.weight
    plain = dequantise_weight(layer.base_layer)
    before = (wanted - plain).norm()
    after = (wanted - plain - layer.get_delta_weight("default")).norm()
    assert after < 0.85 * before


def test_loftq_needs_a_quantised_base(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="loftq makes up for 4-bit rounding"):
        make_model(tiny_llama, quantise=False, init="loftq")


def test_pissa_starts_as_the_base_and_saves_an_adapter_of_the_published_one(tiny_llama: Path, tmp_path: Path) -> None:
    plain, pissa = make_model(tiny_llama, quantise=False), make_model(tiny_llama, quantise=False, init="pissa")
    torch.testing.assert_close(hidden_states(pissa), hidden_states(plain), rtol=1e-3, atol=1e-4)
    layer = lora_layers(pissa)[0]
    assert not torch.allclose(layer.get_base_layer().weight, lora_layers(plain)[0].get_base_layer().weight)
    with torch.no_grad():
        for parameter in pissa.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    trained = hidden_states(pissa)
    assert not torch.allclose(trained, hidden_states(plain), atol=1e-3)
    export_adapter(pissa, tmp_path / "adapter")
    base = load_base(tiny_llama, torch.float32, torch.device("cpu"), quantise=False)
    with quiet_peft():
        loaded = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    assert loaded.peft_config["default"].r == 8
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        result = loaded.get_base_model().model(input_ids=ids, use_cache=False).last_hidden_state
    torch.testing.assert_close(result, trained, rtol=1e-3, atol=1e-4)


def test_pissa_quantises_what_it_leaves(tiny_llama: Path) -> None:
    """The principal directions are kept exactly: what is quantised is smaller, and so is its error."""
    published = load_base(tiny_llama, torch.float32, torch.device("cpu"), quantise=False)
    wanted = published.model.layers[0].mlp.up_proj.weight
    model = make_model(tiny_llama, init="pissa", r=16)
    layer = model._peft_model().get_base_model().model.layers[0].mlp.up_proj
    assert isinstance(layer.base_layer, Linear4bit)
    error = (wanted - dequantise_weight(layer.base_layer) - layer.get_delta_weight("default")).norm()
    plain = make_model(tiny_llama)._peft_model().get_base_model().model.layers[0].mlp.up_proj
    assert error < (wanted - dequantise_weight(plain.base_layer)).norm()


def test_start_is_the_same_each_time(tiny_llama: Path) -> None:
    """A resumed run makes its base anew: it must be the one that the checkpoint's matrices belong to."""
    first = hidden_states(make_model(tiny_llama, init="pissa"))
    torch.manual_seed(99)
    assert torch.equal(hidden_states(make_model(tiny_llama, init="pissa")), first)


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"])
def test_optimisers_step_and_keep_to_what_is_trained(tiny_llama: Path, name: Any) -> None:
    model = make_model(tiny_llama)
    optimiser = build_optimiser(name, model.named_parameters(), lr=0.1, lora_plus_ratio=16.0)
    rates = {group["lr"]: {id(p) for p in group["params"]} for group in optimiser.param_groups}
    assert set(rates) == {0.1, 1.6}
    ups = {id(p) for n, p in model.named_parameters() if ".lora_B." in n}
    assert rates[1.6] == ups
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    hidden = model({"input_ids": torch.arange(3, 9)[None], "labels": torch.arange(3, 9)[None],
                    "attention_mask": torch.ones(1, 6, dtype=torch.long)})  # fmt: skip
    hidden.sum().backward()
    optimiser.step()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    # A's gradient is zero while B is, so that only B moves in the first step.
    assert changed == {n for n in before if ".lora_B." in n}


def test_schedules_end_where_they_should() -> None:
    ends = {name: warm_up_and_decay(10, 0.1, name)(10) for name in ("cosine", "linear", "constant")}
    assert ends == {"cosine": 0.0, "linear": 0.0, "constant": 1.0}
    assert warm_up_and_decay(10, 0.0, "linear")(5) == 0.5
