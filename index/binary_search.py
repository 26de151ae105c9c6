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
from .fine_code import encode_fine_query, product
from .flat_scan import distance, scan_candidates
from .jit import kernel
from .simd import Int, prefetch, trailing_zeros
from .topk import NO_ROW, offer, sort_heaps

COARSE, FINE, VECTORS = range(3)

WAITING: Final = 512  # rows of one query that wait to be compared
GROUP: Final = 32  # queries that share one pass over the memory
FIRST_CHUNK: Final = 4  # blocks: all of their rows wait, and the best k give the first keys
CHUNK: Final = 32  # blocks that are compared with all queries of a group before the next: they stay in the cache
AHEAD: Final = 2  # waiting rows from the one compared to the one asked for
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
    k: int
    keys: FloatArray  # heaps [nq * k]
    ordinals: IntArray
    shifts: FloatArray  # float32 [nq]: what a query's keys leave out
    # Of the queries of the group:
    tables: NDArray[np.uint8]
    constants: FloatArray
    weights: NDArray[np.int8]
    steps: NDArray[np.uint8]
    waiting: IntArray  # rows, and beside them
    bounds: FloatArray
    estimates: FloatArray
    counts: IntArray  # int64 [group, 2]: rows that wait, and those of them that had their turn after a chunk
    found: FloatArray  # what `near_rows` finds
    hits: NDArray[np.uint32]


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
    sort_heaps(keys, near)
    if mode == VECTORS:
        scan_candidates(rows, queries, squared, near, 0, nq, distances, ordinals)
        sort_heaps(distances, ordinals)
    else:
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
    most = min(len(queries), GROUP)
    task = Task(
        codes,
        rows,
        squared,
        mode,
        live,
        queries,
        keys.shape[1],
        keys.reshape(-1),
        ordinals.reshape(-1),
        shifts,
        np.empty((most, 4 * codes.signs.shape[1]), np.uint8),
        np.empty((most, CONSTANTS), np.float32),
        np.empty((most, codes.fine.shape[1] * 8 // max(codes.bits, 1)), np.int8),
        np.empty(codes.fine.shape[1] * 8 // max(codes.bits, 1), np.uint8),
        np.empty((most, WAITING), np.int64),
        np.empty((most, WAITING), np.float32),
        np.empty((most, WAITING), np.float32),
        np.empty((most, 2), np.int64),
        np.empty((TILE, BLOCK), np.float32),
        np.empty(TILE, np.uint32),
    )
    compared = 0
    for start in range(0, len(queries), GROUP):
        size = min(GROUP, len(queries) - start)
        _prepare(task, start, size, z)
        begin, end = first, min(first + FIRST_CHUNK, last)
        while begin < end:
            compared += _scan(task, start, size, begin, end)
            compared += _compare_best(task, start, 0, size)
            begin, end = end, min(end + CHUNK, last)
        compared += _compare_rest(task, start, 0, size)
    return compared


@kernel
def _prepare(task: Task, start: Int, size: Int, z: float) -> None:
    """Code the queries of the group that begins at `start`."""
    codes, constants = task.codes, task.constants
    wide = codes.signs.shape[1]
    y, other = np.empty(wide, np.float32), np.empty(wide, np.float32)
    spread = np.float64(codes.spread[0])
    root = np.sqrt(wide * (1.0 - spread * spread))  # |z| of a row is s times this
    for q in range(size):
        vector, table = task.queries[start + q], task.tables[q]
        a, b, length, shift = encode_query(vector, codes.centre, codes.signs, task.squared, table, y, other)
        margin = 0.0 if task.mode == COARSE else z * length * spread
        constants[q, A], constants[q, B], constants[q, MARGIN] = a + margin, b, margin
        constants[q, REACH], constants[q, KAPPA] = root * length, z * spread / root
        constants[q, LIMIT] = task.keys[(start + q) * task.k]
        task.shifts[start + q] = shift
        task.counts[q, 0] = task.counts[q, 1] = 0
        if codes.bits > 0:
            step, bias = encode_fine_query(y, codes.bits, task.weights[q])
            constants[q, STEP], constants[q, BIAS] = step, bias
            rounding = wide * step * step / 12.0  # a rounded component is off by up to half a step, evenly
            constants[q, FINE_MARGIN] = z * np.sqrt((length * np.float64(codes.spread[1])) ** 2 + rounding)


@kernel
def _scan(task: Task, start: Int, size: Int, begin: Int, end: Int) -> int:
    """Compare the blocks [begin, end) with the queries of the group that begins at `start`."""
    codes, factors, tables, constants = task.codes.codes, task.codes.factors, task.tables, task.constants
    waiting, least, estimates, counts, live = task.waiting, task.bounds, task.estimates, task.counts, task.live
    keys, ordinals, k, mode, bounds, hits = task.keys, task.ordinals, task.k, task.mode, task.found, task.hits
    units, compared = codes.shape[1] // UNIT, 0
    first = 0
    while first < size:
        tile = TILE if first + TILE <= size else 1
        for block in range(begin, end):
            alive = np.uint32(live[block >> 1] >> np.uint64(BLOCK * (block & 1)))
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
                    if mode == COARSE:
                        offer(keys, ordinals, base, k, _INFINITY if np.isnan(bound) else bound, row)
                        constants[q, LIMIT] = keys[base]
                        continue
                    offset, scale = factors[block, 0, r], factors[block, 1, r]
                    estimate = bound + scale * constants[q, MARGIN]
                    bound = _bound(offset, scale, estimate, constants[q, REACH], constants[q, KAPPA])
                    if not bound > keys[base]:
                        if counts[q, 0] == WAITING:
                            compared += _make_room(task, start, q)
                        count = counts[q, 0]
                        waiting[q, count], least[q, count], estimates[q, count] = row, bound, estimate
                        counts[q, 0] = count + 1
        first += tile
    return compared


@kernel
def _bound(
    offset: np.float32, scale: np.float32, estimate: np.float32, reach: np.float32, kappa: np.float32
) -> np.float32:
    """The least key of a row, as `_prepare`'s z allows.

    Let u be the cosine of the row's z and the query's y, and v its estimate: v - u is normal with a deviation of sigma
    sqrt(1 - u^2), since only the part of y that is orthogonal to z goes wrong. The largest u for which v - u is within
    kappa = z sigma deviations solves a quadratic equation, as in Wilson's interval (1927, J. Am. Stat. Assoc. 22).
    """
    length, wide = np.float64(scale) * np.float64(reach), np.float64(kappa)
    if not length > 0.0:
        return estimate
    v = (np.float64(offset) - np.float64(estimate)) / length
    u = (v + wide * np.sqrt(max(1.0 + wide * wide - v * v, 0.0))) / (1.0 + wide * wide)
    return np.float32(np.float64(offset) - length * u)


@kernel
def _compare_best(task: Task, start: Int, first: Int, last: Int) -> int:
    """Compare the newly waiting rows of the queries [first, last) of the group that begins at `start`, while their
    estimates are below the worst key, the best first."""
    waiting, bounds, estimates, counts, mode = task.waiting, task.bounds, task.estimates, task.counts, task.mode
    rows, queries, squared, keys, ordinals, k = task.rows, task.queries, task.squared, task.keys, task.ordinals, task.k
    fine, compared = task.codes.bits > 0, 0
    for q in range(first, last):
        seen, count, base = counts[q, 1], counts[q, 0], (start + q) * k
        row, bound = np.int64(-1), np.float32(0.0)  # the one found before, which meanwhile comes from memory
        while True:
            best, least = -1, keys[base]
            for i in range(seen, count):
                if not estimates[q, i] > least:
                    best, least = i, estimates[q, i]
            if row >= 0:
                if fine:
                    bound = max(bound, _fine_key(task.codes, task.constants, task.weights, task.steps, mode, q, row))
                compared += _compare(
                    rows, queries, squared, mode, task.shifts, start + q, row, bound, keys, ordinals, k
                )
            if best < 0:
                break
            row, bound = waiting[q, best], bounds[q, best]
            _fetch(rows, task.codes.fine, queries.shape[1], row)
            count -= 1
            waiting[q, best], bounds[q, best] = waiting[q, count], bounds[q, count]
            estimates[q, best] = estimates[q, count]
        counts[q, 0] = counts[q, 1] = count
        task.constants[q, LIMIT] = keys[base]
    return compared


@kernel
def _make_room(task: Task, start: Int, q: Int) -> int:
    """Compare the best of the waiting rows and forget those that are too far by now; compare all if most remain."""
    compared, kept = _compare_best(task, start, q, q + 1), 0
    for i in range(task.counts[q, 0]):
        if not task.bounds[q, i] > task.keys[(start + q) * task.k]:
            task.waiting[q, kept], task.bounds[q, kept] = task.waiting[q, i], task.bounds[q, i]
            kept += 1
    task.counts[q, 0] = task.counts[q, 1] = kept
    return compared + _compare_rest(task, start, q, q + 1) if 2 * kept > WAITING else compared


@kernel
def _compare_rest(task: Task, start: Int, first: Int, last: Int) -> int:
    """Compare all waiting rows of the queries [first, last) of the group that begins at `start`, where their bounds
    still allow it; then none waits."""
    waiting, bounds, counts, mode = task.waiting, task.bounds, task.counts, task.mode
    rows, queries, squared, keys, ordinals, k = task.rows, task.queries, task.squared, task.keys, task.ordinals, task.k
    fine, compared = task.codes.bits > 0, 0
    for q in range(first, last):
        base = (start + q) * k
        for i in range(counts[q, 0]):
            if i + AHEAD < counts[q, 0] and not bounds[q, i + AHEAD] > keys[base]:
                _fetch(rows, task.codes.fine, queries.shape[1], waiting[q, i + AHEAD])
            row, bound = waiting[q, i], bounds[q, i]
            if not bound > keys[base]:
                if fine:
                    bound = max(bound, _fine_key(task.codes, task.constants, task.weights, task.steps, mode, q, row))
                compared += _compare(
                    rows, queries, squared, mode, task.shifts, start + q, row, bound, keys, ordinals, k
                )
        counts[q, 0] = counts[q, 1] = 0
    return compared


@kernel
def _compare(
    rows: NDArray[Any],
    queries: FloatArray,
    squared: bool,
    mode: int,
    shifts: FloatArray,
    query: Int,
    row: Int,
    key: np.float32,
    keys: FloatArray,
    ordinals: IntArray,
    k: Int,
) -> int:
    """Offer a row whose key is at least `key` to the heap of a query; returns 1 if its vector was compared."""
    base, d, compared = query * k, queries.shape[1], 0
    if mode == VECTORS and not key > keys[base]:
        key = max(distance(rows, row * d, queries, query * d, d, squared) - shifts[query], key)
        compared = 1
    offer(keys, ordinals, base, k, _INFINITY if np.isnan(key) else key, row)
    return compared


@kernel
def _fine_key(
    codes: Codes,
    constants: FloatArray,
    weights: NDArray[np.int8],
    steps: NDArray[np.uint8],
    mode: int,
    q: Int,
    row: Int,
) -> np.float32:
    """The estimate of a row's key by its second code, less a margin where the vector decides."""
    factors, block, r = codes.factors, row // BLOCK, row % BLOCK
    total = product(codes.fine, row, codes.bits, weights, q, steps)
    inner = constants[q, STEP] * np.float32(total - constants[q, BIAS])
    estimate = factors[block, 0, r] - codes.fine_scales[row] * inner
    margin = factors[block, 1, r] * constants[q, FINE_MARGIN] if mode == VECTORS else np.float32(0.0)
    return np.float32(estimate - margin)


@kernel
def _fetch(rows: NDArray[Any], fine: NDArray[np.uint8], d: Int, row: Int) -> None:
    """Ask for what a row will soon be compared by: its second code, or its d components."""
    if fine.shape[0] > 0:
        for j in range(row * fine.shape[1], (row + 1) * fine.shape[1], LINE):
            prefetch(fine, j)
    else:
        for j in range(row * d, (row + 1) * d, LINE // rows.itemsize):
            prefetch(rows, j)
