"""The exact index: no structure, every live row is compared. The oracle, the fallback and the rescorer of the others.

1. Few queries are compared row by row, which costs one pass over the memory; more are compared in tiles, which costs
   one matrix product (`flat_scan` holds both loops and says why they give the same result to the last bit).
2. Enough queries are divided among the threads, and every thread scans all rows; otherwise the rows are divided, and
   the heaps of the parts are put together.

There are no buffers: `build` returns {}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import DimensionMismatch, InvalidArgument
from vsearch.types import Bitset, Distance, FloatArray, IntArray, Progress, SearchParams

from . import bitset
from .base import Buffers, Cost, Neighbours
from .flat_scan import measure, scan_candidates, scan_rows, scan_tiles
from .jit import read_only
from .threads import run_ranges
from .tile import WIDTH
from .topk import absorb, empty_heaps, sort_heaps

FEW: Final = 8  # up to here, reading the rows takes longer than comparing them one by one
GROUP_ELEMENTS: Final = 1 << 17  # panels of one pass over the rows: 512 KiB, half of a second-level cache
MIN_QUERIES: Final = 128  # of one thread, to make up for placing every row in a tile
MIN_ELEMENTS: Final = 1 << 20  # of rows or candidates for one thread: tens of microseconds, as long as starting it


def build(
    vectors: NDArray[Any],
    distance: Distance,
    settings: Mapping[str, Any],
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The contract's `build`: nothing is made."""
    return {}


class Flat:
    """Exact search over vectors [n, d], float32, float16 or int8; n may be 0. See `base.Reader`.

    Raises InvalidArgument for vectors of another dtype or shape.
    """

    kind: ClassVar[str] = "flat"

    def __init__(self, vectors: NDArray[Any], buffers: Buffers, distance: Distance, threads: int = 1) -> None:
        self._rows = elements(vectors)
        self._n, self._d = vectors.shape
        self._squared = distance == "l2"
        self._threads = threads

    def search(self, queries: FloatArray, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The k nearest live rows of each query, exactly; `params` changes nothing.

        Raises DimensionMismatch for queries of another dimension, InvalidArgument for a k or a live set that cannot
        be.
        """
        found = self._n if live is None else bitset.count(live)
        queries, live = check_search(queries, k, live, self._n, self._d)
        nq = len(queries)
        ordinals, distances = np.full((nq, k), -1, np.int64), np.full((nq, k), np.inf, np.float32)
        width = min(k, found)
        if not width or not nq:
            return Neighbours(ordinals, distances, Cost())

        if nq // MIN_QUERIES >= self._threads:

            def some_queries(first: int, last: int) -> int:
                part, near, rescored = self._scan(queries[first:last], live, 0, len(live), width)
                sort_heaps(part, near)
                distances[first:last, :width], ordinals[first:last, :width] = part, near
                return rescored

            rescored = sum(run_ranges(some_queries, nq, self._threads, MIN_QUERIES))
        else:

            def some_rows(first: int, last: int) -> tuple[FloatArray, IntArray, int]:
                return self._scan(queries, live, first, last, width)

            shortest = -(-MIN_ELEMENTS // (64 * self._d))
            parts = run_ranges(some_rows, len(live), self._threads, shortest)
            (heap, near, _), rescored = parts[0], sum(part[2] for part in parts)
            for more_distances, more_ordinals, _ in parts[1:]:
                absorb(heap, near, more_distances, more_ordinals)
            sort_heaps(heap, near)
            distances[:, :width], ordinals[:, :width] = heap, near
        return Neighbours(ordinals, distances, Cost(distances=nq * found, rescored=rescored))

    def width(self, k: int, params: SearchParams) -> int:
        """0: there are no candidates to choose from."""
        return 0

    def memory_bytes(self) -> int:
        return 0

    def _scan(
        self, queries: FloatArray, live: Bitset, first: int, last: int, k: int
    ) -> tuple[FloatArray, IntArray, int]:
        """Heaps [nq, k] of the rows in the words [first, last) of live, and the pairs that were compared twice."""
        nq, rescored = len(queries), 0
        distances, ordinals = empty_heaps(nq, k)
        if nq <= FEW:
            scan_rows(self._rows, queries, self._squared, live, first, last, distances, ordinals)
            return distances, ordinals, 0
        group = max(GROUP_ELEMENTS // self._d // WIDTH, 1) * WIDTH
        for start in range(0, nq, group):
            some = slice(start, start + group)
            rescored += scan_tiles(
                self._rows, queries[some], _panels(queries[some]), self._squared,
                live, first, last, distances[some], ordinals[some],
            )  # fmt: skip
        return distances, ordinals, rescored


def rescore(
    vectors: NDArray[Any], queries: FloatArray, candidates: IntArray, distance: Distance, k: int, threads: int = 1
) -> tuple[IntArray, FloatArray]:
    """The k nearest of each query's candidates, by exact distance: (ordinals [nq, k], distances [nq, k]).

    candidates int64 [nq, c]: distinct ordinals of vectors [n, d], in any order, or -1 for none. The result is sorted
    and padded as the contract says.
    """
    queries, rows = read_only(queries), elements(vectors)
    distances, ordinals = empty_heaps(len(queries), k)

    def some(first: int, last: int) -> None:
        scan_candidates(rows, queries, distance == "l2", candidates, first, last, distances, ordinals)
        sort_heaps(distances[first:last], ordinals[first:last])

    run_ranges(some, len(queries), threads, max(MIN_ELEMENTS // max(candidates.shape[1] * vectors.shape[1], 1), 1))
    return ordinals, distances


def distances_to(vectors: NDArray[Any], queries: FloatArray, ordinals: IntArray, distance: Distance) -> FloatArray:
    """float32 [nq, c]: the exact distance of each query [nq, d] to its rows [nq, c]; +inf where the ordinal is -1."""
    distances = np.empty(ordinals.shape, np.float32)
    measure(elements(vectors), read_only(queries), distance == "l2", ordinals, distances)
    return distances


def elements(vectors: NDArray[Any]) -> NDArray[Any]:
    """The components of vectors [n, d] as kernels take them: flat, read-only, float16 as the uint16 of its bits.

    Always read-only, because a kernel is compiled once for arrays that can be written and once for those that cannot.
    Raises InvalidArgument for another dtype or shape.
    """
    if vectors.ndim != 2 or vectors.dtype not in (np.float32, np.float16, np.int8):
        raise InvalidArgument(
            f"vectors are {vectors.dtype} of shape {vectors.shape}", "Use a float32, float16 or int8 array [n, d]"
        )
    flat = np.ascontiguousarray(vectors).reshape(-1)
    return read_only(flat.view(np.uint16) if flat.dtype == np.float16 else flat)


def check_search(queries: FloatArray, k: int, live: Bitset | None, n: int, d: int) -> tuple[FloatArray, Bitset]:
    """The arguments of a search as kernels take them, which check nothing: no live set becomes the set of all n rows.

    Raises DimensionMismatch for queries of another dimension than d, InvalidArgument for a k below 1 and for a live
    set of another length.
    """
    if queries.ndim != 2 or queries.shape[1] != d:
        raise DimensionMismatch(f"queries have shape {queries.shape}", f"Use an array of shape [nq, {d}]")
    if k < 1:
        raise InvalidArgument(f"k is {k!r}", "Use an integer of at least 1")
    live = bitset.full(n) if live is None else live
    if live.shape != (bitset.words(n),) or live.dtype != np.uint64:
        raise InvalidArgument(
            f"the live set is {live.dtype} of shape {live.shape}", f"Use uint64 [{bitset.words(n)}] for {n} rows"
        )
    return read_only(np.ascontiguousarray(queries, np.float32)), read_only(np.ascontiguousarray(live))


def _panels(queries: FloatArray) -> FloatArray:
    """Queries [nq, d] as panels [ceil(nq / WIDTH), ceil(d / 16) * 16, WIDTH], filled up with zeros."""
    nq, d = queries.shape
    filled = np.zeros((-(-nq // WIDTH) * WIDTH, -(-d // 16) * 16), np.float32)
    filled[:nq, :d] = queries
    return np.ascontiguousarray(filled.reshape(-1, WIDTH, filled.shape[1]).transpose(0, 2, 1))
