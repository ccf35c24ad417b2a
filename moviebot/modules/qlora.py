"""Fine-tuning a causal language model by 4-bit QLoRA (https://arxiv.org/abs/2305.14314).

The base's weights stay frozen in NF4; small low-rank matrices beside the linear layers are what is trained. Shapes:
B batch, T tokens, D features, V vocabulary, N tokens that have a label.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal, NotRequired, TypedDict, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from moviebot.data.tokenise import IGNORE, load_tokenizer, pack_samples
from moviebot.errors import UserError
from moviebot.modules.answer_loss import answer_loss
from moviebot.modules.dense import gather_head_input, generate_ended
from moviebot.modules.elementwise import PLAIN, compile_elementwise
from moviebot.modules.fast_llama import can_speed_up, speed_up
from moviebot.modules.guards import (
    PROBE_TOKENS,
    CheckpointingCheck,
    check_gradients,
    check_not_repacked,
    check_packing,
)
from moviebot.modules.host_memory import trim_host_memory
from moviebot.modules.lora import LoraSettings, add_lora
from moviebot.modules.machine import read_host_memory
from moviebot.modules.memory_model import TrainingPlan, check_base_fits
from moviebot.modules.neftune import NoisyEmbeddings
from moviebot.modules.optimiser import Optimiser, build_optimiser
from moviebot.modules.precision import ComputeDtype, choose_dtype
from moviebot.modules.quantisation import load_base, make_dense, undo_dense
from moviebot.modules.schedule import Schedule, warm_up_and_decay
from moviebot.modules.shapes import find_shape
from moviebot.pretrained import SMOLLM2, resolve_model

logger = logging.getLogger(__name__)

Stage = Literal["train", "val", "test"]

# The summed loss of a batch is divided by this constant before the backward pass, and the gradients are put right
# before the optimiser's step: about the answer tokens of a batch, it only keeps float16 gradients in range.
_LOSS_DIVISOR = 256.0
_TRIM_EVERY = 16  # batches
# Settings of models (Gemma, Cohere, Granite) whose logits are not the output matrix's product alone.
_LOGIT_SETTINGS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class TextBatch(TypedDict):
    """A batch of samples: padded on the left, (B, T), or packed one behind the other, (1, T); int64.

    Labels are ``IGNORE`` outside the answers. ``attention_mask`` is there where samples are padded; ``position_ids``,
    which begin again at each sample, and the samples' lengths ``segments`` where they are packed.
    """

    input_ids: Tensor
    labels: Tensor
    attention_mask: NotRequired[Tensor]
    position_ids: NotRequired[Tensor]
    segments: NotRequired[tuple[int, ...]]


class QLoRALanguageModel(LightningModule):
    """A causal language model whose answers are trained through LoRA on a frozen 4-bit base.

    Construction is cheap: weights are loaded in :meth:`configure_model`. Checkpoints hold the LoRA matrices only, and
    resume exactly.

    Args:
        base: the base model: a folder, or a name on the hub.
        lora: rank, scale, dropout, targets and start of the update.
        lr: the highest learning rate.
        warmup_share: the part of all steps over which the rate rises; it then falls along a cosine to 0.
        schedule: how it falls.
        weight_decay: of AdamW, on the LoRA matrices.
        optimiser: torch's AdamW, or one of bitsandbytes' with 8-bit or paged moments.
        lora_plus_ratio: how many times faster B learns than A (LoRA+); 1 for equal rates.
        neftune_alpha: noise on the embeddings while training (NEFTune, https://arxiv.org/abs/2310.05914: 5); 0: none.
        quantise: hold the base in NF4 with double quantisation; False is plain LoRA, faster where memory allows.
        compute_dtype: what the base computes in. ``auto``: bfloat16 where the hardware has it, else float16 on CUDA
            and float32 on a CPU.
        gradient_checkpointing: recompute activations in the backward pass: less memory, about a third more time.
        checkpoint_every: of the layers, recompute every so many alone.
        checkpoint_offload: keep what recomputing starts from in the CPU's memory.
        fast_layers: compute a Llama's layers by :mod:`moviebot.modules.fast_llama`; others stay transformers'.
        cache_dequantised: also keep the 4-bit weights dequantised, which saves the time to do that twice a step;
            2 bytes a weight more memory.
        compile_layers: compile what a Llama's layers compute between matrix products (torch.compile); wants a C++
            compiler on a CPU, Triton on a GPU.
        max_new_tokens: where a generated answer is cut.
        generate_batch_size: how many answers are generated together.
    """

    def __init__(
        self,
        base: str = SMOLLM2,
        lora: LoraSettings = LoraSettings(),  # noqa: B008 (jsonargparse reads the default; it is never changed)
        lr: float = 3e-4,
        warmup_share: float = 0.05,
        schedule: Schedule = "cosine",
        weight_decay: float = 0.0,
        optimiser: Optimiser = "adamw",
        lora_plus_ratio: float = 1.0,
        neftune_alpha: float = 0.0,
        quantise: bool = True,
        compute_dtype: ComputeDtype = "auto",
        gradient_checkpointing: bool = False,
        checkpoint_every: int = 1,
        checkpoint_offload: bool = False,
        fast_layers: bool = True,
        cache_dequantised: bool = False,
        compile_layers: bool = False,
        max_new_tokens: int = 96,
        generate_batch_size: int = 16,
    ) -> None:
        super().__init__()
        self.base = base
        # A checkpoint's hyperparameters give the settings back as a plain mapping.
        self.lora = LoraSettings(**lora) if isinstance(lora, Mapping) else lora
        self.lr = lr
        self.warmup_share = warmup_share
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.optimiser = optimiser
        self.lora_plus_ratio = lora_plus_ratio
        self.neftune_alpha = neftune_alpha
        self.quantise = quantise
        self.compute_dtype = compute_dtype
        self.gradient_checkpointing = gradient_checkpointing
        self.checkpoint_every = checkpoint_every
        self.checkpoint_offload = checkpoint_offload
        self.fast_layers = fast_layers
        self.cache_dequantised = cache_dequantised
        self.compile_layers = compile_layers
        self.max_new_tokens = max_new_tokens
        self.generate_batch_size = generate_batch_size
        self._check_settings()
        # Plain values alone: a checkpoint with any other object does not load (torch.load's weights_only).
        plain = {
            "base": base, "lora": asdict(self.lora), "lr": lr, "warmup_share": warmup_share, "schedule": schedule,
            "weight_decay": weight_decay, "optimiser": optimiser, "lora_plus_ratio": lora_plus_ratio,
            "neftune_alpha": neftune_alpha, "quantise": quantise, "compute_dtype": compute_dtype,
            "gradient_checkpointing": gradient_checkpointing, "checkpoint_every": checkpoint_every,
            "checkpoint_offload": checkpoint_offload, "fast_layers": fast_layers,
            "cache_dequantised": cache_dequantised, "compile_layers": compile_layers, "max_new_tokens": max_new_tokens,
            "generate_batch_size": generate_batch_size,
        }  # fmt: skip
        self.save_hyperparameters(plain, logger=False)
        self.strict_loading = False  # a checkpoint holds the trainable parameters alone; on_load_checkpoint checks them
        self.model: PeftModel | None = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self._window_tokens = 0  # supervised tokens since the last optimiser step
        self._val_sums = torch.zeros(2, dtype=torch.float64)  # loss and tokens of a validation so far
        self._fast = False  # the layers are fast_llama's
        self._noise: NoisyEmbeddings | None = None
        self._gradients_checked = False
        self._packing_checked = False
        self._checkpointing_check: CheckpointingCheck | None = None

    def configure_model(self) -> None:
        """Load the quantised base and add the LoRA matrices; does nothing where that is done.

        Raises:
            UserError: the base can't be had, or the trainer's precision does not fit the compute dtype.
        """
        if self.model is not None:
            return
        device = self._trainer.strategy.root_device if self._trainer is not None else torch.device("cpu")
        dtype = choose_dtype(self.compute_dtype, device)
        self._check_precision(dtype)
        self._check_strategy()
        self._check_fits(device, dtype)
        folder = resolve_model(self.base)
        base = load_base(folder, dtype, device, self.quantise)
        gather_head_input(base)
        self.model = add_lora(base, self.lora, folder)
        self.model.peft_config["default"].base_model_name_or_path = self.base  # not the local folder it came from
        if self.gradient_checkpointing:
            base.activation_checkpointing_enable(
                activation_checkpointing_kwargs={"use_reentrant": False}, every_n_layers=self.checkpoint_every,
                offload=self.checkpoint_offload and device.type != "cpu",
            )  # fmt: skip
        scaled = [name for name in _LOGIT_SETTINGS if getattr(base.config, name, None) not in (None, 1, 1.0)]
        if scaled:
            raise UserError(
                f"{self.base} changes its logits ({', '.join(scaled)}), which the loss here does not: "
                "choose another base"
            )
        self._fast = self.fast_layers and can_speed_up(base)
        if self._fast:
            steps = compile_elementwise(device.type) if self.compile_layers else PLAIN
            speed_up(base, self.cache_dequantised and self.quantise, steps)
        elif self.fast_layers:
            logger.warning("fast_layers has no effect: %s is no Llama; transformers' own layers are used", self.base)
        if self.neftune_alpha > 0:
            self._noise = NoisyEmbeddings(base.get_input_embeddings(), self.neftune_alpha)
        # from_pretrained leaves the model in eval mode, in which checkpointing and dropout are silently off.
        self.model.train()
        self.tokenizer = load_tokenizer(self.base)

    def forward(self, batch: TextBatch) -> Tensor:
        """Return the last hidden states, before the output matrix. (B, T, D)."""
        if self._noise is not None:
            self._noise.segments = batch.get("segments")
        decoder = self._peft_model().get_base_model().get_decoder()
        inputs: dict[str, Any] = {"input_ids": batch["input_ids"], "use_cache": False}
        if "position_ids" not in batch:
            mask = batch["attention_mask"]
            inputs["attention_mask"] = mask
            inputs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)  # (B, T); left padding does not count
        else:
            # transformers keeps packed samples apart by the positions alone, if there is no attention mask.
            inputs["position_ids"] = batch["position_ids"]
            if self._fast:
                inputs["segments"] = batch["segments"]
                # A mask in its final shape is passed on as it is: none of T x T is made, and the layers need none.
                inputs["attention_mask"] = batch["input_ids"].new_ones((1, 1, 1, 1), dtype=torch.bool)
        hidden: Tensor = decoder(**inputs).last_hidden_state
        return hidden

    def _answer_loss(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return the summed cross-entropy of the answers' tokens, how many were guessed, and how many there are."""
        # The token of a position is predicted from the position before it. Of a packed sample's first token, which has
        # no label, nothing is asked.
        wanted = labels[:, 1:] != IGNORE  # (B, T - 1)
        targets = labels[:, 1:][wanted]  # (N,)
        if not len(targets):
            raise UserError("a batch has no token to learn from: look at the samples with `moviebot preview`")
        head = self._peft_model().get_base_model().get_output_embeddings()
        loss_sum, right = answer_loss(hidden[:, :-1][wanted], head.weight, targets)
        return loss_sum, right, len(targets)

    def _step(self, batch: TextBatch, stage: Stage) -> tuple[Tensor, int]:
        """Return the summed cross-entropy of the answers' tokens, and how many they are."""
        loss_sum, right, tokens = self._answer_loss(self(batch), batch["labels"])
        values = {f"{stage}/loss": loss_sum.detach() / tokens, f"{stage}/token_accuracy": right / tokens}
        # Weighted by tokens: the mean over an epoch is then the mean over its tokens, whatever the batches.
        on_epoch = stage != "train"
        self.log_dict(values, batch_size=tokens, on_step=not on_epoch, on_epoch=on_epoch, sync_dist=on_epoch)
        if stage == "train":
            self.log("loss", values["train/loss"], prog_bar=True, logger=False)
        return loss_sum, tokens

    def on_train_batch_start(self, batch: TextBatch, batch_idx: int) -> None:
        """Seed dropout by the batch and the rank: a resumed run draws what the uninterrupted one would have drawn."""
        if not self._packing_checked and len(batch.get("segments", ())) > 1:
            self._packing_checked = True
            self._check_packing(batch)
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        number = self.trainer.fit_loop.total_batch_idx * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(seed * 1_000_003 + number)

    def training_step(self, batch: TextBatch, batch_idx: int) -> Tensor:
        """Return the batch's summed loss over a constant; :meth:`on_before_optimizer_step` makes it a mean."""
        loss_sum, tokens = self._step(batch, "train")
        self._window_tokens += tokens
        return loss_sum / _LOSS_DIVISOR

    def on_train_batch_end(self, outputs: object, batch: TextBatch, batch_idx: int) -> None:
        """Give freed memory of the host back now and then; the next step takes a little longer for it."""
        if self.device.type == "cpu" and batch_idx % _TRIM_EVERY == _TRIM_EVERY - 1:
            trim_host_memory()

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:
        """Log ``val/loss`` and ``val/token_accuracy``."""
        loss_sum, tokens = self._step(batch, "val")
        self._val_sums += torch.tensor([float(loss_sum), float(tokens)], dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/perplexity``, over all tokens of all processes."""
        total = self.trainer.strategy.reduce(self._val_sums.to(self.device, torch.float32), reduce_op="sum")
        self._val_sums = torch.zeros(2, dtype=torch.float64)
        assert isinstance(total, Tensor)
        self.log("val/perplexity", (total[0] / total[1]).exp(), rank_zero_only=False)

    def test_step(self, batch: TextBatch, batch_idx: int) -> None:
        """Log ``test/loss`` and ``test/token_accuracy``."""
        self._step(batch, "test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[dict[str, Any]]:
        """Return the batch's rows (``batch["rows"]``, each with a ``prompt``), each with a generated ``prediction``."""
        rows: list[dict[str, Any]] = batch["rows"]
        answers = self.generate_batch([row["prompt"] for row in rows])
        return [{**row, "prediction": answer} for row, answer in zip(rows, answers, strict=True)]

    def generate_batch(self, prompts: Sequence[str], max_new_tokens: int | None = None) -> list[str]:
        """Answer prompts greedily with the present weights.

        Args:
            prompts: as :mod:`moviebot.data.prompts` renders them.
            max_new_tokens: where an answer is cut; None takes the module's own.

        Returns:
            The answers, in order.
        """
        return [text for text, _ in self.generate_ended_batch(prompts, max_new_tokens)]

    def generate_ended_batch(self, prompts: Sequence[str], max_new_tokens: int | None = None) -> list[tuple[str, bool]]:
        """Answer prompts as :meth:`generate_batch` does, and say of each answer whether an end token closed it."""
        model, tokenizer = self._peft_model(), self.tokenizer
        assert tokenizer is not None
        was_training = model.training
        model.eval()
        try:
            with self.dense_weights():
                return generate_ended(
                    model.get_base_model(), tokenizer, prompts,
                    self.max_new_tokens if max_new_tokens is None else max_new_tokens, self.generate_batch_size,
                )  # fmt: skip
        finally:
            model.train(was_training)

    @contextmanager
    def dense_weights(self) -> Iterator[None]:
        """Swap in dense weights while on a CPU, where 4-bit decoding is about 14 times slower; nested use is free."""
        model = self._peft_model()
        if self.device.type != "cpu":
            yield
            return
        swaps = make_dense(model, choose_dtype(self.compute_dtype, self.device))
        try:
            yield
        finally:
            undo_dense(model, swaps)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over the LoRA matrices alone; the learning rate moves at every optimiser step."""
        # Under mixed precision Lightning refuses to clip gradients before a fused step.
        optimizer = build_optimiser(
            self.optimiser, self.named_parameters(), self.lr, self.weight_decay, self.lora_plus_ratio,
            fused="mixed" not in str(self.trainer.precision),
        )  # fmt: skip
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, warm_up_and_decay(steps, self.warmup_share, self.schedule)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradient that of the mean loss over all tokens of the accumulated batches, on all ranks.

        Lightning averages the batches' means instead, so that an answer's token weighs more in a batch of few. By now
        gradients are the sum over batches, over (accumulated batches x ``_LOSS_DIVISOR``), averaged over ranks.
        """
        tokens = torch.tensor(float(self._window_tokens), device=self.device)
        total = self.trainer.strategy.reduce(tokens, reduce_op="sum")
        factor = _LOSS_DIVISOR * self.trainer.accumulate_grad_batches * self.trainer.world_size / float(total)
        torch._foreach_mul_([p.grad for p in self.parameters() if p.grad is not None], factor)
        self._window_tokens = 0
        if not self._gradients_checked:
            self._gradients_checked = True
            check_gradients(self.named_parameters(), scaled=str(self.trainer.precision) == "16-mixed")

    def state_dict(  # type: ignore[override]  # torch's overloads
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return the trainable parameters alone: a 4-bit layer's full state does not load again."""
        return {f"{prefix}{name}": value.detach() for name, value in self._trainable().items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint holds just the LoRA matrices this module has.

        Loading is not strict (the base is not in the file), so that a wrong file would load without a word.

        Raises:
            UserError: names or shapes differ.
        """
        shapes = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
        own = {name: tuple(value.shape) for name, value in self._trainable().items()}
        if shapes != own:
            differing = sorted(name for name in shapes.keys() | own.keys() if shapes.get(name) != own.get(name))
            raise UserError(
                f"the checkpoint does not fit the model: {len(differing)} of {len(own)} LoRA matrices differ, for "
                f"example {differing[0]}; use the base and the lora settings it was trained with "
                f"({checkpoint.get('hyper_parameters', {}).get('lora')})"
            )

    def on_train_start(self) -> None:
        """Prepare the checks of the first batch."""
        model = self._peft_model()
        model.train()
        check_not_repacked(model)
        if self.gradient_checkpointing:
            layers = model.get_base_model().get_decoder().layers
            # Which of the layers are recomputed is transformers' choice: each counts.
            on = [layer for layer in layers if getattr(layer, "gradient_checkpointing", False)]
            self._checkpointing_check = CheckpointingCheck(on[0].mlp if on else layers[0].mlp)

    def on_after_backward(self) -> None:
        """See after the first batch that activations were computed again, where that was asked for."""
        if self._checkpointing_check is not None:
            self._checkpointing_check.finish()
            self._checkpointing_check = None

    def on_validation_end(self) -> None:
        """See that measuring has left the weights as training needs them."""
        check_not_repacked(self._peft_model())

    @torch.no_grad()
    def _check_packing(self, batch: TextBatch) -> None:
        """Compare two of a batch's samples, packed, with each by itself."""
        starts = [0, *torch.tensor(batch["segments"]).cumsum(0).tolist()]
        samples = []
        for start, length in list(zip(starts, batch["segments"], strict=False))[:2]:
            end = start + length
            start = max(start, end - PROBE_TOKENS)  # the end has the answer
            samples.append((batch["input_ids"][0, start:end], batch["labels"][0, start:end].clone()))
            samples[-1][1][0] = IGNORE
        model = self._peft_model()
        model.eval()
        try:
            hidden, losses = [], []
            for chosen in (samples, samples[:1], samples[1:]):
                packed = cast(TextBatch, pack_samples(chosen))
                hidden.append(self(packed)[0])  # (T, D)
                losses.append(self._answer_loss(hidden[-1][None], packed["labels"])[0])
        finally:
            model.train()
        check_packing((hidden[0][len(samples[0][0]) :], losses[0]), (hidden[2], losses[1] + losses[2]))

    def _trainable(self) -> dict[str, Tensor]:
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def _peft_model(self) -> PeftModel:
        if self.model is None:
            raise RuntimeError("the weights are not loaded: call configure_model() first")
        return self.model

    def _check_fits(self, device: torch.device, dtype: torch.dtype) -> None:
        """Refuse a base that can't fit this device, before 13 GB of it are downloaded."""
        shape = find_shape(self.base)
        if shape is None:
            return
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else read_host_memory()[0]
        plan = TrainingPlan(
            tokens=1, bytes_a_number=dtype.itemsize, quantise=self.quantise, lora=self.lora, optimiser=self.optimiser,
            cache_dequantised=self.cache_dequantised,
        )  # fmt: skip
        check_base_fits(self.base, shape, plan, free)

    def _check_settings(self) -> None:
        """Raise where a setting can't be."""
        faults = self.lora.find_faults()
        for name, value, lowest in (
            ("lr", self.lr, 0.0), ("lora_plus_ratio", self.lora_plus_ratio, 0.0),
            ("checkpoint_every", self.checkpoint_every, 0), ("generate_batch_size", self.generate_batch_size, 0),
        ):  # fmt: skip
            if value <= lowest:
                faults.append(f"{name}: {value} is not allowed; give more than {lowest:g}")
        if not 0 <= self.warmup_share <= 1:
            faults.append(f"warmup_share: {self.warmup_share} is not allowed; give 0 to 1")
        if faults:
            raise UserError("; ".join(f"model.init_args.{fault}" for fault in faults))

    def _check_strategy(self) -> None:
        """Refuse strategies that shard parameters, which 4-bit weights held as bytes don't survive."""
        if self._trainer is not None and isinstance(self._trainer.strategy, FSDPStrategy | ModelParallelStrategy):
            raise UserError(
                f"--trainer.strategy {type(self._trainer.strategy).__name__} shards weights, and shards no 4-bit ones: "
                "give ddp (each GPU holds the quantised model), or a smaller base; README: More than one GPU"
            )

    def _check_precision(self, dtype: torch.dtype) -> None:
        """Refuse a pair of precisions that would train badly without a word."""
        if self._trainer is None or not self._trainer.training:
            return
        precision = str(self._trainer.precision)
        if dtype == torch.float16 and precision != "16-mixed":
            raise UserError(
                f"--trainer.precision {precision} with float16 weights loses small gradients: give "
                "--trainer.precision 16-mixed, or --model.init_args.compute_dtype float32"
            )
