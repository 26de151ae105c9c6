"""Exhaustive search by codes of one bit a component: every live row is looked at, what may matter is compared again.

1. `build` finds the centre of the rows and codes them (`binary_code`): a thirty-second of float32, and 8 bytes a row.
2. A search estimates the distances of all live rows, 32 rows at a time (`binary_scan`).
3. A row whose estimate, less a margin, is above the k-th smallest distance so far cannot be among the k nearest, unless
   its error is beyond the margin; the others are compared from the stored vectors (`binary_search`). With the setting
   `extra_bits` a second code of so many bits a component (`fine_code`) leaves fewer of these.
4. The margin follows from `params.recall`: with that probability it is kept by all of the k nearest at once, if errors
   are normal. Each may then miss with probability (1 - recall) / k, so the share that is found is larger than asked.
   With `params.oversampling` that many times k rows are compared instead, those with the best estimates; without
   `params.rescore` the estimates are the result.

What is found does not depend on the order of the rows, on threads or on what else is in a batch.

Buffers, for n rows of d components; `binary_code` says what they hold:

| name | dtype, shape | bytes a row |
|---|---|---|
| `codes` | uint8 [ceil(n / 32), D / 8, 32], D = max(32 ceil(d / 32), 64) | D / 8 |
| `factors` | float32 [ceil(n / 32), 2, 32] | 8 |
| `fine` | uint8 [n, 64 ceil(bits D / 512)], where a second code is wanted | bits D / 8 |
| `fine_scales` | float32 [n], likewise | 4 |
| `centre` | float32 [d] | |
| `spread` | float32 [2] | |
| `made` | int64 [5]: version of the coding, seed of the rotation, n, d, bits of the second code | |

Without the second code at most d / 8 + 16 bytes a row. Buffers whose `made` or shapes are not those of the vectors are
refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import MAX_EF, Bitset, Distance, FloatArray, IntArray, Progress, SearchParams

from . import bitset
from .base import Buffers, Cost, Neighbours
from .binary_code import blocks
from .binary_search import COARSE, FINE, VECTORS, search_blocks, search_whole
from .coding import encode, from_buffers, to_buffers
from .flat import Flat, check_search, elements, rescore
from .threads import run_ranges
from .topk import absorb, empty_heaps, sort_heaps

FEW_ROWS: Final = 1_024  # up to here the vectors themselves are compared as fast
MIN_QUERIES: Final = 16  # of one thread
MIN_BLOCKS: Final = 8_192  # of one thread: half a millisecond
MAX_RECALL: Final = 1.0 - 1e-9  # 1.0 would make margins infinite
USUAL_WIDTH: Final = 16  # rows compared exactly, as a multiple of k, on usual data


def build(
    vectors: NDArray[Any],
    distance: Distance,
    settings: Mapping[str, Any],
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The contract's `build` for vectors [n, d]; setting `extra_bits` (0)."""
    return to_buffers(encode(vectors, distance, int(settings.get("extra_bits", 0)), threads, progress), len(vectors))


class Binary:
    """Search over vectors [n, d], float32, float16 or int8, by codes; without buffers it codes them itself.

    Raises InvalidArgument for buffers of other vectors, of another coding, or cut short.
    """

    kind: ClassVar[str] = "binary"

    def __init__(self, vectors: NDArray[Any], buffers: Buffers, distance: Distance, threads: int = 1) -> None:
        self._n, self._d = vectors.shape
        self._squared, self._distance, self._threads = distance == "l2", distance, threads
        self._vectors, self._rows = vectors, elements(vectors)
        self._flat = Flat(vectors, {}, distance, threads)
        if buffers or self._n > FEW_ROWS:
            self._every = bitset.full(self._n)
            self._codes = from_buffers(buffers or build(vectors, distance, {}, threads), self._n, self._d).frozen()

    def search(self, queries: FloatArray, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The contract's `search`.

        Raises DimensionMismatch for queries of another dimension, InvalidArgument for a k or a live set that cannot
        be.
        """
        if not self._coded(k, params):
            return self._flat.search(queries, k, params, live)
        queries, bits = check_search(queries, k, self._every if live is None else live, self._n, self._d)
        found = self._n if live is None else bitset.count(bits)
        width = min(k, found)
        if found <= FEW_ROWS or not len(queries):
            return self._flat.search(queries, k, params, live)
        z = NormalDist().inv_cdf(1.0 - (1.0 - min(params.recall, MAX_RECALL)) / k)
        if not params.rescore:
            mode = FINE if self._codes.bits else COARSE
            near, exact, compared = self._nearest(queries, bits, width, mode, z)
        elif params.oversampling is None:
            near, exact, compared = self._nearest(queries, bits, width, VECTORS, z)
        else:
            candidates = min(math.ceil(params.oversampling * k), found, MAX_EF)
            near, _, _ = self._nearest(queries, bits, candidates, COARSE, z)
            near, exact = rescore(self._vectors, queries, near, self._distance, width, self._threads)
            compared = len(queries) * candidates
        cost = Cost(distances=len(queries) * found, rescored=compared)
        if width == k:
            return Neighbours(near, exact, cost)
        ordinals, distances = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
        ordinals[:, :width], distances[:, :width] = near, exact
        return Neighbours(ordinals, distances, cost)

    def _nearest(
        self, queries: FloatArray, live: Bitset, k: int, mode: int, z: float
    ) -> tuple[IntArray, FloatArray, int]:
        """(ordinals [nq, k], distances [nq, k], vectors compared), sorted; distances are what the mode says."""
        nq, count = len(queries), blocks(self._n)
        how = self._codes, self._rows, self._squared, mode, live, z
        if nq >= 2 * MIN_QUERIES or count < 2 * MIN_BLOCKS or self._threads == 1:
            exact, near = empty_heaps(nq, k)

            def some_queries(first: int, last: int) -> int:
                return int(search_whole(*how, queries[first:last], exact[first:last], near[first:last]))

            return near, exact, sum(run_ranges(some_queries, nq, self._threads, MIN_QUERIES))

        def some_rows(first: int, last: int) -> tuple[FloatArray, IntArray, FloatArray, int]:
            keys, ordinals = empty_heaps(nq, k)
            shifts = np.empty(nq, np.float32)
            compared = search_blocks(*how, queries, first, last, keys, ordinals, shifts)
            return keys, ordinals, shifts, int(compared)

        parts = run_ranges(some_rows, count, self._threads, MIN_BLOCKS)
        keys, near, shifts, compared = parts[0]
        for more_keys, more_near, _, more in parts[1:]:
            absorb(keys, near, more_keys, more_near)
            compared += more
        sort_heaps(keys, near)
        if mode == VECTORS:
            return *rescore(self._vectors, queries, near, self._distance, k), compared
        return near, keys + shifts[:, None], compared

    def width(self, k: int, params: SearchParams) -> int:
        """How many rows are compared exactly, roughly where their bounds decide; 0 where all are."""
        if not self._coded(k, params):
            return 0
        return min(math.ceil((params.oversampling or USUAL_WIDTH) * k), MAX_EF) if params.rescore else k

    def memory_bytes(self) -> int:
        """Bytes of the buffers."""
        return sum(array.nbytes for array in self._codes.arrays().values()) if hasattr(self, "_codes") else 0

    def _coded(self, k: int, params: SearchParams) -> bool:
        """Whether a search looks at codes at all."""
        certain = params.recall >= 1.0 and params.oversampling is None and params.rescore
        return self._n > FEW_ROWS and not params.exact and not certain and k <= MAX_EF
