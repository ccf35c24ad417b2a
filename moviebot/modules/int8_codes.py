"""Exact nearest neighbours from a quarter of the memory: int8 codes to choose from, float32 rows to decide by.

The documents are rotated to their principal axes, so that the first 192 numbers of a vector hold most of its length,
and rounded to 8 bits a number, with a scale of its own for each vector's head and tail. Every rounding error and every
tail's norm is kept, so a search knows for each document, from its head alone, the most that its cosine can be; the few
that could be among the k nearest have their tail looked at, and the few that are left are scored in float32 by
:class:`~moviebot.modules.index.MovieIndex`. Nothing is left to chance: what is passed over cannot be a neighbour.

Shapes: N documents, Q queries, D embedding, H = 192 of them head, k wanted.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

HEAD = 192
"""Numbers that each search reads of all documents: half of MiniLM's 384. With 128, a fifth of all descriptions had to
have their tail looked at, and a search took twice as long; labels took 13 % less."""
_NAMES = ("head", "tail", "facts", "rotation")
_SAMPLE = 50_000  # rows that the axes are found on
_CHUNK = 8192  # rows rotated at once
_ROOM = 4096  # candidates of a query there is room for at first
_QUERY_RANGE = 32_767
_ROUNDING = np.float32(1e-4)  # more than what float32 sums err by


@dataclass(frozen=True)
class Int8Codes:
    """The codes of N unit vectors.

    Attributes:
        head: ``(N, H)`` int8, the rotated vectors' first numbers.
        tail: ``(N, D - H)`` int8, the others.
        facts: ``(4, N)`` float32: the scale of the head, the scale of the tail, the norm of the tail, and the norm of
            what rounding took from the whole vector.
        rotation: ``(D, D)`` float32, orthogonal; a vector times it is rotated.
    """

    head: NDArray[np.int8]
    tail: NDArray[np.int8]
    facts: NDArray[np.float32]
    rotation: NDArray[np.float32]

    @classmethod
    def quantise(cls, vectors: NDArray[np.float32]) -> "Int8Codes":
        """Make the codes of ``(N, D)`` vectors, D more than :data:`HEAD`."""
        number, width = vectors.shape
        sample = np.ascontiguousarray(vectors[:: max(1, number // _SAMPLE)])
        axes = np.linalg.eigh((sample.T @ sample).astype(np.float64))[1]  # (D, D), by ascending length
        rotation = np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)
        head, tail = np.empty((number, HEAD), np.int8), np.empty((number, width - HEAD), np.int8)
        facts = np.empty((4, number), np.float32)
        starts = range(0, number, _CHUNK)
        for start in track(starts, description="Quantising", transient=True, disable=number < 20 * _CHUNK):
            rows = slice(start, start + _CHUNK)
            rotated = vectors[rows] @ rotation  # (chunk, D)
            error = np.zeros(len(rotated), np.float32)
            for column, (part, codes) in enumerate(((rotated[:, :HEAD], head), (rotated[:, HEAD:], tail))):
                scale = np.maximum(np.abs(part).max(axis=1), np.finfo(np.float32).tiny) / 127  # (chunk,)
                rounded = np.rint(part / scale[:, None])
                codes[rows] = rounded
                facts[column, rows] = scale
                error += ((rounded * scale[:, None] - part) ** 2).sum(axis=1)
            facts[2, rows] = np.linalg.norm(rotated[:, HEAD:], axis=1)
            facts[3, rows] = np.sqrt(error) + _ROUNDING
        return cls(head, tail, facts, rotation)

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        return len(self.head), HEAD + self.tail.shape[1]

    def save(self, folder: Path) -> None:
        """Write one ``.npy`` file an array into a folder that is there."""
        for name in _NAMES:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> "Int8Codes":
        """Open the files of :meth:`save`; they stay on disk until they are read.

        Raises:
            OSError: a file is absent.
            ValueError: a file is damaged, or the files don't fit each other.
        """
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in _NAMES]
        head, tail, facts, rotation = arrays
        if any(array.ndim != 2 for array in arrays) or not (
            head.shape[1] == HEAD
            and len(head) == len(tail)
            and facts.shape == (4, len(head))
            and rotation.shape == (HEAD + tail.shape[1],) * 2
            and [str(array.dtype) for array in arrays] == ["int8", "int8", "float32", "float32"]
        ):
            raise ValueError("the int8 codes don't fit each other")
        return cls(head, tail, facts, rotation)

    def find_candidates(self, queries: NDArray[np.float32], k: int) -> list[NDArray[np.int64]]:
        """Return for each query the rows that may be among its k nearest, all of those that are among them.

        Args:
            queries: ``(Q, D)``, each row of length 1.
            k: at most N.

        Returns:
            Q arrays of row numbers, ascending; for k = 20 some tens to some hundreds of rows each.
        """
        rotated = queries @ self.rotation  # (Q, D)
        if len(queries) == 1:
            padding, scan = 0, self._prepare_one(rotated[0])
        else:
            padding = -len(queries) % 4
            rotated = np.concatenate([rotated, np.zeros((padding, rotated.shape[1]), np.float32)])
            scan = self._prepare_many(rotated)
        threads = min(_count_cores(), max(1, len(self.head) // _CHUNK))
        edges = [len(self.head) * part // threads for part in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            parts = list(
                pool.map(lambda shard: _scan_shard(scan, len(rotated), padding, k, *shard), itertools.pairwise(edges))
            )
        found = []
        for query in range(len(queries)):
            bounds = np.concatenate([best[query] for _, _, best in parts])
            least = np.partition(bounds, len(bounds) - k)[len(bounds) - k]  # k documents reach this
            rows = [rows[query][upper[query] >= least] for rows, upper, _ in parts]
            found.append(np.concatenate(rows).astype(np.int64))
        return found

    def _prepare_one(self, rotated: NDArray[np.float32]) -> "_Scan":
        """Return what scans rows for one query, ``(D,)``: integers against integers, which is faster."""
        head, tail = rotated[:HEAD], rotated[HEAD:]
        (whole_head, head_scale), (whole_tail, tail_scale) = _round_query(head), _round_query(tail)
        lost = np.concatenate([whole_head * head_scale - head, whole_tail * tail_scale - tail])
        scales = np.array([head_scale, tail_scale], np.float32)
        slack, error = np.float32(np.linalg.norm(tail)), np.float32(np.linalg.norm(lost))

        def scan(start: int, stop: int, best: NDArray[np.float32], *found: NDArray[Any]) -> int:
            threshold, rows, upper, counts = found
            return _get_scans()[0](
                self.head, self.tail, self.facts, start, stop, whole_head, whole_tail, scales, slack, error,
                best[0], threshold, rows[0], upper[0], counts,
            )  # fmt: skip

        return scan

    def _prepare_many(self, rotated: NDArray[np.float32]) -> "_Scan":
        """Return what scans rows for ``(Q, D)`` queries."""
        slack = np.linalg.norm(rotated[:, HEAD:], axis=1)

        def scan(start: int, stop: int, *found: NDArray[Any]) -> int:
            return _get_scans()[1](self.head, self.tail, self.facts, start, stop, rotated, slack, *found)

        return scan


_Scan = Callable[..., int]
"""Scans rows from a first to a last one; see :mod:`moviebot.modules.scan_kernel` for what it fills."""


def _scan_shard(
    scan: _Scan, number: int, padding: int, k: int, start: int, stop: int
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the candidates among the rows ``start:stop``, their upper bounds, and the k best lower bounds."""
    best = np.full((number, k), -np.inf, np.float32)
    threshold = np.full(number, -np.inf, np.float32)
    threshold[number - padding :] = np.inf  # nothing is looked for in the rows that fill up the last four
    rows, upper = np.empty((number, _ROOM), np.int32), np.empty((number, _ROOM), np.float32)
    counts = np.zeros(number, np.int64)
    while True:
        start = scan(start, stop, best, threshold, rows, upper, counts)
        for query, count in enumerate(counts):  # the bound has risen since the first were taken
            kept = np.flatnonzero(upper[query, :count] >= threshold[query])
            rows[query, : len(kept)], upper[query, : len(kept)] = rows[query, kept], upper[query, kept]
            counts[query] = len(kept)
        if start == stop:
            return (
                [line[:count] for line, count in zip(rows, counts, strict=True)],
                [line[:count] for line, count in zip(upper, counts, strict=True)],
                best,
            )
        if counts.max() > rows.shape[1] // 2:
            rows, upper = (np.concatenate([array, np.empty_like(array)], axis=1) for array in (rows, upper))


def _round_query(part: NDArray[np.float32]) -> tuple[NDArray[np.int16], np.float32]:
    """Return a part of a query in whole numbers, and their unit."""
    scale = np.float32(max(float(np.abs(part).max()), float(np.finfo(np.float32).tiny)) / _QUERY_RANGE)
    return np.rint(part / scale).astype(np.int16), scale


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _get_scans() -> tuple[_Scan, _Scan]:
    from moviebot.modules.scan_kernel import compile_scans  # imports numba, which a small catalogue never needs

    return compile_scans()
