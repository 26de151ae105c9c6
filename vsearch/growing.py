"""The growing segment: rows appended in memory, searched at once, sealed when full.

One writer appends under the collection's turn; any number of readers look at rows below the count of the view that
they hold. Rows below a published count never change, so readers need no lock. Arrays are allocated for the
full capacity at once where rows have one size: the operating system commits pages only as rows arrive. What makes fresh
rows quick to search is made as they come (vsearch/fields/).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vsearch.fields import kind_of
from vsearch.fields.base import Rows
from vsearch.filters import Node
from vsearch.filters.evaluate import ColumnSet, evaluate
from vsearch.filters.flatten import flatten
from vsearch.filters.match import compile_filter
from vsearch.frequencies import TermCounts, weighs_terms, words_of
from vsearch.index.base import Reader
from vsearch.points import NEVER, PointBatch, Schema, decode_point
from vsearch.segment import IdMask, Segment
from vsearch.types import IntArray, Payload, PointId

SEAL_BYTES: Final = 64 << 20  # vectors of one growing segment: an exact scan of them takes about two milliseconds
MAX_ROWS: Final = 65_536
MIN_ROWS: Final = 1_024
CHUNK: Final = 1_024  # rows whose payloads are turned into columns together, for filters


def capacity_of(schema: Schema) -> int:
    """Rows of a growing segment: SEAL_BYTES of vectors of one size, within MIN_ROWS and MAX_ROWS."""
    row_bytes = sum(kind_of(field).row_bytes for field in schema.values())
    return min(MAX_ROWS, max(MIN_ROWS, SEAL_BYTES // max(1, row_bytes)))


class GrowingSegment(Segment):
    """Rows in memory that are durable in the engine's `unsealed` family only."""

    sealed = False

    def __init__(self, schema: Schema) -> None:
        self.name = "growing"
        self.schema = schema
        self.capacity = capacity_of(schema)
        self.count = 0
        self.pids = np.empty(self.capacity, np.int64)
        self.expires_ms = np.empty(self.capacity, np.int64)
        self.earliest_expiry_ms = NEVER
        self._ids: list[PointId] = []
        self._records: list[bytes] = []
        self._sized_bytes = 0  # of rows that differ in size
        self._rows = {name: kind_of(field).growing(self.capacity, SEAL_BYTES) for name, field in schema.items()}
        self._counts = {name: TermCounts.growing(self.capacity) for name, f in schema.items() if weighs_terms(f)}
        self._present = {name: np.zeros(self.capacity, np.bool_) for name in schema}
        self._complete = dict.fromkeys(schema, True)
        self._columns: dict[int, ColumnSet] = {}
        self._readers: dict[tuple[str, str], tuple[int, Reader]] = {}  # the last of each kind, and over how many rows

    @property
    def full(self) -> bool:
        return self.count == self.capacity or self._sized_bytes >= SEAL_BYTES

    def room(self, batch: PointBatch, start: int) -> int:
        """The row of the batch before which this segment is full, of those from `start` on; at least the next."""
        stop = min(len(batch), start + self.capacity - self.count)
        sizes = _sizes(self.schema, batch)
        if sizes is not None:
            full = SEAL_BYTES - self._sized_bytes + sizes[start]
            stop = min(stop, max(start + 1, int(np.searchsorted(sizes, full))))
        return stop

    def append(self, batch: PointBatch, pids: IntArray, start: int, stop: int) -> None:
        """Add rows start:stop of the batch under their pids, which ascend. The caller publishes the new count."""
        at, end = self.count, self.count + stop - start
        self.pids[at:end] = pids[start:stop]
        self.expires_ms[at:end] = batch.expires_ms[start:stop]
        if (sizes := _sizes(self.schema, batch)) is not None:
            self._sized_bytes += int(sizes[stop] - sizes[start])
        for name, field in self.schema.items():
            if name in batch.vectors:
                rows = batch.vectors[name][start:stop]
                self._present[name][at:end] = batch.present[name][start:stop]
            else:
                rows = kind_of(field).blank(stop - start)
            self._rows[name].put(rows, at)
            if name in self._counts:
                self._counts[name].put(words_of(rows), self._present[name][at:end], at)
            if self._complete[name] and not self._present[name][at:end].all():
                self._complete[name] = False
        self._ids.extend(batch.ids[start:stop])
        self._records.extend(batch.records[start:stop])
        expiring = self.expires_ms[at:end]
        if expiring.any():
            first = int(expiring[expiring != NEVER].min())
            self.earliest_expiry_ms = first if self.earliest_expiry_ms == NEVER else min(first, self.earliest_expiry_ms)
        self.count = end

    def ids_at(self, ordinals: Sequence[int] | IntArray) -> list[PointId]:
        ids = self._ids
        return [ids[i] for i in ordinals]

    def records_at(self, ordinals: Sequence[int]) -> list[bytes]:
        """Records of the `points` family at these rows."""
        return [self._records[i] for i in ordinals]

    def vectors(self, field: str) -> Rows:
        return self._rows[field].first(self.count)

    def present(self, field: str, rows: int) -> NDArray[np.bool_] | None:
        return None if self._complete[field] else self._present[field][:rows]

    def index_kind(self, field: str) -> str:
        return self._rows[field].index

    def term_counts(self, field: str) -> TermCounts:
        return self._counts[field]

    def reader(self, field: str, kind: str, rows: int) -> Reader:
        last = self._readers.get((field, kind))
        if last is not None and last[0] == rows:
            return last[1]
        reader = self._rows[field].reader(kind, rows)
        self._readers[field, kind] = rows, reader
        return reader

    def matching(self, node: Node, rows: int, id_mask: IdMask) -> NDArray[np.bool_]:
        """Full chunks are columns, made once; the rest is matched row by row."""
        mask = np.zeros(rows, np.bool_)
        id_mask = cache(id_mask)  # asked for chunk by chunk
        whole = rows - rows % CHUNK
        for start in range(0, whole, CHUNK):
            mask[start : start + CHUNK] = self._chunk_mask(node, start, id_mask)
        matches = compile_filter(node)
        for row in range(whole, rows):
            point_id, payload, _ = decode_point(self._records[row])
            mask[row] = matches(point_id, payload or {})
        return mask

    def _chunk_mask(self, node: Node, start: int, id_mask: IdMask) -> NDArray[np.bool_]:
        rows = slice(start, start + CHUNK)
        columns = self._columns.get(start)
        if columns is None:
            payloads = [decode_point(record)[1] or {} for record in self._records[rows]]
            columns = self._columns[start] = ColumnSet(flatten(payloads))

        def payload_of(row: int) -> Payload:
            return decode_point(self._records[start + row])[1] or {}

        return evaluate(node, CHUNK, columns, lambda ids: id_mask(ids)[rows], payload_of)

    def memory_bytes(self) -> int:
        vectors = sum(rows.memory_bytes(self.count) for rows in self._rows.values())
        return vectors + 16 * self.count + sum(map(len, self._records))


def _sizes(schema: Schema, batch: PointBatch) -> IntArray | None:
    """Bytes that the rows before each row of a batch take, in fields whose rows differ in size; None without these."""
    found = [kind_of(schema[name]).sizes(rows) for name, rows in batch.vectors.items()]
    sized = [sizes for sizes in found if sizes is not None]
    return sum(sized[1:], sized[0]) if sized else None
