"""Fine-tuning a causal language model by 4-bit QLoRA (https://arxiv.org/abs/2305.14314).

The base's weights stay frozen in NF4; small low-rank matrices beside the linear layers are what is trained. Shapes:
B batch, T tokens, V vocabulary, K columns that hold labels in some row.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from moviebot.data.tokenise import IGNORE, load_tokenizer
from moviebot.errors import UserError
from moviebot.modules.dense import generate_texts
from moviebot.modules.precision import ComputeDtype, choose_dtype
from moviebot.modules.quantisation import load_base, make_dense, quiet_peft, undo_dense
from moviebot.modules.schedule import cosine_with_warmup
from moviebot.pretrained import SMOLLM2, resolve_model

Stage = Literal["train", "val", "test"]
Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Targets = Literal["all", "attention", "mlp", "qv"]
TARGETS: dict[Targets, tuple[Projection, ...]] = {
    "all": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
    "qv": ("q_proj", "v_proj"),
}

# The summed loss of a batch is divided by this constant before the backward pass, and the gradients are put right
# before the optimiser's step: about the answer tokens of a batch, it only keeps float16 gradients in range.
_LOSS_DIVISOR = 256.0


@dataclass
class LoraSettings:
    """The low-rank update that is trained.

    Attributes:
        r: the rank.
        alpha: the update is scaled by ``alpha / r``.
        dropout: on the update's input; 0 is faster and takes much less memory (each projection keeps a copy of its
            input otherwise).
        targets: which projections are adapted: all seven, those of attention, those of the MLP, or q and v.
    """

    r: int = 32
    alpha: int = 16
    dropout: float = 0.0
    targets: Targets = "all"


class TextBatch(TypedDict):
    """A batch of samples, left-padded; each (B, T), int64. Labels are ``IGNORE`` outside the answers."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


class QLoRALanguageModel(LightningModule):
    """A causal language model whose answers are trained through LoRA on a frozen 4-bit base.

    Construction is cheap: weights are loaded in :meth:`configure_model`. Checkpoints hold the LoRA matrices only, and
    resume exactly.

    Args:
        base: the base model: a folder, or a name on the hub.
        lora: rank, scale, dropout and targets of the update.
        lr: the highest learning rate.
        warmup_share: the part of all steps over which the rate rises; it then falls along a cosine to 0.
        weight_decay: of AdamW, on the LoRA matrices.
        quantise: hold the base in NF4 with double quantisation; False is plain LoRA, faster where memory allows.
        compute_dtype: what the base computes in. ``auto``: bfloat16 where the hardware has it, else float16 on CUDA
            and float32 on a CPU.
        gradient_checkpointing: recompute activations in the backward pass: less memory, about a third more time.
        max_new_tokens: where a generated answer is cut.
        generate_batch_size: how many answers are generated together.
    """

    def __init__(
        self,
        base: str = SMOLLM2,
        lora: LoraSettings = LoraSettings(),  # noqa: B008 (jsonargparse reads the default; it is never changed)
        lr: float = 3e-4,
        warmup_share: float = 0.05,
        weight_decay: float = 0.0,
        quantise: bool = True,
        compute_dtype: ComputeDtype = "auto",
        gradient_checkpointing: bool = False,
        max_new_tokens: int = 96,
        generate_batch_size: int = 16,
    ) -> None:
        super().__init__()
        self.base = base
        # A checkpoint's hyperparameters give the settings back as a plain mapping.
        self.lora = LoraSettings(**lora) if isinstance(lora, Mapping) else lora
        self.lr = lr
        self.warmup_share = warmup_share
        self.weight_decay = weight_decay
        self.quantise = quantise
        self.compute_dtype = compute_dtype
        self.gradient_checkpointing = gradient_checkpointing
        self.max_new_tokens = max_new_tokens
        self.generate_batch_size = generate_batch_size
        # Plain values alone: a checkpoint with any other object does not load (torch.load's weights_only).
        plain = {
            "base": base, "lora": asdict(self.lora), "lr": lr, "warmup_share": warmup_share,
            "weight_decay": weight_decay, "quantise": quantise, "compute_dtype": compute_dtype,
            "gradient_checkpointing": gradient_checkpointing, "max_new_tokens": max_new_tokens,
            "generate_batch_size": generate_batch_size,
        }  # fmt: skip
        self.save_hyperparameters(plain, logger=False)
        self.strict_loading = False  # a checkpoint holds the trainable parameters alone; on_load_checkpoint checks them
        self.model: PeftModel | None = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self._window_tokens = 0  # supervised tokens since the last optimiser step

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
        base = load_base(resolve_model(self.base), dtype, device, self.quantise)
        config = LoraConfig(
            r=self.lora.r, lora_alpha=self.lora.alpha, lora_dropout=self.lora.dropout, bias="none",
            target_modules=list(TARGETS[self.lora.targets]), task_type="CAUSAL_LM",
        )  # fmt: skip
        with quiet_peft():
            self.model = get_peft_model(base, config)  # the LoRA matrices are float32, whatever the base's dtype
        self.model.peft_config["default"].base_model_name_or_path = self.base  # not the local folder it came from
        if self.gradient_checkpointing:
            base.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        # from_pretrained leaves the model in eval mode, in which checkpointing and dropout are silently off.
        self.model.train()
        self.tokenizer = load_tokenizer(self.base)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return the logits of the given ``columns`` (K,), int64; None: of all T. (B, K, V)."""
        positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)  # (B, T); left padding does not count
        output = self._peft_model()(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=positions,
            use_cache=False, logits_to_keep=0 if columns is None else columns,
        )  # fmt: skip
        logits: Tensor = output.logits
        return logits

    def _step(self, batch: TextBatch, stage: Stage) -> tuple[Tensor, int]:
        """Return the summed cross-entropy of the answers' tokens, and how many they are."""
        # Logits only where some answer is: on a large vocabulary they'd be most of the memory. The token of a column
        # is predicted from the column before it.
        columns = (batch["labels"][:, 1:] != IGNORE).any(dim=0).nonzero().squeeze(1)  # (K,)
        logits = self(batch["input_ids"], batch["attention_mask"], columns)  # (B, K, V)
        labels = batch["labels"][:, columns + 1]  # (B, K)
        wanted = labels != IGNORE
        logits, labels = logits[wanted], labels[wanted]  # (N, V), (N,)
        loss_sum = functional.cross_entropy(logits.float(), labels, reduction="sum")
        tokens = labels.numel()
        values = {
            f"{stage}/loss": loss_sum.detach() / tokens,
            f"{stage}/token_accuracy": (logits.argmax(dim=-1) == labels).float().mean(),
        }
        # Weighted by tokens: the mean over an epoch is then the mean over its tokens, whatever the batches.
        on_epoch = stage != "train"
        self.log_dict(values, batch_size=tokens, on_step=not on_epoch, on_epoch=on_epoch, sync_dist=on_epoch)
        if stage == "train":
            self.log("loss", values["train/loss"], prog_bar=True, logger=False)
        return loss_sum, tokens

    def on_train_batch_start(self, batch: TextBatch, batch_idx: int) -> None:
        """Seed dropout by the batch and the rank: a resumed run draws what the uninterrupted one would have drawn."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        number = self.trainer.fit_loop.total_batch_idx * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(seed * 1_000_003 + number)

    def training_step(self, batch: TextBatch, batch_idx: int) -> Tensor:
        """Return the batch's summed loss over a constant; :meth:`on_before_optimizer_step` makes it a mean."""
        loss_sum, tokens = self._step(batch, "train")
        self._window_tokens += tokens
        return loss_sum / _LOSS_DIVISOR

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:
        """Log ``val/loss`` and ``val/token_accuracy``."""
        self._step(batch, "val")

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
        model, tokenizer = self._peft_model(), self.tokenizer
        assert tokenizer is not None
        was_training = model.training
        model.eval()
        try:
            with self.dense_weights():
                return generate_texts(
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
        swaps = make_dense(model, choose_dtype("auto", self.device))
        try:
            yield
        finally:
            undo_dense(model, swaps)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over the LoRA matrices alone; the learning rate moves at every optimiser step."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=self.lr, weight_decay=self.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine_with_warmup(steps, self.warmup_share))
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
        """See that checkpointing of activations is really on where it was asked for."""
        model = self._peft_model()
        model.train()
        if self.gradient_checkpointing and not model.get_base_model().is_activation_checkpointing:
            raise RuntimeError("gradient checkpointing was asked for and is not on")

    def _trainable(self) -> dict[str, Tensor]:
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def _peft_model(self) -> PeftModel:
        if self.model is None:
            raise RuntimeError("the weights are not loaded: call configure_model() first")
        return self.model

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
