"""What a search needs of a segment, growing or sealed: rows by ordinal, in the order of their pids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.fields.base import Rows
from vsearch.filters import Node
from vsearch.points import NEVER, Schema
from vsearch.types import IntArray, PointId

if TYPE_CHECKING:
    from vsearch.frequencies import TermCounts
    from vsearch.index.base import Reader

IdMask = Callable[[Sequence[PointId]], NDArray[np.bool_]]  # which rows of the segment have one of these ids


class Segment(ABC):
    """Rows with vectors, ids, payload columns and expiry. `pids` int64 is ascending; `sealed` rows never change."""

    name: str
    sealed: bool
    schema: Schema
    pids: IntArray
    expires_ms: IntArray
    earliest_expiry_ms: int  # of all rows, or NEVER
    count: int

    @property
    def first_pid(self) -> int:
        """The lowest pid that the segment covers."""
        return int(self.pids[0])

    @property
    def last_pid(self) -> int:
        """The highest pid that the segment covers."""
        return int(self.pids[self.count - 1])

    @abstractmethod
    def ids_at(self, ordinals: Sequence[int] | IntArray) -> list[PointId]:
        """User ids of these rows."""

    @abstractmethod
    def vectors(self, field: str) -> Rows:
        """The field's rows, blank where a point lacks it. A growing segment may have more by now than a view shows."""

    @abstractmethod
    def present(self, field: str, rows: int) -> NDArray[np.bool_] | None:
        """bool [rows]: which rows have the field; None when all do."""

    @abstractmethod
    def index_kind(self, field: str) -> str:
        """The kind of the best index that there is for the field; that of its exact scan where there is none."""

    def posted(self, field: str, queries: int) -> bool:
        """Whether so many exact queries of a sparse field are worth complete inverted lists, made in memory."""
        return False

    @abstractmethod
    def matching(self, node: Node, rows: int, id_mask: IdMask) -> NDArray[np.bool_]:
        """bool [rows]: which of the first rows satisfy the filter."""

    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes held in memory, memory-mapped vectors not counted."""

    @abstractmethod
    def term_counts(self, field: str) -> TermCounts:
        """In how many rows of the field which term is; of fields that weigh terms by this."""

    @abstractmethod
    def reader(self, field: str, kind: str, rows: int) -> Reader:
        """A reader of that kind, the field's `index_kind` or exact scan, over the first `rows` rows."""

    def rows_of(self, pids: IntArray, rows: int) -> IntArray:
        """Ordinals of these pids among the first `rows` rows, -1 where absent."""
        mine = self.pids[:rows]
        if rows == 0:
            return np.full(len(pids), -1, np.int64)
        at = np.searchsorted(mine, pids)
        at[at == rows] = 0
        return np.where(mine[at] == pids, at, -1)

    def expired(self, rows: int, now_ms: int) -> NDArray[np.bool_] | None:
        """bool [rows]: which rows have expired; None when none has."""
        if self.earliest_expiry_ms == NEVER or now_ms < self.earliest_expiry_ms:
            return None
        expires_ms = self.expires_ms[:rows]
        expired: NDArray[np.bool_] = (expires_ms != NEVER) & (expires_ms <= now_ms)
        return expired
