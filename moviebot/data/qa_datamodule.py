"""Batches for the language model, from the cleaned questions, answers and recommendation lists."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from lightning.pytorch import LightningDataModule
from transformers import PreTrainedTokenizerBase

from moviebot.artefact import hash_path, write_whole
from moviebot.data.batching import BATCHES_PER_POOL, LengthGroupedSampler, ResumableDataLoader, split_evenly
from moviebot.data.prompts import render_follow_up, render_question_prompt
from moviebot.data.qa_sample import Sample, balance, join_questions, render_qa, render_recommendation
from moviebot.data.schemas import SPLITS, TOPICS, Movie, Split, read_catalogue, read_qa, read_recommendations
from moviebot.data.tokenise import (
    collate_prompts,
    collate_samples,
    encode_answer,
    encode_follow_up,
    encode_prompt,
    label_answers,
    load_tokenizer,
    pack_samples,
    pad_id_of,
)
from moviebot.errors import UserError
from moviebot.pretrained import SMOLLM2

logger = logging.getLogger(__name__)

_FORMAT = 4  # of the cached samples; a change makes them anew
_COUNTS_NAME = "counts.json"


class MovieQADataModule(LightningDataModule):
    """Questions and recommendations as prompt/answer samples, tokenised once.

    Reads ``catalogue.parquet``, ``qa.jsonl`` and ``recommendations.jsonl`` (made by ``moviebot catalogue``, ``teach``
    and ``clean``). The tokens are kept as Arrow files in ``data_dir/cache``, under a hash of all that decides them.

    With several processes it divides the samples itself: give the trainer ``use_distributed_sampler: false``, or
    Lightning divides them once more, in a loader of its own that does not resume.

    Args:
        data_dir: the folder of the artefacts.
        tokenizer: the base model whose tokenizer is used; the command line takes it from the model's ``base``.
        batch_size: samples a training batch.
        packing: put the samples of a batch one behind the other instead of padding them to the longest; they do not
            see each other (the positions begin again at each). Padded batches hold samples of similar length.
        eval_batch_size: samples a batch when validating, testing and predicting.
        max_length: the most tokens of prompt and answer; a longer sample's description is cut.
        limit_train: train on this many samples at most, topics balanced; None for all.
        limit_val: validate on this many at most.
        limit_test: test and predict on this many at most.
        recommend_share: the part of the samples that are recommendations, 0 to 1; None treats them as one more topic.
        unanswerable_share: the part of the questions that the facts can't answer, likewise.
        train_description_words: cut the descriptions of training prompts to so many words, so that more samples go
            through in the same time; at least as many as an outline has (25), or plots could not be answered from the
            prompt. None cuts nothing.
        questions_per_sample: how many questions about a movie are asked in one training sample, one after the other:
            the facts, most of a sample, then go through once for all of them. Validation and test ask them singly.
        num_workers: processes that prepare batches; 0 is right for small samples.
        seed: of the subsets, the distractors and the order.
    """

    def __init__(
        self,
        data_dir: Path,
        tokenizer: str = SMOLLM2,
        batch_size: int = 8,
        packing: bool = True,
        eval_batch_size: int = 8,
        max_length: int = 1024,
        limit_train: int | None = None,
        limit_val: int | None = None,
        limit_test: int | None = None,
        recommend_share: float | None = None,
        unanswerable_share: float | None = None,
        train_description_words: int | None = None,
        questions_per_sample: int = 1,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (
            ("questions_per_sample", questions_per_sample), ("batch_size", batch_size), ("max_length", max_length),
            ("eval_batch_size", eval_batch_size),
        ):  # fmt: skip
            if value < 1:
                raise UserError(f"{name}: {value} is not allowed; give at least 1")
        self.data_dir = Path(data_dir)
        self.tokenizer_name = tokenizer
        self.batch_size = batch_size
        self.packing = packing
        self.eval_batch_size = eval_batch_size
        self.max_length = max_length
        self.limits: dict[Split, int | None] = {"train": limit_train, "val": limit_val, "test": limit_test}
        self.recommend_share = recommend_share
        self.unanswerable_share = unanswerable_share
        self.train_description_words = train_description_words
        self.questions_per_sample = questions_per_sample
        self.num_workers = num_workers
        self.seed = seed
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._datasets: dict[Split, datasets.Dataset] = {}
        self._train_loader: ResumableDataLoader | None = None
        self._resume_from: dict[str, int] = {}

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer, loaded when first wanted."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.tokenizer_name)
        return self._tokenizer

    def prepare_data(self) -> None:
        """Render and tokenise what is not yet in the cache.

        Raises:
            UserError: an artefact is absent or damaged, or a split has no sample left.
        """
        cache = self._cache_dir()
        if cache.is_dir():
            return
        movies = {movie.tconst: movie for movie in read_catalogue(self.data_dir / "catalogue.parquet")}
        with write_whole(cache) as temporary:
            temporary.mkdir()
            counts = {}
            for split in SPLITS:
                words = self.train_description_words if split == "train" else None
                shown = {tconst: _cut_description(movie, words) for tconst, movie in movies.items()}
                rows, counts[split] = self._tokenise(self._read_samples(split, shown), shown, split)
                datasets.Dataset.from_list(rows).save_to_disk(str(temporary / split))
            (temporary / _COUNTS_NAME).write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")

    def setup(self, stage: str) -> None:
        """Open the cached samples (memory-mapped)."""
        if not self._datasets:
            cache = self._cache_dir()
            self._datasets = {split: datasets.load_from_disk(str(cache / split)) for split in SPLITS}

    def train_dataloader(self) -> ResumableDataLoader:
        """Batches in random order; of similar length each, where they are padded: see :meth:`collate`."""
        samples = self._datasets["train"]
        pool = 1 if self.packing else BATCHES_PER_POOL
        sampler = LengthGroupedSampler(samples["length"], self.batch_size, self.seed, *self._process(), pool)
        self._train_loader = ResumableDataLoader(
            cast("torch.utils.data.Dataset[Any]", samples),
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            generator=torch.Generator(),  # its own, so that starting workers leaves the model's random state alone
        )
        if self._resume_from:
            self._train_loader.load_state_dict(self._resume_from)
            self._resume_from = {}
        return self._train_loader

    def state_dict(self) -> dict[str, Any]:
        """Return how far the training epoch is, and what decides its order: a resumed run goes on there."""
        return {**self._train_loader.state_dict(), "order": self._describe_order()} if self._train_loader else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next training loader begin where the checkpoint was written.

        Raises:
            UserError: the samples or their order are not the checkpoint's: some would be seen twice, some never.
        """
        before: dict[str, Any] = state.get("order", {})
        now = self._describe_order()
        changed = [name for name, value in now.items() if name in before and before[name] != value]
        if changed:
            told = ", ".join(f"{name} was {before[name]} and is {now[name]}" for name in changed)
            raise UserError(
                f"the checkpoint's epoch can't go on, for its samples come in another order now ({told}): give the "
                "data and the settings it was trained with, or start anew without --ckpt_path"
            )
        self._resume_from = {"batches_seen": state["batches_seen"]} if state else {}

    def _describe_order(self) -> dict[str, Any]:
        return {
            "samples": self._cache_dir().name, "batch_size": self.batch_size, "packing": self.packing,
            "seed": self.seed, "processes": self._process()[1],
        }  # fmt: skip

    def val_dataloader(self) -> ResumableDataLoader:
        """Batches of the validation movies, longest last."""
        return self._eval_dataloader("val")

    def test_dataloader(self) -> ResumableDataLoader:
        """Batches of the test movies, longest last."""
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> ResumableDataLoader:
        """The test movies' prompts alone: ``{"rows": [{"tconst", "question", "prompt", "answer", ...}]}``."""
        return self._eval_dataloader("test", self.collate_prompts)

    def samples(self, split: Split) -> datasets.Dataset:
        """Return a split's samples as they are cached: text, ``input_ids``, ``labels``, ``length`` (after setup)."""
        return self._datasets[split]

    def read_counts(self) -> dict[Split, dict[str, int]]:
        """Return what was cut or left out while the cache was made, by split."""
        counts: dict[Split, dict[str, int]] = json.loads((self._cache_dir() / _COUNTS_NAME).read_text("utf-8"))
        return counts

    def sample_rows(self, split: Split, n: int) -> list[dict[str, Any]]:
        """Return the first ``n`` rows of a split, topics mixed: what a callback shows."""
        samples = self._datasets[split]
        return [_describe(row) for row in samples.select(range(min(n, len(samples)))).to_list()]

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch: ``input_ids`` and ``labels``, (1, T) packed with ``position_ids`` and ``segments``.

        Without packing, (B, T), left-padded, with ``attention_mask``.
        """
        if not self.packing:
            return collate_samples([(row["input_ids"], row["labels"]) for row in rows], pad_id_of(self.tokenizer))
        return pack_samples([(torch.tensor(row["input_ids"]), torch.tensor(row["labels"])) for row in rows])

    def collate_prompts(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the prompts' ``input_ids`` and ``attention_mask`` (B, T), and the rows they are from."""
        batch = collate_prompts([row["prompt_ids"] for row in rows], pad_id_of(self.tokenizer))
        return {**batch, "rows": [_describe(row) for row in rows]}

    def _eval_dataloader(self, split: Split, collate: Any = None) -> ResumableDataLoader:  # noqa: ANN401
        samples = self._datasets[split]
        order = sorted(range(len(samples)), key=samples["length"].__getitem__)
        mine, batch_size = split_evenly(len(order), self.eval_batch_size, *self._process())
        return ResumableDataLoader(
            cast("torch.utils.data.Dataset[Any]", samples.select([order[place] for place in mine])),
            batch_size=batch_size,
            collate_fn=collate or self.collate,
            num_workers=self.num_workers,
            generator=torch.Generator(),
        )

    def _process(self) -> tuple[int, int]:
        """Return this process's rank, and how many processes train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _cache_dir(self) -> Path:
        files = [self.data_dir / name for name in ("catalogue.parquet", "qa.jsonl", "recommendations.jsonl")]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise UserError(
                f"{self.data_dir} lacks {', '.join(missing)}: run `moviebot catalogue`, `teach` and `clean` with "
                f"--out {self.data_dir} first, or give another --data.init_args.data_dir"
            )
        made_from = {
            "format": _FORMAT,
            "files": [hash_path(file) for file in files],
            "tokenizer": self.tokenizer_name,
            "vocabulary": hashlib.sha256(json.dumps(sorted(self.tokenizer.get_vocab().items())).encode()).hexdigest(),
            "max_length": self.max_length,
            "limits": self.limits,
            "recommend_share": self.recommend_share,
            "unanswerable_share": self.unanswerable_share,
            "train_description_words": self.train_description_words,
            "questions_per_sample": self.questions_per_sample,
            "seed": self.seed,
        }
        return self.data_dir / "cache" / hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]

    def _read_samples(self, split: Split, movies: dict[str, Movie]) -> list[Sample]:
        pairs, lists = (
            read_qa(self.data_dir / "qa.jsonl"),
            read_recommendations(self.data_dir / "recommendations.jsonl"),
        )
        splits: dict[str, Split] = {pair.tconst: pair.split for pair in pairs} | {
            row.tconst: row.split for row in lists
        }
        unknown = splits.keys() - movies.keys()
        if unknown:
            raise UserError(
                f"{self.data_dir}: catalogue.parquet lacks {len(unknown)} movies of qa.jsonl or recommendations.jsonl, "
                f"for example {min(unknown)}: run `moviebot clean --out {self.data_dir}` again"
            )
        samples = [render_qa(pair, movies[pair.tconst]) for pair in pairs if pair.split == split]
        samples += [render_recommendation(row, movies, splits, self.seed) for row in lists if row.split == split]
        limit = self.limits[split]
        if split != "train" or self.questions_per_sample == 1:
            return balance(samples, limit, self.recommend_share, self.unanswerable_share, self.seed)
        asked = [sample for sample in samples if sample.task == "qa"]
        offered = [sample for sample in samples if sample.task == "recommend"]
        if limit is not None:
            share = 1 / (len(TOPICS) + 1) if self.recommend_share is None else self.recommend_share
            offered = balance(offered, min(len(offered), round(limit * share)), seed=self.seed)
        asked = join_questions(
            asked, self.questions_per_sample, None if limit is None else limit - len(offered), self.unanswerable_share,
            self.seed,
        )  # fmt: skip
        return balance([*asked, *offered], limit, seed=self.seed)

    def _tokenise(
        self, samples: list[Sample], movies: dict[str, Movie], split: Split
    ) -> tuple[list[dict[str, Any]], dict[str, int]]:
        rows: list[dict[str, Any]] = []
        cut = left_out = dropped = 0
        for sample in samples:
            fitted = self._fit(sample, movies[sample.tconst])
            if fitted is None:
                dropped += 1
                continue
            cut += fitted[0].prompt != sample.prompt
            left_out += len(sample.follow_ups) - len(fitted[0].follow_ups)
            rows.append(fitted[1])
        logger.info(
            "%s: %d samples (%d descriptions cut, %d follow-ups left out, %d samples too long)",
            split, len(rows), cut, left_out, dropped,
        )  # fmt: skip
        if not rows:
            raise UserError(
                f"{self.data_dir} has no {split} sample ({dropped} were longer than --data.init_args.max_length "
                f"{self.max_length}): teach more movies, or raise max_length"
            )
        return rows, {"descriptions_cut": cut, "follow_ups_left_out": left_out, "dropped": dropped}

    def _fit(self, sample: Sample, movie: Movie) -> tuple[Sample, dict[str, Any]] | None:
        """Tokenise a sample; where it is too long, leave out follow-ups, then cut the description.

        An answer and its end are never cut.
        """
        answer_ids = encode_answer(self.tokenizer, sample.answer)
        follow_ups = [
            (
                encode_follow_up(self.tokenizer, render_follow_up(turn.question)),
                encode_answer(self.tokenizer, turn.answer),
            )
            for turn in sample.follow_ups
        ]
        for ids in (answer_ids, *(answer for _, answer in follow_ups)):
            if ids[-1] != self.tokenizer.eos_token_id:  # the model would never learn to stop
                raise RuntimeError(f"an answer about {sample.tconst} does not end in the end token")
        words = (movie.description or "").split()
        while (
            len(prompt_ids := encode_prompt(self.tokenizer, sample.prompt))
            + len(answer_ids)
            + sum(len(question) + len(answer) for question, answer in follow_ups)
            > self.max_length
        ):
            if follow_ups:
                follow_ups.pop()
                sample = replace(sample, follow_ups=sample.follow_ups[:-1])
                continue
            if sample.task == "recommend" or not words:
                return None
            words = words[: len(words) * 9 // 10]
            shorter = replace(movie, description=" ".join(words) or None)
            prompt = render_question_prompt(sample.question, shorter)
            sample = replace(sample, prompt=prompt)
        input_ids, labels = label_answers([(prompt_ids, answer_ids), *follow_ups])
        row = {key: value for key, value in asdict(sample).items() if key != "follow_ups"}
        return sample, {
            **row, "prompt_ids": prompt_ids, "input_ids": input_ids, "labels": labels, "length": len(input_ids)
        }  # fmt: skip


def _cut_description(movie: Movie, words: int | None) -> Movie:
    if words is None:
        return movie
    return replace(movie, description=" ".join((movie.description or "").split()[:words]) or None)


def _describe(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("tconst", "task", "group", "question", "prompt", "answer")}
