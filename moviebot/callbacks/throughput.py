"""How fast training goes and how much memory it takes."""

import resource
import sys
import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT

from moviebot.data.tokenise import IGNORE
from moviebot.modules.qlora import TextBatch

GIB = 2**30


class Throughput(Callback):
    """Logs tokens a second (all that are not padding, and those with a label) and peak memory.

    Logged with the other training values: ``speed/tokens_per_s``, ``speed/supervised_tokens_per_s``,
    ``memory/peak_rss_gib`` and, on CUDA, ``memory/peak_cuda_gib``. Time spent validating does not count.

    Args:
        every_n_batches: how many batches are measured together.
    """

    def __init__(self, every_n_batches: int = 2) -> None:
        self.every_n_batches = every_n_batches
        self._tokens = self._supervised = self._batches = 0
        self._seconds = 0.0
        self._started = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: TextBatch, batch_idx: int
    ) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: TextBatch, batch_idx: int
    ) -> None:
        """Count the batch, and log every ``every_n_batches``."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self._seconds += time.perf_counter() - self._started
        self._tokens += sum(batch["segments"]) if "segments" in batch else int(batch["attention_mask"].sum())
        self._supervised += int((batch["labels"] != IGNORE).sum())
        self._batches += 1
        if self._batches < self.every_n_batches:
            return
        values = {
            "speed/tokens_per_s": self._tokens / self._seconds,
            "speed/supervised_tokens_per_s": self._supervised / self._seconds,
            "memory/peak_rss_gib": peak_rss_bytes() / GIB,
        }
        if pl_module.device.type == "cuda":
            values["memory/peak_cuda_gib"] = torch.cuda.max_memory_allocated(pl_module.device) / GIB
        pl_module.log_dict(values, batch_size=1)
        self._tokens = self._supervised = self._batches = 0
        self._seconds = 0.0


def peak_rss_bytes() -> int:
    """Return the most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
