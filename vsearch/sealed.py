"""The sealed segment: immutable files, memory-mapped.

Files of a segment (storage/arrayfile.py is their format); field numbers are positions in the schema:
- `rows.vsa`: pids int64 [n] ascending; id_bytes uint8 and id_offsets int64 [n + 1], encoded ids; expires_ms int64 [n].
- `f0.vectors.vsa`: the rows of a field, as its kind keeps them (vsearch/fields/): of a dense one, vectors [n, d] in the
  stored dtype; present uint8 [n], only where some row lacks the field.
- `f0.hnsw.vsa`: the buffers of an index of that kind; absent until it is built.
- `payload.arrow`: payload columns.
- `orders.vsa`: for each column that has a payload index, its values' positions in sorted order (int32).

Vectors are the truth of a segment; an index file that is damaged is ignored here, reported by `check`, and rebuilt.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import Corruption, InvalidArgument
from vsearch.fields import kind_of
from vsearch.fields.base import Rows
from vsearch.filters import Node
from vsearch.filters.columns import ColumnSet, Order, sorted_order
from vsearch.filters.evaluate import evaluate
from vsearch.filters.tree import HasId
from vsearch.frequencies import TermCounts, words_of
from vsearch.points import NEVER, Schema
from vsearch.segment import IdMask, Segment
from vsearch.storage.keys import decode_id
from vsearch.storage.manifest import SegmentEntry
from vsearch.storage.segments import SegmentStore
from vsearch.types import Column, ColumnType, IntArray, Payload, PointId

if TYPE_CHECKING:
    from collections.abc import Callable

    from vsearch.index.base import Reader

ROWS_FILE: Final = "rows.vsa"
ROWS_KIND: Final = "rows"
VECTORS_KIND: Final = "vectors"
ORDERS_FILE: Final = "orders.vsa"
ORDERS_KIND: Final = "orders"
SCANS: Final = ("flat", "sparse_flat")  # kinds of index that keep nothing
POSTED_QUERIES: Final = 32  # exact ones in one batch: scanning for each would take as long as making inverted lists
CACHED_MASKS: Final = 32  # results of filters kept for a segment, a byte a row each

log = logging.getLogger("vsearch")


def vectors_file(number: int) -> str:
    return f"f{number}.vectors.vsa"


def index_file(number: int, kind: str) -> str:
    return f"f{number}.{kind}.vsa"


def names_ids(node: Node) -> bool:
    """Whether the filter asks for ids anywhere."""
    return isinstance(node, HasId) or any(names_ids(child) for child in node.children)


def integer_ids(offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> NDArray[np.uint64] | None:
    """uint64 [n] when every encoded id is an integer (a type byte and eight big-endian bytes), else None."""
    n = len(offsets) - 1
    if n == 0 or len(data) != 9 * n or (np.diff(offsets) != 9).any():
        return None
    table = data.reshape(n, 9)
    if (table[:, 0] != 1).any():
        return None
    return np.ascontiguousarray(table[:, 1:]).view(">u8").ravel().astype(np.uint64)


def ordered_columns(columns: Iterable[Column], paths: Collection[str]) -> dict[tuple[str, ColumnType], Column]:
    """The columns at indexed paths whose values have an order, by path and type."""
    return {(c.path, c.type): c for c in columns if c.path in paths and c.type in ("int", "float", "str")}


class Folder:
    """The files of a segment, for as long as any view may still open one of them: they are removed after its end."""


class SealedSegment(Segment):
    """One segment of the manifest, opened. `payload_of` reads the payload of a pid from the engine."""

    sealed = True

    def __init__(
        self,
        store: SegmentStore,
        collection: int,
        entry: SegmentEntry,
        schema: Schema,
        payload_of: Callable[[int], Payload],
    ) -> None:
        self.name = entry.name
        self.folder = Folder()
        self.entry = entry
        self.schema = schema
        self.count = entry.rows
        self._store = store
        self._collection = collection
        self._payload_of = payload_of
        rows = store.open_arrays(collection, entry.name, ROWS_FILE, ROWS_KIND).arrays
        self.pids = rows["pids"]
        self.expires_ms = rows["expires_ms"]
        self._id_bytes = rows["id_bytes"]
        self._id_offsets = rows["id_offsets"]
        self._integer_ids = integer_ids(self._id_offsets, self._id_bytes)
        expiring = self.expires_ms[self.expires_ms != NEVER]
        self.earliest_expiry_ms = int(expiring.min()) if len(expiring) else NEVER
        self._vectors: dict[str, Rows] = {}
        self._unverified = set(schema)  # fields of which nothing was searched yet
        self._present: dict[str, NDArray[np.bool_]] = {}
        for number, field in enumerate(schema):
            arrays = store.open_arrays(collection, entry.name, vectors_file(number), VECTORS_KIND).arrays
            try:
                self._vectors[field] = kind_of(schema[field]).opened(arrays)
            except (ValueError, KeyError) as error:
                raise self._damaged(field, error) from error
            if len(self._vectors[field]) != entry.rows or len(self.pids) != entry.rows:
                raise Corruption(
                    f"segment {entry.name}: the files disagree about the number of rows", "Run `vsearch check`"
                )
            if "present" in arrays:
                self._present[field] = arrays["present"].view(np.bool_)
        self._indexed_paths: Collection[str] = ()
        self._fill = threading.Lock()
        self._readers: dict[tuple[str, str], Reader] = {}
        self._counts: dict[str, TermCounts] = {}
        self._column_set: ColumnSet | None = None
        self._masks: OrderedDict[Node, NDArray[np.bool_]] = OrderedDict()
        self.damaged: set[str] = set()  # fields whose index file cannot be read: searched exactly until rebuilt

    @property
    def first_pid(self) -> int:
        return self.entry.first_pid

    @property
    def last_pid(self) -> int:
        return self.entry.last_pid

    def ids_at(self, ordinals: Sequence[int] | IntArray) -> list[PointId]:
        if self._integer_ids is not None:
            return self._integer_ids[ordinals].tolist()  # type: ignore[no-any-return]
        offsets, data = self._id_offsets, self._id_bytes
        try:
            return [decode_id(data[offsets[i] : offsets[i + 1]].tobytes()) for i in ordinals]
        except Corruption as error:
            message = f"segment {self.name}: {ROWS_FILE} is damaged: {error.message}"
            raise Corruption(message, "Run `vsearch check`") from error

    def id_keys(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """(offsets [n + 1], bytes): the encoded ids of all rows."""
        return self._id_offsets, self._id_bytes

    def vectors(self, field: str) -> Rows:
        if field in self._unverified:
            try:
                kind_of(self.schema[field]).verified(self._vectors[field])
            except ValueError as error:
                raise self._damaged(field, error) from error
            self._unverified.discard(field)
        return self._vectors[field]

    def present(self, field: str, rows: int) -> NDArray[np.bool_] | None:
        return self._present.get(field)

    def built_kind(self, field: str) -> str | None:
        """The kind of the field's index file; None where there is none that can be used."""
        return None if field in self.damaged else self.entry.indexes.get(field)

    def index_kind(self, field: str) -> str:
        return self.built_kind(field) or kind_of(self.schema[field]).interim_index(self.count)

    def posted(self, field: str, queries: int) -> bool:
        return queries >= POSTED_QUERIES or (field, "postings") in self._readers

    def term_counts(self, field: str) -> TermCounts:
        counts = self._counts.get(field)
        if counts is None:
            with self._fill:
                counts = self._counts.get(field)
                if counts is None:
                    present = self.present(field, self.count)
                    counts = self._counts[field] = TermCounts.over(words_of(self.vectors(field)), present)
        return counts

    def reader(self, field: str, kind: str, rows: int) -> Reader:
        reader = self._readers.get((field, kind))
        if reader is None:
            with self._fill:
                reader = self._readers.get((field, kind)) or self._open_reader(field, kind)
                self._readers[field, kind] = reader
        return reader

    def open_files(self) -> None:
        """Map every file that would be mapped at its first use."""
        self.columns()
        for field in self.schema:
            if (kind := self.built_kind(field)) is not None:
                self.reader(field, kind, self.count)

    def columns(self) -> ColumnSet:
        """The payload columns, mapped at the first use."""
        if self._column_set is None:
            with self._fill:
                if self._column_set is None:
                    columns = self._store.open_columns(self._collection, self.name)
                    self._column_set = ColumnSet(columns, self._orders(columns))
        return self._column_set

    def index_payload(self, paths: Collection[str]) -> None:
        """Declare which payload paths have an index, from the next filter on."""
        with self._fill:
            self._indexed_paths, self._column_set = paths, None

    def _orders(self, columns: list[Column]) -> dict[tuple[str, ColumnType], Order]:
        """Sorted orders of the indexed columns: from the file, or made now where the index is younger than the file."""
        stored: dict[tuple[str, ColumnType], Order] = {}
        if ORDERS_FILE in self.entry.files:
            file = self._store.open_arrays(self._collection, self.name, ORDERS_FILE, ORDERS_KIND)
            stored = {(path, kind): file.arrays[f"{path}:{kind}"] for path, kind in file.meta["columns"]}
        wanted = ordered_columns(columns, self._indexed_paths)
        return {key: stored[key] if key in stored else sorted_order(column) for key, column in wanted.items()}

    def matching(self, node: Node, rows: int, id_mask: IdMask) -> NDArray[np.bool_]:
        mask = self._masks.get(node)
        if mask is None:
            mask = evaluate(node, rows, self.columns(), id_mask, lambda row: self._payload_of(int(self.pids[row])))
            # Payloads of a row never change, but which id a row's point has may be looked up anew.
            if not names_ids(node):
                with self._fill:
                    self._masks[node] = mask
                    while len(self._masks) > CACHED_MASKS:
                        self._masks.popitem(last=False)
        return mask

    def with_entry(self, entry: SegmentEntry) -> SealedSegment:
        """The same rows under a newer entry, which names more index files."""
        twin = SealedSegment(self._store, self._collection, entry, self.schema, self._payload_of)
        twin._indexed_paths = self._indexed_paths
        twin.folder, twin._column_set, twin._masks = self.folder, self._column_set, self._masks
        twin._counts, twin._unverified = self._counts, self._unverified
        return twin

    def memory_bytes(self) -> int:
        return sum(reader.memory_bytes() for (_, kind), reader in self._readers.items() if kind not in SCANS)

    def _open_reader(self, field: str, kind: str) -> Reader:
        of = kind_of(self.schema[field])
        rows = self.vectors(field)
        buffers: dict[str, NDArray[Any]] = {}
        if kind == self.built_kind(field):
            name = index_file(list(self.schema).index(field), kind)
            try:
                buffers = self._store.open_arrays(self._collection, self.name, name, kind).arrays
                return of.reader(kind, rows, buffers)
            except (Corruption, InvalidArgument, KeyError) as error:
                log.warning("segment %s: the index %s is unusable and will be rebuilt: %s", self.name, name, error)
                self.damaged.add(field)
                kind = self.index_kind(field)
        return of.reader(kind, rows, {})

    def _damaged(self, field: str, error: Exception) -> Corruption:
        name = vectors_file(list(self.schema).index(field))
        return Corruption(f"segment {self.name}: {name} is damaged: {error}", "Run `vsearch check`")
