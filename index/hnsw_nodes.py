"""The graph of a `hnsw_live.LiveGraph`: its arrays, its entry, and the pass that cuts dead nodes out.

A pass begins with the set of nodes that it keeps. It goes over all slots, a few with each call, and ends when no node
links to one outside the set; their slots are then free. What dies meanwhile waits for the next pass.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import MAX_EF, Bitset, FloatArray, Progress

from . import bitset
from .codes import aligned_rows, encode, encode_rows, stride
from .hnsw_build import SEED, Builder, draw_levels, find_twins
from .hnsw_change import FREE, NODE, TWIN, Nodes, clear, doom, mend, place, unit_scales
from .hnsw_walk import ALL, ALONE, Graph, Scratch, make_scratch
from .jit import read_only
from .scratch import Pool

ROOM: Final = 16  # a beam holds at most this many times its live nodes, in the middle of many dead ones
MENDED: Final = 8  # nodes mended with a change: a pass ends before as many are dead again
SKIPPED: Final = 4096  # slots looked at for them

_EVERY: Final = np.iinfo(np.uint64).max  # a word of a set that holds all


class Walk(NamedTuple):
    """What a walk reads, beside vectors and live slots."""

    graph: Graph
    twins: NDArray[np.int32]
    entry: int  # where walks begin
    top: int  # its level
    mean: FloatArray  # [dim]: zeros
    pool: Pool[Scratch]


class LiveNodes:
    """Nodes in some of the slots, whose `kinds` (`hnsw_change`) are given and kept here; m and ef_construction as of
    `LiveGraph`. Live slots are the caller's array, who frees what `mend` says."""

    def __init__(self, dim: int, kinds: NDArray[np.uint8], m: int, ef_construction: int) -> None:
        self.kinds = kinds  # [capacity]
        self.dead = 0  # removed since the last pass began
        self.changed = False  # what `walk` returned is no longer right
        self._m, self._ef, self._room = m, ef_construction, min(ROOM * ef_construction, MAX_EF)
        self._generator = np.random.default_rng(SEED)
        self._mean = read_only(np.zeros(dim, np.float32))
        self._entry = np.array([-1, 0], np.int64)
        self._twinned = False
        self._cursor: int | None = None  # the next slot of a pass under way
        self._keep = ALL
        self._take(_empty(stride(dim), m))
        self.grow(len(kinds))

    @property
    def mending(self) -> bool:
        return self._cursor is not None

    def memory_bytes(self) -> int:
        return self.kinds.nbytes + sum(array.nbytes for array in self._nodes)

    def walk(self) -> Walk:
        twins = read_only(self._nodes.twins) if self._twinned else ALONE
        return Walk(self._graph, read_only(twins), int(self._entry[0]), int(self._entry[1]), self._mean, self._pool)

    def grow(self, capacity: int) -> None:
        """Move to larger arrays."""
        old = self._nodes
        n, more = len(old.levels), capacity - len(old.levels)
        levels = np.append(old.levels, draw_levels(self._generator, more, self._m))
        ends = np.cumsum(levels, dtype=np.int64)
        codes, scales = aligned_rows(capacity, old.codes.shape[1]), np.empty((capacity, 2), np.float32)
        links0 = np.empty((capacity, 2 * self._m), np.int32)
        links = np.empty((int(levels.sum(dtype=np.int64)), self._m), np.int32)
        twins = np.empty(capacity, np.int32)
        codes[:n], scales[:n], links0[:n], twins[:n] = old.codes, old.scales, old.links0, old.twins
        links[: len(old.links)] = old.links
        if self._cursor is not None:
            more_words = bitset.words(capacity) - len(self._keep)
            self._keep = np.append(self._keep, np.full(more_words, _EVERY, np.uint64))
        self.kinds = np.append(self.kinds, np.full(capacity - len(self.kinds), FREE, np.uint8))
        self._take(Nodes(codes, scales, links0, links, (ends - levels).astype(np.int32), levels, twins))

    def _take(self, nodes: Nodes) -> None:
        graph = Graph(*(read_only(array) for array in nodes[: len(Graph._fields)]))
        self._nodes, self._graph, self._scratch = nodes, graph, make_scratch(graph)
        self._pool = Pool(lambda: make_scratch(graph))

    def link(self, slot: int, vector: NDArray[np.float16]) -> None:
        """Make the vector in a slot a node or a twin."""
        nodes, level = self._nodes, int(self._nodes.levels[slot])
        row = read_only(vector.astype(np.float32).reshape(1, -1))
        clear(nodes, slot)
        codes, scales = nodes.codes[slot : slot + 1], nodes.scales[slot : slot + 1]
        encode_rows(row, self._mean, False, codes, scales)
        unit_scales(codes, scales)
        self.kinds[slot] = NODE
        if self._entry[0] < 0:
            self._enter(slot, level)
        elif not place(
            self._graph, nodes, read_only(self._entry), slot, self._ef, self._room, read_only(self._keep), self._scratch
        ):
            self.kinds[slot] = TWIN
            self.changed |= not self._twinned
            self._twinned = True
        elif level > self._entry[1]:
            self._enter(slot, level)

    def _enter(self, slot: int, level: int) -> None:
        self._entry = np.array([slot, level], np.int64)  # a new array: a search may be reading the old one
        self.changed = True

    def build(self, vectors: NDArray[np.float16], threads: int, progress: Progress | None) -> None:
        """Make nodes of all vectors [n, dim] at once, in slots 0 to n - 1 of an empty graph."""
        n = len(vectors)
        codes, scales, _ = encode(vectors, "dot", threads)
        unit_scales(codes, scales)
        twins = find_twins(vectors, threads)
        builder = Builder(codes, scales, twins, False, self._m, self._ef, threads)
        nodes = len(builder.order)

        def rows_done(done: int, total: int) -> None:
            if progress is not None:
                progress(done + n - total, n)

        builder.insert(nodes, rows_done)
        builder.join()
        graph, self._entry, self._twinned = builder.graph, builder.entry, len(twins) > 0
        twins = twins if len(twins) else np.full(n, -1, np.int32)
        links0, links, starts = (array.copy() for array in (graph.links0, graph.links, graph.starts))
        self._take(Nodes(codes, scales, links0, links, starts, builder.levels, twins))
        self.kinds = np.full(n, TWIN, np.uint8)
        self.kinds[builder.order] = NODE

    def begin(self, live: Bitset, used: int) -> None:
        """Begin a pass over the slots below `used`."""
        self._keep = np.full(
            bitset.words(len(self.kinds)), _EVERY, np.uint64
        )  # with the slots to come, in the last word too
        self._cursor, self.dead = 0, 0
        doom(self.kinds, live, self._nodes.twins, used, self._keep)
        if not int(self._keep[self._entry[0] >> 6]) >> int(self._entry[0] & 63) & 1:
            left = (self.kinds[:used] == NODE) & bitset.to_mask(self._keep, used)
            slot = int(np.argmax(np.where(left, self._nodes.levels[:used] + 1, 0)))
            self._enter(slot, int(self._nodes.levels[slot]))

    def mend(self, used: int) -> list[int]:
        """Continue the pass under way; the slots to be freed, which is none until it ends."""
        first = self._cursor or 0
        last = min(first + SKIPPED, used)
        cursor = mend(
            self._graph, self._nodes, self.kinds, read_only(self._entry), read_only(self._keep), first, last, MENDED,
            self._ef, self._room, self._scratch,
        )  # fmt: skip
        if cursor < used:
            self._cursor = int(cursor)
            return []
        gone: list[int] = np.flatnonzero(~bitset.to_mask(self._keep, used) & (self.kinds[:used] != FREE)).tolist()
        self._cursor, self._keep = None, ALL
        return gone


def _empty(stride: int, m: int) -> Nodes:
    """The arrays of no slots."""
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "codes": (np.uint8, (0, stride)),
        "scales": (np.float32, (0, 2)),
        "links0": (np.int32, (0, 2 * m)),
        "links": (np.int32, (0, m)),
        "starts": (np.int32, (0,)),
        "levels": (np.uint8, (0,)),
        "twins": (np.int32, (0,)),
    }
    return Nodes(**{name: np.empty(shape, dtype) for name, (dtype, shape) in shapes.items()})
