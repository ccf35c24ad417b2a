"""The order in which samples are seen: similar lengths together, and resumable in the middle of an epoch."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Sampler

_BATCHES_PER_POOL = 16  # enough to find equal lengths in; few enough that an epoch stays random


class LengthGroupedSampler(Sampler[int]):
    """A random order in which each run of ``batch_size`` samples is of similar length, so that little is padding.

    Args:
        lengths: each sample's tokens.
        batch_size: samples a batch.
        seed: with the epoch (Lightning sets it), decides the order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int = 0) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self.seed}:{self.epoch}")
        indices = list(range(len(self.lengths)))
        draw.shuffle(indices)
        pool_size = self.batch_size * _BATCHES_PER_POOL
        for start in range(0, len(indices), pool_size):
            pool = sorted(indices[start : start + pool_size], key=lambda index: self.lengths[index])
            batches = [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
            # A batch that is not full comes last of all, where it belongs to the epoch's end.
            short = [batches.pop()] if len(batches[-1]) < self.batch_size else []
            draw.shuffle(batches)
            for batch in [*batches, *short]:
                yield from batch


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
