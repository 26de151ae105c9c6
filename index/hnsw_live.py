"""A graph over unit vectors that come and go one at a time, searched by inner product: the index of a cache.

1. A vector has a slot. Its float16 components are kept there; a search compares with these in the end, so similarities
   are right to 2e-4.
2. Up to GRAPH_ROWS vectors are compared one by one. Past that, slots also get an 8-bit code and links (`hnsw_nodes`,
   `hnsw_walk`); the vectors that are there are linked a few with each change, and walks begin when all are.
3. A new vector is linked into the graph at once; one with the code of another becomes its twin (`hnsw_change`).
4. A removed vector is no longer returned, but walked through. When one in DEAD_SHARE nodes is dead, a pass begins that
   cuts them out, a few nodes with each change; then their slots are free.
5. `fill` takes what was stored by a former process and is ready at once: its vectors are compared one by one until
   `warm`, in another thread, has built their graph in parallel.
6. The level of a node belongs to its slot, drawn when the slot is made: whatever vector is there has it.

One writer at a time, and any number of searches beside it, without a lock:
- A search takes one view of the arrays. Growing makes new arrays and publishes them as a new view.
- A vector is complete before its bit in `live` is set, and a search returns only slots whose bit is set as it comes by.
- A slot is given to another vector only when no search is under way that began before it was freed. So similarities
  belong to the vectors that are in the slots when the search ends; after that a slot may be given to another.

Bytes a vector of d components: 2 d, and in a graph d rounded up to 64 for the code, 8 m for links on level 0,
4 m / (m - 1) for those above, and 18 for the rest: 1,303 for d = 384, m = 16. Capacities grow by doubling from 1. Of
large arrays, slots never used take address space only. An index of one vector takes 2 d + OBJECT_BYTES.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import DimensionMismatch, InvalidArgument, LimitExceeded
from vsearch.types import MAX_EF, Bitset, FloatArray, IntArray, Progress

from . import bitset
from .flat import elements
from .flat_scan import scan_rows
from .hnsw_build import UNUSED
from .hnsw_change import FREE, ROW
from .hnsw_nodes import ROOM, SKIPPED, LiveNodes, Walk
from .hnsw_walk import MAX_NODES, Graph, Scratch, distance_of, node_of, search_row
from .jit import kernel, read_only
from .simd import Int, dot_f32
from .topk import NO_ROW, sort_heaps

GRAPH_ROWS: Final = 500  # more vectors are searched faster by a graph than one by one
OBJECT_BYTES: Final = 760  # Python objects and headers of arrays, of an index without a graph
EF: Final = 16  # beam of a search that does not say: of 100,000 questions it finds 99 % of the nearest beyond 0.75
EF_ROWS: Final = 100_000
EF_POWER: Final = 0.6  # past EF_ROWS vectors, the beam grows with this power of their number
EXTRA: Final = 8  # candidates compared again, beyond k
LINKED: Final = 4  # vectors linked with a change, while a graph is begun
DEAD_SHARE: Final = 8
UNIT: Final = 0.02  # how far from 1 a squared length may be


class View(NamedTuple):
    """What a search reads."""

    vectors: NDArray[np.uint16]  # [capacity * dim]: bits of float16
    live: Bitset  # [ceil(capacity / 64)]
    walk: Walk | None  # None where vectors are compared one by one


@kernel
def _scan(
    vectors: NDArray[np.uint16], live: Bitset, query: FloatArray, slots: IntArray, similarities: FloatArray
) -> int:
    """Write the k nearest live vectors into slots and similarities [k]; how many; -1 if the query is no unit vector."""
    if not _is_unit(query):
        return -1
    slots[:], similarities[:] = NO_ROW, np.inf
    heap, distances = slots.reshape(1, -1), similarities.reshape(1, -1)
    scan_rows(vectors, query.reshape(1, -1), False, live, np.int64(0), live.shape[0], distances, heap)
    sort_heaps(distances, heap)
    found = 0
    while found < slots.shape[0] and slots[found] >= 0:
        similarities[found] = -similarities[found]
        found += 1
    return found


@kernel
def _walk(
    graph: Graph,
    twins: NDArray[np.int32],
    entry: Int,
    top: Int,
    mean: FloatArray,
    vectors: NDArray[np.uint16],
    live: Bitset,
    query: FloatArray,
    ef: Int,
    scratch: Scratch,
    slots: IntArray,
    similarities: FloatArray,
) -> int:
    """As `_scan`, through the graph."""
    if not _is_unit(query):
        return -1
    k = slots.shape[0]
    count, _ = search_row(
        graph, twins, entry, top, mean, vectors, False, query.reshape(1, -1), np.int64(0), ef,
        min(ROOM * ef, np.int64(MAX_EF)), k + EXTRA, True, UNUSED, live, scratch,
    )  # fmt: skip
    found = min(count, k)
    for j in range(found):
        slots[j] = node_of(scratch.keys[j])
        similarities[j] = -distance_of(scratch.keys[j])
    return int(found)


@kernel
def _is_unit(vector: FloatArray) -> bool:
    d = vector.shape[0]
    return bool(abs(dot_f32(vector, np.int64(0), vector, np.int64(0), d) - np.float32(1.0)) <= np.float32(UNIT))


class LiveGraph:
    """Vectors of unit length in slots. `m`: links of a node; `ef_construction`: beam that chooses them."""

    __slots__ = (
        "_cold", "_count", "_dim", "_ef", "_freed", "_generation", "_live", "_m", "_nodes", "_running", "_unlinked",
        "_used", "_vectors", "_view",
    )  # fmt: skip

    def __init__(self, dim: int, m: int = 16, ef_construction: int = 100) -> None:
        self._dim, self._m, self._ef = dim, m, ef_construction
        self._count = self._used = 0  # live vectors; slots that were ever used
        self._vectors = np.empty((0, dim), np.float16)
        self._live = bitset.empty(0)
        self._nodes: LiveNodes | None = None
        self._unlinked: int | None = None  # while a graph is begun: the first slot that may not be linked yet
        self._cold = False  # filled, and not warm yet: no slot is freed, and no graph begun
        self._freed: deque[tuple[int, list[int]]] | None = None  # slots, and the generation that they were freed in
        self._generation = 0
        self._running: list[int] = []  # the generation in which each search under way began
        self._publish()

    def __len__(self) -> int:
        return self._count

    @property
    def capacity(self) -> int:
        return len(self._vectors)

    def memory_bytes(self) -> int:
        """Bytes of all slots, whether used or not, and of the objects around them."""
        whole = OBJECT_BYTES + self._vectors.nbytes + self._live.nbytes
        return whole + (self._nodes.memory_bytes() if self._nodes else 0)

    def vector(self, slot: int) -> FloatArray:
        """The vector last put into a slot, float32 [dim]. Raises InvalidArgument for a slot never used."""
        if not 0 <= slot < self._used:
            raise InvalidArgument(f"slot {slot} was never used", f"Use 0 to {self._used - 1}")
        vector: FloatArray = self._vectors[slot].astype(np.float32)
        return vector

    # Searches.

    def search(self, query: FloatArray, k: int, ef: int | None = None) -> tuple[IntArray, FloatArray]:
        """The nearest live vectors: slots int64 [found], similarities float32 [found], the nearest first.

        query float32 [dim]; found is k, or fewer if the walk met no more. Raises DimensionMismatch and InvalidArgument.
        """
        query = np.array(query, np.float32)  # a copy, which is contiguous and writable: kernels compile once
        if query.shape != (self._dim,):
            raise DimensionMismatch(f"the query has shape {query.shape}", f"Use {self._dim} components")
        if not 1 <= k <= MAX_EF or not (ef is None or 1 <= ef <= MAX_EF):
            raise InvalidArgument(f"k is {k!r} and ef {ef!r}", f"Use integers from 1 to {MAX_EF}")
        slots, similarities = np.empty(k, np.int64), np.empty(k, np.float32)
        began = self._generation
        self._running.append(began)
        try:
            vectors, live, walk = self._view
            if walk is None:
                found = _scan(vectors, live, query, slots, similarities)
            else:
                ef = max(ef or self._beam(), k)
                scratch = walk.pool.borrow()
                found = _walk(
                    walk.graph, walk.twins, walk.entry, walk.top, walk.mean, vectors, live, query, ef, scratch, slots,
                    similarities,
                )  # fmt: skip
                walk.pool.give_back(scratch)
        finally:
            self._running.remove(began)
        if found == k:
            return slots, similarities
        if found < 0:
            raise InvalidArgument("the query is not of unit length", "Divide it by its length")
        return slots[:found], similarities[:found]

    def _beam(self) -> int:
        return EF if self._count <= EF_ROWS else int(EF * (self._count / EF_ROWS) ** EF_POWER)

    # Changes.

    def add(self, vector: FloatArray) -> int:
        """Put a vector, float32 [dim] of unit length, into a slot. Raises DimensionMismatch and InvalidArgument."""
        vector = self._checked(vector, (self._dim,))
        slot = self._slot()
        self._vectors[slot] = vector
        if self._nodes is not None:
            self._nodes.link(slot, self._vectors[slot])
        self._live[slot >> 6] |= np.uint64(1 << (slot & 63))
        self._count += 1
        self._upkeep()
        return slot

    def add_many(self, vectors: FloatArray, threads: int = 1, progress: Progress | None = None) -> IntArray:
        """Put vectors [n, dim] into slots, int64 [n]: all or, if `progress(done, total)` raises, none.

        Fast, and in parallel, into an index that was never used. Raises as `add`.
        """
        vectors = self._checked(vectors, (len(vectors), self._dim))
        if not self._used and len(vectors) > GRAPH_ROWS:
            return self._build(vectors, threads, progress)
        slots: list[int] = []
        try:
            for vector in vectors:
                slots.append(self.add(vector))
                if progress is not None:
                    progress(len(slots), len(vectors))
        except BaseException:
            for slot in slots:
                self.remove(slot)
            raise
        return np.array(slots, np.int64)

    def fill(self, vectors: FloatArray) -> IntArray:
        """Put vectors [n, dim] into an index that was never used: slots int64 [n]. Raises as `add`."""
        assert not self._used, "bug: only an index that was never used is filled"
        vectors = self._checked(vectors, (len(vectors), self._dim))
        n = len(vectors)
        self._vectors, self._live = vectors.astype(np.float16), bitset.full(n)
        self._count = self._used = n
        self._cold = n > GRAPH_ROWS
        self._publish()
        return np.arange(n)

    @property
    def cold(self) -> bool:
        """Whether `warm` would make searches faster."""
        return self._cold

    def warm(self, lock: AbstractContextManager[Any], threads: int = 1, progress: Progress | None = None) -> None:
        """Build the graph of an index that was filled. `lock` keeps other writers out, and is held for moments."""
        with lock:
            if not self._cold:
                return
            n, vectors = self._used, self._vectors
        nodes = self._built(vectors[:n], threads, progress)
        with lock:
            live = bitset.to_mask(self._live, self._used)
            nodes.dead = int(np.count_nonzero(~live[:n]))
            nodes.grow(self.capacity)
            nodes.kinds[n : self._used] = ROW
            self._nodes, self._cold = nodes, False
            self._free((n + np.flatnonzero(~live[n:])).tolist())
            self._unlinked = n if n < self._used else None
            self._publish()

    def remove(self, slot: int) -> None:
        """No search that begins later returns this slot. Raises InvalidArgument if no vector is there."""
        slot = int(slot)
        if not 0 <= slot < self._used or not int(self._live[slot >> 6]) >> (slot & 63) & 1:
            raise InvalidArgument(f"slot {slot} holds no vector", "Remove a slot once, after `add` returned it")
        self._live[slot >> 6] &= np.uint64(~(1 << (slot & 63)) & 0xFFFFFFFFFFFFFFFF)
        self._count -= 1
        if self._nodes is not None and self._nodes.kinds[slot] != ROW:
            self._nodes.dead += 1
        elif not self._cold:
            self._free([slot])
        self._upkeep()

    def _checked(self, vectors: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """Vectors as contiguous float32, of unit length."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.shape != shape:
            raise DimensionMismatch(f"a vector has shape {vectors.shape}", f"Use {self._dim} components")
        squares = np.dot(vectors, vectors) if vectors.ndim == 1 else np.einsum("ij,ij->i", vectors, vectors)
        if not np.all(abs(squares - 1.0) <= UNIT):  # which NaN is not
            raise InvalidArgument("a vector is not of unit length", "Divide it by its length")
        return vectors

    # Slots.

    def _slot(self) -> int:
        """A free slot."""
        if self._freed and self._freed[0][0] <= min(self._running, default=self._generation):
            slots = self._freed[0][1]
            slot = slots.pop()
            if not slots:
                self._freed.popleft()
            return slot
        if self._used == self.capacity:
            self._grow(max(2 * self.capacity, 1))
        self._used += 1
        return self._used - 1

    def _free(self, slots: list[int]) -> None:
        if not slots:
            return
        if self._nodes is not None:
            self._nodes.kinds[slots] = FREE
        if self._freed is None:
            self._freed = deque()  # only now: it takes as much as a vector
        self._generation += 1
        self._freed.append((self._generation, slots))

    def _grow(self, capacity: int) -> None:
        """Move to larger arrays."""
        if capacity > MAX_NODES:
            raise LimitExceeded(f"{capacity} vectors are too many for one index", f"Use at most {MAX_NODES}")
        n = self.capacity
        vectors, live = np.empty((capacity, self._dim), np.float16), bitset.empty(capacity)
        vectors[:n], live[: len(self._live)] = self._vectors, self._live
        if self._nodes is not None:
            self._nodes.grow(capacity)
        self._vectors, self._live = vectors, live
        self._publish()

    def _publish(self) -> None:
        walk = self._nodes.walk() if self._nodes is not None and self._unlinked is None else None
        self._view = View(elements(self._vectors), read_only(self._live), walk)

    # Upkeep, a piece with every change.

    def _upkeep(self) -> None:
        nodes = self._nodes
        if nodes is None:
            if self._count > GRAPH_ROWS and not self._cold:
                kinds = np.where(bitset.to_mask(self._live, self.capacity), np.uint8(ROW), np.uint8(FREE))
                self._nodes = LiveNodes(self._dim, kinds, self._m, self._ef)
                self._unlinked = 0
        elif self._count < GRAPH_ROWS // 2:
            self._drop_graph(nodes)
        elif self._unlinked is not None:
            self._link_some(nodes, self._unlinked)
        elif nodes.mending:
            self._free(nodes.mend(self._used))
        elif nodes.dead * DEAD_SHARE > self._count + nodes.dead:
            nodes.begin(self._live, self._used)
        if nodes is not None and nodes.changed:
            nodes.changed = False
            self._publish()

    def _link_some(self, nodes: LiveNodes, first: int) -> None:
        """Link the next vectors that are not in the graph yet."""
        rows = first + np.flatnonzero(nodes.kinds[first : min(first + SKIPPED, self._used)] == ROW)
        for slot in rows[:LINKED].tolist():
            nodes.link(slot, self._vectors[slot])
        self._unlinked = first = int(rows[LINKED - 1]) + 1 if len(rows) >= LINKED else min(first + SKIPPED, self._used)
        if first == self._used:
            self._unlinked = None
            nodes.changed = True

    def _drop_graph(self, nodes: LiveNodes) -> None:
        """Compare vectors one by one again."""
        gone = np.flatnonzero((nodes.kinds[: self._used] != FREE) & ~bitset.to_mask(self._live, self._used))
        self._nodes, self._unlinked = None, None
        self._publish()
        self._free(gone.tolist())

    def _build(self, vectors: FloatArray, threads: int, progress: Progress | None) -> IntArray:
        """Put vectors into an index that was never used."""
        n = len(vectors)
        half = vectors.astype(np.float16)
        nodes = self._built(half, threads, progress)
        self._vectors, self._live, self._nodes = half, bitset.full(n), nodes
        self._count = self._used = n
        self._publish()
        return np.arange(n)

    def _built(self, vectors: NDArray[np.float16], threads: int, progress: Progress | None) -> LiveNodes:
        """The graph of all vectors [n, dim], in slots 0 to n - 1."""
        nodes = LiveNodes(self._dim, np.empty(0, np.uint8), self._m, self._ef)
        nodes.build(vectors, threads, progress)
        return nodes
