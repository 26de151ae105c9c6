"""The exact scan of sparse rows: the oracle, the fallback and the rescorer of the other sparse indexes.

1. The terms of a query are marked in a small table, and looked for in row after row (`sparse_scan`); nothing is ever
   made that is as large as the vocabulary.
2. Where rows have a dictionary, the query's terms are turned into positions in it first.
3. Many queries are taken GROUP at a time: their terms together are marked, each of these has one row of GROUP weights,
   and a term of a row adds its weight times that row to GROUP sums at once.
4. Enough queries are divided among the threads; otherwise the rows are divided, and the heaps of the parts are put
   together.

Results are the rows that share at least one term with the query, whatever their score. A score is a sum in float32 in
ascending order of the terms, each product rounded before it is added: the same, to the last bit, however many queries
there are, and the same as that of `postings`.

There are no buffers: `build` returns {}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.types import Bitset, Distance, FloatArray, IntArray, Progress, SearchParams, SparseRows

from . import bitset
from .base import Buffers, Cost, Neighbours
from .jit import kernel, read_only
from .scratch import Pool
from .simd import Int
from .sparse_scan import (
    ABSENT,
    ABSENT_BITS,
    GROUP,
    ROWS,
    STRIP,
    Columns,
    Probe,
    Queries,
    add_weighted,
    empty_probe,
    find_matches,
    localise,
    mark,
    members_of,
    offer_rows,
    offer_score,
    shares,
    unmark,
    weight_at,
)
from .threads import run_ranges
from .topk import absorb, empty_heaps, sort_heaps

MIN_GROUPED: Final = 4  # queries from where a group costs less than a scan for each
MIN_ROWS: Final = 4_096  # live rows from where making a group's table does not matter
MIN_TERMS: Final = 1 << 18  # of rows or candidates for one thread: about 100 us

_INFINITY: Final = np.float32(np.inf)
_probes: Final = Pool(empty_probe)


def build(
    vectors: SparseRows,
    distance: Distance,
    settings: Mapping[str, Any],
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The contract's `build`: nothing is made."""
    return {}


class SparseFlat:
    """Exact search over sparse rows; see `base.Reader`, with SparseRows for vectors and for queries.

    Distances are minus the inner product, whatever `distance` says. Raises InvalidArgument for rows whose arrays do not
    belong together.
    """

    kind: ClassVar[str] = "sparse_flat"

    def __init__(self, vectors: SparseRows, buffers: Buffers, distance: Distance, threads: int = 1) -> None:
        self._columns, self._n, self._threads = columns(vectors), len(vectors), threads
        self._every = read_only(bitset.full(self._n))

    def search(self, queries: SparseRows, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The k nearest of the live rows that share a term with each query, exactly; `params` changes nothing.

        Raises InvalidArgument for a k or a live set that cannot be.
        """
        checked, live, found = check_sparse(queries, k, live, self._every, self._n)
        nq, width = len(queries), min(k, found)
        if not width or not nq:
            return padded(*empty_heaps(nq, 0), k, Cost())
        distances, near = empty_heaps(nq, width)
        if nq // GROUP >= self._threads:

            def some_queries(first: int, last: int) -> None:
                some = checked._replace(offsets=checked.offsets[first : last + 1])
                scan(self._columns, some, live, 0, len(live), found, distances[first:last], near[first:last])

            run_ranges(some_queries, nq, self._threads, GROUP)
        else:

            def some_rows(first: int, last: int) -> tuple[FloatArray, IntArray]:
                heap = empty_heaps(nq, width)
                scan(self._columns, checked, live, first, last, found, *heap)
                return heap

            terms_a_word = 64 * (len(self._columns.numbers) // self._n + 1)
            parts = run_ranges(some_rows, len(live), self._threads, -(-MIN_TERMS // terms_a_word))
            distances, near = parts[0]
            for more in parts[1:]:
                absorb(distances, near, *more)
        sort_heaps(distances, near)
        return padded(distances, near, k, Cost(distances=nq * found))

    def rescore(self, queries: SparseRows, ordinals: IntArray, k: int) -> tuple[IntArray, FloatArray]:
        """As the function `rescore`, sparing it to look at the rows anew."""
        asked, listed, nq = check_queries(queries), read_only(np.ascontiguousarray(ordinals)), len(queries)
        distances, near = empty_heaps(nq, k)

        def some(first: int, last: int) -> None:
            with _probes.take() as probe:
                scan_listed(self._columns, asked, listed, first, last, probe, distances, near)
            sort_heaps(distances[first:last], near[first:last])

        terms = listed.shape[1] * (len(self._columns.numbers) // max(self._n, 1) + 1)
        run_ranges(some, nq, self._threads, MIN_TERMS // max(terms, 1) + 1)
        return near, distances

    def width(self, k: int, params: SearchParams) -> int:
        """0: there are no candidates to choose from."""
        return 0

    def memory_bytes(self) -> int:
        return 0


def rescore(
    vectors: SparseRows, queries: SparseRows, ordinals: IntArray, k: int, threads: int = 1
) -> tuple[IntArray, FloatArray]:
    """The k nearest of each query's candidates, by exact distance: (ordinals [nq, k], distances [nq, k]).

    ordinals int64 [nq, m]: distinct rows in any order, or -1 for none. The result is sorted and padded as the contract
    says; a candidate that shares no term with the query is left out.
    """
    return SparseFlat(vectors, {}, "dot", threads).rescore(queries, ordinals, k)


def scan(
    rows: Columns,
    queries: Queries,
    live: Bitset,
    first: int,
    last: int,
    found: int,
    distances: FloatArray,
    near: IntArray,
    base: int = 0,
) -> None:
    """Offer the live rows of the words [first, last) of `live` to the heaps [nq, k] of the queries.

    found: how many rows are live, at most; `base`: the ordinal of row 0 and of bit 0, a multiple of 64.
    """
    own, nq = localise(rows, queries), len(queries.offsets) - 1
    with _probes.take() as probe:
        if nq < MIN_GROUPED or found < MIN_ROWS:
            scan_rows(rows, own, live, first, last, base, probe, distances, near)
            return
        for start in range(0, nq, GROUP):
            some = slice(start, min(start + GROUP, nq))
            heaps = distances[some], near[some]
            scan_group(rows, *_table(own, some.start, some.stop), live, first, last, base, probe, *heaps)


def columns(rows: SparseRows) -> Columns:
    """Rows as kernels take them. Raises InvalidArgument where the arrays do not belong together."""
    offsets, numbers, weights, terms = rows.offsets, rows.numbers, rows.weights, rows.terms
    good = (
        (offsets.ndim == numbers.ndim == weights.ndim == 1 and len(offsets) > 0)
        and (offsets.dtype == np.int64 and numbers.dtype in (np.uint16, np.uint32, np.uint64))
        and (weights.dtype in (np.float32, np.float16, np.uint16, np.uint32) and len(numbers) == len(weights))
        and (offsets[0] == 0 and offsets[-1] == len(numbers))
        and (terms is None or (terms.ndim == 1 and terms.dtype in (np.uint32, np.uint64)))
    )
    if not good:
        shapes = ", ".join(f"{a.dtype} {a.shape}" for a in (offsets, numbers, weights, terms) if a is not None)
        hint = "Use int64 [n + 1] from 0 to m, uint16, uint32 or uint64 [m], float32 or float16 [m], and uint32 [t]"
        raise InvalidArgument(f"the arrays of sparse rows are {shapes}", hint)
    half = weights.dtype == np.float16
    weights = weights.view(np.uint16) if half else weights
    dictionary = np.empty(0, np.uint32) if terms is None else terms
    numbers, weights, dictionary = (read_only(np.ascontiguousarray(array)) for array in (numbers, weights, dictionary))
    return Columns(read_only(np.ascontiguousarray(offsets)), numbers, weights, half, dictionary, terms is not None)


def check_queries(queries: SparseRows) -> Queries:
    """Queries as kernels take them. Raises InvalidArgument where the arrays do not belong together."""
    offsets, terms, weights = queries.offsets, queries.term_values(), queries.weights
    m = len(terms)
    good = len(offsets) > 0 and offsets.dtype == np.int64 and offsets[0] == 0 and offsets[-1] == m == len(weights)
    if not good or terms.dtype.kind != "u" or weights.dtype.kind != "f":
        message = f"the arrays of queries are {offsets.dtype} {offsets.shape}, {terms.dtype} {m}, {weights.dtype}"
        raise InvalidArgument(message, "Use int64 [nq + 1] from 0 to m, uint32 or uint64 [m], float32 [m]")
    exact = weights.astype(np.float32) + np.float32(0.0)  # -0.0 becomes 0.0: it is no ABSENT
    return Queries(read_only(np.ascontiguousarray(offsets)), terms.astype(np.uint64), exact)


def check_sparse(
    queries: SparseRows, k: int, live: Bitset | None, every: Bitset, n: int
) -> tuple[Queries, Bitset, int]:
    """The arguments of a search as kernels take them, and how many rows are live; no live set becomes `every`, that of
    all n rows.

    Raises InvalidArgument for queries whose arrays do not belong together, a k below 1, a live set of another length.
    """
    if k < 1:
        raise InvalidArgument(f"k is {k!r}", "Use an integer of at least 1")
    if live is None:
        return check_queries(queries), every, n
    if live.shape != every.shape or live.dtype != np.uint64:
        raise InvalidArgument(
            f"the live set is {live.dtype} of shape {live.shape}", f"Use uint64 [{len(every)}] for {n} rows"
        )
    return check_queries(queries), read_only(np.ascontiguousarray(live)), bitset.count(live)


def padded(distances: FloatArray, near: IntArray, k: int, cost: Cost) -> Neighbours:
    """The result of sorted heaps [nq, width], filled up to k."""
    nq, width = near.shape
    if width == k:
        return Neighbours(near, distances, cost)
    ordinals, wide = np.full((nq, k), -1, np.int64), np.full((nq, k), np.inf, np.float32)
    ordinals[:, :width], wide[:, :width] = near, distances
    return Neighbours(ordinals, wide, cost)


def _table(queries: Queries, start: int, stop: int) -> tuple[NDArray[np.uint64], FloatArray, bool]:
    """(the terms of some queries together, their weights float32 [terms * GROUP], ABSENT where a query has none, and
    whether any is negative)."""
    first, last = int(queries.offsets[start]), int(queries.offsets[stop])
    terms, places = np.unique(queries.terms[first:last], return_inverse=True)
    table = np.full((len(terms), GROUP), ABSENT, np.float32)
    query = np.repeat(np.arange(stop - start), np.diff(queries.offsets[start : stop + 1]))
    weights = queries.weights[first:last]
    table[places, query] = weights
    return read_only(terms), read_only(table.reshape(-1)), bool((weights < 0).any())


# The kernels.


@kernel
def scan_rows(
    rows: Columns,
    queries: Queries,
    live: Bitset,
    first: Int,
    last: Int,
    base: Int,
    probe: Probe,
    distances: FloatArray,
    near: IntArray,
) -> None:
    """Offer the live rows of the words [first, last) to the heaps [nq, k] of localised queries, one after another."""
    k = distances.shape[1]
    flat_distances, flat_near = distances.reshape(-1), near.reshape(-1)
    members = np.empty(ROWS, np.int64)
    for q in range(len(queries.offsets) - 1):
        here = slice(queries.offsets[q], queries.offsets[q + 1])
        terms, weights = queries.terms[here], queries.weights[here]
        mark(terms, probe)
        for w in range(first, last if len(terms) > 0 else first):
            count = members_of(live, w, members)
            offer_rows(rows, members, count, base, terms, weights, probe, flat_distances, flat_near, q * k, k)
        unmark(terms, probe)


@kernel
def scan_listed(
    rows: Columns,
    queries: Queries,
    candidates: IntArray,
    first: Int,
    last: Int,
    probe: Probe,
    distances: FloatArray,
    near: IntArray,
) -> None:
    """Offer candidates [nq, m], -1 for none, to the heaps [nq, k] of the queries [first, last)."""
    m, k = candidates.shape[1], distances.shape[1]
    flat_distances, flat_near = distances.reshape(-1), near.reshape(-1)
    members = np.empty(m, np.int64)
    own = localise(rows, Queries(queries.offsets[first : last + 1], queries.terms, queries.weights))
    for q in range(first, last):
        here = slice(own.offsets[q - first], own.offsets[q - first + 1])
        terms, weights, count = own.terms[here], own.weights[here], 0
        for j in range(m if len(terms) > 0 else 0):
            members[count] = candidates[q, j]
            count += candidates[q, j] >= 0
        mark(terms, probe)
        offer_rows(rows, members, count, 0, terms, weights, probe, flat_distances, flat_near, q * k, k)
        unmark(terms, probe)


@kernel
def scan_group(
    rows: Columns,
    terms: NDArray[np.uint64],
    table: FloatArray,
    negative: bool,
    live: Bitset,
    first: Int,
    last: Int,
    base: Int,
    probe: Probe,
    distances: FloatArray,
    near: IntArray,
) -> None:
    """As `scan_rows`, for up to GROUP queries, whose terms together have the weights table [terms * GROUP].

    negative: whether any weight is, so that a sum may be -0.0 though the row was met.
    """
    nq, k = distances.shape
    flat_distances, flat_near = distances.reshape(-1), near.reshape(-1)
    stored, half, hits, found = rows.weights, rows.half, probe.hits, probe.found
    members, owners, ends = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    factors, sums, bounds = np.empty(STRIP, np.float32), np.empty(GROUP, np.float32), np.full(GROUP, _INFINITY)
    bits = sums.view(np.int32)
    bounds[:nq] = -_INFINITY
    sums[:] = ABSENT
    mark(terms, probe)
    for w in range(first, last if len(terms) > 0 else first):
        count = members_of(live, w, members)
        m, at = 0, rows.offsets[members[0]] if count > 0 else np.int64(0)
        while m < count:
            strips, m, at = find_matches(rows, members, count, m, at, terms, probe, owners, ends)
            start = 0
            for strip in range(strips):
                for c in range(start, ends[strip]):
                    factors[c - start] = weight_at(stored, half, hits[c])
                add_weighted(table, found, start, factors, ends[strip] - start, sums)
                start = ends[strip]
                if owners[strip] == (owners[strip + 1] if strip + 1 < strips else m):
                    continue  # the row goes on
                hit = False
                for q in range(GROUP):
                    hit |= not sums[q] < bounds[q]
                i = members[owners[strip]]
                for q in range(nq if hit else 0):
                    met = bits[q] != ABSENT_BITS
                    if not sums[q] < bounds[q] and (met or (negative and shares(rows, i, terms, table, q))):
                        bounds[q] = offer_score(flat_distances, flat_near, q * k, k, sums[q], base + i)
                for q in range(GROUP):
                    sums[q] = ABSENT
    unmark(terms, probe)
