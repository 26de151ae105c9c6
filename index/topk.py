"""The k nearest of a stream of rows: one binary heap a query, in plain arrays, its worst entry on top.

The heap of a query is `distances[base : base + k]` and `ordinals[base : base + k]` of two flat arrays. It starts full
of entries at (+inf, NO_ROW), which every row beats, even one at distance +inf. Entries are ordered by (distance,
ordinal), so the outcome does not depend on the order in which rows are offered: ties go to the smaller ordinal.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vsearch.types import FloatArray, IntArray

from .jit import kernel
from .simd import Int

NO_ROW: Final = np.iinfo(np.int64).max  # sorts behind every row


def empty_heaps(nq: int, k: int) -> tuple[FloatArray, IntArray]:
    """(distances float32 [nq, k], ordinals int64 [nq, k]) of heaps that hold nothing."""
    return np.full((nq, k), np.inf, np.float32), np.full((nq, k), NO_ROW, np.int64)


@kernel
def offer(
    distances: FloatArray, ordinals: IntArray, base: Int, k: Int, distance: float | np.float32, ordinal: Int
) -> bool:
    """Put a row into a heap in place of the worst entry, if it is better; whether it was."""
    if distance > distances[base] or (distance == distances[base] and ordinal > ordinals[base]):
        return False
    _sift(distances, ordinals, base, k, distance, ordinal)
    return True


@kernel
def _sift(
    distances: FloatArray, ordinals: IntArray, base: Int, k: Int, distance: float | np.float32, ordinal: Int
) -> None:
    """Replace the top entry of a heap and restore the order."""
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= k:
            break
        here, right = base + child, base + child + 1
        if child + 1 < k and (
            distances[right] > distances[here]
            or (distances[right] == distances[here] and ordinals[right] > ordinals[here])
        ):
            child, here = child + 1, right
        if distances[here] < distance or (distances[here] == distance and ordinals[here] < ordinal):
            break
        distances[base + hole], ordinals[base + hole] = distances[here], ordinals[here]
        hole = child
    distances[base + hole], ordinals[base + hole] = distance, ordinal


@kernel
def absorb(distances: FloatArray, ordinals: IntArray, more_distances: FloatArray, more_ordinals: IntArray) -> None:
    """Offer the entries of other heaps [nq, j], in any order, to heaps [nq, k] of the same queries."""
    nq, k = distances.shape
    flat_distances, flat_ordinals = distances.reshape(-1), ordinals.reshape(-1)
    for q in range(nq):
        for j in range(more_distances.shape[1]):
            offer(flat_distances, flat_ordinals, q * k, k, more_distances[q, j], more_ordinals[q, j])


@kernel
def sort_heaps(distances: FloatArray, ordinals: IntArray) -> None:
    """Turn heaps [nq, k] into rows sorted by (distance, ordinal), in place; what was never filled becomes -1."""
    nq, k = distances.shape
    flat_distances, flat_ordinals = distances.reshape(-1), ordinals.reshape(-1)
    for q in range(nq):
        base = q * k
        for last in range(k - 1, 0, -1):
            distance, ordinal = flat_distances[base + last], flat_ordinals[base + last]
            flat_distances[base + last], flat_ordinals[base + last] = flat_distances[base], flat_ordinals[base]
            _sift(flat_distances, flat_ordinals, base, last, distance, ordinal)
        for j in range(k):
            if flat_ordinals[base + j] == NO_ROW:
                flat_ordinals[base + j] = -1
