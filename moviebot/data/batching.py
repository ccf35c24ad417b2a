"""The order in which samples are seen: similar lengths together, and resumable in the middle of an epoch."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Sampler

BATCHES_PER_POOL = 16  # enough to find equal lengths in; few enough that an epoch stays random


class LengthGroupedSampler(Sampler[int]):
    """A random order in which each run of ``batch_size`` samples is of similar length, so that little is padding.

    Where nothing is padded (samples are packed) a pool of one batch leaves the order random.

    Args:
        lengths: each sample's tokens.
        batch_size: samples a batch.
        seed: with the epoch (Lightning sets it), decides the order.
        rank: this process's number, below ``world_size``.
        world_size: how many processes share the samples. Each sees as many batches, and those of one step are of
            similar length; up to ``world_size - 1`` samples an epoch, others each time, are left out for that.
        pool_batches: batches whose samples are sorted by length together.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pool_batches: int = BATCHES_PER_POOL,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.pool_batches = pool_batches
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order."""
        self.epoch = epoch

    def __len__(self) -> int:
        steps, rest = divmod(len(self.lengths), self.batch_size * self.world_size)
        return steps * self.batch_size + (len(range(self.rank, rest, self.world_size)) if self._can_share(rest) else 0)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self.seed}:{self.epoch}")
        indices = list(range(len(self.lengths)))
        draw.shuffle(indices)
        step_size = self.batch_size * self.world_size  # samples of all processes together
        pool_size = step_size * self.pool_batches
        for start in range(0, len(indices), pool_size):
            pool = sorted(indices[start : start + pool_size], key=lambda index: self.lengths[index])
            steps = [pool[i : i + step_size] for i in range(0, len(pool), step_size)]
            # A step that is not full comes last of all, where it belongs to the epoch's end.
            short = [steps.pop()] if len(steps[-1]) < step_size else []
            draw.shuffle(steps)
            for step in [*steps, *(rest for rest in short if self._can_share(len(rest)))]:
                yield from step[self.rank :: self.world_size]

    def _can_share(self, rest: int) -> bool:
        """Whether each process gets one of the last samples: all the others would wait for one that got none."""
        return rest >= self.world_size


def split_evenly(count: int, batch_size: int, rank: int, world_size: int) -> tuple[range, int]:
    """Divide samples that are all wanted, each once, so that every process sees as many batches.

    Args:
        count: how many samples there are.
        batch_size: the samples a batch that were asked for.
        rank: this process's number, below ``world_size``.
        world_size: how many processes share them.

    Returns:
        This process's samples, and its batch size: another than asked for where that alone makes the batches as many.

    Example:
        >>> [split_evenly(9, 4, rank, 2) for rank in range(2)]
        [(range(0, 9, 2), 3), (range(1, 9, 2), 3)]
    """
    fewest, rest = divmod(count, world_size)
    if rest and fewest:  # some processes have one sample more, which must not be a batch of its own
        sizes = [*range(batch_size, 1, -1), *range(batch_size + 1, fewest + 2)]
        batch_size = next(size for size in sizes if fewest % size)
    return range(rank, count, world_size), batch_size


class ResumableDataLoader(DataLoader[Any]):
    """A DataLoader that can begin an epoch where a checkpoint left it.

    The datamodule keeps its state (:meth:`state_dict`) and gives it back before training starts. Lightning keeps it
    too, but does not give it back where a schedule asked for the number of steps first (the loaders exist by then).
    """

    _batches_seen = 0
    _batches_to_skip = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator: the sampler's epoch is set by then
        skip, self._batches_to_skip = self._batches_to_skip, 0
        self._batches_seen = skip
        for batch in islice(super().__iter__(), skip, None):
            self._batches_seen += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how far the epoch is."""
        return {"batches_seen": self._batches_seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next epoch begin after the batches that were seen; a whole epoch seen begins a new one."""
        self._batches_to_skip = state["batches_seen"] % len(self)
