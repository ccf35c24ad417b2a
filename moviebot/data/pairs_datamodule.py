"""From the pairs artefacts to a retriever's batches."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule

from moviebot.data.description_row import DESCRIPTIONS_NAME, read_description_rows
from moviebot.data.documents import movie_text
from moviebot.data.hard_negatives import find_rivals, mine_rivals
from moviebot.data.pair_batch import (
    NO_GROUP,
    DocumentBatch,
    FixedLoader,
    LoaderState,
    PairBatch,
    PairPart,
    PairRow,
    QueryBatch,
    TrainLoader,
    collate_pairs,
)
from moviebot.data.rewriting import Misspeller, Teller
from moviebot.data.schemas import PAIR_SCHEMA, Movie, Split, read_catalogue, read_parquet
from moviebot.errors import UserError
from moviebot.modules.encoder import encode_texts, load_encoder
from moviebot.pretrained import MINILM, resolve_model

RetrieverTask = Literal["question", "recommend"]
EvalLoaders = tuple[FixedLoader[DocumentBatch], FixedLoader[QueryBatch], FixedLoader[PairBatch]]


class MoviePairsDataModule(LightningDataModule):
    """Batches for a retriever: pairs to train on, and documents, queries and pairs to validate on.

    Two tasks, one class: a ``question`` retriever ranks the movies' labels for a question, a ``recommend`` retriever
    ranks their :func:`~moviebot.data.documents.movie_text` for another movie's. Origin and licence of the rows are
    those of the catalogue and the teacher that ``moviebot clean`` worked from. Columns: anchor, sample, label,
    tconst_anchor, tconst_sample, split.

    The validation and test loaders come in the order documents, queries, pairs. The documents are the whole catalogue
    (or ``max_documents`` of it), so a hit is a hit among all movies and not among a batch. ``predict`` gives every
    document of the catalogue, in its order.

    Args:
        data_dir: the folder of ``catalogue.parquet`` and ``{task}_pairs.parquet``.
        task: which of the two retrievers.
        negatives: ``in_batch`` trains on positives alone, no movie twice in a batch; ``labelled`` on positives and the
            artefact's random negatives, as published. Goes with the model's ``loss``.
        hard_negatives: with ``in_batch``: a movie brings training movies of its title, its franchise or nearly its
            spelling along as negatives.
        mined_negatives: with ``in_batch``: it also brings some of so many training movies that untuned MiniLM takes for
            the most alike.
        hard_negatives_drawn: how many negatives a positive brings along, drawn anew each epoch.
        typo_share: of the questions, misspelt anew each epoch: one or two mistakes in the title; more than the
            artefact's own. Validation's questions are misspelt as well, the same ones each time, so that what is
            best is best for both; the test's are left as they are.
        described_pairs: training movies of which a person's telling of the plot is to find the movie's text, in batches
            of their own; none where 0. The tellings are made of the catalogue's descriptions and of what
            ``descriptions.jsonl`` holds of other sources, anew each epoch.
        length_buckets: train on rows of like length together.
        batch_size: pairs a training batch, on each device.
        eval_batch_size: texts a batch in validation, test and predict.
        limit_train: positives to train on, drawn by ``seed``; all where None.
        limit_val: positives to validate on; all where None.
        limit_test: positives to test on; all where None.
        max_documents: documents to rank against: the right ones, then the most voted; the whole catalogue where None.
        seed: decides what is drawn and the order of training.
    """

    def __init__(
        self,
        data_dir: str,
        task: RetrieverTask,
        negatives: Literal["in_batch", "labelled"] = "in_batch",
        hard_negatives: bool = False,
        mined_negatives: int = 0,
        hard_negatives_drawn: int = 1,
        typo_share: float = 0.0,
        described_pairs: int = 0,
        length_buckets: bool = False,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        limit_train: int | None = None,
        limit_val: int | None = None,
        limit_test: int | None = None,
        max_documents: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.data_dir = Path(data_dir)
        self.task: RetrieverTask = task
        self.negatives = negatives
        self.hard_negatives = hard_negatives
        self.mined_negatives = mined_negatives
        self.hard_negatives_drawn = hard_negatives_drawn
        self.typo_share = typo_share
        self.described_pairs = described_pairs
        self.length_buckets = length_buckets
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.limits: dict[Split, int | None] = {"train": limit_train, "val": limit_val, "test": limit_test}
        self.max_documents = max_documents
        self.seed = seed
        self.movies: list[Movie] = []
        self.documents: list[str] = []
        self.rows: dict[Split, list[PairRow]] = {}
        self.positives: dict[Split, Mapping[str, set[str]]] = {}
        self._trained: set[str] = set()
        self._train_loader: TrainLoader | None = None
        self._resumed_state: LoaderState | None = None

    def setup(self, stage: str) -> None:
        """Read the catalogue and the pairs, once.

        Raises:
            UserError: a setting is out of range; an artefact is absent or of another shape, or holds no positive pair
                of a split that is needed.
        """
        self._check_settings()
        if not self.movies:
            self.movies = read_catalogue(self.data_dir / "catalogue.parquet")
            self.documents = [render_document(movie, self.task) for movie in self.movies]
        needed: dict[str, tuple[Split, ...]] = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for split in needed.get(stage, ()):
            if split not in self.rows:
                path = self.data_dir / f"{self.task}_pairs.parquet"
                rows = read_pairs(path, split)
                if not any(row.label for row in rows):
                    raise UserError(f"{path} has no positive pair of the split {split}: teach more movies, then clean")
                # Of all rows: what a limit leaves out is right all the same, as a hit and as no negative.
                self.positives[split] = collect_positives(rows)
                if split == "train":  # its negatives are drawn from all of the training movies
                    self._trained = {tconst for row in rows for tconst in (row.tconst_anchor, row.tconst_sample)}
                self.rows[split] = limit_pairs(rows, self.limits[split], self.seed)

    def _check_settings(self) -> None:
        """Refuse what would be passed over in silence, or fail in mid-training."""
        problems = [
            f"{name}={value}: give {allowed}"
            for name, value, good, allowed in (
                ("typo_share", self.typo_share, 0 <= self.typo_share <= 1, "0 to 1"),
                ("mined_negatives", self.mined_negatives, self.mined_negatives >= 0, "0 or more"),
                ("described_pairs", self.described_pairs, self.described_pairs >= 0, "0 or more"),
                ("hard_negatives_drawn", self.hard_negatives_drawn, self.hard_negatives_drawn >= 1, "1 or more"),
                ("batch_size", self.batch_size, self.batch_size >= 1, "1 or more"),
            )
            if not good
        ]
        asked = {"typo_share": self.typo_share, "described_pairs": self.described_pairs}
        if self.task == "recommend":
            problems += [f"{name} goes with task=question alone" for name, value in asked.items() if value]
        if self.negatives == "labelled":
            asked |= {"hard_negatives": self.hard_negatives, "mined_negatives": self.mined_negatives}
            problems += [f"{name} goes with negatives=in_batch alone" for name, value in asked.items() if value]
        if problems:
            raise UserError("data.init_args: " + "; ".join(problems))

    def train_dataloader(self) -> TrainLoader | FixedLoader[PairBatch]:
        """Return the training batches, this process's share of them."""
        rows = self.rows["train"]
        unique = self.negatives == "in_batch"
        loader = TrainLoader(
            self._build_parts(rows) if unique else [PairPart(rows)],
            self.positives["train"],
            self.batch_size,
            unique=unique,
            length_buckets=self.length_buckets,
            seed=self.seed,
            rank=self._rank,
            world_size=self._world_size,
        )
        if self.trainer is not None and self.trainer.overfit_batches > 0:  # type: ignore[attr-defined]
            return FixedLoader(list(loader))  # the same batches in each epoch
        if self._resumed_state is not None:
            loader.load_state_dict(self._resumed_state)
        self._train_loader, self._resumed_state = loader, None
        return loader

    def state_dict(self) -> dict[str, Any]:
        """Return how far the epoch is.

        Lightning keeps a loader's state too, but restores it too late: ``estimated_stepping_batches``, which the
        learning rate's schedule needs, makes the loader before (lightning 2.6.6, ``FitLoop.setup_data``).
        """
        if self._train_loader is None or self.trainer is None:
            return {}
        # An epoch may be cut short by limit_train_batches; its end is the next one's beginning.
        return {"batches_done": self._train_loader.batches_done % int(self.trainer.num_training_batches)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in mid-epoch."""
        self._resumed_state = {"batches_done": state_dict["batches_done"]} if state_dict else None

    def val_dataloader(self) -> EvalLoaders:
        """Return the documents, the queries and the pairs of the validation split."""
        return self._build_eval_loaders("val")

    def test_dataloader(self) -> EvalLoaders:
        """Return the documents, the queries and the pairs of the test split."""
        return self._build_eval_loaders("test")

    def predict_dataloader(self) -> FixedLoader[DocumentBatch]:
        """Return every document of the catalogue, in its order, numbered by its row."""
        batches = self._batch_documents(range(len(self.documents)))
        return FixedLoader(batches[self._rank :: self._world_size])

    def _build_eval_loaders(self, split: Split) -> EvalLoaders:
        rows = self.rows[split]
        size, positives = self.eval_batch_size, self.positives[split]
        # Two movies of one title and year read the same: one document stands for both.
        first_of = {text: row for row, text in reversed(list(enumerate(self.documents)))}
        group_of = {movie.tconst: first_of[text] for movie, text in zip(self.movies, self.documents, strict=True)}
        asked = [row for row in rows if row.label == 1]
        if split == "val" and self.typo_share:
            misspell = Misspeller(self.movies, self.typo_share)
            asked = [misspell(row, random.Random(f"{self.seed}:{row.anchor}")) for row in asked]
        queries = list({(row.anchor, row.tconst_anchor): None for row in asked})
        queries.sort(key=lambda query: len(query[0]))  # like lengths together: little padding
        right = [sorted({group_of[t] for t in positives[tconst] if t in group_of}) for _, tconst in queries]
        own = [group_of.get(tconst, NO_GROUP) if self.task == "recommend" else NO_GROUP for _, tconst in queries]
        wanted = {group for groups in right for group in groups}
        # The documents go to every process whole: each needs all of them to rank.
        documents = self._batch_documents(sorted(self._choose_documents(wanted), key=lambda n: len(self.documents[n])))
        query_batches = []
        for start in range(0, len(queries), size):
            numbers = range(start, min(start + size, len(queries)))
            width = max(len(right[n]) for n in numbers) or 1
            relevant = torch.tensor([right[n] + [NO_GROUP] * (width - len(right[n])) for n in numbers])  # (B, R)
            query_batches.append(
                QueryBatch(
                    [queries[n][0] for n in numbers],
                    torch.tensor(list(numbers)),
                    relevant,
                    torch.tensor([own[n] for n in numbers]),
                )
            )
        # Shuffled, so that the in-batch loss has other movies beside each question; the same order each time.
        shuffled = random.Random(self.seed).sample(rows, len(rows))
        pairs = [collate_pairs(shuffled[start : start + size], positives) for start in range(0, len(rows), size)]
        mine = slice(self._rank, None, self._world_size)
        return FixedLoader(documents), FixedLoader(query_batches[mine]), FixedLoader(pairs[mine])

    def _choose_documents(self, wanted: set[int]) -> set[int]:
        """Return the documents to rank against; documents that read the same count as one."""
        distinct = list({text: row for row, text in reversed(list(enumerate(self.documents)))}.values())
        if self.max_documents is None or len(distinct) <= self.max_documents:
            return set(distinct)
        by_votes = sorted(distinct, key=lambda row: (row not in wanted, -(self.movies[row].votes or 0), row))
        return set(by_votes[: max(self.max_documents, len(wanted))])

    def _batch_documents(self, numbers: Sequence[int]) -> list[DocumentBatch]:
        size = self.eval_batch_size
        chunks = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        return [DocumentBatch([self.documents[n] for n in chunk], torch.tensor(list(chunk))) for chunk in chunks]

    def _build_parts(self, rows: Sequence[PairRow]) -> list[PairPart]:
        """Return the labels to train on and, where wanted, the movies' texts with people's tellings of their plots."""
        positives = [row for row in rows if row.label == 1]
        rivals = self._find_rivals(positives) if self.hard_negatives or self.mined_negatives else {}
        misspell = Misspeller(self.movies, self.typo_share)
        parts = [PairPart(positives, misspell if self.typo_share else None, rivals, self.hard_negatives_drawn)]
        if self.described_pairs:
            described = read_description_rows(self.data_dir / DESCRIPTIONS_NAME).values()
            teller = Teller([movie for movie in self.movies if movie.tconst in self._trained], described)
            if told := teller.draw_rows(self.described_pairs, self.seed):
                parts.append(PairPart(told, teller))
        return parts

    def _find_rivals(self, positives: Sequence[PairRow]) -> dict[str, list[PairRow]]:
        """Find the movies that join a movie's batch as negatives; training movies all of them."""
        movies = [movie for movie in self.movies if movie.tconst in self._trained]
        wanted = {row.tconst_anchor for row in positives}
        documents = [render_document(movie, self.task) for movie in movies]
        rivals: dict[str, list[str]] = find_rivals(movies, wanted) if self.hard_negatives else {}
        if self.mined_negatives:
            vectors = encode_texts(load_encoder(resolve_model(MINILM)), documents)
            rows = [row for row, movie in enumerate(movies) if movie.tconst in wanted]
            for row, mined in mine_rivals(vectors, rows, self.mined_negatives).items():
                known = rivals.setdefault(movies[row].tconst, [])
                known += [movies[other].tconst for other in mined if movies[other].tconst not in known]
        text_of = {movie.tconst: text for movie, text in zip(movies, documents, strict=True)}
        return {
            tconst: [PairRow("", text_of[other], 0, tconst, other) for other in others]
            for tconst, others in rivals.items()
        }

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1


def render_document(movie: Movie, task: RetrieverTask) -> str:
    """Return the text that a task's index holds for a movie: its label, or its ``movie_text``."""
    return movie.label if task == "question" else movie_text(movie)


def read_pairs(path: Path, split: Split) -> list[PairRow]:
    """Read one split of a pairs artefact, in file order.

    Raises:
        UserError: the file is absent, is not Parquet, or lacks a column of the schema.
    """
    table = read_parquet(path, PAIR_SCHEMA, command="clean")
    columns = [table.column(name).to_pylist() for name in (*PairRow._fields, "split")]
    return [PairRow(*values) for *values, row_split in zip(*columns, strict=True) if row_split == split]


def limit_pairs(rows: Sequence[PairRow], limit: int | None, seed: int) -> list[PairRow]:
    """Keep at most ``limit`` positives, drawn by ``seed``, and the negatives of the anchors kept, in file order."""
    positives = [row for row in rows if row.label == 1]
    if limit is None or len(positives) <= limit:
        return list(rows)
    kept = set(random.Random(seed).sample(positives, limit))
    anchors = {row.anchor for row in kept}
    return [row for row in rows if (row in kept if row.label == 1 else row.anchor in anchors)]


def collect_positives(rows: Sequence[PairRow]) -> Mapping[str, set[str]]:
    """Return for each anchor's tconst the tconsts of its positive samples."""
    positives: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.label == 1:
            positives[row.tconst_anchor].add(row.tconst_sample)
    return dict(positives)
