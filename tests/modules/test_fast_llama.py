"""Llama's layers computed faster: the same logits and gradients, padded or packed; and packed samples stay apart."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from moviebot.data.tokenise import IGNORE, collate_samples, pack_samples
from moviebot.errors import UserError
from moviebot.modules.elementwise import compile_elementwise
from moviebot.modules.fast_llama import _CPUAttention
from moviebot.modules.lora import LoraSettings
from moviebot.modules.qlora import QLoRALanguageModel, TextBatch

LENGTHS = (9, 5, 12)


def make_model(base: Path, **settings: Any) -> QLoRALanguageModel:
    torch.manual_seed(0)
    values: dict[str, Any] = {"lora": LoraSettings(r=4, alpha=8), "compute_dtype": "float32", **settings}
    model = QLoRALanguageModel(base=str(base), **values)
    model.configure_model()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    return model


def make_samples() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(2)
    samples = []
    for length in LENGTHS:
        ids = torch.randint(3, 200, (length,))
        labels = ids.clone()
        labels[: length // 2] = IGNORE
        samples.append((ids, labels))
    return samples


def packed_batch() -> TextBatch:
    return cast(TextBatch, pack_samples(make_samples()))


def padded_batch() -> TextBatch:
    return cast(TextBatch, collate_samples([(ids.tolist(), labels.tolist()) for ids, labels in make_samples()], 0))


def loss_and_gradients(model: QLoRALanguageModel, batch: TextBatch) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(5)
    loss, _, tokens = model._answer_loss(model(batch), batch["labels"])
    assert tokens == sum(length - length // 2 for length in LENGTHS)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    assert one[1].keys() == other[1].keys()
    assert len(one[1]) == 28
    for name, gradient in one[1].items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, other[1][name], rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{}, {"cache_dequantised": True}, {"gradient_checkpointing": True}, {"compile_layers": True}]
)
@pytest.mark.parametrize("make_batch", [packed_batch, padded_batch])
def test_equals_transformers_layers(tiny_llama: Path, settings: dict[str, Any], make_batch: Any) -> None:
    slow = loss_and_gradients(make_model(tiny_llama, fast_layers=False), padded_batch())
    assert_same(loss_and_gradients(make_model(tiny_llama, **settings), make_batch()), slow)


def test_packing_works_with_transformers_layers(tiny_llama: Path) -> None:
    """The way of all models that are no Llama."""
    model = make_model(tiny_llama, fast_layers=False)
    assert_same(loss_and_gradients(model, packed_batch()), loss_and_gradients(model, padded_batch()))


@pytest.mark.parametrize("fast", [True, False])
def test_packed_samples_do_not_see_each_other(tiny_llama: Path, fast: bool) -> None:
    model = make_model(tiny_llama, fast_layers=fast)
    first, other = packed_batch(), packed_batch()
    other["input_ids"][0, : LENGTHS[0]] = 250
    with torch.no_grad():
        hidden = [model(batch)[0] for batch in (first, other)]
        # The same row without the restarting positions: what must not happen, and what the test above would miss.
        mixed = dict(first, position_ids=torch.arange(sum(LENGTHS))[None], segments=(sum(LENGTHS),))
        seen = model(cast(TextBatch, mixed))[0]
    assert not torch.allclose(hidden[0][: LENGTHS[0]], hidden[1][: LENGTHS[0]])
    torch.testing.assert_close(hidden[0][LENGTHS[0] :], hidden[1][LENGTHS[0] :])
    assert not torch.allclose(hidden[0][LENGTHS[0] :], seen[LENGTHS[0] :], atol=1e-3)


def test_without_a_compiler_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_nothing(function: Any, dynamic: bool) -> Any:
        def broken(*_: Any) -> None:
            raise RuntimeError("No working C++ compiler found\nand a trace")

        return broken

    monkeypatch.setattr(torch, "compile", compile_nothing)
    compile_elementwise.cache_clear()
    with pytest.raises(UserError, match=r"\(No working C\+\+ compiler found\); install .*compile_layers false"):
        compile_elementwise("cpu")


def test_start_up_check_finds_samples_that_see_each_other(tiny_llama: Path) -> None:
    model = make_model(tiny_llama)
    model._check_packing(packed_batch())  # passes
    forward = model.forward

    def mixing(batch: TextBatch) -> torch.Tensor:
        if "segments" in batch:
            batch = cast(TextBatch, dict(batch, segments=(sum(batch["segments"]),)))
        return forward(batch)

    model.forward = mixing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="packed samples see each other"):
        model._check_packing(packed_batch())
    assert model._peft_model().training


def test_dropout_changes_with_the_seed_and_not_otherwise(tiny_llama: Path) -> None:
    model = make_model(tiny_llama, lora=LoraSettings(r=4, alpha=8, dropout=0.3))
    first, again = (loss_and_gradients(model, packed_batch()) for _ in range(2))
    assert first[0] == again[0]
    for name, gradient in first[1].items():
        assert torch.equal(gradient, again[1][name])
    assert first[0] != loss_and_gradients(make_model(tiny_llama), packed_batch())[0]


def test_dropout_under_checkpointing_is_drawn_again(tiny_llama: Path) -> None:
    lora = LoraSettings(r=4, alpha=8, dropout=0.3)
    plain = loss_and_gradients(make_model(tiny_llama, lora=lora), packed_batch())
    assert_same(
        loss_and_gradients(make_model(tiny_llama, lora=lora, gradient_checkpointing=True), packed_batch()), plain
    )


def test_noise_on_embeddings_is_there_in_training_alone(tiny_llama: Path) -> None:
    noisy, plain = make_model(tiny_llama, neftune_alpha=5.0), make_model(tiny_llama)
    assert loss_and_gradients(noisy, packed_batch())[0] != loss_and_gradients(plain, packed_batch())[0]
    noisy.eval()
    plain.eval()
    with torch.no_grad():
        torch.testing.assert_close(noisy(packed_batch()), plain(packed_batch()))
    # Each sample's noise is by its own length, packed or not.
    noisy.train()
    embedding = noisy._peft_model().get_base_model().get_input_embeddings()
    assert noisy._noise is not None
    noisy._noise.segments = LENGTHS
    ids = packed_batch()["input_ids"]
    noise = (embedding(ids) - embedding.weight[ids])[0].abs()
    start = 0
    for length in LENGTHS:
        bound = 5.0 / (length * embedding.weight.shape[1]) ** 0.5
        assert 0.5 * bound < noise[start : start + length].max() <= bound + 1e-6
        start += length


def test_attention_of_bfloat16_on_a_cpu_has_the_gradient_of_float32() -> None:
    torch.manual_seed(0)
    shapes = ((1, 6, 37, 16), (1, 2, 37, 16), (1, 2, 37, 16))  # six heads of queries share two of keys
    exact = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    rounded = [part.detach().bfloat16().requires_grad_() for part in exact]
    weight = torch.randn(1, 6, 37, 16, dtype=torch.float64)
    query, key, value = exact
    attend = torch.nn.functional.scaled_dot_product_attention
    expected = attend(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
    (expected * weight).sum().backward()  # type: ignore[no-untyped-call]
    (_CPUAttention.apply(*rounded, 0.3) * weight.bfloat16()).sum().backward()  # type: ignore[no-untyped-call]
    for one, other in zip(rounded, exact, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert (one.grad.double() - other.grad).norm() < 0.02 * other.grad.norm()
