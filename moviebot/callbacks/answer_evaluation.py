"""What the loss does not say: answers to validation questions, judged after each validation of a training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn

from moviebot.artefact import read_jsonl, write_jsonl
from moviebot.data.prompts import is_decline
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.data.schemas import Movie, read_catalogue
from moviebot.data.template_teacher import facts_of
from moviebot.evaluation.answers import holds_facts
from moviebot.evaluation.text_overlap import rouge_l, token_f1
from moviebot.modules.qlora import QLoRALanguageModel

COLUMNS = ["step", "group", "question", "facts", "gold", "answer", "flags"]
_INPUT, _RESPONSE = "\n### Input:\n", "\n\n### Response:\n"


class AnswerEvaluation(Callback):
    """Generates answers to validation questions, judges them, and logs shares and a table.

    Logged under ``val/``, so that early stopping and the best checkpoint can go by the task instead of the loss:

    * ``exact_fact``: answerable questions whose answer holds each fact asked for;
    * ``declined`` and ``wrongly_declined``: unanswerable and answerable questions that were declined;
    * ``title_match`` and ``invented_titles``: of recommendations, the reference's titles that were listed, and listed
      titles that were not offered;
    * ``token_f1``, ``rouge_l``: overlap with the reference's words; ``stop_rate``: answers that ended by themselves;
      ``answer_words``: their mean length.

    A share without cases is not logged. The table goes to ``answers.jsonl`` and to W&B. With several processes each
    answers its part, and all log the same values.

    Args:
        n: how many questions; their topics are mixed.
        max_new_tokens: where an answer is cut.
    """

    def __init__(self, n: int = 24, max_new_tokens: int = 48) -> None:
        self.n = n
        self.max_new_tokens = max_new_tokens
        self._movies: dict[str, Movie] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate, judge and log; only while training."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or self.n < 1:
            return
        data = getattr(trainer, "datamodule", None)
        if not isinstance(pl_module, QLoRALanguageModel) or not isinstance(data, MovieQADataModule):
            raise TypeError("AnswerEvaluation wants a QLoRALanguageModel and a MovieQADataModule")
        if not self._movies:
            self._movies = {movie.tconst: movie for movie in read_catalogue(data.data_dir / "catalogue.parquet")}
        rows = data.sample_rows("val", self.n)
        mine = rows[trainer.global_rank :: trainer.world_size]
        answers = pl_module.generate_ended_batch([row["prompt"] for row in mine], self.max_new_tokens)
        judged = [
            judge_answer(row, self._movies[row["tconst"]], answer, ended)
            for row, (answer, ended) in zip(mine, answers, strict=True)
        ]
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, judged)
            judged = [row for part in parts for row in part]
        values = {f"val/{name}": value for name, value in summarise(judged).items()}
        pl_module.log_dict(values, batch_size=1, rank_zero_only=False)
        if trainer.is_global_zero:
            self._write(trainer, judged)

    @staticmethod
    def _write(trainer: Trainer, judged: Sequence[Mapping[str, Any]]) -> None:
        table = [{"step": trainer.global_step, **{key: row[key] for key in COLUMNS[1:]}} for row in judged]
        path = Path(trainer.default_root_dir) / "answers.jsonl"
        earlier = read_jsonl(path) if path.is_file() else []
        # A resumed run repeats the steps after its checkpoint: theirs are replaced.
        write_jsonl(path, [*(row for row in earlier if row["step"] < trainer.global_step), *table])
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                cells = [
                    [row[key] if isinstance(row[key], (str, int)) else json.dumps(row[key]) for key in COLUMNS]
                    for row in table
                ]
                logger.experiment.log({"val/answers": wandb.Table(columns=COLUMNS, data=cells)})


def judge_answer(row: Mapping[str, Any], movie: Movie, answer: str, ended: bool) -> dict[str, Any]:
    """Judge one answer.

    Args:
        row: the sample: ``task``, ``group``, ``question``, ``prompt`` and its reference ``answer``.
        movie: what it is about.
        answer: the model's text.
        ended: whether an end token closed it.

    Returns:
        The row's texts, the facts that a right answer holds, ``flags``, and a value for each measure that applies.
    """
    gold: str = row["answer"]
    result: dict[str, Any] = {
        "group": row["group"], "question": row["question"], "facts": [], "gold": gold, "answer": answer,
        "token_f1": token_f1(answer, gold), "rouge_l": rouge_l(answer, gold), "stop_rate": float(ended),
        "answer_words": float(len(answer.split())),
    }  # fmt: skip
    flags = [] if ended else ["cut"]
    if row["task"] == "recommend":
        offered = {line.strip() for line in _read_input(row["prompt"])}
        listed = [line.strip() for line in answer.splitlines() if line.strip()]
        wanted = [line.strip() for line in gold.splitlines() if line.strip()]
        result["facts"] = wanted
        result["title_match"] = fmean(float(title in listed) for title in wanted)
        invented = [title for title in listed if title not in offered]
        result["invented_titles"] = len(invented) / len(listed) if listed else 0.0
        flags += ["invented"] if invented else []
    else:
        facts = facts_of(movie, row["group"])
        gave_up = is_decline(answer)
        result["facts"] = list(facts)
        flags += ["declined"] if gave_up else []
        if facts:
            result["exact_fact"] = float(holds_facts(answer, row["group"], facts))
            result["wrongly_declined"] = float(gave_up)
            flags += ["right"] if result["exact_fact"] else []
        else:
            result["declined"] = float(gave_up)
            flags += ["right"] if gave_up else []
    result["flags"] = flags
    return result


def summarise(judged: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean of each measure over the answers it applies to."""
    names = [
        "exact_fact", "declined", "wrongly_declined", "title_match", "invented_titles", "token_f1", "rouge_l",
        "stop_rate", "answer_words",
    ]  # fmt: skip
    cases = {name: [row[name] for row in judged if name in row] for name in names}
    return {name: fmean(values) for name, values in cases.items() if values}


def _read_input(prompt: str) -> list[str]:
    """Return the lines of a prompt's input section."""
    return prompt.partition(_INPUT)[2].partition(_RESPONSE)[0].splitlines()
