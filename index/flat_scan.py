"""The loops of the exact scan: every live row against every query.

A few queries (`scan_rows`): each row is compared with all of them while it is in the processor's cache; reading the
rows from memory is what takes the time.

Many queries (`scan_tiles`): a matrix product finds the few pairs that may belong to the result, and only these are
compared as `scan_rows` would.
1. Live rows fill a tile; a full tile is multiplied with every panel of queries (see `tile`).
2. A score is x . q for dot, and x . q - |x|^2 / 2 for l2: both grow as the distance shrinks. To each is added the most
   that rounding may have taken away, so no row is missed. (The bound of a sum of d products is d * 2^-24 * |x| |q|:
   Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1.)
3. A pair passes if its score reaches its query's bound, the k-th distance so far turned into a score. Its distance is
   then computed by `distance` and offered to the heap.

So a result does not depend on the number of queries, the number of threads, or the tile: it is always the k best by
(`distance`, ordinal). A distance that overflows to NaN counts as +inf. Squared lengths that overflow make scores or
bounds infinite or NaN, and such pairs pass.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, FloatArray, IntArray

from .jit import kernel
from .simd import Int, dot_f32, l2_f32, prefetch, trailing_zeros
from .tile import ROWS, WIDTH, near_tile, place_row
from .topk import offer

AHEAD: Final = 4096  # bytes from the row that is read to the one asked for
LINE: Final = 64  # bytes of a cache line
ALLOWANCE: Final = np.float32(2.0**-22)  # for rounding, a component: four times the bound, for all terms of a score
TINY: Final = np.float32(1e-36)  # where squares underflow, rounding is no longer relative

_ONE: Final = np.uint64(1)
_INFINITY: Final = np.float32(np.inf)


@kernel
def distance(
    rows: NDArray[Any], start: Int, queries: FloatArray, start_query: Int, d: Int, squared: bool
) -> np.float32:
    """The distance of a row and a query, smaller is closer: squared Euclidean, or minus the inner product."""
    if squared:
        value = l2_f32(rows, start, queries, start_query, d)
    else:
        value = np.float32(0.0) - dot_f32(rows, start, queries, start_query, d)
    return _INFINITY if np.isnan(value) else value


@kernel
def scan_rows(
    rows: NDArray[Any],
    queries: FloatArray,
    squared: bool,
    live: Bitset,
    first: Int,
    last: Int,
    distances: FloatArray,
    ordinals: IntArray,
) -> None:
    """Offer the live rows of the words [first, last) of `live` to the heaps [nq, k] of queries [nq, d].

    rows is flat: float32, int8, or the bits of float16.
    """
    (nq, d), k = queries.shape, distances.shape[1]
    flat_distances, flat_ordinals = distances.reshape(-1), ordinals.reshape(-1)
    ahead, line = AHEAD // rows.itemsize, LINE // rows.itemsize
    for w in range(first, last):
        word = live[w]
        while word != 0:
            i = 64 * w + trailing_zeros(word)
            word &= word - _ONE
            for j in range(i * d + ahead, (i + 1) * d + ahead, line):
                prefetch(rows, j)
            for q in range(nq):
                here = distance(rows, i * d, queries, q * d, d, squared)
                offer(flat_distances, flat_ordinals, q * k, k, here, i)


@kernel
def scan_tiles(
    rows: NDArray[Any],
    queries: FloatArray,
    panels: FloatArray,
    squared: bool,
    live: Bitset,
    first: Int,
    last: Int,
    distances: FloatArray,
    ordinals: IntArray,
) -> int:
    """As `scan_rows`, with the queries also as panels float32 [ceil(nq / WIDTH), ceil(d / 16) * 16, WIDTH].

    Returns how many pairs were compared one by one.
    """
    (nq, d), k = queries.shape, distances.shape[1]
    compared = 0
    allowance = ALLOWANCE * np.float32(d + 64)
    squares = np.zeros(len(panels) * WIDTH, np.float32)
    for q in range(nq):
        squares[q] = max(dot_f32(queries, q * d, queries, q * d, d), TINY)
    lengths = np.sqrt(squares) if not squared else np.zeros_like(squares)
    bounds = np.full(len(squares), _INFINITY)
    bounds[:nq] = -_INFINITY

    tile = np.zeros(panels.shape[1] * ROWS, np.float32)
    members = np.zeros(ROWS, np.int64)
    scale, shift = np.zeros(ROWS, np.float32), np.zeros(ROWS, np.float32)
    flat_distances, flat_ordinals = distances.reshape(-1), ordinals.reshape(-1)
    hits = np.zeros(ROWS, np.uint32)
    filled = 0
    for w in range(first, last + 1):
        word = live[w] if w < last else np.uint64(0)
        while word != 0 or (w == last and filled > 0):
            if word != 0:
                i = 64 * w + trailing_zeros(word)
                word &= word - _ONE
                square = np.float32(place_row(rows, i * d, d, tile, filled))
                if squared:
                    shift[filled] = allowance * square - np.float32(0.5) * square + TINY
                else:
                    scale[filled] = allowance * np.sqrt(max(square, TINY))
                members[filled] = i
                filled += 1
                if filled < ROWS:
                    continue
            for p in range(len(panels)):
                near_tile(tile, panels, p, panels.shape[1] // 16, scale, shift, lengths, bounds, hits)
                for r in range(filled):
                    passed = hits[r]
                    while passed != 0:
                        q = p * WIDTH + trailing_zeros(passed)
                        passed &= passed - np.uint32(1)
                        if q >= nq:
                            break
                        compared += 1
                        here = distance(rows, members[r] * d, queries, q * d, d, squared)
                        if offer(flat_distances, flat_ordinals, q * k, k, here, members[r]):
                            bounds[q] = _bound(flat_distances[q * k], squares[q], allowance, squared)
            filled = 0
    return compared


@kernel
def _bound(worst: np.float32, square: np.float32, allowance: np.float32, squared: bool) -> np.float32:
    """The least score, allowance included, of a row that may be at distance `worst` or nearer."""
    if squared:
        return np.float32(0.5) * (square - worst) - allowance * (square + worst)
    return -worst


@kernel
def scan_candidates(
    rows: NDArray[Any],
    queries: FloatArray,
    squared: bool,
    candidates: IntArray,
    first: Int,
    last: Int,
    distances: FloatArray,
    ordinals: IntArray,
) -> int:
    """Offer candidates [nq, c], -1 for none, to the heaps of the queries [first, last); how many there were."""
    (d, c), k = (queries.shape[1], candidates.shape[1]), distances.shape[1]
    flat_distances, flat_ordinals = distances.reshape(-1), ordinals.reshape(-1)
    line, compared = LINE // rows.itemsize, 0
    for q in range(first, last):
        for j in range(c):
            soon = candidates[q, j + 2] if j + 2 < c else -1
            if soon >= 0:
                for z in range(soon * d, (soon + 1) * d, line):
                    prefetch(rows, z)
            i = candidates[q, j]
            if i >= 0:
                here = distance(rows, i * d, queries, q * d, d, squared)
                offer(flat_distances, flat_ordinals, q * k, k, here, i)
                compared += 1
    return compared


@kernel
def measure(
    rows: NDArray[Any], queries: FloatArray, squared: bool, candidates: IntArray, distances: FloatArray
) -> None:
    """distances[q, j] = the distance of candidate [q, j], +inf where it is -1."""
    d = queries.shape[1]
    for q in range(len(candidates)):
        for j in range(candidates.shape[1]):
            i = candidates[q, j]
            distances[q, j] = distance(rows, i * d, queries, q * d, d, squared) if i >= 0 else _INFINITY
