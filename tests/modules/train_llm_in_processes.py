"""Fine-tunes a language model with one or two processes and writes its losses and LoRA matrices: for the tests.

python train_llm_in_processes.py BASE DATA OUT PROCESSES BATCH_SIZE ACCUMULATE
"""

import logging
import sys
import warnings
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy

from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.data.tokenise import IGNORE
from moviebot.modules.lora import LoraSettings
from moviebot.modules.qlora import _LOSS_DIVISOR, QLoRALanguageModel, TextBatch


class Losses(Callback):
    """Keeps each step's loss: the mean over the tokens of all processes and accumulated batches."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.sums = torch.zeros(2)
        self.step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: TextBatch, batch_idx: int
    ) -> None:
        assert isinstance(outputs, dict)
        # Lightning has divided the loss by the number of accumulated batches.
        loss_sum = float(outputs["loss"]) * _LOSS_DIVISOR * trainer.accumulate_grad_batches
        self.sums += torch.tensor([loss_sum, float((batch["labels"] != IGNORE).sum())])
        if trainer.global_step > self.step:
            self.step = trainer.global_step
            total = trainer.strategy.reduce(self.sums, reduce_op="sum")
            assert isinstance(total, torch.Tensor)
            self.values.append(float(total[0] / total[1]))
            self.sums = torch.zeros(2)


def main(base: str, data_dir: str, out: str, processes: int, batch_size: int, accumulate: int) -> None:
    """Train for two epochs."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    losses = Losses()
    trainer = Trainer(
        default_root_dir=str(Path(out).parent), accelerator="cpu", devices=processes, max_epochs=2, logger=False,
        strategy=DDPStrategy(process_group_backend="gloo") if processes > 1 else "auto", limit_val_batches=1,
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=[losses], use_distributed_sampler=False, accumulate_grad_batches=accumulate,
    )  # fmt: skip
    model = QLoRALanguageModel(base, LoraSettings(r=4, alpha=8), lr=1e-2, compute_dtype="float32")
    data = MovieQADataModule(Path(data_dir), base, batch_size=batch_size, max_length=1500, limit_train=24)
    trainer.fit(model, data)
    if trainer.is_global_zero:
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        torch.save({"losses": losses.values, "weights": weights, "world": trainer.world_size}, out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], *(int(word) for word in sys.argv[4:7]))
