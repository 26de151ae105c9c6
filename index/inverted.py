"""The block-summary inverted index of sparse vectors: approximate search for the largest inner products.

Seismic (Bruch, Nardini, Rulli and Venturini 2024, SIGIR, "Efficient Inverted Indexes for Approximate Retrieval over
Learned Sparse Representations"), with rows pruned besides, small blocks and blocks visited from the best down:

1. `build` makes an inverted list of each term, of the rows where the term is among the heaviest (`inverted_lists`).
2. The rows of a list are put together in blocks of similar ones, about five each; the largest weights of a block's rows
   are its summary (`inverted_blocks`).
3. Rows are laid out in the order of the blocks of their heaviest terms, so that the rows of a block are near each
   other, and stored for comparison as whole numbers (`forward`).
4. A search opens the lists of a query's heaviest terms, scores the summaries of their blocks against the whole query,
   and compares the rows of those blocks that could matter (`inverted_search`).
5. How many lists and which blocks, for a wanted recall, is measured when the index is built (`inverted_recall`).
6. What was found is compared again from the stored vectors. A query that found fewer than k rows is searched exactly.

What is found does not depend on threads or on what else is in a batch. `params.exact`, and a recall of 1, compare all
rows, and so does a query with a weight below 0. Rows that share no term with a query are never found. Weights of rows
are above 0.

Buffers, for n rows over t terms, with p entries in pruned lists, b blocks and e entries in summaries:

| name | dtype, shape | holds |
|---|---|---|
| `terms` | uint32 or uint64 [t] | the terms, ascending; positions in this array number them |
| `groups`, `group_starts` | `forward`; uint32 [2n + 1] | the rows, in the order of the layout |
| `ordinals` | uint32 [n] | the ordinal of each row of the layout |
| `block_starts` | int64 [t + 1] | first block of each list |
| `row_starts` | int64 [b + 1] | first row of each block in `rows` |
| `rows` | uint32 [p] | rows of the layout, block after block, ascending in each |
| `steps` | float32 [b] | what a summary's codes are multiples of, as stored whole numbers |
| `entry_starts` | int64 [t + 1] | first entry of each list's summaries |
| `entries` | uint32 [e] | the summaries, list by list |
| `directory_starts`, `directory` | int64 [t + 1], uint32 | where in a list the entries of a term may be |
| `neighbours` | uint32 [n, knn] | by ordinal: the nearest other rows, in the layout; repeated where there are too few |
| `scale` | float32 [1] | a weight over its stored whole number |
| `calibration` | float32 [m, 4] | settings by rising cost: share of mass, heap factor, neighbours, recall |
| `made` | int64 [3] | version, n, whether the stored whole numbers are the weights exactly |
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, Distance, IntArray, Progress, SearchParams, SparseRows

from . import bitset
from .base import Buffers, Cost, Neighbours
from .forward import pack
from .inverted_blocks import block_lists, directory_sizes, home_blocks, sort_runs
from .inverted_check import VERSION, check_buffers, check_rows, searchable
from .inverted_lists import inverted
from .inverted_recall import NEAREST, Effort, calibrate, chosen_effort
from .inverted_search import Lists, make_scratch, search_range
from .jit import read_only
from .scratch import Pool
from .sparse_flat import SparseFlat, check_sparse, padded
from .threads import run_ranges
from .topk import empty_heaps

STEPS: Final = 32  # parts of a build: progress is told after each, and memory is bounded by one
EXTRA: Final = 4  # more candidates than k where the forward index is not exact, and one more for every so many of k
MOST_EFFORTS: Final = 64  # remembered, by the recall that was asked for
ROWS_AT_ONCE: Final = 4_096  # whose neighbours are searched in one batch
EXACT: Final = SearchParams(exact=True)
KNN_EFFORT: Final = Effort(0.6, 0.7, 0)  # of the searches that find a row's neighbours


def build(
    vectors: SparseRows,
    distance: Distance,
    settings: Mapping[str, Any],
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The contract's `build` for sparse rows; setting `knn` (0): neighbours a row for the last step of a search.

    Raises InvalidArgument for rows whose arrays do not belong together, and for weights of 0 or less.
    """
    rows = check_rows(vectors)
    starts, ordinals, ranks = inverted(rows, threads)
    buffers = _blocks(rows, starts, ordinals, ranks, threads, progress)
    homes = home_blocks(
        buffers["row_starts"], buffers["block_starts"], buffers["rows"], rows.offsets, rows.numbers, rows.weights
    )
    order = homes.argsort(kind="stable")
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    buffers["rows"] = places[buffers["rows"]].astype(np.uint32)
    sort_runs(buffers["rows"], buffers["row_starts"])
    forward = pack(rows, order, ranks)
    assert rows.terms is not None, "bug: the rows were numbered"
    buffers |= {
        "terms": rows.terms,
        "groups": forward.groups,
        "group_starts": forward.starts,
        "ordinals": order.astype(np.uint32),
        "steps": buffers["steps"] / np.float32(forward.scale),
        "neighbours": np.empty((len(rows), 0), np.uint32),
        "scale": np.array([forward.scale], np.float32),
        "calibration": np.empty((0, 4), np.float32),
        "made": np.array([VERSION, len(rows), forward.exact], np.int64),
    }
    knn = int(settings.get("knn", 0))
    if knn:
        buffers["neighbours"] = _neighbours(Inverted(vectors, buffers, distance, threads), rows, places, knn, progress)
    reader = Inverted(vectors, buffers, distance, threads)
    buffers["calibration"] = calibrate(
        rows,
        lambda effort, queries: reader.search_with(effort, queries, NEAREST),
        lambda queries: reader.search(queries, NEAREST, EXACT),
        knn,
    )
    return buffers


def _neighbours(
    reader: Inverted, rows: SparseRows, places: IntArray, knn: int, progress: Progress | None
) -> NDArray[np.uint32]:
    """uint32 [n, knn]: the nearest other rows of each row; the row itself where there are fewer."""
    near = np.repeat(places.astype(np.uint32)[:, None], knn, axis=1)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        found = reader.search_with(KNN_EFFORT, rows[first : first + ROWS_AT_ONCE], knn + 1).ordinals
        for row, ordinals in enumerate(found, first):
            others = ordinals[(ordinals >= 0) & (ordinals != row)][:knn]
            near[row, : len(others)] = places[others]
        if progress is not None:
            progress(len(rows), len(rows))  # so that the build can be stopped
    return near


def _blocks(
    rows: SparseRows,
    starts: IntArray,
    ordinals: IntArray,
    ranks: NDArray[np.uint16],
    threads: int,
    progress: Progress | None,
) -> dict[str, NDArray[Any]]:
    """The blocks of all lists and their summaries; `rows` of a block are ordinals still."""
    terms = len(starts) - 1
    cuts = np.searchsorted(starts, np.linspace(0, starts[-1], STEPS + 1)[1:-1]).tolist()

    def some(first: int, last: int) -> Any:
        return block_lists(
            np.int64(first), np.int64(last), starts, ordinals, rows.offsets, rows.numbers, rows.weights, ranks,
            np.int64(terms),
        )  # fmt: skip

    def shifted(by: int, first: int, last: int) -> Any:
        return some(by + first, by + last)

    parts: list[Any] = [] if terms else [some(0, 0)]
    for first, last in zip([0, *cuts], [*cuts, terms], strict=True):
        if first < last:
            parts += run_ranges(partial(shifted, first), last - first, threads)
        if progress is not None:
            progress(len(rows) * int(starts[last]) // max(int(starts[-1]), 1), len(rows))
    columns = [list(column) for column in zip(*parts, strict=True)]
    row_count = np.cumsum([0] + [len(part) for part in columns[0]])
    columns[1] = [ends + before for ends, before in zip(columns[1], row_count[:-1], strict=True)]
    names = ("rows", "row_ends", "blocks_of", "steps", "entries_of", "directory", "entries")
    made = {}
    for name, column in zip(names, columns, strict=True):
        made[name] = np.concatenate(column)
        column.clear()
    sizes = made["entries_of"]
    return {
        "rows": made["rows"],
        "row_starts": np.concatenate([np.zeros(1, np.int64), made["row_ends"]]),
        "block_starts": _from_zero(made["blocks_of"]),
        "steps": made["steps"],
        "entry_starts": _from_zero(sizes),
        "directory_starts": _from_zero(directory_sizes(sizes)),
        "directory": made["directory"].astype(np.uint32),
        "entries": made["entries"],
    }


def _from_zero(counts: IntArray) -> IntArray:
    """int64 [m + 1]: where each of m runs of so many begins, and the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


class Inverted:
    """Approximate search over sparse rows and the buffers of `build`; see `base.Reader`, with SparseRows for both.

    Raises InvalidArgument for buffers of other rows, of another version, cut short, or with values out of range.
    """

    kind: ClassVar[str] = "inverted"

    def __init__(self, vectors: SparseRows, buffers: Buffers, distance: Distance, threads: int = 1) -> None:
        self._n, self._threads = len(vectors), threads
        arrays = {name: read_only(array) for name, array in buffers.items()}
        check_buffers(arrays, self._n)
        lists = self._lists = Lists(*(arrays[name] for name in Lists._fields))
        self._exact_codes, self._scale = bool(arrays["made"][2]), arrays["scale"][0]
        self._every = read_only(bitset.full(self._n))
        self._calibration = arrays["calibration"]
        self._efforts: dict[float, Effort | None] = {}
        self._flat = SparseFlat(vectors, {}, distance, threads)
        longest = int(np.diff(lists.block_starts).max(initial=0))
        self._pool = Pool(lambda: make_scratch(lists, longest))
        self._bytes = sum(array.nbytes for array in arrays.values())

    def search(self, queries: SparseRows, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The contract's `search`. Raises InvalidArgument for a k or a live set that cannot be."""
        effort = self._effort(params)
        if effort is None or len(queries) == 0:
            return self._flat.search(queries, k, params, live)
        return self.search_with(effort, queries, k, live)

    def search_with(self, effort: Effort, queries: SparseRows, k: int, live: Bitset | None = None) -> Neighbours:
        """As `search`, with the settings of `effort`."""
        checked, bits, count = check_sparse(queries, k, live, every=self._every, n=self._n)
        nq, wanted = len(queries), min(k, count)
        width = wanted if self._exact_codes else min(wanted + EXTRA + wanted // EXTRA, count)
        heaps, found = empty_heaps(nq, width)
        if not wanted:
            return padded(heaps, found, k, Cost())
        bits, weights = bits[:0] if live is None else bits, searchable(checked)
        if self._exact_codes:  # scores are distances then
            weights = weights * self._scale
        cost = Cost()

        def some(first: int, last: int) -> list[int]:
            with self._pool.take() as scratch:
                scratch.counts[:] = 0
                search_range(
                    self._lists, checked.offsets, checked.terms, weights, np.int64(first), np.int64(last),
                    np.float32(effort.mass), np.float32(effort.heap_factor), np.int64(effort.knn), bits, scratch,
                    heaps, found,
                )  # fmt: skip
                counts: list[int] = scratch.counts.tolist()
                return counts

        for compared, opened, skipped in [some(0, nq)] if nq == 1 else run_ranges(some, nq, self._threads):
            cost += Cost(distances=compared, lists=opened, blocks_skipped=skipped)
        if self._exact_codes:
            ordinals, distances = found, heaps
        else:
            ordinals, distances = self._flat.rescore(queries, found, wanted)
        ordinals, distances, cost = padded(distances, ordinals, k, cost)
        if ordinals[:, wanted - 1].min(initial=0) < 0:
            short = np.flatnonzero(ordinals[:, wanted - 1] < 0)
            exact = self._flat.search(queries[short], k, SearchParams(), live)
            ordinals[short], distances[short] = exact.ordinals, exact.distances
            cost += exact.cost
        return Neighbours(ordinals, distances, cost)

    def width(self, k: int, params: SearchParams) -> int:
        """0 where all rows are compared; else the candidates that are compared again from the stored vectors."""
        if self._effort(params) is None:
            return 0
        return k if self._exact_codes else k + EXTRA + k // EXTRA

    def memory_bytes(self) -> int:
        """Bytes of the buffers."""
        return self._bytes

    def _effort(self, params: SearchParams) -> Effort | None:
        """The settings for a wanted recall; None where only an exact search will do."""
        if params.exact or params.recall >= 1.0:
            return None
        recall = params.recall
        if recall not in self._efforts and len(self._efforts) < MOST_EFFORTS:
            self._efforts[recall] = chosen_effort(self._calibration, recall)
        return self._efforts[recall] if recall in self._efforts else chosen_effort(self._calibration, recall)
