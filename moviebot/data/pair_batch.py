"""What a retriever's batches look like, and how rows become training batches.

Shapes: B rows (pairs, queries or documents), R right documents a query, padded with -1.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor

from moviebot.errors import UserError

NO_GROUP = -1
"""Stands for no document."""
BUCKET_BATCHES = 16
"""Rows of this many batches are sorted by length together: enough to save padding, few enough to stay shuffled."""
Batch = TypeVar("Batch")


class PairRow(NamedTuple):
    """One row of a pairs artefact, without its split."""

    anchor: str
    sample: str
    label: int
    tconst_anchor: str
    tconst_sample: str


class PairPart(NamedTuple):
    """Rows that make batches of their own: labels are negatives among labels, texts among texts.

    Attributes:
        rows: the rows to train on.
        rewrite: gives a row the anchor and the sample of this epoch, by the source of randomness handed to it; the row
            as it is where None.
        rivals: for a positive's tconst, rows that may join its batch as negatives.
        rivals_drawn: how many of them join, drawn anew each epoch.
    """

    rows: Sequence[PairRow]
    rewrite: Callable[[PairRow, random.Random], PairRow] | None = None
    rivals: Mapping[str, Sequence[PairRow]] = {}
    rivals_drawn: int = 1


class PairBatch(NamedTuple):
    """Labelled pairs of texts.

    Attributes:
        anchors: B texts.
        samples: B texts.
        labels: ``(B,)`` int64, 1 where the sample is right for the anchor, else 0.
        excluded: ``(B, N)`` bool, True where the column's sample must not serve as a negative for the row's anchor.
            The columns are the batch's samples; with several processes those of all of them, in their order.
    """

    anchors: list[str]
    samples: list[str]
    labels: Tensor
    excluded: Tensor


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


def collate_pairs(
    rows: Sequence[PairRow], positives: Mapping[str, AbstractSet[str]], own: slice = slice(None)
) -> PairBatch:
    """Build a batch of pairs.

    A sample is excluded as a negative where it is known to be right for the anchor's movie, is that very movie, or
    reads the same as the anchor's own sample (two movies of one title and year can't be told apart).

    Args:
        rows: the rows of all processes.
        positives: for each anchor's tconst the tconsts of all its positive samples.
        own: which of the rows are this process's: the B rows of the batch.
    """
    mine = rows[own]
    excluded = torch.zeros(len(mine), len(rows), dtype=torch.bool)
    for line, anchor in enumerate(mine):
        right = positives.get(anchor.tconst_anchor, frozenset())
        for column, other in enumerate(rows):
            excluded[line, column] = (
                other.tconst_sample in right
                or other.tconst_sample == anchor.tconst_anchor
                or (anchor.label == 1 and other.sample == anchor.sample)
            )
    labels = torch.tensor([row.label for row in mine])
    return PairBatch([row.anchor for row in mine], [row.sample for row in mine], labels, excluded)


def plan_labelled(rows: Sequence[PairRow], batch_size: int, seed: str) -> list[list[PairRow]]:
    """Shuffle positives and negatives alike into batches, as the published recipe does."""
    shuffled = random.Random(seed).sample(rows, len(rows))
    return [shuffled[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def plan_unique(
    rows: Sequence[PairRow], batch_size: int, seed: str, length_buckets: bool = False
) -> list[list[PairRow]]:
    """Shuffle positives into batches in which no movie occurs twice.

    Two questions about one movie in a batch would make its title a negative of its own question. There are always
    ``len(rows) // batch_size`` batches (at least one), so that the number of steps is known beforehand; a row that fits
    in none is left out this time.

    Args:
        rows: positives only.
        batch_size: rows a batch; fewer where not enough movies differ.
        seed: decides the order.
        length_buckets: put rows of like length together, so that little is spent on padding.

    Returns:
        The batches; each row in one batch at the most.
    """
    rng = random.Random(seed)
    shuffled = rng.sample(rows, len(rows))
    if length_buckets:
        window = BUCKET_BATCHES * batch_size
        shuffled = [
            row
            for start in range(0, len(shuffled), window)
            for row in sorted(shuffled[start : start + window], key=lambda row: len(row.anchor) + len(row.sample))
        ]
    batches: list[list[PairRow]] = [[] for _ in range(max(1, len(rows) // batch_size))]
    movies: list[set[str]] = [set() for _ in batches]
    first_open = 0
    for row in shuffled:
        touched = {row.tconst_anchor, row.tconst_sample}
        while first_open < len(batches) and len(batches[first_open]) == batch_size:
            first_open += 1
        for number in range(first_open, len(batches)):
            if len(batches[number]) < batch_size and not movies[number] & touched:
                batches[number].append(row)
                movies[number] |= touched
                break
    if length_buckets:
        rng.shuffle(batches)  # else a window's short texts would all come before its long ones
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

    With several processes each takes its share of a batch that is planned as one: no movie is in it twice, and each
    process knows of the others' samples which are no negatives of its own anchors.

    Args:
        parts: the rows to train on; a batch is of one part, and the parts' batches come in mixed order.
        positives: as for :func:`collate_pairs`.
        batch_size: rows a batch, on each device.
        unique: no movie twice in a batch (:func:`plan_unique`), else :func:`plan_labelled`.
        length_buckets: with ``unique``, rows of like length in a batch.
        seed: decides the order, with the epoch.
        rank: this process's number, below ``world_size``.
        world_size: how many processes share the batches.
    """

    def __init__(
        self,
        parts: Sequence[PairPart],
        positives: Mapping[str, AbstractSet[str]],
        batch_size: int,
        *,
        unique: bool,
        length_buckets: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.parts = parts
        self.positives = positives
        self.batch_size = batch_size
        self.unique = unique
        self.length_buckets = length_buckets
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
        if self.unique:
            return sum(max(1, len(part.rows) // (self.batch_size * self.world_size)) for part in self.parts)
        return max(1, sum(-(-len(part.rows) // self.batch_size) for part in self.parts) // self.world_size)

    def __iter__(self) -> Iterator[PairBatch]:
        # Planned at the first batch, not before: Lightning makes the iterator first and sets the epoch after.
        start, self._resume_at = self._resume_at, 0
        plan = self._plan_shared() if self.unique else self._plan_apart()
        for number, (part, rows) in enumerate(plan[start:], start=start + 1):
            self.batches_done = number
            yield self._draw_batch(part, rows, f"{self.seed}:{self.epoch}:{number}")

    def _plan_shared(self) -> list[tuple[PairPart, list[PairRow]]]:
        """Plan batches that all processes share."""
        size, seed = self.batch_size * self.world_size, f"{self.seed}:{self.epoch}"
        plans = [plan_unique(part.rows, size, seed, self.length_buckets) for part in self.parts]
        if min(len(rows) for plan in plans for rows in plan) < self.world_size:
            raise UserError(
                f"too few different movies for {self.world_size} processes with batch_size={self.batch_size}: "
                "lower data.init_args.batch_size or trainer.devices"
            )
        plan = [(part, rows) for part, planned in zip(self.parts, plans, strict=True) for rows in planned]
        if len(self.parts) > 1:
            random.Random(seed).shuffle(plan)
        return plan

    def _plan_apart(self) -> list[tuple[PairPart, list[PairRow]]]:
        """Plan batches for this process alone."""
        seed = f"{self.seed}:{self.epoch}"
        plan = [(part, rows) for part in self.parts for rows in plan_labelled(part.rows, self.batch_size, seed)]
        return plan[self.rank :: self.world_size][: len(self)]

    def _draw_batch(self, part: PairPart, rows: Sequence[PairRow], seed: str) -> PairBatch:
        """Give a planned batch its texts and its rivals, and keep this process's share."""
        if not self.unique:
            return collate_pairs(self._draw_rows(part, rows, seed), self.positives)
        shares = [self._draw_rows(part, rows[rank :: self.world_size], seed) for rank in range(self.world_size)]
        first = sum(len(share) for share in shares[: self.rank])
        own = slice(first, first + len(shares[self.rank]))
        return collate_pairs(list(itertools.chain(*shares)), self.positives, own)

    @staticmethod
    def _draw_rows(part: PairPart, rows: Sequence[PairRow], seed: str) -> list[PairRow]:
        """Draw the rows' texts and, behind them, their rivals; what is drawn depends on no other row."""
        drawn: list[PairRow] = []
        rivals: list[PairRow] = []
        for row in rows:
            rng = random.Random(f"{seed}:{row.tconst_anchor}")
            drawn.append(part.rewrite(row, rng) if part.rewrite else row)
            known = part.rivals.get(row.tconst_anchor, ())
            chosen = rng.sample(known, min(part.rivals_drawn, len(known)))
            rivals += [rival._replace(anchor=drawn[-1].anchor) for rival in chosen]
        return drawn + rivals
