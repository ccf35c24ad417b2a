"""Sample answers after each validation of a training: what the loss does not say."""

from pathlib import Path

import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn

from moviebot.artefact import read_jsonl, write_jsonl
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.modules.qlora import QLoRALanguageModel

COLUMNS = ["step", "group", "question", "gold", "answer"]


class AnswerTable(Callback):
    """Writes the answers to a few validation questions, to ``answers.jsonl`` and as a W&B table.

    Args:
        n: how many questions; their topics are mixed.
        max_new_tokens: where an answer is cut.
    """

    def __init__(self, n: int = 8, max_new_tokens: int = 48) -> None:
        self.n = n
        self.max_new_tokens = max_new_tokens

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate the answers and write them (rank zero only)."""
        data = getattr(trainer, "datamodule", None)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if not isinstance(pl_module, QLoRALanguageModel) or not isinstance(data, MovieQADataModule):
            raise TypeError("AnswerTable wants a QLoRALanguageModel and a MovieQADataModule")
        rows = data.sample_rows("val", self.n)
        answers = pl_module.generate_batch([row["prompt"] for row in rows], self.max_new_tokens)
        table = [
            {
                "step": trainer.global_step, "group": row["group"], "question": row["question"],
                "gold": row["answer"], "answer": answer,
            }
            for row, answer in zip(rows, answers, strict=True)
        ]  # fmt: skip
        path = Path(trainer.default_root_dir) / "answers.jsonl"
        earlier = read_jsonl(path) if path.is_file() else []
        # A resumed run repeats the steps after its checkpoint: theirs are replaced.
        write_jsonl(path, [*(row for row in earlier if row["step"] < trainer.global_step), *table])
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                values = [[row[column] for column in COLUMNS] for row in table]
                logger.experiment.log({"val/answers": wandb.Table(columns=COLUMNS, data=values)})
