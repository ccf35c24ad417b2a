"""Training batches that hold several movies of each list, so that an anchor has several right documents."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from moviebot.data.pair_batch import PairBatch, PairRow, TrainLoader, collate_pairs


class ListLoader(TrainLoader):
    """A :class:`~moviebot.data.pair_batch.TrainLoader` whose batches :func:`plan_lists` plans.

    Args:
        rows: positives to train on.
        positives: as for :func:`~moviebot.data.pair_batch.collate_pairs`.
        batch_size: rows a batch, on each device.
        together: rows of one anchor in a batch at the most.
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
        together: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(rows, positives, batch_size, unique=True, seed=seed, rank=rank, world_size=world_size)
        self.listed = rows
        self.together = together

    def __len__(self) -> int:
        return max(1, count_batches(self.listed, self.batch_size, self.together) // self.world_size)

    def __iter__(self) -> Iterator[PairBatch]:
        start, self._resume_at = self._resume_at, 0
        plan = plan_lists(self.listed, self.batch_size, self.together, f"{self.seed}:{self.epoch}")
        mine = plan[self.rank :: self.world_size][: len(self)]
        for number, rows in enumerate(mine[start:], start=start + 1):
            self.batches_done = number
            yield collate_pairs(rows, self.positives)


def plan_lists(rows: Sequence[PairRow], batch_size: int, together: int, seed: str) -> list[list[PairRow]]:
    """Shuffle positives into batches in which an anchor comes with up to ``together`` of its samples.

    An anchor's text is encoded once for all of them. There are ``ceil(blocks / blocks a batch)`` batches, where a
    block is what an anchor brings to a batch.

    Args:
        rows: positives only.
        batch_size: rows a batch at the most; at least ``together``.
        together: rows of one anchor in a batch at the most.
        seed: decides the order.

    Returns:
        The batches; each row in just one.

    Example:
        >>> rows = [PairRow(a, b, 1, a, b) for a in "xy" for b in "pqr"]
        >>> [len(batch) for batch in plan_lists(rows, 4, 2, "0")]
        [4, 2]
    """
    rng = random.Random(seed)
    by_anchor: defaultdict[str, list[PairRow]] = defaultdict(list)
    for row in rng.sample(rows, len(rows)):
        by_anchor[row.tconst_anchor].append(row)
    blocks = [
        found[start : start + together] for found in by_anchor.values() for start in range(0, len(found), together)
    ]
    rng.shuffle(blocks)
    per_batch = max(1, batch_size // together)
    return [
        [row for block in blocks[start : start + per_batch] for row in block]
        for start in range(0, len(blocks), per_batch)
    ]


def count_batches(rows: Sequence[PairRow], batch_size: int, together: int) -> int:
    """Return how many batches :func:`plan_lists` makes, without making them."""
    sizes: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        sizes[row.tconst_anchor] += 1
    blocks = sum(-(-size // together) for size in sizes.values())
    return -(-blocks // max(1, batch_size // together))
