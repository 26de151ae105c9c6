"""The growing segment: rows appended in memory, searched at once, sealed when full.

One writer appends under the collection's turn; any number of readers look at rows below the count of the view that
they hold. Rows below a published count never change, so readers need no lock. Arrays are allocated for the
full capacity at once: the operating system commits pages only as rows arrive. Vectors are coded in one bit a component
as they come, so that searching fresh rows reads a thirtieth of the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.filters import Node
from vsearch.filters.evaluate import ColumnSet, evaluate
from vsearch.filters.flatten import flatten
from vsearch.filters.match import compile_filter
from vsearch.index.base import Reader
from vsearch.index.binary import FEW_ROWS, Binary
from vsearch.index.coding import CodeStore
from vsearch.index.flat import Flat
from vsearch.points import NEVER, PointBatch, Schema, decode_point
from vsearch.segment import THREADS, IdMask, Segment
from vsearch.types import IntArray, Payload, PointId

SEAL_BYTES: Final = 64 << 20  # vectors of one growing segment: an exact scan of them takes about two milliseconds
MAX_ROWS: Final = 65_536
MIN_ROWS: Final = 1_024
CHUNK: Final = 1_024  # rows whose payloads are turned into columns together, for filters


def capacity_of(schema: Schema) -> int:
    """Rows of a growing segment: SEAL_BYTES of vectors, within MIN_ROWS and MAX_ROWS."""
    row_bytes = sum(field.dim * np.dtype(field.dtype).itemsize for field in schema.values())
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
        self._vectors = {name: np.empty((self.capacity, f.dim), f.dtype) for name, f in schema.items()}
        self._codes = {
            name: CodeStore(self.capacity, f.dim, f.distance, 0, FEW_ROWS) for name, f in schema.items() if f.coded
        }
        self._present = {name: np.zeros(self.capacity, np.bool_) for name in schema}
        self._complete = dict.fromkeys(schema, True)
        self._columns: dict[int, ColumnSet] = {}
        self._readers: dict[tuple[str, str], tuple[int, Reader]] = {}  # the last of each kind, and over how many rows

    @property
    def full(self) -> bool:
        return self.count == self.capacity

    def append(self, batch: PointBatch, pids: IntArray, start: int, stop: int) -> None:
        """Add rows start:stop of the batch under their pids, which ascend. The caller publishes the new count."""
        at, end = self.count, self.count + stop - start
        self.pids[at:end] = pids[start:stop]
        self.expires_ms[at:end] = batch.expires_ms[start:stop]
        for name, values in self._vectors.items():
            if name in batch.vectors:
                values[at:end] = batch.vectors[name][start:stop]
                self._present[name][at:end] = batch.present[name][start:stop]
            else:
                values[at:end] = 0
            if name in self._codes:
                self._codes[name].put(values, at, end)
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

    def vectors(self, field: str) -> NDArray[Any]:
        return self._vectors[field]

    def present(self, field: str, rows: int) -> NDArray[np.bool_] | None:
        return None if self._complete[field] else self._present[field][:rows]

    def index_kind(self, field: str) -> str:
        return "binary" if field in self._codes else "flat"

    def reader(self, field: str, kind: str, rows: int) -> Reader:
        last = self._readers.get((field, kind))
        if last is not None and last[0] == rows:
            return last[1]
        vectors, distance = self._vectors[field][:rows], self.schema[field].distance
        reader: Reader = (
            Flat(vectors, {}, distance, THREADS)
            if kind == "flat"
            else Binary(vectors, self._codes[field].buffers(rows), distance, THREADS)
        )
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
        per_row: int = sum(v[0].nbytes for v in self._vectors.values()) + 16
        return self.count * per_row + sum(map(len, self._records))
