"""A view: what one collection holds at one instant. Immutable, so readers keep it without a lock.

A writer never changes a view: it makes the next one, with new rows and with copies of the live bitsets that it
changed, and publishes it by one assignment. A search that began earlier goes on with the view it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vsearch.segment import Segment
from vsearch.storage.snapshot import Snapshot
from vsearch.types import Bitset, IntArray


@dataclass(frozen=True)
class Source:
    """A segment as the view sees it: its first `rows` rows, of which `live` (bool [rows]) are neither deleted nor
    replaced."""

    segment: Segment
    rows: int
    live: NDArray[np.bool_]
    live_count: int

    @classmethod
    def of(cls, segment: Segment, rows: int, live: NDArray[np.bool_] | None = None) -> Source:
        live = np.ones(rows, np.bool_) if live is None else live
        return cls(segment, rows, live, int(np.count_nonzero(live)))

    @cached_property
    def bits(self) -> Bitset:
        """`live` as an index kernel wants it."""
        from vsearch.index.bitset import from_mask

        return from_mask(self.live)

    def alive(self, now_ms: int) -> NDArray[np.bool_] | None:
        """bool [rows]: which rows a read may show now; None when it may show all."""
        expired = self.segment.expired(self.rows, now_ms)
        if expired is not None:
            return self.live & ~expired
        return None if self.live_count == self.rows else self.live

    def without(self, ordinals: IntArray) -> Source:
        """The same source with these rows dead."""
        live = self.live.copy()
        live[ordinals] = False
        return replace(self, live=live, live_count=int(np.count_nonzero(live)))

    def extended(self, rows: int) -> Source:
        """The same source with the rows that were appended since."""
        live = np.concatenate([self.live, np.ones(rows - self.rows, np.bool_)])
        return replace(self, rows=rows, live=live, live_count=self.live_count + rows - self.rows)


@dataclass(frozen=True, slots=True)
class View:
    """Sources in the order of their pids; the last one is the growing segment that takes writes. `stored` is the
    engine at the same instant."""

    sources: tuple[Source, ...]
    stored: Snapshot

    def locate(self, pid: int) -> tuple[Source, int] | None:
        """The source and row of a pid, dead or alive."""
        wanted = np.array([pid])
        for source in reversed(self.sources):
            row = int(source.segment.rows_of(wanted, source.rows)[0])
            if row >= 0:
                return source, row
        return None

    def without(self, pids: Iterable[int]) -> View:
        """The view in which these points are dead."""
        wanted = np.array(sorted(pids), np.int64)
        sources: list[Source] = []
        for source in self.sources:
            rows = source.segment.rows_of(wanted, source.rows)
            rows = rows[rows >= 0]
            sources.append(source.without(rows) if len(rows) else source)
        return replace(self, sources=tuple(sources))

    def replaced(self, old: Sequence[Segment], new: Sequence[Source]) -> View:
        """The view with the sources of neighbouring segments `old` replaced by `new`."""
        at = next(i for i, source in enumerate(self.sources) if source.segment is old[0])
        rest = self.sources[at + len(old) :]
        return replace(self, sources=(*self.sources[:at], *new, *rest))

    def source_of(self, segment: Segment) -> Source:
        return next(source for source in self.sources if source.segment is segment)

    @property
    def live_count(self) -> int:
        return sum(source.live_count for source in self.sources)

    @property
    def newest_pid(self) -> int:
        """The highest pid of its rows, dead or alive; 0 without any."""
        return max((int(s.segment.pids[s.rows - 1]) for s in self.sources if s.rows), default=0)
