"""How fast does a retriever train, beside sentence-transformers' own trainer: same texts, loss, batch and precision?

    python tools/bench_retriever_training.py --data data_out

Each repetition trains from the same weights for the same number of steps; the figure is the median of the texts a
second over the repetitions, peer and ours in turn. Prints Markdown: questions -> labels (short texts of like length)
and tellings -> movies' texts (lengths mixed), each as the peer, as ours batch for batch (as many random rows a batch;
texts of like length go through the encoder together), and as ours with length buckets; with bfloat16 too where the
hardware has it.
"""

import argparse
import logging
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils.logging import disable_progress_bar

from moviebot.data.described import can_be_told, tell_plot
from moviebot.data.pair_batch import PairPart, PairRow, TrainLoader
from moviebot.data.pairs_datamodule import read_pairs
from moviebot.data.schemas import read_catalogue
from moviebot.errors import UserError
from moviebot.modules.encoder import load_encoder
from moviebot.modules.precision import choose_dtype
from moviebot.modules.retriever import ContrastiveRetriever
from moviebot.pretrained import MINILM, resolve_model

LR = 2e-5
WARM_UP = 2  # steps before the clock starts
ENCODE_CHUNK = 32


@dataclass(frozen=True)
class Job:
    """What both sides train.

    Attributes:
        name: for the reader.
        rows: positives, as many as the steps take.
        max_seq_length: longer texts are cut to this many tokens.
        batch_size: pairs a step.
    """

    name: str
    rows: Sequence[PairRow]
    max_seq_length: int
    batch_size: int

    @property
    def timed_texts(self) -> int:
        """Texts of the steps that are timed; those of the warm-up are not."""
        return 2 * (len(self.rows) - WARM_UP * self.batch_size)


class _Clock:
    """Notes when the warm-up ended."""

    def __init__(self) -> None:
        self.started = 0.0

    def after(self, step: int) -> None:
        if step == WARM_UP:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.started = time.perf_counter()

    def read(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - self.started


class _LightningClock(Callback):
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.clock.after(trainer.global_step)


class _PeerClock(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self.clock.after(state.global_step)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a data folder that `moviebot clean` wrote")
    parser.add_argument("--steps", type=int, default=12, help="timed steps a repetition")
    parser.add_argument("--batch_size", type=int, default=64, help="pairs a step")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions, of which the median counts")
    parser.add_argument("--job", choices=("label", "text"), help="only questions -> labels, or tellings -> texts")
    parser.add_argument("--base", default=MINILM, help="the encoder that both start from")
    given = parser.parse_args(arguments)
    _quieten()
    try:
        jobs = draw_jobs(given.data, given.batch_size, given.steps + WARM_UP)
    except UserError as error:
        print(f"bench_retriever_training: {error}", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = choose_dtype("auto", device)
    print(f"{device}, {torch.get_num_threads()} threads, batch {given.batch_size}, {given.steps} steps, "
          f"median of {given.repeats}\n")  # fmt: skip
    print("| training | precision | texts/s | / sentence-transformers |\n|---|---|---|---|")
    for job in (job for job in jobs if given.job is None or job.name.endswith(given.job)):
        runners: list[tuple[str, str, Callable[[], float]]] = [
            ("sentence-transformers", "fp32", partial(run_peer, job, given.base)),
            ("ours, the same batches", "fp32", partial(run_ours, job, given.base, False, "32-true")),
            ("ours, length buckets", "fp32", partial(run_ours, job, given.base, True, "32-true")),
        ]
        if fast is torch.bfloat16:
            runners.append(("ours, length buckets", "bf16", partial(run_ours, job, given.base, True, "bf16-mixed")))
        measure(job, runners, given.repeats)
    return 0


def measure(job: Job, runners: Sequence[tuple[str, str, Callable[[], float]]], repeats: int) -> None:
    """Run all in turn, several times, and print a row for each."""
    seconds: list[list[float]] = [[] for _ in runners]
    for _ in range(repeats):
        for place, (_, _, run) in enumerate(runners):
            seconds[place].append(run())
    speeds = [job.timed_texts / statistics.median(found) for found in seconds]
    for (name, precision, _), speed in zip(runners, speeds, strict=True):
        print(f"| {job.name}: {name} | {precision} | {speed:.0f} | {speed / speeds[0]:.2f} |", flush=True)


def draw_jobs(data: Path, batch_size: int, steps: int) -> list[Job]:
    """Draw the rows: one a movie, so that no plan has to leave any out.

    Raises:
        UserError: an artefact is absent, or has too few movies.
    """
    movies = read_catalogue(data / "catalogue.parquet")
    questions = {row.tconst_anchor: row for row in read_pairs(data / "question_pairs.parquet", "train") if row.label}
    rng, wanted = random.Random(0), batch_size * steps
    told = [movie for movie in movies if can_be_told(movie)]
    if (found := min(len(questions), len(told))) < wanted:
        raise UserError(f"{data} has {found} movies to train on, {wanted} are needed: lower --batch_size or --steps")
    tellings = []
    for movie in rng.sample(told, wanted):
        anchor, text = tell_plot(movie, rng)
        tellings.append(PairRow(anchor, text, 1, movie.tconst, movie.tconst))
    return [
        Job("question -> label", rng.sample(list(questions.values()), wanted), 64, batch_size),
        Job("telling -> text", tellings, 128, batch_size),
    ]


def run_peer(job: Job, base: str) -> float:
    """Train with sentence-transformers' trainer; return the timed seconds."""
    seed_everything(0, verbose=False)
    encoder = load_encoder(resolve_model(base))
    encoder.max_seq_length = job.max_seq_length
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = SentenceTransformerTrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=job.batch_size, learning_rate=LR,
            save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", dataloader_drop_last=True,
            dataloader_pin_memory=False, bf16=False, fp16=False,
        )  # fmt: skip
        texts = {"anchor": [row.anchor for row in job.rows], "positive": [row.sample for row in job.rows]}
        trainer = SentenceTransformerTrainer(
            encoder, settings, train_dataset=Dataset.from_dict(texts), loss=MultipleNegativesRankingLoss(encoder),
            callbacks=[_PeerClock(clock)],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return clock.read()


def run_ours(job: Job, base: str, length_buckets: bool, precision: str) -> float:
    """Train with Lightning; return the timed seconds."""
    seed_everything(0, verbose=False)
    clock = _Clock()
    retriever = ContrastiveRetriever(base, lr=LR, max_seq_length=job.max_seq_length, encode_chunk=ENCODE_CHUNK)
    positives = {row.tconst_anchor: {row.tconst_sample} for row in job.rows}
    loader = TrainLoader([PairPart(job.rows)], positives, job.batch_size, unique=True, length_buckets=length_buckets)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            default_root_dir=folder, max_epochs=1, logger=False, enable_checkpointing=False, devices=1,
            enable_progress_bar=False, enable_model_summary=False, precision=precision,  # type: ignore[arg-type]
            callbacks=[_LightningClock(clock)], gradient_clip_val=1.0,  # the peer clips at 1 too
        )  # fmt: skip
        trainer.fit(retriever, train_dataloaders=loader)
    return clock.read()


def _quieten() -> None:
    warnings.filterwarnings("ignore")
    disable_progress_bar()
    disable_progress_bars()
    for name in ("lightning.pytorch", "sentence_transformers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
