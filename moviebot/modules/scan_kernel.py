"""The inner loop of :mod:`moviebot.modules.int8_codes`, compiled by numba at first use (seconds, then cached).

Plain Python with types that LLVM turns into SIMD on whatever CPU it finds: on AVX2 the integer loop becomes
``vpmovsxbw`` and ``vpmaddwd``, 16 products an instruction. torch's ``_int_mm`` and the scalar quantisers of search
libraries want AVX512-VNNI for that, or convert each number to float first.

Shapes: N documents, Q queries (a multiple of four), D embedding, H of them head, k wanted, C room.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from moviebot.compiled import compile_loop
from moviebot.modules.int8_codes import HEAD

BLOCK = 128  # rows at once: as floats 128 x 192 x 4 bytes = 96 KiB, which the second-level cache holds


def _scan_one(
    head: NDArray[np.int8],
    tail: NDArray[np.int8],
    facts: NDArray[np.float32],
    start: int,
    stop: int,
    whole_head: NDArray[np.int16],
    whole_tail: NDArray[np.int16],
    scales: NDArray[np.float32],
    slack: np.float32,
    error: np.float32,
    best: NDArray[np.float32],
    threshold: NDArray[np.float32],
    rows: NDArray[np.int32],
    upper: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> int:
    """Collect the rows of ``start:stop`` that may be among the k nearest of one query.

    Args:
        head: ``(N, H)``, the rotated documents' leading numbers.
        tail: ``(N, D - H)``, the others.
        facts: ``(4, N)``: what a head's and a tail's codes are multiplied by, the tail's norm, the codes' error.
        start: the first row.
        stop: one past the last.
        whole_head: ``(H,)``, the query's head in whole numbers.
        whole_tail: ``(D - H,)``, its tail.
        scales: ``(2,)``, what those are multiplied by.
        slack: the norm of its tail.
        error: the norm of what its rounding took.
        best: ``(k,)``, the k largest lower bounds yet, in any order; changed in place, as are the following.
        threshold: ``(1,)``, the least of ``best``.
        rows: ``(C,)``, the rows collected.
        upper: ``(C,)``, the upper bounds of their cosines.
        counts: ``(1,)``, how many were collected.

    Returns:
        ``stop``, or the row to go on from once there is more room.
    """
    head_scale, tail_scale = scales
    count, bar = counts[0], threshold[0]  # read once: LLVM cannot know that no array overlaps them
    totals, scores = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.float32)
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        if count + size > len(rows):
            counts[0], threshold[0] = count, bar
            return first
        # Slices, and loops that do one thing each: twice as fast as one loop over the whole arrays.
        codes, rest = head[first : first + size], tail[first : first + size]
        units, tail_units = facts[0, first : first + size], facts[1, first : first + size]
        norms, errors = facts[2, first : first + size], facts[3, first : first + size]
        for row in range(size):
            total = np.int32(0)  # numba sums in 64 bits; of a head, 192 x 127 x 32,767 = 8e8 is the most
            for d in range(HEAD):  # a constant, so that the loop is unrolled
                total += np.int32(codes[row, d]) * np.int32(whole_head[d])
            totals[row] = total
        hopeful = np.int32(0)  # counted first, in a loop without branches: many blocks have none
        for row in range(size):
            scores[row] = np.float32(totals[row]) * head_scale * units[row]
            # Cauchy and Schwarz: the tails' product is at most the product of their norms.
            hopeful += np.int32(scores[row] + norms[row] * slack + errors[row] + error >= bar)
        if hopeful == 0:
            continue
        for row in range(size):
            off = errors[row] + error
            if scores[row] + norms[row] * slack + off < bar:
                continue
            total = np.int32(0)
            for d in range(rest.shape[1]):
                total += np.int32(rest[row, d]) * np.int32(whole_tail[d])
            score = scores[row] + np.float32(total) * tail_scale * tail_units[row]
            if score + off < bar:
                continue
            rows[count], upper[count] = first + row, score + off
            count += 1
            if score - off > bar:
                best[np.argmin(best)] = score - off
                bar = best.min()
    counts[0], threshold[0] = count, bar
    return stop


def _scan(
    head: NDArray[np.int8],
    tail: NDArray[np.int8],
    facts: NDArray[np.float32],
    start: int,
    stop: int,
    queries: NDArray[np.float32],
    slack: NDArray[np.float32],
    best: NDArray[np.float32],
    threshold: NDArray[np.float32],
    rows: NDArray[np.int32],
    upper: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> int:
    """Collect, for each of many queries, the rows of ``start:stop`` that may be among its k nearest.

    Args:
        head: ``(N, H)``, as for :func:`_scan_one`, like the next four.
        tail: ``(N, D - H)``.
        facts: ``(4, N)``.
        start: the first row.
        stop: one past the last.
        queries: ``(Q, D)``, rotated.
        slack: ``(Q,)``, the norm of each query's tail.
        best: ``(Q, k)``, the k largest lower bounds yet, in any order; changed in place, as are the following.
        threshold: ``(Q,)``, the least of ``best``.
        rows: ``(Q, C)``, the rows collected.
        upper: ``(Q, C)``, the upper bounds of their cosines.
        counts: ``(Q,)``, how many were collected.

    Returns:
        ``stop``, or the row to go on from once there is more room.
    """
    width, rest = head.shape[1], tail.shape[1]
    number, room = rows.shape
    block = np.empty((BLOCK, width), np.float32)
    scores = np.empty((number, BLOCK), np.float32)
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        for query in range(number):
            if counts[query] + size > room:
                return first
        for row in range(size):
            scale = facts[0, first + row]
            for d in range(width):
                block[row, d] = np.float32(head[first + row, d]) * scale
        for query in range(0, number, 4):  # four at once: each number of the block is loaded once for four products
            for row in range(size):
                score0 = score1 = score2 = score3 = np.float32(0)
                for d in range(width):
                    value = block[row, d]
                    score0 += value * queries[query, d]
                    score1 += value * queries[query + 1, d]
                    score2 += value * queries[query + 2, d]
                    score3 += value * queries[query + 3, d]
                scores[query, row], scores[query + 1, row] = score0, score1
                scores[query + 2, row], scores[query + 3, row] = score2, score3
        for query in range(number):
            bar, rest_norm = threshold[query], slack[query]  # read once: LLVM cannot know that no array overlaps them
            hopeful = np.int32(0)  # counted first, in a loop without branches: most blocks have none
            for row in range(size):
                # Cauchy and Schwarz: the tails' product is at most the product of their norms.
                limit = scores[query, row] + facts[2, first + row] * rest_norm + facts[3, first + row]
                hopeful += np.int32(limit >= bar)
            if hopeful == 0:
                continue
            for row in range(size):
                error = facts[3, first + row]
                if scores[query, row] + facts[2, first + row] * rest_norm + error < threshold[query]:
                    continue
                product = np.float32(0)
                for d in range(rest):
                    product += np.float32(tail[first + row, d]) * queries[query, width + d]
                score = scores[query, row] + product * facts[1, first + row]
                if score + error < threshold[query]:
                    continue
                rows[query, counts[query]] = first + row
                upper[query, counts[query]] = score + error
                counts[query] += 1
                if score - error > threshold[query]:
                    worst = np.argmin(best[query])
                    best[query, worst] = score - error
                    threshold[query] = best[query].min()
    return stop


def compile_scans() -> tuple[Callable[..., int], Callable[..., int]]:
    """Compile :func:`_scan_one` and :func:`_scan`; they let go of Python's lock, so that threads share the rows."""
    relaxed = {"reassoc", "contract", "nsz"}
    return compile_loop(_scan_one, fastmath=relaxed), compile_loop(_scan, fastmath=relaxed)
