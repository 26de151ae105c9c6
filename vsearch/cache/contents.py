"""What a cache keeps in memory: which entries there are, and how they are found.

Invariants, whenever no writer is at work: a row of the table, an item of `exact` and of `rows`, and a slot of the
partition (of an entry with a vector) belong to each entry, and nothing else is there. One thread changes it at a time;
readers need no lock: they go from an id to its row and compare the id there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from vsearch.cache.partition import Partition
from vsearch.cache.records import Entry
from vsearch.cache.table import Table
from vsearch.types import FloatArray, Progress

NO_VECTOR = np.empty(0, np.float16)


class Contents:
    """Entries of vectors of `dim` components; 0: without vectors."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self.table = Table()
        self.exact: dict[bytes, int] = {}  # digest -> row
        self.rows: dict[int, int] = {}  # entry -> row
        self.partitions: dict[tuple[bytes, str], Partition] = {}
        self.count: Counter[str] = Counter()  # entries by category
        self.nbytes: Counter[str] = Counter()
        self._tags: dict[str, set[int]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def total_bytes(self) -> int:
        return sum(self.nbytes.values())

    def add(self, entry: Entry, vector: FloatArray | None) -> None:
        """A new entry, whose digest is not there; vector float32 [dim] of unit length, or None."""
        slot = -1
        if vector is not None:
            slot = self._partition(entry).add(vector, entry.id)
        self._put(entry, slot)

    def add_many(self, entries: Iterable[Entry], fresh: bool = False, threads: int = 1) -> None:
        """New entries with their stored vectors. `fresh`: all that there are; `warm` builds their indexes."""
        groups: dict[tuple[bytes, str], list[Entry]] = {}
        for entry in entries:
            if len(entry.vector):
                groups.setdefault((entry.scope, entry.category), []).append(entry)
            else:
                self._put(entry, -1)
        for group in groups.values():
            vectors = np.stack([entry.vector for entry in group]).astype(np.float32)
            ids = np.array([entry.id for entry in group], np.int64)
            partition = self._partition(group[0])
            slots = partition.fill(vectors, ids) if fresh else partition.add_many(vectors, ids, threads)
            for entry, slot in zip(group, slots.tolist(), strict=True):
                self._put(entry, slot)

    def warm(self, lock: AbstractContextManager[Any], threads: int, progress: Progress) -> None:
        """Build the indexes that are cold. `lock` keeps writers out; `progress` may raise."""
        for partition in list(self.partitions.values()):
            if partition.index.cold:
                partition.index.warm(lock, threads, progress)

    def remove(self, row: int) -> Entry:
        """The entry that was in a row and is no more."""
        entry, slot = self.table.entries[row], int(self.table.slot[row])
        assert entry is not None, "bug: a free row was removed"
        if self.exact.get(entry.digest) == row:
            del self.exact[entry.digest]
        del self.rows[entry.id]
        self.table.remove(row)
        if slot >= 0:
            key = (entry.scope, entry.category)
            self.partitions[key].remove(slot)
            if not len(self.partitions[key]):
                del self.partitions[key]
        self.count[entry.category] -= 1
        self.nbytes[entry.category] -= entry.nbytes
        for tag in entry.tags:
            self._tags[tag].discard(entry.id)
            if not self._tags[tag]:
                del self._tags[tag]
        return entry

    def entry_of(self, entry_id: int) -> tuple[int, Entry] | None:
        """The row and the entry of a number."""
        row = self.rows.get(entry_id)
        if row is None:
            return None
        entry = self.table.entries[row]
        return (row, entry) if entry is not None and entry.id == entry_id else None

    def tagged(self, tag: str) -> list[int]:
        """Numbers of the entries with a tag."""
        return sorted(self._tags.get(tag, ()))

    def all(self) -> Iterator[tuple[int, Entry]]:
        """Rows and entries, in the order of their numbers."""
        for entry_id in sorted(self.rows):
            found = self.entry_of(entry_id)
            if found is not None:
                yield found

    def memory_bytes(self) -> int:
        """Of the columns and the indexes; about 600 bytes an entry of Python objects come to it."""
        return self.table.memory_bytes() + sum(p.memory_bytes() for p in list(self.partitions.values()))

    def _partition(self, entry: Entry) -> Partition:
        key = (entry.scope, entry.category)
        found = self.partitions.get(key)
        if found is None:
            found = self.partitions[key] = Partition(self._dim)
        return found

    def _put(self, entry: Entry, slot: int) -> None:
        entry.vector = NO_VECTOR  # the index has it
        row = self.table.add(entry, slot)
        self.rows[entry.id] = row
        self.exact[entry.digest] = row
        self.count[entry.category] += 1
        self.nbytes[entry.category] += entry.nbytes
        for tag in entry.tags:
            self._tags.setdefault(tag, set()).add(entry.id)
