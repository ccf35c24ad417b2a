"""The QLoRA module: what is trained, what is saved, and the traps that would go unnoticed."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import nn
from torch.nn import functional

from moviebot.callbacks.adapter_checkpoint import AdapterCheckpoint
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.data.tokenise import IGNORE, collate_samples, label_answers
from moviebot.errors import UserError
from moviebot.modules.answer_loss import answer_loss
from moviebot.modules.lora import LoraSettings
from moviebot.modules.qlora import QLoRALanguageModel, TextBatch
from moviebot.modules.quantisation import dequantise_weight, make_dense, undo_dense

pytestmark = [
    # Lightning 2.6.6 asks torch 2.13's pytree by a deprecated name.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),  # a resumed run's does
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:Found keys that are in the model state dict but not in the checkpoint"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
]

EOS, PAD = 1, 2


def make_model(base: Path, **settings: Any) -> QLoRALanguageModel:
    torch.manual_seed(0)
    values: dict[str, Any] = {
        "lora": LoraSettings(r=4, alpha=8), "lr": 1e-2, "max_new_tokens": 8, "compute_dtype": "float32", **settings
    }  # fmt: skip
    model = QLoRALanguageModel(base=str(base), **values)
    model.configure_model()
    return model


PROMPTS = ((10, 11, 12, 13, 14, 15, 16), (20, 21, 22), (30, 31, 32, 33, 34))
ANSWERS = ((40, 41, EOS), (50, 51, 52, 53, EOS), (60, EOS))


def make_batch(prompts: Sequence[Sequence[int]] = PROMPTS, answers: Sequence[Sequence[int]] = ANSWERS) -> TextBatch:
    samples = [label_answers([turn]) for turn in zip(prompts, answers, strict=True)]
    return cast(TextBatch, collate_samples(samples, pad_id=PAD))


def make_data(folder: Path, base: Path, **settings: Any) -> MovieQADataModule:
    values: dict[str, Any] = {"batch_size": 4, "eval_batch_size": 4, "max_length": 1500, "limit_train": 16, **settings}
    return MovieQADataModule(data_dir=folder, tokenizer=str(base), **values)


def make_trainer(root: Path, **settings: Any) -> Trainer:
    values: dict[str, Any] = {
        "default_root_dir": root, "accelerator": "cpu", "devices": 1, "logger": False, "max_epochs": 1,
        "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False,
        "num_sanity_val_steps": 0, "limit_val_batches": 1, "log_every_n_steps": 1, **settings,
    }  # fmt: skip
    return Trainer(**values)


def all_logits(model: QLoRALanguageModel, batch: TextBatch) -> torch.Tensor:
    """(B, T, V)"""
    assert model.model is not None
    logits: torch.Tensor = model.model.get_base_model().lm_head(model(batch))
    return logits


def spy_on_loss(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many tokens' logits are asked for."""
    seen: list[int] = []

    def note(hidden: torch.Tensor, head: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(hidden))
        return answer_loss(hidden, head, labels)

    monkeypatch.setattr("moviebot.modules.qlora.answer_loss", note)
    return seen


def summed_loss(model: QLoRALanguageModel, batch: TextBatch) -> torch.Tensor:
    with_logging_off = pytest.MonkeyPatch()
    with with_logging_off.context() as patch:
        patch.setattr(model, "log_dict", lambda *_, **__: None)
        patch.setattr(model, "log", lambda *_, **__: None)
        return model._step(batch, "train")[0]


def lora_gradients(model: QLoRALanguageModel, batch: TextBatch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    summed_loss(model, batch).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def randomise_lora(model: QLoRALanguageModel) -> None:
    """Give every LoRA matrix values: B starts at zero, and then A has no gradient to compare."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)


class TestConstruction:
    def test_is_cheap(self) -> None:
        # A base that is nowhere: construction must not look for it.
        model = QLoRALanguageModel(base="no/such-model", lora=LoraSettings(r=2))
        assert list(model.parameters()) == []

    def test_hyperparameters_are_plain(self) -> None:
        def check(value: object) -> None:
            if isinstance(value, dict):
                for item in value.values():
                    check(item)
            else:
                assert type(value) in (str, int, float, bool, type(None)), value

        hparams = dict(QLoRALanguageModel(base="x", lora=LoraSettings(r=2)).hparams)
        assert hparams["lora"]["r"] == 2
        check(hparams)

    def test_configure_model_is_idempotent(self, tiny_llama: Path) -> None:
        model = make_model(tiny_llama)
        before = model.model
        model.configure_model()
        assert model.model is before

    def test_linear_layers_are_nf4_and_adapted(self, tiny_llama: Path) -> None:
        model = make_model(tiny_llama)
        layers = {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
        base_layers = [name for name in layers if name.endswith("base_layer")]
        assert len(base_layers) == 14  # seven projections in each of two layers
        for name in base_layers:
            weight = layers[name].weight
            assert weight.dtype == torch.uint8
            assert weight.quant_state.quant_type == "nf4"
            assert weight.quant_state.nested  # double quantisation
        trainable = [p for p in model.parameters() if p.requires_grad]
        assert len(trainable) == 28
        assert {p.dtype for p in trainable} == {torch.float32}

    @pytest.mark.parametrize(("targets", "count"), [("attention", 16), ("mlp", 12), ("qv", 8)])
    def test_targets(self, tiny_llama: Path, targets: Any, count: int) -> None:
        model = make_model(tiny_llama, lora=LoraSettings(r=2, targets=targets))
        assert sum(p.requires_grad for p in model.parameters()) == count

    def test_float16_needs_the_scaler(self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path) -> None:
        model = QLoRALanguageModel(base=str(tiny_llama), compute_dtype="float16")
        with pytest.raises(UserError, match="16-mixed"):
            make_trainer(tmp_path).fit(model, make_data(qa_data_dir, tiny_llama))


class TestLoss:
    def test_equals_the_loss_from_all_logits(self, tiny_llama: Path) -> None:
        model, batch = make_model(tiny_llama), make_batch()
        randomise_lora(model)
        logits = all_logits(model, batch)  # (B, T, V)
        reference = functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), batch["labels"][:, 1:].reshape(-1),
            ignore_index=IGNORE, reduction="sum",
        )  # fmt: skip
        assert summed_loss(model, batch).item() == pytest.approx(reference.item(), rel=1e-5)

    def test_computes_logits_for_the_answers_alone(self, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model, batch = make_model(tiny_llama), make_batch()
        seen = spy_on_loss(monkeypatch)
        summed_loss(model, batch)
        assert batch["input_ids"].shape == (3, 10)
        assert seen == [3 + 5 + 2]  # the answers' tokens, of 30

    def test_follow_ups_count_and_their_questions_do_not(
        self, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = make_model(tiny_llama)
        turns = label_answers([([10, 11, 12, 13], [40, EOS]), ([14, 15, 16], [41, EOS]), ([17, 18], [42, 43, EOS])])
        batch = cast(TextBatch, collate_samples([turns, label_answers([([20, 21, 22], [50, EOS])])], pad_id=PAD))
        seen = spy_on_loss(monkeypatch)
        loss = summed_loss(model, batch)
        assert seen == [2 + 2 + 3 + 2]
        logits = all_logits(model, batch)
        reference = functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), batch["labels"][:, 1:].reshape(-1),
            ignore_index=IGNORE, reduction="sum",
        )  # fmt: skip
        assert loss.item() == pytest.approx(reference.item(), rel=1e-5)

    def test_left_padding_does_not_change_it(self, tiny_llama: Path) -> None:
        model = make_model(tiny_llama)
        alone = make_batch([[20, 21, 22]], [[50, EOS]])
        padded = {
            "input_ids": functional.pad(alone["input_ids"], (4, 0), value=PAD),
            "attention_mask": functional.pad(alone["attention_mask"], (4, 0), value=0),
            "labels": functional.pad(alone["labels"], (4, 0), value=IGNORE),
        }
        losses = [summed_loss(model, cast(TextBatch, batch)).item() for batch in (alone, padded)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


class TestGradients:
    def test_equal_those_through_the_dequantised_copy(self, tiny_llama: Path) -> None:
        model, batch = make_model(tiny_llama), make_batch()
        randomise_lora(model)
        through_4bit = lora_gradients(model, batch)
        assert len(through_4bit) == 28
        assert all(gradient.abs().max() > 0 for gradient in through_4bit.values())
        self.make_bases_dense(model)
        through_dense = lora_gradients(model, batch)
        for name, gradient in through_4bit.items():
            torch.testing.assert_close(gradient, through_dense[name], rtol=1e-3, atol=1e-5)

    def test_survive_a_validation(self, tiny_llama: Path, repacking_bitsandbytes: list[str]) -> None:
        model, batch = make_model(tiny_llama), make_batch()
        randomise_lora(model)
        before = lora_gradients(model, batch)
        model.eval()
        with torch.no_grad():
            summed_loss(model, batch)
        model.train()
        after = lora_gradients(model, batch)
        assert repacking_bitsandbytes == []  # the guard kept every layer from repacking
        assert before.keys() == after.keys()
        for name, gradient in before.items():
            torch.testing.assert_close(gradient, after[name])

    def test_survive_generation(self, tiny_llama: Path, repacking_bitsandbytes: list[str]) -> None:
        model, batch = make_model(tiny_llama), make_batch()
        randomise_lora(model)
        before = lora_gradients(model, batch)
        model.generate_batch(["Hello", "A longer prompt"])
        assert model._peft_model().training
        after = lora_gradients(model, batch)
        for name, gradient in before.items():
            torch.testing.assert_close(gradient, after[name])

    def test_without_the_guard_a_validation_breaks_them(
        self, tiny_llama: Path, repacking_bitsandbytes: list[str]
    ) -> None:
        """The fixture really breaks training: else the tests above would prove nothing."""
        # PEFT's own layers: ours dequantise the weights themselves, and would show noise instead of no gradient.
        model, batch = make_model(tiny_llama, fast_layers=False), make_batch()
        randomise_lora(model)
        before = lora_gradients(model, batch)
        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = True
        model.eval()
        with torch.no_grad():
            summed_loss(model, batch)
        model.train()
        after = lora_gradients(model, batch)
        assert repacking_bitsandbytes
        assert any(
            name not in after or not torch.allclose(gradient, after[name], rtol=1e-3, atol=1e-5)
            for name, gradient in before.items()
        )

    @staticmethod
    def make_bases_dense(model: QLoRALanguageModel) -> None:
        """Replace the 4-bit layers inside the LoRA layers by dense ones; the LoRA matrices stay."""
        for module in model.modules():
            base = getattr(module, "base_layer", None)
            if isinstance(base, Linear4bit):
                dense = nn.Linear(base.in_features, base.out_features, bias=False)
                dense.weight = nn.Parameter(dequantise_weight(base), requires_grad=False)
                module.base_layer = dense
        assert not any(isinstance(module, Linear4bit) and hasattr(module, "quant_state") for module in model.modules())

    @pytest.fixture
    def repacking_bitsandbytes(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Make bitsandbytes behave as on a CPU with AVX512-BF16, whatever this CPU is.

        There it repacks the weight in place at the first eval-mode forward, and the packed kernel has no gradient.
        """
        import bitsandbytes as bnb
        from bitsandbytes.nn import modules as bnb_modules

        repacked: list[str] = []
        matmul = bnb.matmul_4bit

        def pack(weight: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
            repacked.append("layer")
            state.packing_format_for_cpu = True
            return weight, state

        def multiply(inputs: torch.Tensor, weight: torch.Tensor, **options: Any) -> torch.Tensor:
            if getattr(options["quant_state"], "packing_format_for_cpu", False):
                with torch.no_grad():
                    return cast(torch.Tensor, matmul(inputs, weight, **options))
            return cast(torch.Tensor, matmul(inputs, weight, **options))

        monkeypatch.setattr(bnb_modules, "has_avx512bf16", lambda: True)
        monkeypatch.setattr(bnb_modules, "_convert_weight_packed_for_cpu", pack)
        monkeypatch.setattr(bnb, "matmul_4bit", multiply)
        return repacked


class TestCheckpointing:
    def test_of_activations_is_active(self, tiny_llama: Path) -> None:
        model, batch = make_model(tiny_llama, gradient_checkpointing=True), make_batch()
        assert self.count_recomputed_layers(model, batch) == 2

    def test_of_activations_is_off_by_default(self, tiny_llama: Path) -> None:
        assert self.count_recomputed_layers(make_model(tiny_llama), make_batch()) == 0

    def test_of_activations_leaves_gradients_alone(self, tiny_llama: Path) -> None:
        plain, checkpointed = make_model(tiny_llama), make_model(tiny_llama, gradient_checkpointing=True)
        randomise_lora(plain)
        randomise_lora(checkpointed)
        expected = lora_gradients(plain, make_batch())
        for name, gradient in lora_gradients(checkpointed, make_batch()).items():
            torch.testing.assert_close(gradient, expected[name])

    def test_of_activations_that_is_off_after_all_is_refused(self, tiny_llama: Path) -> None:
        model = make_model(tiny_llama, gradient_checkpointing=True)
        model.on_train_start()
        model._peft_model().eval()  # as from_pretrained returns it
        loss = summed_loss(model, make_batch())
        loss.backward()  # type: ignore[no-untyped-call]
        with pytest.raises(RuntimeError, match="gradient checkpointing was asked for and is not active"):
            model.on_after_backward()

    @pytest.mark.parametrize("settings", [{}, {"checkpoint_every": 2}, {"checkpoint_offload": True}])
    def test_of_activations_that_is_on_passes(self, tiny_llama: Path, settings: dict[str, Any]) -> None:
        model = make_model(tiny_llama, gradient_checkpointing=True, **settings)
        model.on_train_start()
        summed_loss(model, make_batch()).backward()  # type: ignore[no-untyped-call]
        model.on_after_backward()

    @staticmethod
    def count_recomputed_layers(model: QLoRALanguageModel, batch: TextBatch) -> int:
        """Count the decoder layers whose MLP runs again in the backward pass."""
        calls: list[int] = []
        for layer in model._peft_model().get_base_model().model.layers:
            # Before the MLP, not after: the recomputation ends as soon as it has what it needs.
            layer.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
        loss = summed_loss(model, batch)
        forward = len(calls)
        loss.backward()  # type: ignore[no-untyped-call]
        return len(calls) - forward


class TestTraining:
    def test_only_lora_changes(self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path) -> None:
        model = make_model(tiny_llama)
        frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
        lora = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        make_trainer(tmp_path).fit(model, make_data(qa_data_dir, tiny_llama))
        after = dict(model.named_parameters())
        assert frozen
        assert lora
        assert all(torch.equal(value, after[name]) for name, value in frozen.items())
        assert all(not torch.equal(value, after[name]) for name, value in lora.items())

    @pytest.mark.parametrize(("lr", "learns"), [(1e-2, True), (0.0, False)])
    def test_overfits_one_batch(self, tiny_llama: Path, lr: float, learns: bool) -> None:
        model, batch = make_model(tiny_llama, lora=LoraSettings(r=16, alpha=32)), make_batch()
        with torch.no_grad():  # a random head's logits are too small for any confident answer
            model._peft_model().get_output_embeddings().weight.mul_(20)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
        losses = []
        for _ in range(40):
            optimizer.zero_grad()
            loss = summed_loss(model, batch) / 10
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        assert (losses[-1] < 0.5 * losses[0]) == learns

    def test_optimiser_has_lora_alone_and_steps_per_step(
        self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path
    ) -> None:
        rates: list[float] = []

        class Watch(Callback):
            def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
                rates.append(trainer.optimizers[0].param_groups[0]["lr"])

        model = make_model(tiny_llama, warmup_share=0.25)
        trainer = make_trainer(tmp_path, callbacks=[Watch()])
        trainer.fit(model, make_data(qa_data_dir, tiny_llama))
        in_optimizer = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
        assert in_optimizer == {id(p) for p in model.parameters() if p.requires_grad}
        assert len(rates) == 4
        assert rates == pytest.approx([1e-2, 1e-2, 0.75e-2, 0.25e-2])  # warm-up of 1 of 4 steps, then the cosine

    def test_accumulated_batches_weigh_by_tokens(self, tiny_llama: Path, tmp_path: Path) -> None:
        """Two unequal batches accumulated give the gradient of the one large batch."""
        prompts, answers = [[10, 11], [20, 21, 22]], [[40, EOS], [50, 51, 52, 53, 54, EOS]]

        def gradients(batches: list[TextBatch]) -> dict[str, torch.Tensor]:
            kept: dict[str, torch.Tensor] = {}

            class Keep(Callback):
                def on_before_zero_grad(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
                    kept.update({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})

            model = make_model(tiny_llama)
            randomise_lora(model)
            trainer = make_trainer(
                tmp_path, callbacks=[Keep()], accumulate_grad_batches=len(batches), max_steps=1, limit_val_batches=0
            )
            trainer.fit(model, torch.utils.data.DataLoader(cast(Any, batches), batch_size=None))
            # on_before_zero_grad runs before the backward pass: what is left after the step is what we want.
            kept.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
            return kept

        whole = gradients([make_batch(prompts, answers)])
        parts = gradients([make_batch([p], [a]) for p, a in zip(prompts, answers, strict=True)])
        assert len(whole) == 28
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6)


class TestResume:
    @pytest.mark.parametrize("stop_at_step", [4, 2])
    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    def test_is_bit_exact(
        self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path, stop_at_step: int, dropout: float
    ) -> None:
        """Stopped at an epoch's end (step 4) or in its middle (step 2), the resumed run equals the uninterrupted."""

        def train(root: Path, epochs: int, steps: int = -1, resume: Path | None = None) -> QLoRALanguageModel:
            torch.manual_seed(0)
            model = QLoRALanguageModel(base=str(tiny_llama), lora=LoraSettings(r=4, alpha=8, dropout=dropout), lr=1e-2)
            trainer = make_trainer(
                root, max_epochs=epochs, callbacks=[StopAt(steps), AdapterCheckpoint(save_every_n_steps=2)],
                enable_checkpointing=True,
            )  # fmt: skip
            with contextlib.suppress(StopNow):
                trainer.fit(model, make_data(qa_data_dir, tiny_llama), ckpt_path=resume)
            assert trainer.global_step == (steps if steps > 0 else 4 * epochs)
            return model

        whole = train(tmp_path / "whole", epochs=2)
        train(tmp_path / "part", epochs=2, steps=stop_at_step)
        resumed = train(tmp_path / "part", epochs=2, resume=tmp_path / "part/checkpoints/last.ckpt")
        states = whole.state_dict(), resumed.state_dict()
        assert len(states[0]) == 28
        for name, value in states[0].items():
            assert torch.equal(value, states[1][name]), name

    @pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # nothing is validated
    @pytest.mark.parametrize(("accumulate", "every", "saved_at"), [(2, 1, [1, 2, 3, 4]), (4, 2, [2, 4])])
    def test_amid_accumulation_is_bit_exact(
        self,
        tiny_llama: Path,
        qa_data_dir: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        accumulate: int,
        every: int,
        saved_at: list[int],
    ) -> None:
        """Stopped with gradients accumulated, a run goes on from the last step: one save a step, right after it."""
        saves: list[tuple[int, int]] = []
        save = AdapterCheckpoint._save_last_checkpoint

        def count(self: AdapterCheckpoint, trainer: Trainer, candidates: dict[str, torch.Tensor]) -> None:
            saves.append((trainer.global_step, trainer.fit_loop.total_batch_idx + 1))
            save(self, trainer, candidates)

        monkeypatch.setattr(AdapterCheckpoint, "_save_last_checkpoint", count)

        def train(root: Path, stop_at: int = -1, resume: Path | None = None) -> QLoRALanguageModel:
            torch.manual_seed(0)
            model = QLoRALanguageModel(
                base=str(tiny_llama), lora=LoraSettings(r=4, alpha=8, dropout=0.1), lr=1e-2
            )  # fmt: skip
            trainer = make_trainer(
                root, callbacks=[StopAtBatch(stop_at), AdapterCheckpoint(save_every_n_steps=every)],
                enable_checkpointing=True, accumulate_grad_batches=accumulate, limit_val_batches=0,
            )  # fmt: skip
            saves.clear()
            with contextlib.suppress(StopNow):
                trainer.fit(
                    model, make_data(qa_data_dir, tiny_llama, batch_size=1, limit_train=4 * accumulate),
                    ckpt_path=resume, weights_only=True,
                )  # fmt: skip
            return model

        whole = train(tmp_path / "whole")
        assert saves == [(step, step * accumulate) for step in saved_at]
        stop_at = 2 * accumulate + 1
        train(tmp_path / "part", stop_at)
        assert saves == [(step, step * accumulate) for step in saved_at if step <= 2]
        last = tmp_path / "part/checkpoints/last.ckpt"
        resumed = train(tmp_path / "part", resume=last)
        assert saves == [(step, step * accumulate) for step in saved_at if step > 2]
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name

    def test_dropout_is_drawn_by_batch_and_rank(self, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the random state was before, on whatever device: a checkpoint need not hold it."""
        monkeypatch.setenv("PL_GLOBAL_SEED", "3")
        model = QLoRALanguageModel(base=str(tiny_llama))

        def draw(batch: int, rank: int, before: int) -> float:
            loop = SimpleNamespace(total_batch_idx=batch)
            trainer = SimpleNamespace(fit_loop=loop, world_size=2, global_rank=rank)
            monkeypatch.setattr(QLoRALanguageModel, "trainer", trainer)
            torch.manual_seed(before)
            model.on_train_batch_start(make_batch(), 0)
            return torch.rand(()).item()

        assert draw(5, 1, before=0) == draw(5, 1, before=1)
        assert len({draw(batch, rank, before=0) for batch in range(3) for rank in range(2)}) == 6

    def test_checkpoint_has_adapters_alone_and_loads_safely(
        self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path
    ) -> None:
        trainer = make_trainer(tmp_path, callbacks=[AdapterCheckpoint()], enable_checkpointing=True)
        model = make_model(tiny_llama)
        trainer.fit(model, make_data(qa_data_dir, tiny_llama))
        path = tmp_path / "checkpoints/best.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        assert len(checkpoint["state_dict"]) == 28
        assert all(".lora_" in name for name in checkpoint["state_dict"])
        assert "rng_state" not in checkpoint
        loaded = QLoRALanguageModel.load_from_checkpoint(path, weights_only=True)
        assert loaded.lora == model.lora
        for name, value in model.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[name])
        texts = ["Hello", "Another prompt"]
        assert loaded.generate_batch(texts) == model.generate_batch(texts)

    def test_of_another_shape_is_refused(self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path) -> None:
        trainer = make_trainer(tmp_path, callbacks=[AdapterCheckpoint()], enable_checkpointing=True)
        trainer.fit(make_model(tiny_llama), make_data(qa_data_dir, tiny_llama))
        other = make_model(tiny_llama, lora=LoraSettings(r=2))
        with pytest.raises(UserError, match=r"28 of 28 LoRA matrices differ.*'r': 4"):
            make_trainer(tmp_path).validate(
                other, make_data(qa_data_dir, tiny_llama), ckpt_path=tmp_path / "checkpoints/best.ckpt"
            )


class StopNow(Exception):
    """Stands for Ctrl-C."""


class StopAt(Callback):
    """Stop when the batch after so many optimiser steps begins."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise StopNow


class StopAtBatch(Callback):
    """Stop when the batch of that number begins."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            raise StopNow


def test_dense_swap_gives_the_same_logits_and_comes_off(tiny_llama: Path) -> None:
    model, batch = make_model(tiny_llama), make_batch()
    randomise_lora(model)
    with torch.no_grad():
        expected = all_logits(model, batch)
        names = [name for name, _ in model.named_parameters()]
        swaps = make_dense(model, torch.float32)
        assert len(swaps) == 14
        assert not any(isinstance(module, Linear4bit) for module in model.modules())
        torch.testing.assert_close(all_logits(model, batch), expected, rtol=1e-3, atol=1e-4)
        undo_dense(model, swaps)
    assert [name for name, _ in model.named_parameters()] == names


def test_strategies_that_shard_are_refused_before_weights_are_loaded(tiny_llama: Path) -> None:
    """FSDP shards floating-point parameters alone; NF4 stored as such breaks at the next cast (quant_storage)."""
    for strategy in (FSDPStrategy(), ModelParallelStrategy()):
        model = QLoRALanguageModel(base=str(tiny_llama))
        strategy._accelerator = CPUAccelerator()
        model._trainer = cast(Trainer, SimpleNamespace(strategy=strategy, training=False, precision="32-true"))
        with pytest.raises(UserError, match=f"{type(strategy).__name__} shards weights.*give ddp"):
            model._check_strategy()
        assert model.model is None
