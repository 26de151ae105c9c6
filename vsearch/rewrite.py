"""Writes the rows of some segments as one sealed segment: sealing (from memory) and merging (from files) alike.

Vectors are copied in pieces, so that memory stays bounded whatever the size of a segment.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.fields import kind_of
from vsearch.fields.base import Piece
from vsearch.filters.columns import sorted_order
from vsearch.filters.flatten import flatten, merge
from vsearch.growing import GrowingSegment
from vsearch.points import Schema, decode_point
from vsearch.sealed import (
    ORDERS_FILE,
    ORDERS_KIND,
    ROWS_FILE,
    ROWS_KIND,
    VECTORS_KIND,
    SealedSegment,
    ordered_columns,
    vectors_file,
)
from vsearch.segment import Segment
from vsearch.storage import keys
from vsearch.storage.manifest import SegmentEntry
from vsearch.storage.segments import SegmentDraft, SegmentStore
from vsearch.types import Column, IntArray


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a segment that go into the new one, ascending."""

    segment: Segment
    rows: IntArray


class Throttle:
    """Keeps a copy below a rate, so that compaction leaves the disk to searches. 0 means no limit."""

    def __init__(self, bytes_per_s: int = 0, sleep: Callable[[float], None] = time.sleep) -> None:
        self._bytes_per_s = bytes_per_s
        self._sleep = sleep
        self._started = time.monotonic()
        self._copied = 0

    def copied(self, nbytes: int) -> None:
        """Account for bytes; sleeps when they came too fast."""
        self._copied += nbytes
        if self._bytes_per_s:
            ahead_s = self._copied / self._bytes_per_s - (time.monotonic() - self._started)
            if ahead_s > 0:
                self._sleep(ahead_s)


def write_segment(
    store: SegmentStore,
    collection: int,
    schema: Schema,
    parts: Sequence[Part],
    throttle: Throttle,
    indexed_paths: Collection[str] = (),
) -> SegmentEntry | None:
    """Write and publish the files of a new segment; None when no row is left. Nothing refers to them until the
    manifest does. Raises DurabilityError when the disk refuses."""
    rows = sum(len(part.rows) for part in parts)
    if rows == 0:
        return None
    first_pid, last_pid = parts[0].segment.first_pid, parts[-1].segment.last_pid
    name = f"{first_pid:012x}-{last_pid:012x}-{secrets.token_hex(4)}"
    with store.begin(collection, name) as draft:
        _write_rows(draft, parts)
        for number, field in enumerate(schema):
            _write_vectors(draft, number, field, schema, parts, throttle)
        columns = merge([(_columns(store, collection, part), keep) for part, keep in _kept(parts)])
        draft.columns(columns, rows)
        if ordered := ordered_columns(columns, indexed_paths):
            with draft.arrays(ORDERS_FILE, ORDERS_KIND, {"columns": [list(key) for key in ordered]}) as file:
                for (path, kind), column in ordered.items():
                    file.add(f"{path}:{kind}", sorted_order(column))
        files = draft.publish()
    return SegmentEntry(name, first_pid, last_pid, rows, files, {})


def _write_rows(draft: SegmentDraft, parts: Sequence[Part]) -> None:
    offsets, data, size = [np.zeros(1, np.int64)], [], 0
    for part in parts:
        part_offsets, part_bytes = _id_bytes(part)
        offsets.append(part_offsets[1:] + size)
        data.append(part_bytes)
        size += len(part_bytes)
    with draft.arrays(ROWS_FILE, ROWS_KIND, {}) as file:
        file.add("pids", np.concatenate([part.segment.pids[part.rows] for part in parts]))
        file.add("expires_ms", np.concatenate([part.segment.expires_ms[part.rows] for part in parts]))
        file.add("id_offsets", np.concatenate(offsets))
        file.add("id_bytes", np.concatenate(data))


def _id_bytes(part: Part) -> tuple[IntArray, NDArray[np.uint8]]:
    """(offsets, bytes) of the encoded ids of the part's rows."""
    if isinstance(part.segment, SealedSegment):
        offsets, data = part.segment.id_keys()
        if len(part.rows) == part.segment.count:
            return np.asarray(offsets), np.asarray(data)
        lengths = np.diff(offsets)[part.rows]
        kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        within = np.arange(kept[-1]) - np.repeat(kept[:-1], lengths)
        return kept, data[np.repeat(offsets[part.rows], lengths) + within]
    encoded = [keys.encode_id(point_id) for point_id in part.segment.ids_at(part.rows.tolist())]
    kept = np.cumsum([0] + [len(key) for key in encoded], dtype=np.int64)
    return kept, np.frombuffer(b"".join(encoded), np.uint8)


def _write_vectors(
    draft: SegmentDraft, number: int, field: str, schema: Schema, parts: Sequence[Part], throttle: Throttle
) -> None:
    with draft.arrays(vectors_file(number), VECTORS_KIND, {"field": field}) as file:
        pieces = [Piece(part.segment.vectors(field), part.rows) for part in parts]
        kind_of(schema[field]).write(file, pieces, throttle.copied)
        present = [part.segment.present(field, part.segment.count) for part in parts]
        if any(mask is not None for mask in present):
            masks = [
                np.ones(len(p.rows), np.bool_) if m is None else m[p.rows] for p, m in zip(parts, present, strict=True)
            ]
            file.add("present", np.concatenate(masks).view(np.uint8))


def _kept(parts: Sequence[Part]) -> list[tuple[Part, NDArray[Any]]]:
    """Each part with the rows to keep of its columns; columns of a growing segment hold the kept rows already."""
    return [(p, p.rows if p.segment.sealed else np.arange(len(p.rows))) for p in parts]


def _columns(store: SegmentStore, collection: int, part: Part) -> list[Column]:
    if isinstance(part.segment, GrowingSegment):
        records = part.segment.records_at(part.rows.tolist())
        return flatten([decode_point(record)[1] or {} for record in records])
    return store.open_columns(collection, part.segment.name)
