"""Which rows the inverted lists hold: pruning, of rows and of lists.

1. Of a row only its heaviest terms count, until they make up the share MASS of its weight: a row is rarely wanted for
   the others (document-centric pruning: Büttcher and Clarke 2006, CIKM, section 3). No more than MOST_TERMS count, so
   that the index of long rows does not grow with the square of their lengths.
2. Of a list only its heaviest `cap` entries are kept (Bruch, Nardini, Rulli and Venturini 2024, SIGIR, section 4.1),
   which grows with the square root of the number of rows; equal weights: the smaller ordinals.

Weights are compared as bytes, relative to the heaviest of the row, or of the list.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray, IntArray, SparseRows

from .jit import kernel
from .simd import Int
from .threads import run_ranges

MASS: Final = 0.6  # a half saves a fifth of the index, and costs a tenth of the time at recall 0.99
MOST_TERMS: Final = 256
CAP_ROOT: Final = 6.0  # 2,000 rows a list of 117,659, 6,000 of a million
LEAST_CAP: Final = 1_000
MIN_ROWS: Final = 4_096  # of one thread


def inverted(rows: SparseRows, threads: int = 1) -> tuple[IntArray, IntArray, NDArray[np.uint16]]:
    """(starts [terms + 1], ordinals, ranks [entries]): the pruned lists, each with its rows ascending, and in `ranks`
    the entries of each row from its heaviest down, as positions in the row."""
    assert rows.terms is not None, "bug: terms are numbered before"
    n = len(rows)
    kept, ranks = np.zeros(len(rows.numbers), np.bool_), np.empty(len(rows.numbers), np.uint16)

    def some(first: int, last: int) -> None:
        _prune_rows(rows.offsets, rows.weights, np.int64(first), np.int64(last), MASS, kept, ranks)

    run_ranges(some, n, threads, MIN_ROWS)
    cap = max(LEAST_CAP, math.ceil(CAP_ROOT * math.sqrt(n)))
    starts, ordinals = _keep_heaviest(
        rows.offsets, rows.numbers, rows.weights, kept, np.int64(cap), np.int64(len(rows.terms))
    )
    return starts, ordinals, ranks


@kernel
def _prune_rows(
    offsets: IntArray,
    weights: FloatArray,
    first: Int,
    last: Int,
    mass: float,
    kept: NDArray[np.bool_],
    ranks: NDArray[np.uint16],
) -> None:
    """Mark the heaviest entries of rows first:last, and rank all of them: a counting sort by 256 levels."""
    counts = np.zeros(257, np.int64)
    for row in range(first, last):
        start, length = offsets[row], offsets[row + 1] - offsets[row]
        top, total = np.float32(0.0), np.float64(0.0)
        for i in range(length):
            top = max(top, weights[start + i])
            total += weights[start + i]
        counts[:] = 0
        for i in range(length):
            counts[256 - np.int64(weights[start + i] / top * np.float32(255.0))] += 1
        for level in range(1, 257):
            counts[level] += counts[level - 1]
        for i in range(length):
            at = 255 - np.int64(weights[start + i] / top * np.float32(255.0))
            ranks[start + counts[at]] = i
            counts[at] += 1
        taken = np.float64(0.0)
        for i in range(length):
            if taken >= mass * total or i == MOST_TERMS:
                break
            entry = start + np.int64(ranks[start + i])
            taken += weights[entry]
            kept[entry] = True


@kernel
def _keep_heaviest(
    offsets: IntArray,
    numbers: NDArray[Any],
    weights: FloatArray,
    kept: NDArray[np.bool_],
    cap: Int,
    terms: Int,
) -> tuple[IntArray, IntArray]:
    """(starts, ordinals) of the kept entries by term, of each list at most `cap`."""
    tops, sizes = np.zeros(terms, np.float32), np.zeros(terms, np.int64)
    for entry in range(len(numbers)):
        if kept[entry]:
            tops[numbers[entry]] = max(tops[numbers[entry]], weights[entry])
            sizes[numbers[entry]] += 1
    places, long = np.full(terms, -1, np.int64), np.int64(0)  # only lists that are cut need levels
    for term in range(terms):
        if sizes[term] > cap:
            places[term] = long
            long += 1
    levels = np.zeros((long, 256), np.int64)  # entries of a list whose weight is so many 255ths of the heaviest
    for entry in range(len(numbers) if long > 0 else 0):
        term = numbers[entry]
        if kept[entry] and places[term] >= 0:
            levels[places[term], np.int64(weights[entry] / tops[term] * np.float32(255.0))] += 1
    starts = np.zeros(terms + 1, np.int64)
    lowest, room = np.full(terms, -1, np.int64), np.zeros(terms, np.int64)
    for term in range(terms):
        starts[term + 1] = starts[term] + min(sizes[term], cap)
        if places[term] >= 0:
            size, level = np.int64(0), np.int64(255)
            while size + levels[places[term], level] <= cap:
                size += levels[places[term], level]
                level -= 1
            lowest[term] = level  # entries of this level are kept while there is room
            room[term] = cap - size
    ordinals = np.empty(starts[terms], np.int64)
    filled = starts.copy()
    for row in range(len(offsets) - 1):
        for entry in range(offsets[row], offsets[row + 1]):
            if not kept[entry]:
                continue
            term = numbers[entry]
            if lowest[term] >= 0:
                level = np.int64(weights[entry] / tops[term] * np.float32(255.0))
                if level < lowest[term] or (level == lowest[term] and room[term] == 0):
                    continue
                room[term] -= np.int64(level == lowest[term])
            ordinals[filled[term]] = row
            filled[term] += 1
    return starts, ordinals
