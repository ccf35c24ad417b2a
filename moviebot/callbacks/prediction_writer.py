"""``moviebot predict`` for the language model: the answers, as a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from moviebot.artefact import write_jsonl


class PredictionWriter(BasePredictionWriter):
    """Writes one JSON object a line: the prompt's row and the model's ``prediction``.

    Args:
        path: the file; None takes ``predictions.jsonl`` in the trainer's ``default_root_dir``. With several processes
            each writes its own, ``predictions.1.jsonl`` and so on.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(write_interval="epoch")
        self.path = path

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write all of this process's predictions, whole or not at all."""
        path = Path(self.path or Path(trainer.default_root_dir) / "predictions.jsonl")
        if trainer.global_rank:
            path = path.with_suffix(f".{trainer.global_rank}{path.suffix}")
        write_jsonl(path, (row for batch in predictions for row in batch))
