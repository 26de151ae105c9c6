"""The state of one open collection: its manifest, its view, and how both are read from the engine.

1. The manifest names the sealed segments; their files are mapped.
2. Tombstones say which of their rows are dead.
3. Rows of `unsealed` above the highest sealed pid fill growing segments.

A writer loads once and then keeps the view in step with its own writes. A reader in another process loads again at
each refresh and keeps what has not changed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import msgpack
import numpy as np

from vsearch.cache.sources import Dependents
from vsearch.errors import Corruption
from vsearch.fields import kind_of
from vsearch.growing import GrowingSegment
from vsearch.points import PointBatch, decode_point
from vsearch.sealed import SealedSegment
from vsearch.storage import keys
from vsearch.storage.manifest import Manifest, SegmentEntry
from vsearch.storage.rocks import POINTS, TOMBSTONES, UNSEALED, Engine
from vsearch.storage.segments import SegmentStore
from vsearch.types import IntArray, Payload, field_from_dict
from vsearch.view import Source, View

LOAD_ROWS = 4_096  # unsealed rows turned into arrays together when a collection is opened


class State:
    """What a collection is now. `view` and `manifest` are replaced whole, by the thread that has the writer's turn."""

    def __init__(
        self, engine: Engine, store: SegmentStore, manifest: Manifest, dependents: Dependents | None = None
    ) -> None:
        self.engine = engine
        self.dependents = dependents or Dependents()  # cached answers made from the points
        self.store = store
        self.number = manifest.number
        self.schema = {name: field_from_dict(spec) for name, spec in manifest.fields.items()}
        self.manifest = manifest
        self.view = View((), engine.snapshot())
        self.dropped = False
        self.turn: Callable[[], AbstractContextManager[None]] = nullcontext  # keeps writers out, where there are any
        self.load(manifest)

    def load(self, manifest: Manifest) -> None:
        """Make the view anew from the engine, keeping segments that are open already.

        Raises Corruption when a file of a segment is missing or damaged.
        """
        self.manifest = manifest
        open_now = {s.segment.name: s.segment for s in self.view.sources if isinstance(s.segment, SealedSegment)}
        sources = []
        for entry in manifest.segments:
            segment = open_now.get(entry.name)
            if segment is None or segment.entry != entry:
                segment = self.open_segment(entry)
            sources.append(Source.of(segment, entry.rows))
        sources += [Source.of(segment, segment.count) for segment in self._load_unsealed(manifest.sealed_pid)]
        start, end = keys.prefix(self.number), keys.prefix_end(self.number)
        dead = [keys.pid_of(key) for key, _ in self.engine.scan(TOMBSTONES, start, end)]
        view = View(tuple(sources), self.engine.snapshot())
        self.view = view.without(dead) if dead else view

    def open_segment(self, entry: SegmentEntry) -> SealedSegment:
        segment = SealedSegment(self.store, self.number, entry, self.schema, self.payload_of)
        segment.index_payload(tuple(self.manifest.payload_indexes))
        if self.engine.read_only:
            segment.open_files()  # now: the writer in the other process may remove them at any time
        return segment

    def open_files(self) -> None:
        """Map every file that the view may need, so that who reads it can go on when the files are removed."""
        for source in self.view.sources:
            if isinstance(source.segment, SealedSegment):
                source.segment.open_files()

    def payload_of(self, pid: int) -> Payload:
        """The payload of a version of a point; empty when it has none or is gone.

        Of the engine as the view has it: a search that is under way when the collection is deleted reads on.
        """
        record = self.view.stored.get(POINTS, keys.pid_key(self.number, pid))
        return (decode_point(record)[1] or {}) if record else {}

    def _load_unsealed(self, sealed_pid: int) -> list[GrowingSegment]:
        """Growing segments with every unsealed row; the last has room."""
        segments = [GrowingSegment(self.schema)]
        chunk: list[tuple[bytes, bytes]] = []
        start, end = keys.pid_key(self.number, sealed_pid + 1), keys.prefix_end(self.number)

        def put() -> None:
            batch, pids = self._unsealed_batch(chunk)
            append_rows(segments, batch, pids)
            chunk.clear()

        for row in self.engine.scan(UNSEALED, start, end):
            chunk.append(row)
            if len(chunk) == LOAD_ROWS:
                put()
        if chunk:
            put()
        return segments

    def _unsealed_batch(self, rows: list[tuple[bytes, bytes]]) -> tuple[PointBatch, IntArray]:
        pids = np.array([keys.pid_of(key) for key, _ in rows], np.int64)
        records = self.engine.get_many(POINTS, [key for key, _ in rows])
        vectors = [msgpack.unpackb(value, strict_map_key=False) for _, value in rows]
        kept = [i for i, record in enumerate(records) if record is not None]
        if len(kept) < len(rows):
            # A reader in another process may see a row of one family and no longer that of the other.
            pids, vectors = pids[kept], [vectors[i] for i in kept]
        found = [record for record in records if record is not None]
        points = [decode_point(record) for record in found]
        batch = PointBatch(
            ids=[point_id for point_id, _, _ in points],
            keys=[],
            records=found,
            vectors={},
            present={},
            expires_ms=np.array([expiry for _, _, expiry in points], np.int64),
        )
        for number, (name, field) in enumerate(self.schema.items()):
            try:
                batch.vectors[name] = kind_of(field).decoded([row.get(number) for row in vectors])
            except ValueError as error:
                message = f"unsealed vectors of field {name!r} cannot be read: {error}"
                raise Corruption(message, "Restore from a backup") from error
            batch.present[name] = np.array([number in row for row in vectors], np.bool_)
        return batch, pids


def append_rows(segments: list[GrowingSegment], batch: PointBatch, pids: IntArray) -> None:
    """Append a batch to the last segment, adding segments to the list as they fill up; the last always has room."""
    start = 0
    while start < len(pids):
        last = segments[-1]
        stop = last.room(batch, start)
        last.append(batch, pids, start, stop)
        start = stop
        if last.full:
            segments.append(GrowingSegment(last.schema))
