"""Inverted lists of sparse rows: exact search that reads only what has to do with the query.

1. For each term, the rows that have it and their weights: a list, ascending by row (`lists` makes them).
2. A search goes a term at a time (Turtle and Flood 1995, Information Processing and Management 31(6)). It takes rows
   in blocks of BLOCK, whose sums stay in the second-level cache. Each list of the query adds weight * value to the sums
   of its rows in the block; blocks that no list reaches are stepped over. The best k are chosen among all rows of the
   block, 64 at a time, or, if there were few postings, along the lists once more; sums are cleared as they are read.
3. `PostingStore` is for rows that arrive over time: whole chunks of them have lists, the rest is scanned.
4. Enough queries are divided among the threads, otherwise the rows are.

The result is that of `sparse_flat`, to the last bit: both add float32 products in ascending order of terms. The sum of
a row that was not met is -0.0 (ABSENT), and no other is, since -0.0 + x is x for every x and a product that is -0.0 is
added as +0.0: so a row counts as met even where its score is 0.

Buffers, for n rows with m terms in all, t of them distinct:

| name | dtype, shape | |
|---|---|---|
| `starts` | int64 [t + 1] | where each list begins |
| `ordinals` | uint32 [m] | its rows, ascending |
| `weights` | float32 [m] | beside them |
| `terms` | uint32 or uint64 [t] | ascending; left out if the rows have a dictionary |
| `made` | int64 [5] | version, n, m, t, 0 |

8 bytes a term of a row. Buffers whose `made` or shapes are not those of the rows are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import iadd
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, Distance, FloatArray, IntArray, Progress, SearchParams, SparseRows

from . import bitset
from .base import Buffers, Cost, Neighbours
from .jit import kernel, read_only
from .lists import Lists, ListStore, from_buffers, join, make_lists, to_buffers
from .scratch import Pool
from .simd import Int, has_bit
from .sparse_flat import check_sparse, columns, padded, scan
from .sparse_scan import ABSENT, ABSENT_BITS, Columns, Queries, lower_bound, offer_score
from .threads import run_ranges
from .topk import absorb, empty_heaps, sort_heaps

BLOCK: Final = 1 << 16  # rows: 256 KiB of sums, half of a second-level cache
FEW: Final = 8  # rows of a block a posting, from where reading all of its sums takes longer than following the lists
MIN_BLOCKS: Final = 4  # of rows, for one thread
MIN_QUERIES: Final = 4  # of one thread

_ZERO: Final = np.float32(0.0)
_sums: Final = Pool(lambda: np.full(BLOCK, ABSENT, np.float32))


class Tail(NamedTuple):
    """Rows that are scanned because they are in no lists yet, and the ordinal of the first, a multiple of 64."""

    rows: Columns | None
    start: int


NO_TAIL: Final = Tail(None, 0)
NO_IMPACTS: Final = np.empty(0, np.float32)


def build(
    vectors: SparseRows,
    distance: Distance,
    settings: Mapping[str, Any],
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The contract's `build`, for SparseRows; it has no settings."""
    columns(vectors)
    return to_buffers(make_lists(vectors, _weights, 0, progress), vectors, "weights")


class Postings:
    """Search over sparse rows by inverted lists; without buffers it makes them itself. See `base.Reader`.

    Distances are minus the inner product. Raises InvalidArgument for buffers of other rows, or cut short.
    """

    kind: ClassVar[str] = "postings"

    def __init__(self, vectors: SparseRows, buffers: Buffers, distance: Distance, threads: int = 1) -> None:
        lists = from_buffers(buffers or build(vectors, distance, {}), vectors, "weights", (np.float32,))
        self._parts, self._tail, self._n, self._threads = [lists], NO_TAIL, len(vectors), threads
        self._every = read_only(bitset.full(self._n))

    def search(self, queries: SparseRows, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The k nearest of the live rows that share a term with each query, exactly; `params` changes nothing.

        Raises InvalidArgument for a k or a live set that cannot be.
        """
        checked, live, found = check_sparse(queries, k, live, self._every, self._n)
        parts = [(part, NO_IMPACTS) for part in self._parts]
        return search_parts(parts, self._tail, checked, k, live, found, self._n, self._threads)

    def width(self, k: int, params: SearchParams) -> int:
        """0: there are no candidates to choose from."""
        return 0

    def memory_bytes(self) -> int:
        """Bytes of the buffers."""
        return sum(part.nbytes for part in self._parts)


class PostingStore:
    """Lists of rows that are appended one batch after another, up to `capacity` of them. One thread appends, any number
    make readers and search."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._store = ListStore(lambda rows, first: make_lists(rows, _weights, first), join)

    def put(self, rows: SparseRows, start: int, stop: int) -> None:
        """Take the rows [start, stop) of all rows so far; all before them have been put."""
        assert start <= stop <= self._capacity, "bug: more rows than announced"
        self._store.put(rows, stop)

    def reader(self, rows: SparseRows, count: int, threads: int = 1) -> Postings:
        """A reader over the first `count` rows, which are there and have been put; the same as Postings over these."""
        parts, covered = self._store.upto(count)
        return FreshPostings(parts, tail_of(rows, covered, count), count, threads)


class FreshPostings(Postings):
    """The reader of a PostingStore: lists of several parts, and rows that are scanned."""

    def __init__(self, parts: Sequence[Lists], tail: Tail, n: int, threads: int) -> None:
        self._parts, self._tail, self._n, self._threads = list(parts), tail, n, threads
        self._every = read_only(bitset.full(n))


def tail_of(rows: SparseRows, start: int, stop: int) -> Tail:
    """The rows [start, stop) as a tail."""
    return Tail(columns(rows[start:stop]), start) if start < stop else NO_TAIL


def _weights(rows: SparseRows) -> FloatArray:
    return rows.weights.astype(np.float32)


def search_parts(
    parts: Sequence[tuple[Lists, FloatArray]],
    tail: Tail,
    queries: Queries,
    k: int,
    live: Bitset,
    found: int,
    n: int,
    threads: int,
) -> Neighbours:
    """The k nearest of `found` live rows below n: in lists, whose classes have the impacts beside, and in a tail."""
    nq, width = len(queries.offsets) - 1, min(k, found)
    if not width or not nq:
        return padded(*empty_heaps(nq, 0), k, Cost())
    distances, near = empty_heaps(nq, width)

    def search(first: int, last: int, low: int, high: int, distances: FloatArray, near: IntArray) -> Cost:
        cost = Cost()
        with _sums.take() as sums:
            where: Any = first, last, low, high, live, sums, distances, near
            for part, impacts in parts:
                opened, added = search_lists(*part[:4], impacts, len(impacts) > 0, *queries, *where)
                cost.lists += opened
                cost.distances += added
        if tail.rows is not None and high == n:
            some, bits = queries._replace(offsets=queries.offsets[first : last + 1]), live[tail.start >> 6 :]
            heaps = distances[first:last], near[first:last]
            scan(tail.rows, some, bits, 0, len(bits), n - tail.start, *heaps, tail.start)
            cost.distances += (n - tail.start) * (last - first)
        return cost

    def some_queries(first: int, last: int) -> Cost:
        return search(first, last, 0, n, distances, near)

    def some_rows(first: int, last: int) -> tuple[FloatArray, IntArray, Cost]:
        heaps = empty_heaps(nq, width)
        return *heaps, search(0, nq, first * BLOCK, min(last * BLOCK, n), *heaps)

    blocks = -(-n // BLOCK)
    if threads == 1 or nq >= threads * MIN_QUERIES or blocks < 2 * MIN_BLOCKS:
        costs = run_ranges(some_queries, nq, threads, MIN_QUERIES)
    else:
        found_by = run_ranges(some_rows, blocks, threads, MIN_BLOCKS)
        distances, near, _ = found_by[0]
        for more_distances, more_near, _ in found_by[1:]:
            absorb(distances, near, more_distances, more_near)
        costs = [cost for _, _, cost in found_by]
    sort_heaps(distances, near)
    return padded(distances, near, k, reduce(iadd, costs, Cost()))


# The kernels.


@kernel
def search_lists(
    terms: NDArray[Any],
    starts: IntArray,
    ordinals: NDArray[np.uint32],
    values: NDArray[Any],
    impacts: FloatArray,
    classed: bool,
    query_offsets: IntArray,
    query_terms: NDArray[np.uint64],
    query_weights: FloatArray,
    first: Int,
    last: Int,
    low: Int,
    high: Int,
    live: Bitset,
    sums: FloatArray,
    distances: FloatArray,
    near: IntArray,
) -> tuple[int, int]:
    """Offer the live rows in [low, high) that share a term with a query [first, last) to the heaps [nq, k].

    Values are weights float32, or with `classed` the numbers of classes, whose impacts are float32. sums [BLOCK] are
    ABSENT before and after. Returns how many lists were opened, and how many postings were added.
    """
    k, longest, opened, added = distances.shape[1], 0, 0, 0
    heaps, near_heaps = distances.reshape(-1), near.reshape(-1)
    for q in range(first, last):
        longest = max(longest, query_offsets[q + 1] - query_offsets[q])
    cursors, stops, ends = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    factors = np.empty(longest, np.float32)
    for q in range(first, last):
        lists, at = 0, 0
        for j in range(query_offsets[q], query_offsets[q + 1]):
            at = lower_bound(terms, at, len(terms), query_terms[j])
            if at == len(terms):
                break
            if terms[at] == query_terms[j]:
                cursors[lists] = lower_bound(ordinals, starts[at], starts[at + 1], low) if low > 0 else starts[at]
                ends[lists], factors[lists] = starts[at + 1], query_weights[j]
                lists += 1
        opened += lists
        while True:
            base = high
            for t in range(lists):
                if cursors[t] < ends[t]:
                    base = min(base, np.int64(ordinals[cursors[t]]))
            if base >= high:
                break
            base -= base & 63
            limit = min(base + BLOCK, high)
            postings = 0
            for t in range(lists):
                stops[t] = ends[t]
                if cursors[t] < ends[t] and ordinals[ends[t] - 1] >= limit:
                    stops[t] = lower_bound(ordinals, cursors[t], ends[t], limit)
                postings += stops[t] - cursors[t]
                _add(ordinals, values, impacts, classed, cursors[t], stops[t], base, factors[t], sums)
            if postings * FEW < limit - base:
                for t in range(lists):
                    _choose_listed(ordinals, cursors[t], stops[t], base, live, sums, heaps, near_heaps, q * k, k)
            else:
                _choose(base, limit, live, sums, heaps, near_heaps, q * k, k)
            added += postings
            for t in range(lists):
                cursors[t] = stops[t]
    return opened, added


@kernel
def _add(
    ordinals: NDArray[np.uint32],
    values: NDArray[Any],
    impacts: FloatArray,
    classed: bool,
    start: Int,
    stop: Int,
    base: Int,
    weight: np.float32,
    sums: FloatArray,
) -> None:
    """sums[ordinal - base] += weight * value, for the postings [start, stop)."""
    below = np.uint64(base)
    if classed:
        for p in range(np.uint64(start), np.uint64(stop)):
            sums[np.uint64(ordinals[p]) - below] += weight * impacts[np.uint64(values[p])] + _ZERO
    else:
        for p in range(np.uint64(start), np.uint64(stop)):
            sums[np.uint64(ordinals[p]) - below] += weight * np.float32(values[p]) + _ZERO


@kernel
def _choose(
    base: Int, limit: Int, live: Bitset, sums: FloatArray, distances: FloatArray, near: IntArray, heap: Int, k: Int
) -> None:
    """Offer the rows [base, limit) that were added to, base a multiple of 64, and clear their sums."""
    bits = sums.view(np.int32)
    for word in range((limit - base + 63) >> 6):
        start = word << 6
        if live[(base >> 6) + word] != 0:
            bound, hit = -distances[heap], False
            for i in range(start, start + 64):
                hit |= not sums[i] < bound
            if hit:
                for i in range(start, start + 64):
                    if not sums[i] < bound and bits[i] != ABSENT_BITS and has_bit(live, base + i):
                        bound = offer_score(distances, near, heap, k, sums[i], base + i)
        for i in range(start, start + 64):
            sums[i] = ABSENT


@kernel
def _choose_listed(
    ordinals: NDArray[np.uint32],
    start: Int,
    stop: Int,
    base: Int,
    live: Bitset,
    sums: FloatArray,
    distances: FloatArray,
    near: IntArray,
    heap: Int,
    k: Int,
) -> None:
    """Offer the rows of the postings [start, stop) that were added to, and clear their sums."""
    bits = sums.view(np.int32)
    bound = -distances[heap]
    for p in range(start, stop):
        i = np.int64(ordinals[p]) - base
        if bits[i] != ABSENT_BITS:
            if not sums[i] < bound and has_bit(live, base + i):
                bound = offer_score(distances, near, heap, k, sums[i], base + i)
            sums[i] = ABSENT
