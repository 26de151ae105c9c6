"""Keeps one collection in shape: seals full segments, merges small ones, builds indexes, reclaims what has expired.

Two kinds of work go on beside each other: sealing, which must keep up with writers, and everything else, which may take
long. Searches use whatever is published; neither work holds a lock that they need.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from vsearch import compaction
from vsearch.changes import Delete
from vsearch.compaction import BuildIndex, Facts, Merge
from vsearch.fields import kind_of
from vsearch.frequencies import words_of
from vsearch.points import now_ms
from vsearch.rewrite import Part, Throttle, write_segment
from vsearch.sealed import SealedSegment, index_file
from vsearch.storage.keys import encode_id
from vsearch.storage.manifest import SegmentEntry
from vsearch.types import Progress
from vsearch.view import Source
from vsearch.writer import MAX_FROZEN, Writer

QUIET_S: Final = 1.0  # without writes for this long, indexes are worth building
BACKGROUND_BYTES_PER_S: Final = 256 << 20  # rate of merging beside searches
EXPIRED_BATCH: Final = 10_000  # expired points deleted in one write
BUILD_THREADS: Final = os.cpu_count() or 1


class Stopped(Exception):
    """The current index build is abandoned: its segment is about to be merged, or the database to be closed."""


class Maintenance:
    """The upkeep of one collection."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.state = writer.state
        self._sealing = threading.Lock()
        self._reshaping = threading.Lock()
        self._stop_build = threading.Event()
        self._last_pid, self._last_write_s = -1, time.monotonic()

    def seal(self) -> bool:
        """Seal the oldest full segment. False when there is none."""
        with self._sealing:
            frozen = self.writer.frozen()
            if not frozen:
                return False
            source = self.state.view.source_of(frozen[0])
            parts = [Part(frozen[0], np.flatnonzero(source.live))]
            self.writer.install([frozen[0]], self._written(parts, Throttle()))
            return True

    def seal_all(self, least_rows: int = 1) -> None:
        """Seal what is full, and the growing segment too if it has at least so many rows."""
        if self.state.view.sources[-1].rows >= least_rows:
            self.writer.freeze()
        while self.seal():
            pass

    def hold_back(self) -> None:
        """Make a writer that is ahead of sealing seal a segment itself."""
        while len(self.writer.frozen()) >= MAX_FROZEN and self.seal():
            pass

    def reshape(self) -> bool:
        """Do one task of compaction. False when there is nothing to do now."""
        with self._reshaping:
            if self.state.dropped:
                return False
            self.writer.remove_unseen()
            if self._delete_expired():
                return True
            sealed = self._sealed()
            task = compaction.next_task(self._facts(sealed), self._quiet())
            if isinstance(task, Merge):
                self._merge(sealed[task.start : task.stop], Throttle(BACKGROUND_BYTES_PER_S))
            elif isinstance(task, BuildIndex):
                self._build_index(sealed[task.position], task.field, None)
            return task is not None

    def optimize(self, progress: Progress | None = None) -> None:
        """Seal, merge and index everything, now and in this thread."""
        self.stop_build()
        with self._reshaping:
            self._stop_build.clear()
            self.seal_all()
            while self._delete_expired():
                pass
            while (merge := compaction.full_merge(self._facts(self._sealed()))) is not None:
                self._merge(self._sealed()[merge.start : merge.stop], Throttle())
            for source in self._sealed():
                for field in self._unindexed(source):
                    self._build_index(self._sealed_named(source.segment.name), field, progress)
            self.writer.remove_unseen()

    def stop_build(self) -> None:
        """Make a running index build give up soon."""
        self._stop_build.set()

    def _sealed(self) -> list[Source]:
        return [source for source in self.state.view.sources if source.segment.sealed]

    def _sealed_named(self, name: str) -> Source:
        return next(source for source in self._sealed() if source.segment.name == name)

    def _facts(self, sealed: Sequence[Source]) -> list[Facts]:
        return [
            Facts(
                source.rows,
                source.live_count,
                sum(file.nbytes for name, file in _segment(source).entry.files.items() if ".vectors." in name),
                tuple(self._unindexed(source)),
            )
            for source in sealed
        ]

    def _unindexed(self, source: Source) -> list[str]:
        fields = []
        for name, field in self.state.schema.items():
            wanted = kind_of(field).wanted_index(source.rows)
            if wanted is not None and _segment(source).built_kind(name) != wanted:
                fields.append(name)
        return fields

    def _merge(self, sources: Sequence[Source], throttle: Throttle) -> None:
        parts = [Part(source.segment, np.flatnonzero(source.live)) for source in sources]
        self.writer.install([source.segment for source in sources], self._written(parts, throttle))

    def _written(self, parts: Sequence[Part], throttle: Throttle) -> SegmentEntry | None:
        state = self.state
        return write_segment(
            state.store, state.number, state.schema, parts, throttle, tuple(state.manifest.payload_indexes)
        )

    def _build_index(self, source: Source, field: str, progress: Progress | None) -> None:
        from vsearch.index.registry import builder

        segment = _segment(source)
        spec = self.state.schema[field]
        of = kind_of(spec)
        kind = of.wanted_index(source.rows)
        if kind is None:
            return

        def report(done: int, total: int) -> None:
            if self._stop_build.is_set() or self.state.dropped:
                raise Stopped
            if progress is not None:
                progress(done, total)

        settings = of.settings
        try:
            rows: Any = words_of(segment.vectors(field))
            buffers = builder(kind)(rows, spec.distance, settings, BUILD_THREADS, report)
        except Stopped:
            return
        file_name = index_file(list(self.state.schema).index(field), kind)
        meta = {"field": field, **settings}
        file = self.state.store.add_file(self.state.number, segment.name, file_name, kind, meta, buffers)
        entry = segment.entry
        self.writer.install_index(
            segment, replace(entry, files={**entry.files, file_name: file}, indexes={**entry.indexes, field: kind})
        )

    def _delete_expired(self) -> bool:
        """Delete some of the points whose time is over. False when there are none."""
        now = now_ms()
        for source in self.state.view.sources:
            expired = source.segment.expired(source.rows, now)
            if expired is None:
                continue
            rows = np.flatnonzero(expired & source.live)[:EXPIRED_BATCH]
            if len(rows):
                ids = source.segment.ids_at(rows.tolist())
                self.writer.submit(Delete([encode_id(point_id) for point_id in ids], expired_only=True))
                return True
        return False

    def _quiet(self) -> bool:
        """Whether no point was written for QUIET_S."""
        newest = self.writer.newest_pid
        if newest != self._last_pid:
            self._last_pid, self._last_write_s = newest, time.monotonic()
        return time.monotonic() - self._last_write_s >= QUIET_S


def _segment(source: Source) -> SealedSegment:
    segment = source.segment
    assert isinstance(segment, SealedSegment), "bug: only sealed segments have files"
    return segment
