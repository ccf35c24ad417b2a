"""Keeps what a retriever's training needs to go on after an interruption."""

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class TrainingCheckpoint(ModelCheckpoint):
    """Overwrites ``checkpoints/last.ckpt`` in the trainer's ``default_root_dir`` every few steps, and at the end.

    Lightning's own default folder follows the logger's run, so the path to resume from would change with every run.

    Args:
        every_n_train_steps: steps between two writes.
    """

    def __init__(self, every_n_train_steps: int = 20) -> None:
        super().__init__(filename="last", every_n_train_steps=every_n_train_steps, enable_version_counter=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder."""
        self.dirpath = str(Path(trainer.default_root_dir).resolve() / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the steps after the last write: test and predict take this file for the trained model."""
        super().on_train_end(trainer, pl_module)
        if not getattr(trainer, "fast_dev_run", False):
            trainer.save_checkpoint(Path(str(self.dirpath), "last.ckpt"))
