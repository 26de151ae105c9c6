"""The entries of one scope and one category that have vectors: an index, and which entry is in which of its slots.

Readers look while a writer changes it, without a lock. If it has changed between the search of the index and the look
at `ids`, a slot may have been given to another entry; then those found are compared again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from vsearch.index.hnsw_live import LiveGraph
from vsearch.types import FloatArray, IntArray

NEAREST: Final = 8  # candidates of a lookup: the best may be too old, or a look-alike
ROUNDING: Final = 1e-3  # similarities of one pair differ by less, however they were computed
OBJECT_BYTES: Final = 170  # the object itself, and the header of its array


class Partition:
    """`ids` int64 [at least the index's capacity]: the entry in each slot, 0 for none. `changes`: counts them."""

    __slots__ = ("changes", "ids", "index")

    def __init__(self, dim: int) -> None:
        self.index = LiveGraph(dim)
        self.ids = np.zeros(1, np.int64)
        self.changes = 0

    def __len__(self) -> int:
        return len(self.index)

    def add(self, vector: FloatArray, entry: int) -> int:
        """The slot of a new entry; vector float32 [dim] of unit length."""
        self.changes += 1
        self._grow(2 * self.index.capacity)  # before it may double: searches look at ids of any slot
        slot = self.index.add(vector)
        self.ids[slot] = entry
        return slot

    def add_many(self, vectors: FloatArray, entries: IntArray, threads: int) -> IntArray:
        """The slots of new entries; vectors [n, dim]."""
        self.changes += 1
        self._grow(2 * (self.index.capacity + len(vectors)))
        slots = self.index.add_many(vectors, threads)
        self.ids[slots] = entries
        return slots

    def fill(self, vectors: FloatArray, entries: IntArray) -> IntArray:
        """The slots of all entries that a former process has stored; their graph is left to `index.warm`."""
        slots = self.index.fill(vectors)
        self._grow(self.index.capacity)
        self.ids[slots] = entries
        return slots

    def remove(self, slot: int) -> None:
        self.changes += 1
        self.ids[slot] = 0
        self.index.remove(slot)

    def search(self, vector: FloatArray, k: int = NEAREST) -> Iterator[tuple[float, int]]:
        """The nearest entries: (similarity, entry), the nearest first; entry 0 for one that is being added or
        removed."""
        before = self.changes
        slots, similarities = self.index.search(vector, k)
        ids = self.ids[slots]
        if self.changes == before:
            return zip(similarities.tolist(), ids.tolist(), strict=True)
        found = zip(similarities.tolist(), slots.tolist(), ids.tolist(), strict=True)
        return ((each[0], each[2]) for each in found if self._confirmed(vector, *each))

    def memory_bytes(self) -> int:
        """Bytes of the arrays and of the objects around them."""
        return self.index.memory_bytes() + OBJECT_BYTES + self.ids.nbytes

    def _confirmed(self, vector: FloatArray, similarity: float, slot: int, entry: int) -> bool:
        """Whether the slot holds this entry and its vector has this similarity."""
        now = float(np.dot(self.index.vector(slot), vector))
        return abs(now - similarity) < ROUNDING and int(self.ids[slot]) == entry

    def _grow(self, capacity: int) -> None:
        if capacity > len(self.ids):
            grown = np.zeros(max(2 * len(self.ids), capacity), np.int64)
            grown[: len(self.ids)] = self.ids
            self.ids = grown
