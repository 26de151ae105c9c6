"""The staged search by binary codes, in one kernel.

For each query a heap holds the k rows with the smallest

    key = max(value, bounds)

where value is the exact distance of a row and each bound the least that an estimate by codes lets expect: estimate -
margin * s (see `binary_code`, `fine_code`). A bound holds with a probability that the margin stands for; where it does
not, the row counts as being at its bound. So a result is always the k smallest by (key, ordinal) of all live rows: the
same for any order of the rows, any number of threads and any batch.

1. Blocks of rows are estimated (`binary_scan`), with the widest margin that a row can need. A row with a bound above
   the heap's worst key is passed over: its own key can be no smaller. So is one whose narrower bound (`_bound`) is.
2. The others wait in a list. After every chunk of blocks, those whose estimate is below the worst key are compared, the
   best first: they will probably lower it. The rest, which are many more, are compared when the scan has ended, and
   most of their bounds are above the worst key by then.
3. To compare a row is to look at its second code first, if there is one, and at the vector only if that one's bound is
   still below the worst key.

`mode` says what the value is: VECTORS the exact distance; FINE the estimate by the second code; COARSE that by the
first, and then there are no margins and nothing waits.

Keys leave out what all rows of a query have in common, so that the scan need not add it. A key that overflows to NaN
counts as +inf.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, FloatArray, IntArray

from .binary_code import BLOCK, encode_query
from .binary_scan import CONSTANTS, TILE, UNIT, near_row, near_rows
from .coding import Codes
from .fine_code import HALF, QUERY_BITS, encode_fine_query, product
from .flat_scan import distance, scan_candidates
from .jit import kernel
from .simd import Int, prefetch, trailing_zeros
from .topk import NO_ROW, offer, sort_heaps

COARSE, FINE, VECTORS = range(3)

WAITING: Final = 512  # rows of one query that wait to be compared
GROUP: Final = 32  # queries that share one pass over the memory
CHUNK: Final = 32  # blocks that are compared with all queries of a group before the next: they stay in the cache
AHEAD: Final = 8  # waiting rows from the one compared to the one asked for
LINE: Final = 64  # bytes of a cache line

_INFINITY: Final = np.float32(np.inf)

# Constants of a query: the first three are `near_rows`'.
A, B, LIMIT, MARGIN, REACH, KAPPA, STEP, BIAS, FINE_MARGIN = range(CONSTANTS)


class Task(NamedTuple):
    """What a group of queries is compared with, and how far it has come."""

    codes: Codes
    rows: NDArray[Any]  # the vectors, as `flat.elements` gives them
    squared: bool
    mode: int
    live: Bitset
    queries: FloatArray  # float32 [nq, d]
    keys: FloatArray  # heaps [nq, k]
    ordinals: IntArray
    shifts: FloatArray  # float32 [nq]: what a query's keys leave out
    # Of the queries of the group:
    tables: NDArray[np.uint8]
    constants: FloatArray
    weights: NDArray[np.uint64]
    waiting: IntArray  # rows, and beside them
    bounds: FloatArray
    estimates: FloatArray
    counts: IntArray  # int64 [group, 2]: rows that wait, and those of them that had their turn after a chunk


@kernel
def search_whole(
    codes: Codes,
    rows: NDArray[Any],
    squared: bool,
    mode: int,
    live: Bitset,
    z: float,
    queries: FloatArray,
    distances: FloatArray,
    ordinals: IntArray,
) -> int:
    """The k nearest of all live rows, sorted, into empty heaps distances and ordinals [nq, k]; see `search_blocks`.
    One call, because every return from a kernel has to wait for Python's global lock."""
    nq, k = distances.shape
    keys, near = np.full((nq, k), np.inf, np.float32), np.full((nq, k), NO_ROW, np.int64)
    shifts = np.empty(nq, np.float32)
    compared = search_blocks(codes, rows, squared, mode, live, z, queries, 0, len(codes.codes), keys, near, shifts)
    if mode == VECTORS:
        scan_candidates(rows, queries, squared, near, 0, nq, distances, ordinals)
        sort_heaps(distances, ordinals)
    else:
        sort_heaps(keys, near)
        for q in range(nq):
            for j in range(k):
                distances[q, j], ordinals[q, j] = keys[q, j] + shifts[q], near[q, j]
    return compared


@kernel
def search_blocks(
    codes: Codes,
    rows: NDArray[Any],
    squared: bool,
    mode: int,
    live: Bitset,
    z: float,
    queries: FloatArray,
    first: Int,
    last: Int,
    keys: FloatArray,
    ordinals: IntArray,
    shifts: FloatArray,
) -> int:
    """Offer the live rows of the blocks [first, last) to the heaps [nq, k] of queries [nq, d].

    z: how many standard deviations a row may be nearer than estimated. shifts float32 [nq] gets what a query's keys
    leave out. Returns how many vectors were compared.
    """
    wide, words = codes.signs.shape[1], codes.planes.shape[2]
    y, other = np.empty(wide, np.float32), np.empty(wide, np.float32)
    most = min(len(queries), GROUP)
    bounds, hits = np.empty((TILE, BLOCK), np.float32), np.empty(TILE, np.uint32)
    task = Task(
        codes,
        rows,
        squared,
        mode,
        live,
        queries,
        keys,
        ordinals,
        shifts,
        np.empty((most, wide * 4), np.uint8),
        np.empty((most, CONSTANTS), np.float32),
        np.empty((most, QUERY_BITS, words), np.uint64),
        np.empty((most, WAITING), np.int64),
        np.empty((most, WAITING), np.float32),
        np.empty((most, WAITING), np.float32),
        np.empty((most, 2), np.int64),
    )
    compared = 0
    for start in range(0, len(queries), GROUP):
        size = min(GROUP, len(queries) - start)
        for q in range(size):
            _prepare(task, start + q, q, z, y, other)
        for begin in range(first, last, CHUNK):
            end = min(begin + CHUNK, last)
            q: Int = np.int64(0)  # not a literal, for which the scan would be compiled once more
            while q < size:
                tile = TILE if q + TILE <= size else 1
                compared += _scan(task, begin, end, start, q, tile, bounds, hits)
                for _ in range(tile):
                    compared += _compare_best(task, start + q, q)
                    q += 1
        for q in range(size):
            compared += _compare_rest(task, start + q, q)
    return compared


@kernel
def _prepare(task: Task, query: Int, q: Int, z: float, y: FloatArray, other: FloatArray) -> None:
    """Code a query as number q of the group."""
    codes, constants = task.codes, task.constants
    vector, centre, signs = task.queries[query], codes.centre, codes.signs
    a, b, length, shift = encode_query(vector, centre, signs, task.squared, task.tables[q], y, other)
    spread = np.float64(codes.spread[0])
    margin = 0.0 if task.mode == COARSE else z * length * spread
    root = np.sqrt(len(y) * (1.0 - spread * spread))  # |z| of a row is s times this
    constants[q, A], constants[q, B], constants[q, MARGIN] = a + margin, b, margin
    constants[q, REACH], constants[q, KAPPA] = root * length, z * spread / root
    constants[q, LIMIT] = task.keys[query, 0]
    task.shifts[query] = shift
    task.counts[q, 0] = task.counts[q, 1] = 0
    if codes.planes.shape[0] > 0:
        step, bias = encode_fine_query(y, codes.planes.shape[1], task.weights[q])
        constants[q, STEP], constants[q, BIAS] = step, bias
        rounding = len(y) * step * step / 12.0  # a rounded component is off by up to half a step, evenly
        constants[q, FINE_MARGIN] = z * np.sqrt((length * np.float64(codes.spread[1])) ** 2 + rounding)


@kernel
def _scan(
    task: Task,
    begin: Int,
    end: Int,
    start: Int,
    first: Int,
    tile: Int,
    bounds: FloatArray,
    hits: NDArray[np.uint32],
) -> int:
    """Compare the blocks [begin, end) with `tile` queries of the group that begins at `start`, from `first` on."""
    codes, factors, tables, constants = task.codes.codes, task.codes.factors, task.tables, task.constants
    units, k, compared = codes.shape[1] // UNIT, task.keys.shape[1], 0
    keys, ordinals = task.keys.reshape(-1), task.ordinals.reshape(-1)
    for block in range(begin, end):
        alive = np.uint32(task.live[block >> 1] >> np.uint64(BLOCK * (block & 1)))
        if alive == 0:
            continue
        if tile == 1:
            found = near_row(codes, factors, block, units, tables, constants, first, bounds, hits)
        else:
            found = near_rows(codes, factors, block, units, tables, constants, first, bounds, hits)
        if found == 0:
            continue
        for t in range(tile):
            near = hits[t] & alive
            q = first + t
            base = (start + q) * k
            while near != 0:
                r = trailing_zeros(near)
                near &= near - np.uint32(1)
                row, bound = block * BLOCK + r, bounds[t, r]
                if task.mode == COARSE:
                    offer(keys, ordinals, base, k, _INFINITY if np.isnan(bound) else bound, row)
                    continue
                estimate = bound + factors[block, 1, r] * constants[q, MARGIN]
                bound = _bound(factors[block, 0, r], factors[block, 1, r], estimate, constants, q)
                if not bound > keys[base]:
                    if task.counts[q, 0] == WAITING:
                        compared += _make_room(task, start + q, q)
                    count = task.counts[q, 0]
                    task.waiting[q, count], task.bounds[q, count], task.estimates[q, count] = row, bound, estimate
                    task.counts[q, 0] = count + 1
            constants[q, LIMIT] = keys[base]
    return compared


@kernel
def _bound(offset: np.float32, scale: np.float32, estimate: np.float32, constants: FloatArray, q: Int) -> np.float32:
    """The least key of a row, as `_prepare`'s z allows.

    Let u be the cosine of the row's z and the query's y, and v its estimate: v - u is normal with a deviation of sigma
    sqrt(1 - u^2), since only the part of y that is orthogonal to z goes wrong. The largest u for which v - u is within
    kappa = z sigma deviations solves a quadratic equation, as in Wilson's interval (1927, J. Am. Stat. Assoc. 22).
    """
    if not scale > 0.0:
        return estimate
    reach, kappa = np.float64(constants[q, REACH]), np.float64(constants[q, KAPPA])
    v = (np.float64(offset) - np.float64(estimate)) / (np.float64(scale) * reach) if reach > 0.0 else 0.0
    u = (v + kappa * np.sqrt(max(1.0 + kappa * kappa - v * v, 0.0))) / (1.0 + kappa * kappa)
    return np.float32(np.float64(offset) - np.float64(scale) * reach * u)


@kernel
def _compare(task: Task, query: Int, q: Int, row: Int, bound: np.float32) -> int:
    """Offer a row to the heap of a query; returns 1 if its vector was compared."""
    d, k = task.queries.shape[1], task.keys.shape[1]
    keys, ordinals = task.keys.reshape(-1), task.ordinals.reshape(-1)
    base = query * k
    key = bound
    if task.codes.planes.shape[0] > 0:
        constants, factors, fine = task.constants, task.codes.factors, task.codes.fine_factors
        total = product(task.codes.planes, row, task.weights, q)
        inner = constants[q, STEP] * np.float32(total - HALF * fine[row, 1] - constants[q, BIAS])
        estimate = factors[row // BLOCK, 0, row % BLOCK] - fine[row, 0] * inner
        if task.mode == VECTORS:
            estimate -= factors[row // BLOCK, 1, row % BLOCK] * constants[q, FINE_MARGIN]
        key = max(key, estimate)
        if task.mode == FINE:
            offer(keys, ordinals, base, k, _INFINITY if np.isnan(key) else key, row)
            return 0
        if key > keys[base]:
            return 0
    value = distance(task.rows, row * d, task.queries, query * d, d, task.squared) - task.shifts[query]
    key = max(value, key)
    offer(keys, ordinals, base, k, _INFINITY if np.isnan(key) else key, row)
    return 1


@kernel
def _compare_best(task: Task, query: Int, q: Int) -> int:
    """Compare the newly waiting rows whose estimate is below the worst key of a query, the best first."""
    compared, seen = 0, task.counts[q, 1]
    while True:
        best, least = -1, task.keys[query, 0]
        for i in range(seen, task.counts[q, 0]):
            if not task.estimates[q, i] > least:
                best, least = i, task.estimates[q, i]
        if best < 0:
            break
        compared += _compare(task, query, q, task.waiting[q, best], task.bounds[q, best])
        last = task.counts[q, 0] - 1
        task.waiting[q, best], task.bounds[q, best] = task.waiting[q, last], task.bounds[q, last]
        task.estimates[q, best] = task.estimates[q, last]
        task.counts[q, 0] = last
    task.counts[q, 1] = task.counts[q, 0]
    task.constants[q, LIMIT] = task.keys[query, 0]
    return compared


@kernel
def _make_room(task: Task, query: Int, q: Int) -> int:
    """Compare the best of the waiting rows and forget those that are too far by now; compare all if most remain."""
    compared, kept = _compare_best(task, query, q), 0
    for i in range(task.counts[q, 0]):
        if not task.bounds[q, i] > task.keys[query, 0]:
            task.waiting[q, kept], task.bounds[q, kept] = task.waiting[q, i], task.bounds[q, i]
            kept += 1
    task.counts[q, 0] = task.counts[q, 1] = kept
    return compared + _compare_rest(task, query, q) if 2 * kept > WAITING else compared


@kernel
def _compare_rest(task: Task, query: Int, q: Int) -> int:
    """Compare the waiting rows of a query, where their bounds still allow it; then none waits."""
    d, count, compared = task.queries.shape[1], task.counts[q, 0], 0
    step = LINE // task.rows.itemsize
    fine = task.codes.planes.shape[0] > 0
    for i in range(count):
        if not fine and i + AHEAD < count and not task.bounds[q, i + AHEAD] > task.keys[query, 0]:
            ahead = task.waiting[q, i + AHEAD] * d
            for j in range(ahead, ahead + d, step):
                prefetch(task.rows, j)
        if not task.bounds[q, i] > task.keys[query, 0]:
            compared += _compare(task, query, q, task.waiting[q, i], task.bounds[q, i])
    task.counts[q, 0] = task.counts[q, 1] = 0
    return compared
