"""Construction of the graph, the same for any number of threads: nodes are inserted in batches, without locks.

1. Each row's level is drawn from a seeded generator (Malkov and Yashunin 2018, doi 10.1109/TPAMI.2018.2889473).
   Nodes are inserted by descending level, in random order within a level: the first is the entry of every search,
   and rows that are neighbours because of the order in which they were stored do not meet in one batch.
2. A batch is a small share of what is inserted already. Its nodes search the graph as it was before the batch, each on
   its own, choose their links and propose the links back (`_connect`).
3. Proposals are sorted by the node that they are for; each of these appends them or, if it has no room, chooses anew
   among old and new (`_accept`). No node is written by two threads.
4. Rows with equal vectors would only link to each other. So only the first of them becomes a node; the others are its
   twins: `twins[i]` is the next row with the vector of row i, or -1.
5. In the end, every node that cannot be reached from the entry is given a link (`Builder.join`).

All distances are of codes. Links are chosen by the heuristic of the paper's algorithm 4: the closest first, but only
if it is closer to the node than to all links chosen before. Where that leaves a new node fewer than m / 2 links, the
closest of the others fill them up: otherwise a few nodes in the middle of the data would be all that most link to.

Inserting in growing batches: Manohar et al. 2024, ParlayANN, doi 10.1145/3627535.3638475.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import LimitExceeded
from vsearch.types import FloatArray, IntArray, Progress

from .codes import decoded, row_as_query
from .flat import elements
from .hnsw_walk import (
    ALL,
    ALONE,
    MAX_NODES,
    Graph,
    Scratch,
    beam,
    descend,
    distance_of,
    key_of,
    make_scratch,
    node_of,
)
from .jit import kernel, read_only
from .scratch import Pool
from .simd import Int, dot_u8s8
from .threads import run_ranges

SHARE: Final = 50  # a batch is at most 1/50 of the nodes before it: what its nodes miss of each other is not noticed
MAX_BATCH: Final = 4096  # enough for every thread; bounds the memory of proposals
MAX_LEVEL: Final = 30
SEED: Final = 0x5EED

UNUSED: Final = np.int64(np.iinfo(np.int64).max)  # a place for a proposal that was not made; sorts last
_LOW: Final = 0xFFFFFFFF


class Builder:
    """A graph that grows by `insert`."""

    def __init__(
        self,
        codes: NDArray[np.uint8],
        scales: FloatArray,
        twins: NDArray[np.int32],
        squared: bool,
        m: int,
        ef_construction: int,
        threads: int,
    ) -> None:
        n = len(codes)
        if n > MAX_NODES:
            raise LimitExceeded(f"{n} rows are too many for one graph", f"Use at most {MAX_NODES} rows a segment")
        generator = np.random.default_rng(SEED)
        single = np.ones(n, bool)
        single[twins[twins >= 0]] = False
        levels = draw_levels(generator, n, m)
        levels[~single] = 0
        order = generator.permutation(n)
        order = order[single[order]]
        self.order = order[np.argsort(-levels[order].astype(np.int64), kind="stable")]
        self.done = 0
        self.levels = levels
        if n and not squared:  # inner products of two rows, other than of a row and a query, may pass float32's range
            scales = scales / max(scales.max(), np.finfo(np.float32).tiny)
        starts = (np.cumsum(levels, dtype=np.int64) - levels).astype(np.int32)
        self._links0 = np.full((n, 2 * m), -1, np.int32)
        self._links = np.full((int(levels.sum(dtype=np.int64)), m), -1, np.int32)
        self.graph = Graph(*(read_only(array) for array in (codes, scales, self._links0, self._links, starts)))
        self.entry = np.array([self.order[0], levels[self.order[0]]] if n else [-1, 0], np.int64)
        self._owners = np.repeat(np.arange(n, dtype=np.int32), levels)  # of the rows of graph.links
        self._squared, self._ef, self._threads = squared, ef_construction, threads
        self._pool = Pool(lambda: make_scratch(self.graph))

    def insert(self, count: int, progress: Progress | None = None) -> None:
        """Insert nodes until there are `count`. `progress` is called after every batch, and may raise."""
        while self.done < count:
            size = min(max(self.done // SHARE, 1), MAX_BATCH, count - self.done)
            if self.done:
                self._insert_batch(self.order[self.done : self.done + size])
            self.done += size
            if progress is not None:
                progress(self.done, len(self.order))

    def join(self) -> None:
        """Link to every node that cannot be reached from the entry: from the closest one that can, and has room."""
        if not self.done:
            return
        reached = np.zeros(len(self.levels), bool)
        stack = np.empty(len(self.levels), np.int64)
        _reach(self._links0, self.entry[0], reached, stack)
        inserted = self.order[: self.done]
        with self._pool.take() as scratch:
            _adopt(
                self.graph, self._links0, self._squared, self.entry, inserted[~reached[inserted]], self._ef, reached,
                stack, scratch,
            )  # fmt: skip

    def _insert_batch(self, batch: IntArray) -> None:
        graph, m = self.graph, self.graph.links.shape[1]
        counts = self.levels[batch].astype(np.int64) + 1
        slots = (np.cumsum(counts) - counts) * m
        proposals = np.full(int(counts.sum()) * m, UNUSED, np.int64)

        def connect(first: int, last: int) -> None:
            with self._pool.take() as scratch:
                _connect(
                    graph, self._links0, self._links, self._squared, self.levels, self.entry, batch, first, last,
                    self._ef, slots, proposals, scratch,
                )  # fmt: skip

        run_ranges(connect, len(batch), self._threads)

        proposals.sort()
        proposals = proposals[: np.searchsorted(proposals, UNUSED)]
        proposers = np.repeat(batch, counts)[(proposals & _LOW) // m]
        targets = proposals >> 32
        groups = np.append(np.flatnonzero(np.diff(targets, prepend=-1)), len(targets))

        def accept(first: int, last: int) -> None:
            with self._pool.take() as scratch:
                _accept(
                    graph, self._links0, self._links, self._squared, self._owners, targets, proposers, groups,
                    first, last, scratch,
                )  # fmt: skip

        run_ranges(accept, len(groups) - 1, self._threads, min_chunk=64)


def draw_levels(generator: np.random.Generator, n: int, m: int) -> NDArray[np.uint8]:
    """The highest level of each of n nodes, of which one in m reaches each further one; uint8 [n]."""
    return np.minimum(-np.log(1.0 - generator.random(n)) / math.log(m), MAX_LEVEL).astype(np.uint8)


@kernel
def select(
    graph: Graph,
    squared: bool,
    keys: IntArray,
    count: Int,
    kept: Int,
    least: Int,
    most: Int,
    chosen: IntArray,
    code: NDArray[np.int8],
) -> Int:
    """Choose from the candidates keys[:count], sorted, which are used up; how many are then in `chosen`.

    The first `kept` of these were chosen before. At most `most`; if the heuristic finds fewer than `least`, the closest
    of the others are taken too.
    """
    codes, scales = graph.codes, graph.scales
    stride, blocks = codes.shape[1], codes.shape[1] >> 6
    for i in range(count):
        if kept == most:
            break
        candidate, limit = node_of(keys[i]), distance_of(keys[i])
        factors = row_as_query(codes, scales, candidate, squared, code)
        good = True
        for j in range(kept):
            other = chosen[j]
            dot = dot_u8s8(codes, other * stride, code, 0, blocks)
            if decoded(dot, scales[other, 0], scales[other, 1], factors) < limit:
                good = False
                break
        if good:
            chosen[kept] = candidate
            kept += 1
            keys[i] = UNUSED
    for i in range(count):
        if kept >= least:
            break
        if keys[i] != UNUSED:
            chosen[kept] = node_of(keys[i])
            kept += 1
    return kept


@kernel
def _connect(
    graph: Graph,
    links0: NDArray[np.int32],
    links: NDArray[np.int32],
    squared: bool,
    levels: NDArray[np.uint8],
    entry: IntArray,
    batch: IntArray,
    first: Int,
    last: Int,
    ef: Int,
    slots: IntArray,
    proposals: IntArray,
    scratch: Scratch,
) -> None:
    """Write the links of batch[first:last], and propose the links back.

    A proposal is (row of the target << 32) | its place in `proposals`; rows of the upper levels count on from n.
    """
    n, m = np.int64(graph.links0.shape[0]), np.int64(graph.links.shape[1])
    code = scratch.code
    chosen, other_code = np.empty(2 * m, np.int64), np.empty_like(scratch.code)
    for i in range(first, last):
        node, slot = np.int64(batch[i]), slots[i]
        factors = row_as_query(graph.codes, graph.scales, node, squared, code)
        top = min(np.int64(levels[node]), entry[1])
        key = key_of(graph.codes, graph.scales, entry[0], code, factors)
        key = descend(graph, code, factors, key, entry[1], top, scratch.tally)
        for level in range(top, -1, -1):
            found, _ = beam(graph, code, factors, key, level, ef, ef + 1, UNUSED, ALL, ALONE, scratch)
            key = scratch.keys[0] & ~np.int64(3)
            kept = select(graph, squared, scratch.keys, found, np.int64(0), m // 2, m, chosen, other_code)
            for j in range(kept):
                target = chosen[j]
                if level == 0:
                    links0[node, j] = target
                else:
                    links[graph.starts[node] + level - 1, j] = target
                    target = n + graph.starts[target] + level - 1
                proposals[slot + j] = (target << 32) | (slot + j)
            slot += m


@kernel
def _accept(
    graph: Graph,
    links0: NDArray[np.int32],
    links: NDArray[np.int32],
    squared: bool,
    owners: NDArray[np.int32],
    targets: IntArray,
    proposers: IntArray,
    groups: IntArray,
    first: Int,
    last: Int,
    scratch: Scratch,
) -> None:
    """Give the rows of links in groups [first, last) their proposed links; a group is one row's proposals."""
    n = np.int64(graph.links0.shape[0])
    chosen, other_code = np.empty(graph.links0.shape[1], np.int64), np.empty_like(scratch.code)
    for g in range(first, last):
        row, start, stop = targets[groups[g]], groups[g], groups[g + 1]
        node = row if row < n else np.int64(owners[row - n])
        own = links0[row] if row < n else links[row - n]
        link_back(graph, squared, node, own, proposers, start, stop, chosen, other_code, scratch)


@kernel
def link_back(
    graph: Graph,
    squared: bool,
    node: Int,
    own: NDArray[np.int32],
    proposers: IntArray,
    start: Int,
    stop: Int,
    chosen: IntArray,
    other_code: NDArray[np.int8],
    scratch: Scratch,
) -> None:
    """Add proposers[start:stop] to the links `own` of a node; where they have no room, it chooses anew among all.

    chosen [2 m] and other_code [stride] are working memory.
    """
    keys, code, width = scratch.keys, scratch.code, own.shape[0]
    degree = 0
    while degree < width and own[degree] >= 0:
        degree += 1
    if degree + stop - start <= width:
        for j in range(start, stop):
            own[degree + j - start] = proposers[j]
        return
    factors = row_as_query(graph.codes, graph.scales, node, squared, code)
    count = degree + stop - start
    for j in range(count):
        other = np.int64(own[j]) if j < degree else proposers[start + j - degree]
        key = key_of(graph.codes, graph.scales, other, code, factors)
        z = j
        while z > 0 and keys[z - 1] > key:
            keys[z] = keys[z - 1]
            z -= 1
        keys[z] = key
    kept = select(graph, squared, keys, count, np.int64(0), np.int64(0), width, chosen, other_code)
    for j in range(width):
        own[j] = chosen[j] if j < kept else -1


@kernel
def _reach(links0: NDArray[np.int32], start: Int, reached: NDArray[np.bool_], stack: IntArray) -> None:
    """Mark the nodes that can be reached on level 0 from `start`, which is not marked; stack [n] is working memory."""
    reached[start] = True
    stack[0] = start
    height = 1
    while height > 0:
        height -= 1
        node = stack[height]
        for j in range(links0.shape[1]):
            other = np.int64(links0[node, j])
            if other < 0:
                break
            if not reached[other]:
                reached[other] = True
                stack[height] = other
                height += 1


@kernel
def _adopt(
    graph: Graph,
    links0: NDArray[np.int32],
    squared: bool,
    entry: IntArray,
    lost: IntArray,
    ef: Int,
    reached: NDArray[np.bool_],
    stack: IntArray,
    scratch: Scratch,
) -> None:
    """Give each of the lost nodes, unless an earlier one led to it, a link from a node that is found from the entry."""
    width, code = links0.shape[1], scratch.code
    for i in range(lost.shape[0]):
        node = lost[i]
        if reached[node]:
            continue
        factors = row_as_query(graph.codes, graph.scales, node, squared, code)
        key = key_of(graph.codes, graph.scales, entry[0], code, factors)
        key = descend(graph, code, factors, key, entry[1], 0, scratch.tally)
        found, _ = beam(graph, code, factors, key, 0, ef, ef + 1, UNUSED, ALL, ALONE, scratch)
        for j in range(found):
            parent = node_of(scratch.keys[j])
            if reached[parent] and links0[parent, width - 1] < 0:
                degree = width - 1
                while degree > 0 and links0[parent, degree - 1] < 0:
                    degree -= 1
                links0[parent, degree] = node
                _reach(links0, node, reached, stack)
                break


def find_twins(vectors: NDArray[Any], threads: int = 1) -> NDArray[np.int32]:
    """The next row with an equal vector, or -1: int32 [n], or [0] if no two are equal. vectors [n, d]."""
    n, d = vectors.shape
    words = elements(vectors)
    words = words.view(f"u{words.itemsize}")
    hashes = np.empty(n, np.uint64)

    def some(first: int, last: int) -> None:
        _hash_rows(words, d, first, last, hashes)

    run_ranges(some, n, threads, min_chunk=1024)
    twins = np.full(n, -1, np.int32)
    _pair_rows(words, d, np.argsort(hashes, kind="stable"), hashes, twins)
    return twins if (twins >= 0).any() else ALONE


@kernel
def _hash_rows(words: NDArray[Any], d: Int, first: Int, last: Int, hashes: NDArray[np.uint64]) -> None:
    for i in range(first, last):
        value = np.uint64(0xCBF29CE484222325)  # FNV-1a, a component at a time
        for j in range(i * d, (i + 1) * d):
            value = (value ^ np.uint64(words[j])) * np.uint64(0x100000001B3)
        hashes[i] = value


@kernel
def _pair_rows(
    words: NDArray[Any], d: Int, order: IntArray, hashes: NDArray[np.uint64], twins: NDArray[np.int32]
) -> None:
    """Set twins where a row equals the one that follows it by hash."""
    for i in range(order.shape[0] - 1):
        a, b = order[i], order[i + 1]
        same = hashes[a] == hashes[b]
        for j in range(d if same else 0):
            same = same and words[a * d + j] == words[b * d + j]
        if same:
            twins[a] = b
