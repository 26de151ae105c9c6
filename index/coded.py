"""A scan of 8-bit codes: for rows too fresh for a graph. Every live row is compared, a quarter of the bytes are read.

1. Rows are coded as they come (`CodeStore`) or all at once (`Coded` without buffers), on their own scales (`codes`).
2. A search compares the coded query with the code of every live row and keeps the best few times k.
3. Those are compared again from the stored vectors.

What is nearest by code is among the best of step 2 but for a few in 10,000, so a search that must be exact compares the
vectors themselves. Buffers: `codes`, `scales` and `mean`, as `codes` describes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import MAX_EF, Bitset, Distance, FloatArray, IntArray, Progress, SearchParams

from . import bitset
from .base import Buffers, Cost, Neighbours
from .codes import decoded, encode, encode_query, encode_rows, stride
from .flat import Flat, check_search, elements
from .flat_scan import scan_candidates
from .jit import kernel, read_only
from .simd import dot_u8s8, has_bit
from .threads import run_ranges
from .topk import empty_heaps, offer, sort_heaps

FEW_ROWS: Final = 1_024  # up to here the vectors themselves are compared as fast
MIN_QUERIES: Final = 8  # of one thread


def build(
    vectors: NDArray[Any],
    distance: Distance,
    settings: Mapping[str, Any],
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The contract's `build`: codes, scales and mean of the rows."""
    codes, scales, mean = encode(vectors, distance, threads)
    if progress is not None:
        progress(len(vectors), len(vectors))
    return {"codes": codes, "scales": scales, "mean": mean}


class CodeStore:
    """Codes of rows that are appended one batch after another, for up to `capacity` rows. One thread appends."""

    def __init__(self, capacity: int, dim: int, distance: Distance) -> None:
        self._squared = distance == "l2"
        self._mean = read_only(np.zeros(dim, np.float32))
        self._codes = np.empty((capacity, stride(dim)), np.uint8)
        self._scales = np.empty((capacity, 2), np.float32)

    def put(self, start: int, rows: NDArray[Any]) -> None:
        """Code rows [n, d] as number `start` and on."""
        part = slice(start, start + len(rows))
        exact = read_only(np.ascontiguousarray(rows, np.float32))
        encode_rows(exact, self._mean, self._squared, self._codes[part], self._scales[part])

    def buffers(self, rows: int) -> dict[str, NDArray[Any]]:
        """The buffers of a reader over the first `rows` rows."""
        return {"codes": self._codes[:rows], "scales": self._scales[:rows], "mean": self._mean}


class Coded:
    """Search over vectors [n, d], float32 or float16, by codes; without buffers it codes them itself."""

    kind: ClassVar[str] = "sq8"

    def __init__(self, vectors: NDArray[Any], buffers: Buffers, distance: Distance, threads: int = 1) -> None:
        self._n, self._d = vectors.shape
        self._squared, self._threads = distance == "l2", threads
        self._flat = Flat(vectors, {}, distance, threads)
        self._rows = elements(vectors)
        if self._n > FEW_ROWS:
            made = buffers or build(vectors, distance, {}, threads)
            self._codes, self._scales, self._mean = (read_only(made[name]) for name in ("codes", "scales", "mean"))

    def search(self, queries: FloatArray, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The contract's `search`."""
        candidates = self.width(k, params)
        found = self._n if live is None else bitset.count(live)
        if candidates == 0 or self._n <= FEW_ROWS or found <= candidates:
            return self._flat.search(queries, k, params, live)
        queries, bits = check_search(queries, k, live, self._n, self._d)
        nq, width = len(queries), min(k, found)
        ordinals, distances = np.full((nq, k), -1, np.int64), np.full((nq, k), np.inf, np.float32)

        def some(first: int, last: int) -> None:
            by_code, coded = empty_heaps(last - first, candidates)
            exact, near = empty_heaps(last - first, width)
            _search_codes(
                self._codes, self._scales, self._mean, self._rows, self._squared,
                queries[first:last], bits, params.rescore, by_code, coded, exact, near,
            )  # fmt: skip
            ordinals[first:last, :width], distances[first:last, :width] = near, exact

        if nq < 2 * MIN_QUERIES:
            some(0, nq)
        else:
            run_ranges(some, nq, self._threads, MIN_QUERIES)
        rescored = nq * candidates if params.rescore else 0
        return Neighbours(ordinals, distances, Cost(distances=nq * found, rescored=rescored))

    def width(self, k: int, params: SearchParams) -> int:
        """How many candidates are compared again; 0 where all rows are compared exactly."""
        if params.exact or params.recall >= 1.0:
            return 0
        if params.oversampling is not None:
            return min(math.ceil(params.oversampling * k), MAX_EF)
        return min(max(4 * k, k + 32), MAX_EF)

    def memory_bytes(self) -> int:
        """Bytes of the codes."""
        return int(self._codes.nbytes + self._scales.nbytes) if self._n > FEW_ROWS else 0


@kernel
def _search_codes(
    codes: NDArray[np.uint8],
    scales: FloatArray,
    mean: FloatArray,
    rows: NDArray[Any],
    squared: bool,
    queries: FloatArray,
    live: Bitset,
    rescore: bool,
    by_code: FloatArray,
    coded: IntArray,
    exact: FloatArray,
    near: IntArray,
) -> None:
    """Fill heaps [nq, c] by code, and from those sorted rows [nq, k] of the nearest. One call, because every return
    from a kernel has to wait for Python's global lock."""
    _scan_codes(codes, scales, mean, squared, queries, live, by_code, coded)
    if rescore:
        scan_candidates(rows, queries, squared, coded, 0, len(queries), exact, near)
        sort_heaps(exact, near)
    else:
        sort_heaps(by_code, coded)
        exact[:], near[:] = by_code[:, : exact.shape[1]], coded[:, : exact.shape[1]]


@kernel
def _scan_codes(
    codes: NDArray[np.uint8],
    scales: FloatArray,
    mean: FloatArray,
    squared: bool,
    queries: FloatArray,
    live: Bitset,
    distances: FloatArray,
    ordinals: IntArray,
) -> None:
    """Offer the live rows to the heaps [nq, c] of queries [nq, d], by the distance of their codes."""
    n, width = codes.shape
    blocks, c = width >> 6, distances.shape[1]
    flat_distances, flat_ordinals = distances.reshape(-1), ordinals.reshape(-1)
    code = np.empty(width, np.int8)
    for q in range(len(queries)):
        factors = encode_query(queries[q], mean, squared, code)
        base = q * c
        for word in range(len(live)):
            if live[word] == 0:
                continue
            for row in range(word << 6, min((word + 1) << 6, n)):
                if has_bit(live, row):
                    dot = dot_u8s8(codes, row * width, code, 0, blocks)
                    distance = decoded(dot, scales[row, 0], scales[row, 1], factors)
                    if distance <= flat_distances[base]:
                        offer(flat_distances, flat_ordinals, base, c, distance, row)
