"""Which entries give way when room is short: those that are expected to save the least.

1. The value of an entry is priority * expected hits * what a hit saves / bytes (`values`).
2. Its hits are counted with a half-life (`heat`), so that a burst of long ago fades. Together with the time that it had
   to be hit in, and with a prior belief, they make a rate; a fresh entry has the rate of the prior, and is not evicted
   before it had a chance.
3. `Victims` ranks rarely: it takes the lowest 1 % of a category, or of the whole cache, and gives them out one by one.
   Entries that were hit, replaced or removed since are passed over. Of more than SAMPLE rows it ranks an evenly spaced
   sample, another one each time: the lowest 1 % of so many are among the lowest of all, and the pause is short.

Cost: about 100 rows ranked an eviction, whatever the number of entries. Bytes: 16 a queued row.
An entry that is not hit never rises in value, so what is queued stays among the lowest for long.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vsearch.types import IntArray

HALF_LIFE_S: Final = 6 * 3600.0  # of a hit: about a working day is remembered
PRIOR_HITS: Final = 0.2  # what is believed of an entry before anything is known: that many hits ...
PRIOR_S: Final = 600.0  # ... in that time; weak, since what an entry shows says more
SHARE: Final = 0.01  # of the rows are queued by one ranking
SAMPLE: Final = 65_536  # rows ranked at once: about 2 ms
NO_ROW: Final = -1


def heated(heat: float, idle_s: float, half_life_s: float = HALF_LIFE_S) -> float:
    """The heat of an entry that is hit now and was `idle_s` seconds ago; a new entry has 0."""
    return 1.0 + heat * math.exp2(-max(idle_s, 0.0) / half_life_s)


def rates(
    heat: ArrayLike, age_s: ArrayLike, idle_s: ArrayLike, half_life_s: float = HALF_LIFE_S
) -> NDArray[np.float64]:
    """Expected hits a second of entries [n]: the mean of a Gamma posterior, both hits and time with the half-life.

    `heat`: as of the last hit; `age_s`: since it was stored; `idle_s`: since the last hit, or since it was stored.
    """
    hits = np.asarray(heat, np.float64) * np.exp2(-np.maximum(idle_s, 0.0) / half_life_s)
    seen_s = (1.0 - np.exp2(-np.maximum(age_s, 0.0) / half_life_s)) * (half_life_s / math.log(2.0))
    return np.asarray((PRIOR_HITS + hits) / (PRIOR_S + seen_s), np.float64)


def values(
    priority: ArrayLike,
    heat: ArrayLike,
    age_s: ArrayLike,
    idle_s: ArrayLike,
    saved_cost: ArrayLike,
    nbytes: ArrayLike,
    half_life_s: float = HALF_LIFE_S,
) -> NDArray[np.float64]:
    """Expected saving a second and byte of entries [n]; every argument [n] or one for all.

    `saved_cost`: of one hit, in one unit for all entries. Where it is unknown (0) it counts as the mean of the others.
    """
    cost = np.asarray(saved_cost, np.float64)
    known = cost > 0.0
    cost = np.where(known, cost, cost[known].mean() if known.any() else 1.0)
    worth = np.asarray(priority, np.float64) * cost / np.maximum(nbytes, 1)
    return np.asarray(worth * rates(heat, age_s, idle_s, half_life_s), np.float64)


class Ranked(Protocol):
    """What `Victims` asks of a table of entries. A row may be used again for another entry."""

    def rows(self, category: int | None) -> IntArray:
        """The rows [n] that hold an entry: of a category, or all."""

    def values(self, rows: IntArray) -> NDArray[np.float64]:
        """The values [n] of rows [n], now."""

    def stamps(self, rows: IntArray) -> IntArray:
        """A number of each row that another one takes the place of when its entry is hit, replaced or removed."""


class Victims:
    """The rows to evict next, those of least value first; not safe for threads."""

    def __init__(self, table: Ranked) -> None:
        self._table = table
        self._queues: dict[int | None, tuple[IntArray, IntArray]] = {}  # rows and stamps, the next last
        self._turn = 0

    def next(self, category: int | None = None) -> int:
        """The row to evict, of a category or of all; NO_ROW if there is none. The caller removes its entry."""
        rows, stamps = self._queues.get(category) or self._rank(category)
        while len(rows):
            row, stamp = rows[-1:], stamps[-1]
            rows, stamps = rows[:-1], stamps[:-1]
            if len(rows):
                self._queues[category] = rows, stamps
            else:
                self._queues.pop(category, None)
            if self._table.stamps(row)[0] == stamp:
                return int(row[0])
            if not len(rows):
                rows, stamps = self._rank(category)
        return NO_ROW

    def forget(self) -> None:
        """Rank anew before the next: priorities have changed, or the table was cleared."""
        self._queues.clear()

    def _rank(self, category: int | None) -> tuple[IntArray, IntArray]:
        rows = self._table.rows(category)
        step = -(-len(rows) // SAMPLE)
        if step > 1:
            self._turn += 1
            rows = rows[self._turn % step :: step]
        if not len(rows):
            return rows, rows
        value = self._table.values(rows)
        few = max(1, int(len(rows) * SHARE))
        lowest = np.argpartition(value, few - 1)[:few]
        rows = rows[lowest[np.lexsort((rows[lowest], value[lowest]))[::-1]]]
        return rows, self._table.stamps(rows).copy()
