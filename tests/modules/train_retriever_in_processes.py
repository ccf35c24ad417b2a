"""Trains a retriever with one or two processes, dropout off, and writes its losses and weights: for the tests.

python train_retriever_in_processes.py ENCODER DATA OUT PROCESSES BATCH_SIZE
"""

import logging
import sys
import warnings
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy

from moviebot.data.pairs_datamodule import MoviePairsDataModule
from moviebot.modules.retriever import ContrastiveRetriever


class Steady(ContrastiveRetriever):
    """A retriever without dropout: its draws would differ with the number of processes."""

    def configure_model(self) -> None:
        super().configure_model()
        for module in self.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0


class Losses(Callback):
    """Keeps what is logged of each step: the mean over the processes."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.values.append(float(trainer.callback_metrics["train/loss"]))


def main(encoder: str, data_dir: str, out: str, processes: int, batch_size: int) -> None:
    """Train for two epochs."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    losses = Losses()
    trainer = Trainer(
        default_root_dir=str(Path(out).parent), accelerator="cpu", devices=processes, max_epochs=2, logger=False,
        strategy=DDPStrategy(process_group_backend="gloo") if processes > 1 else "auto", limit_val_batches=0,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, callbacks=[losses],
        use_distributed_sampler=False,
    )  # fmt: skip
    retriever = Steady(encoder, lr=1e-3)
    data = MoviePairsDataModule(data_dir, "question", batch_size=batch_size, hard_negatives=True)
    trainer.fit(retriever, data)
    if trainer.is_global_zero:
        weights = {name: value.clone() for name, value in retriever.state_dict().items() if name.startswith("encoder")}
        torch.save({"losses": losses.values, "weights": weights, "world": trainer.world_size}, out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
