"""What a retriever's batches look like, and how rows become training batches.

Shapes: B rows (pairs, queries or documents), R right documents a query, padded with -1.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor

NO_GROUP = -1
"""Stands for no document."""
Batch = TypeVar("Batch")


class PairRow(NamedTuple):
    """One row of a pairs artefact, without its split."""

    anchor: str
    sample: str
    label: int
    tconst_anchor: str
    tconst_sample: str


class PairBatch(NamedTuple):
    """Labelled pairs of texts.

    Attributes:
        anchors: B texts.
        samples: B texts.
        labels: ``(B,)`` int64, 1 where the sample is right for the anchor, else 0.
        excluded: ``(B, B)`` bool, True where the column's sample must not serve as a negative for the row's anchor.
        relevant: of the same shape, True where the column's sample is right for the row's anchor.
    """

    anchors: list[str]
    samples: list[str]
    labels: Tensor
    excluded: Tensor
    relevant: Tensor


class DocumentBatch(NamedTuple):
    """Texts to rank against, or to index.

    Attributes:
        texts: B texts.
        groups: ``(B,)`` int64, each document's number, by which queries refer to it.
    """

    texts: list[str]
    groups: Tensor


class QueryBatch(NamedTuple):
    """Texts to rank the documents for.

    Attributes:
        texts: B texts.
        numbers: ``(B,)`` int64, each query's number.
        relevant: ``(B, R)`` int64, the numbers of the right documents, padded with -1.
        own: ``(B,)`` int64, the number of the document that must not be ranked (the query's own movie), or -1.
    """

    texts: list[str]
    numbers: Tensor
    relevant: Tensor
    own: Tensor


class LoaderState(TypedDict):
    """How far a :class:`TrainLoader` is: what a checkpoint holds of it."""

    batches_done: int


def collate_pairs(rows: Sequence[PairRow], positives: Mapping[str, AbstractSet[str]]) -> PairBatch:
    """Build a batch of pairs.

    A sample is excluded as a negative where it is known to be right for the anchor's movie, is that very movie, or
    reads the same as the anchor's own sample (two movies of one title and year can't be told apart).

    Args:
        rows: B rows.
        positives: for each anchor's tconst the tconsts of all its positive samples.
    """
    excluded = torch.zeros(len(rows), len(rows), dtype=torch.bool)
    relevant = torch.zeros_like(excluded)
    for line, anchor in enumerate(rows):
        right = positives.get(anchor.tconst_anchor, frozenset())
        for column, other in enumerate(rows):
            is_own = other.tconst_sample == anchor.tconst_anchor
            is_right = other.tconst_sample in right or (anchor.label == 1 and other.sample == anchor.sample)
            excluded[line, column] = is_right or is_own
            relevant[line, column] = is_right and not is_own
    labels = torch.tensor([row.label for row in rows])
    return PairBatch([row.anchor for row in rows], [row.sample for row in rows], labels, excluded, relevant)


def plan_labelled(rows: Sequence[PairRow], batch_size: int, seed: str) -> list[list[PairRow]]:
    """Shuffle positives and negatives alike into batches, as the published recipe does."""
    shuffled = random.Random(seed).sample(rows, len(rows))
    return [shuffled[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def plan_unique(rows: Sequence[PairRow], batch_size: int, seed: str) -> list[list[PairRow]]:
    """Shuffle positives into batches in which no movie occurs twice.

    Two questions about one movie in a batch would make its title a negative of its own question. There are always
    ``len(rows) // batch_size`` batches (at least one), so that the number of steps is known beforehand; a row that fits
    in none is left out this time.

    Args:
        rows: positives only.
        batch_size: rows a batch; fewer where not enough movies differ.
        seed: decides the order.

    Returns:
        The batches; each row in one batch at the most.
    """
    batches: list[list[PairRow]] = [[] for _ in range(max(1, len(rows) // batch_size))]
    movies: list[set[str]] = [set() for _ in batches]
    first_open = 0
    for row in random.Random(seed).sample(rows, len(rows)):
        touched = {row.tconst_anchor, row.tconst_sample}
        while first_open < len(batches) and len(batches[first_open]) == batch_size:
            first_open += 1
        for number in range(first_open, len(batches)):
            if len(batches[number]) < batch_size and not movies[number] & touched:
                batches[number].append(row)
                movies[number] |= touched
                break
    return batches


class FixedLoader(Generic[Batch]):
    """Batches made beforehand, the same each time.

    A plain list won't do: Lightning would take it for a collection of loaders. Nor will a torch ``DataLoader``: with
    several processes Lightning would split the documents, of which each process needs all.

    Args:
        batches: this process's batches.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class TrainLoader:
    """Training batches, planned anew each epoch, that a checkpoint in mid-epoch resumes at the very next batch.

    Lightning calls ``set_epoch`` on a loader's ``sampler`` and ``state_dict`` on the loader itself; a torch
    ``DataLoader`` forgets its place, and with it a resumed run would see some rows twice and others never.

    Args:
        rows: the rows to train on.
        positives: as for :func:`collate_pairs`.
        batch_size: rows a batch, on each device.
        unique: no movie twice in a batch (:func:`plan_unique`), else :func:`plan_labelled`.
        hard_negatives: for a positive's tconst, rows that join its batch as negatives.
        seed: decides the order, with the epoch.
        rank: this process's number, below ``world_size``.
        world_size: how many processes share the batches.
    """

    def __init__(
        self,
        rows: Sequence[PairRow],
        positives: Mapping[str, AbstractSet[str]],
        batch_size: int,
        *,
        unique: bool,
        hard_negatives: Mapping[str, PairRow] | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.rows = rows
        self.positives = positives
        self.batch_size = batch_size
        self.unique = unique
        self.hard_negatives = hard_negatives or {}
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.batches_done = 0
        self._resume_at = 0

    @property
    def sampler(self) -> "TrainLoader":
        """The loader itself: Lightning looks for ``set_epoch`` here."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose plan the next iteration follows."""
        self.epoch = epoch

    def state_dict(self) -> LoaderState:
        """Return how many of this epoch's batches are handed out."""
        return {"batches_done": self.batches_done}

    def load_state_dict(self, state: LoaderState) -> None:
        """Continue after the batches that were handed out; a finished epoch begins anew."""
        self._resume_at = self.batches_done = state["batches_done"] % len(self)

    def __len__(self) -> int:
        per_epoch = len(self.rows) // self.batch_size if self.unique else -(-len(self.rows) // self.batch_size)
        return max(1, per_epoch // self.world_size)

    def __iter__(self) -> Iterator[PairBatch]:
        # Planned at the first batch, not before: Lightning makes the iterator first and sets the epoch after.
        start, self._resume_at = self._resume_at, 0
        plan = (plan_unique if self.unique else plan_labelled)(self.rows, self.batch_size, f"{self.seed}:{self.epoch}")
        mine = plan[self.rank :: self.world_size][: len(self)]
        for number, rows in enumerate(mine[start:], start=start + 1):
            self.batches_done = number
            extra = [self.hard_negatives[row.tconst_anchor] for row in rows if row.tconst_anchor in self.hard_negatives]
            yield collate_pairs([*rows, *extra], self.positives)
