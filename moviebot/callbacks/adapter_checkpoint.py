"""Checkpoints of the adapter: to resume training from, and as a PEFT folder to use."""

from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import STEP_OUTPUT
from peft import PeftModel

from moviebot.artefact import write_whole
from moviebot.modules.lora import save_adapter


class AdapterCheckpoint(ModelCheckpoint):
    """Keeps the best and the last state, each as a checkpoint (to resume) and as a PEFT folder (to use).

    Under ``dirpath``: ``checkpoints/best.ckpt`` and ``checkpoints/last.ckpt``, with ``adapter/`` and ``adapter_last/``
    beside them. Each is written under a temporary name and renamed, so that it is whole or absent.

    Args:
        dirpath: the folder; None takes the trainer's ``default_root_dir``.
        monitor: the metric that says which state is the best.
        mode: whether the metric is better lower or higher.
        save_every_n_steps: also write the last state every so many optimiser steps, so that an interrupted run loses
            no more; 0 writes it after validations alone.
    """

    def __init__(
        self,
        dirpath: Path | None = None,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        save_every_n_steps: int = 0,
    ) -> None:
        # The names are fixed: a metric with a slash in a file name would make folders, and a counter ("best-v1") would
        # leave an old best under the plain name.
        super().__init__(
            dirpath=None, filename="best", monitor=monitor, mode=mode, save_top_k=1, save_last=True,
            auto_insert_metric_name=False, enable_version_counter=False,
        )  # fmt: skip
        self.root = dirpath
        self.save_every_n_steps = save_every_n_steps
        self._last_due_step = 0  # the optimiser step whose save was last decided on

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder."""
        root = Path(self.root or trainer.default_root_dir)
        self.dirpath = str(root / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the step that was resumed at: its state is on disk, and the next batches may not step yet."""
        super().on_train_start(trainer, pl_module)
        self._last_due_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Write the last state where it is due: after an optimiser step, never amid an accumulation."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        # While gradients are accumulated the step does not move: what is saved then would lose them when resumed.
        stepped = trainer.global_step != self._last_due_step
        self._last_due_step = trainer.global_step
        due = stepped and self.save_every_n_steps > 0 and trainer.global_step % self.save_every_n_steps == 0
        if due and not self._should_skip_saving_checkpoint(trainer):
            before = self._last_global_step_saved
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
            self._last_global_step_saved = before  # else a validation at this step would not save the best

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        target = Path(filepath)
        partial = target.with_name(f".{target.name}.tmp")
        super()._save_checkpoint(trainer, str(partial))
        self._last_checkpoint_saved = filepath
        if trainer.is_global_zero:
            partial.replace(target)
            name = "adapter_last" if target.stem == self.CHECKPOINT_NAME_LAST else "adapter"
            export_adapter(trainer.lightning_module, target.parent.parent / name)


def export_adapter(module: LightningModule, folder: Path) -> None:
    """Write a module's adapter as a PEFT folder, whole or not at all.

    Args:
        module: a LightningModule whose ``model`` is a :class:`peft.PeftModel`.
        folder: the PEFT folder, replaced where it exists.
    """
    model = module.model
    if not isinstance(model, PeftModel):
        raise TypeError(f"AdapterCheckpoint saves adapters, and {type(module).__name__} has none")
    with write_whole(folder) as temporary:
        save_adapter(model, temporary)
