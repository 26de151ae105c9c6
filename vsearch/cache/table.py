"""Columns of numbers about live entries: what expiry, quotas and eviction look at, without touching the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.cache.eviction import heated, values
from vsearch.cache.policy import CachePolicy
from vsearch.cache.records import NEVER, POLICY, SOURCE, Entry
from vsearch.types import IntArray

FIRST_ROWS: Final = 64
COLUMNS: Final = {
    "ids": np.int64,  # number of the entry; 0 where a row is free
    "category": np.int32,  # position of its name in `categories`
    "slot": np.int64,  # in its partition's index; -1 without a vector
    "created_ms": np.int64,
    "expires_ms": np.int64,  # NEVER for none
    "life": np.uint8,  # whose expiry that is (records.py)
    "nbytes": np.int64,
    "cost": np.float64,  # of computing its answer, in the caller's currency; 0: unknown
    "compute_s": np.float64,  # the same in seconds
    "heat": np.float64,  # hits, with a half-life (eviction.py)
    "hit_ms": np.int64,  # of the last hit; created_ms before the first
    "hits": np.int64,
    "stamp": np.int64,  # another one after each hit, and for each entry
    "leaving": np.bool_,  # its removal is being committed
}


class Table:
    """Rows that are taken and freed. Changed by one thread at a time; others may read, and see a row's `ids` change
    before it is used for another entry."""

    ids: IntArray
    category: NDArray[np.int32]
    slot: IntArray
    created_ms: IntArray
    expires_ms: IntArray
    life: NDArray[np.uint8]
    nbytes: IntArray
    cost: NDArray[np.float64]
    compute_s: NDArray[np.float64]
    heat: NDArray[np.float64]
    hit_ms: IntArray
    hits: IntArray
    stamp: IntArray
    leaving: NDArray[np.bool_]

    def __init__(self) -> None:
        for name, dtype in COLUMNS.items():
            setattr(self, name, np.zeros(FIRST_ROWS, dtype))
        self.categories: list[str] = []
        self.entries: list[Entry | None] = [None] * FIRST_ROWS  # without their vectors
        self._codes: dict[str, int] = {}
        self._free = list(range(FIRST_ROWS - 1, -1, -1))
        self._stamp = 0

    def __len__(self) -> int:
        return len(self.ids) - len(self._free)

    def code(self, category: str) -> int:
        """The position of a category's name, which is added when it is new."""
        code = self._codes.get(category)
        if code is None:
            code = self._codes[category] = len(self.categories)
            self.categories.append(category)
        return code

    def add(self, entry: Entry, slot: int) -> int:
        """The row of a new entry."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self.category[row], self.slot[row] = self.code(entry.category), slot
        self.created_ms[row], self.expires_ms[row] = entry.created_ms, entry.expires_ms
        self.life[row] = entry.life
        self.nbytes[row], self.cost[row], self.compute_s[row] = entry.nbytes, entry.cost, entry.compute_s
        self.heat[row], self.hit_ms[row], self.hits[row], self.leaving[row] = 0.0, entry.created_ms, 0, False
        self._touch(row)
        self.entries[row] = entry
        self.ids[row] = entry.id
        return row

    def hit(self, row: int, now_ms: int) -> None:
        """The entry in a row was given as an answer. (Two at the same time may count as one.)"""
        idle_s = (now_ms - int(self.hit_ms[row])) / 1000.0
        self.heat[row] = heated(float(self.heat[row]), idle_s)
        self.hit_ms[row] = now_ms
        self.hits[row] += 1
        self._touch(row)

    def remove(self, row: int) -> None:
        self.ids[row] = 0
        self.entries[row] = None
        self._touch(row)
        self._free.append(row)

    def rows(self, category: int | None = None) -> IntArray:
        """Rows in use that are not leaving, of one category (its code) or of all."""
        used = (self.ids != 0) & ~self.leaving
        if category is not None:
            used &= self.category == category
        return np.flatnonzero(used)

    def ended(self, now_ms: int, grace_ms: IntArray, extra_ms: IntArray) -> IntArray:
        """Rows that are over for good. By category: `grace_ms` is how long an entry may be given after its life,
        `extra_ms` how much longer load may make that."""
        codes = self.category
        grace = np.where(self.life == SOURCE, 0, grace_ms[codes])
        last_ms = self.expires_ms + grace + np.where(self.life == POLICY, extra_ms[codes], 0)
        return np.flatnonzero((self.ids != 0) & (self.expires_ms != NEVER) & (last_ms <= now_ms))

    def memory_bytes(self) -> int:
        return sum(getattr(self, name).nbytes for name in COLUMNS)

    def _touch(self, row: int) -> None:
        self._stamp += 1
        self.stamp[row] = self._stamp

    def _grow(self) -> None:
        old = len(self.ids)
        for name in COLUMNS:
            column: NDArray[Any] = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
        self.entries += [None] * old
        self._free = list(range(2 * old - 1, old - 1, -1))


class Ranking:
    """The table as `eviction.Victims` sees it. `policies`: of the categories, by name. `now_ms`: set before each
    use."""

    def __init__(self, table: Table, policies: Mapping[str, CachePolicy]) -> None:
        self._table = table
        self.policies = policies
        self.now_ms = 0

    def rows(self, category: int | None) -> IntArray:
        return self._table.rows(category)

    def values(self, rows: IntArray) -> NDArray[np.float64]:
        table = self._table
        priorities = np.array([self.policies[name].priority for name in table.categories])
        cost = table.cost[rows]
        if not cost.any():  # nobody says what answers cost: their time is what they cost
            cost = table.compute_s[rows]
        ages = (self.now_ms - table.created_ms[rows]) / 1000.0
        idle = (self.now_ms - table.hit_ms[rows]) / 1000.0
        priority = priorities[table.category[rows]] if len(rows) else priorities
        return values(priority, table.heat[rows], ages, idle, cost, table.nbytes[rows])

    def stamps(self, rows: IntArray) -> IntArray:
        return np.where(self._table.leaving[rows], 0, self._table.stamp[rows])  # who is leaving is not chosen again
