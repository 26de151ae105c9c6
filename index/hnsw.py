"""Hierarchical navigable small world graph (Malkov and Yashunin 2018, doi 10.1109/TPAMI.2018.2889473) over 8-bit codes.

1. `build` codes the rows (`codes`), builds the graph (`hnsw_build`) and measures how wide a beam gives which recall.
2. A search walks the graph by codes (`hnsw_walk`) and compares the best candidates again from the stored vectors.
3. Rows that are not live are walked through and not returned. Where few are live, or the walk finds too few, or has
   taken as long as comparing all live rows would, these are compared: so k rows are found whenever k are live.
4. The beam is `params.ef`, or the narrowest that reached `params.recall` when the index was built. It was measured
   with rows that were not yet in the graph, moved far from where they were: queries are seldom like rows.

Buffers; an ordinal is the row's number in the segment, and a node of the graph is a row:

| name | dtype, shape | holds |
|---|---|---|
| `codes`, `scales`, `mean` | see `codes` | the coded rows |
| `links0` | int32 [n, 2 m] | links on level 0, -1 behind the last |
| `links` | int32 [sum of levels, m] | links on the levels above, node after node, lowest level first |
| `levels` | uint8 [n] | highest level of a node |
| `starts` | int32 [n] | where a node's rows of `links` start |
| `twins` | int32 [n] or [0] | the next row with an equal vector, or -1; only the first of them is in the graph |
| `entry` | int64 [2] | the node where every search starts, and its level |
| `calibration` | float32 [e, 2] | beams, and the recall of the nearest 10 measured with each, both ascending |
| `oversampling` | float32 [1] | candidates compared again, as a multiple of k, where the search does not say |
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.types import MAX_EF, Bitset, Distance, FloatArray, IntArray, Progress, SearchParams

from . import bitset
from .base import Buffers, Cost, Neighbours
from .codes import encode
from .flat import Flat, check_search, elements
from .hnsw_build import Builder, find_twins
from .hnsw_walk import UNSURE, Graph, make_scratch, search_rows
from .jit import read_only
from .scratch import Pool
from .threads import run_ranges

BUFFERS: Final = (*Graph._fields, "levels", "twins", "entry", "mean", "calibration", "oversampling")
EXACT: Final = SearchParams(exact=True)

NEAREST: Final = 10  # the recall that is measured is of so many nearest
BEAMS: Final = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)  # what is measured
ENOUGH: Final = 0.998  # recall at which measuring ends
MAX_SAMPLE: Final = 400  # queries; recall is then known to about a third of what is missing
MIN_SAMPLE: Final = 8
SAMPLE_ELEMENTS: Final = 1 << 22  # of the sample, in float64: 32 MiB
DEFAULT_BEAM: Final = 128  # of a graph too small to be measured
NOISE: Final = 1.4  # how far a sampled row is moved, as a multiple of the distance to its 10th neighbour
WIDE_BEAM: Final = 256  # shows what codes lose, whatever the beam
OVERSAMPLING: Final = (2.0, 4.0, 8.0, 16.0, 25.6)  # tried in turn, until codes lose little
K_POWER: Final = 0.55  # the beam that keeps a recall grows as this power of k, from NEAREST to 1,000
MARGIN: Final = 0.1  # share of the misses that a wanted recall allows, kept in reserve

HOP_ROWS: Final = 8  # a node expanded costs as much as so many rows compared
ROOM: Final = 4  # a beam this many times as wide as the share of live rows lets expect will not find enough of them

_LARGEST: Final = float(np.finfo(np.float32).max)


def build(
    vectors: NDArray[Any],
    distance: Distance,
    settings: Mapping[str, Any],
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The contract's `build` for vectors [n, d]; settings `m` (16) and `ef_construction` (200)."""
    n = len(vectors)
    m, ef_construction = int(settings.get("m", 16)), int(settings.get("ef_construction", 200))
    codes, scales, mean = encode(vectors, distance, threads)
    twins = find_twins(vectors, threads)
    builder = Builder(codes, scales, twins, distance == "l2", m, ef_construction, threads)
    nodes = len(builder.order)

    def rows_done(done: int, total: int) -> None:
        if progress is not None:
            progress(done + n - total, n)

    sample = min(MAX_SAMPLE, nodes // 8, SAMPLE_ELEMENTS // vectors.shape[1])
    builder.insert(nodes - sample, rows_done)
    buffers: dict[str, NDArray[Any]] = {
        **builder.graph._asdict(),
        "scales": scales,
        "levels": builder.levels,
        "twins": twins,
        "entry": builder.entry,
        "mean": mean,
        "calibration": np.empty((0, 2), np.float32),
        "oversampling": np.array([OVERSAMPLING[0]], np.float32),
    }
    if sample >= MIN_SAMPLE:
        _calibrate(vectors, buffers, distance, threads, builder.order[nodes - sample :])
    builder.insert(nodes, rows_done)
    builder.join()
    return buffers


def _calibrate(
    vectors: NDArray[Any],
    buffers: dict[str, NDArray[Any]],
    distance: Distance,
    threads: int,
    missing: IntArray,
) -> None:
    """Measure the buffers `calibration` and `oversampling`, with the nodes that are missing from the graph.

    A query is a missing row moved in a random direction, by NOISE times the distance to its 10th neighbour.
    """
    twins = buffers["twins"]
    inserted = np.ones(len(vectors), bool)
    later = missing
    while len(later):  # a node's twins are missing with it
        inserted[later] = False
        later = twins[later] if len(twins) else later[:0]
        later = later[later >= 0]
    live = bitset.from_mask(inserted)

    def search(queries: FloatArray, params: SearchParams, oversampling: float = OVERSAMPLING[0]) -> Neighbours:
        trial = {**buffers, "oversampling": np.array([oversampling], np.float32)}
        return Hnsw(vectors, trial, distance, threads).search(queries, NEAREST, params, live)

    rows = vectors[missing].astype(np.float32)
    neighbours = vectors[search(rows, SearchParams(ef=DEFAULT_BEAM)).ordinals[:, -1]].astype(np.float64)
    if distance == "dot":  # only their direction says how far they are
        neighbours *= _length(rows) / _length(neighbours)
    noise = np.random.default_rng(len(missing)).standard_normal(rows.shape)
    moved = rows + NOISE * _length(rows - neighbours) / _length(noise) * noise
    queries = np.clip(moved, -_LARGEST, _LARGEST).astype(np.float32)
    farthest = search(queries, EXACT).distances[:, -1:]

    def recall(ef: int, oversampling: float) -> float:
        return float((search(queries, SearchParams(ef=ef), oversampling).distances <= farthest).mean())

    wide = recall(WIDE_BEAM, WIDE_BEAM / NEAREST)
    for oversampling in OVERSAMPLING:
        if recall(WIDE_BEAM, oversampling) > wide - 0.002:
            break
    table: list[tuple[float, float]] = []
    for ef in BEAMS:
        table.append((ef, max(recall(ef, oversampling), table[-1][1] if table else 0.0)))
        if table[-1][1] >= ENOUGH:
            break
    buffers["calibration"] = np.array(table, np.float32)
    buffers["oversampling"] = np.array([oversampling], np.float32)


def _length(rows: NDArray[Any]) -> NDArray[np.float64]:
    """float64 [n, 1]: the length of each row, and no less than a tiny number, to divide by."""
    lengths: NDArray[np.float64] = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.maximum(lengths, 1e-300)


class Hnsw:
    """Approximate search over vectors [n, d], float32, float16 or int8, and the buffers of `build`. See `base.Reader`.

    Raises InvalidArgument for vectors or buffers of other shapes or dtypes.
    """

    kind: ClassVar[str] = "hnsw"

    def __init__(self, vectors: NDArray[Any], buffers: Buffers, distance: Distance, threads: int = 1) -> None:
        self._n, self._d = vectors.shape
        if len(buffers["codes"]) != self._n:
            raise InvalidArgument(f"the index is of {len(buffers['codes'])} rows, not of {self._n}", "Build it anew")
        arrays = {name: read_only(buffers[name]) for name in BUFFERS}
        graph = Graph(*(arrays[name] for name in Graph._fields))
        self._graph, self._twins, self._entry, self._mean = graph, arrays["twins"], arrays["entry"], arrays["mean"]
        self._beams: list[float] = arrays["calibration"][:, 0].tolist()
        self._recalls: list[float] = arrays["calibration"][:, 1].tolist()
        self._oversampling = float(arrays["oversampling"][0])
        self._vectors = elements(vectors)
        self._squared, self._threads = distance == "l2", threads
        self._flat = Flat(vectors, {}, distance, threads)
        self._pool = Pool(lambda: make_scratch(graph))
        self._bytes = sum(array.nbytes for array in arrays.values())

    def search(self, queries: FloatArray, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The contract's `search`.

        Raises DimensionMismatch for queries of another dimension, InvalidArgument for a k or a live set that cannot
        be.
        """
        n = self._n
        queries, bits = check_search(queries, k, live, 0 if live is None else n, self._d)
        ef = self.width(k, params)
        count = n if live is None else bitset.count(bits)
        budget = count // HOP_ROWS  # nodes expanded in the time of an exact search
        if ef == 0 or ef * n >= budget * count:  # where a share of the rows is live, a beam passes the inverse of it
            return self._flat.search(queries, k, params, live)
        room = ef if live is None else min(ROOM * ef * n // count, MAX_EF)
        nq = len(queries)
        ordinals, distances = np.empty((nq, k), np.int64), np.empty((nq, k), np.float32)

        def some(first: int, last: int) -> list[int]:
            with self._pool.take() as scratch:
                search_rows(
                    self._graph, self._twins, self._entry, self._mean, self._vectors, self._squared,
                    queries, first, last, min(k, count), ef, room + 1, self._candidates(k, params), params.rescore,
                    budget, bits, scratch, ordinals, distances,
                )  # fmt: skip
                tally: list[int] = scratch.tally.tolist()
                return tally

        tallies = [some(0, nq)] if nq == 1 else run_ranges(some, nq, self._threads)
        cost = Cost()
        unsure = 0
        for tally in tallies:
            cost += Cost(*tally[:3])
            unsure += tally[3]
        if unsure:
            again = np.flatnonzero(ordinals[:, 0] == UNSURE)
            exact = self._flat.search(queries[again], k, params, live)
            ordinals[again], distances[again] = exact.ordinals, exact.distances
            cost += exact.cost
        return Neighbours(ordinals, distances, cost)

    def width(self, k: int, params: SearchParams) -> int:
        """The beam of a search; 0 where all rows are compared."""
        if params.exact or (params.ef is None and params.recall >= 1.0):
            return 0
        ef = params.ef or math.ceil(self._beam(params.recall) * max(k / NEAREST, 1.0) ** K_POWER)
        if params.oversampling is not None:
            ef = max(ef, math.ceil(params.oversampling * k))
        return min(max(ef, k), MAX_EF)

    def _beam(self, recall: float) -> float:
        """The beam that reached a recall, with some reserve; between and beyond the measured ones rather too wide."""
        beams, recalls = self._beams, self._recalls
        if not beams:
            return DEFAULT_BEAM
        recall += MARGIN * (1.0 - recall)
        i = bisect_left(recalls, recall)
        if i == len(beams):
            return beams[-1] * (1.0 - recalls[-1] + 1e-4) / (1.0 - recall)
        if i == 0:
            return beams[0]
        share = (recall - recalls[i - 1]) / (recalls[i] - recalls[i - 1])
        return beams[i - 1] + share * (beams[i] - beams[i - 1])

    def _candidates(self, k: int, params: SearchParams) -> int:
        """How many candidates are compared again."""
        if not params.rescore:
            return min(k, MAX_EF)
        if params.oversampling is not None:
            return min(math.ceil(params.oversampling * k), MAX_EF)
        return min(max(math.ceil(self._oversampling * k), k + 16), MAX_EF)

    def memory_bytes(self) -> int:
        """Bytes of the buffers."""
        return self._bytes
