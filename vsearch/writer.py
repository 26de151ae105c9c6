"""The one writer of a collection: commits changes, and installs what sealing, compaction and indexing have made.

Order of every write: bytes durable in the engine, then memory, then the view is published, then it is acknowledged. The
batch also removes the cached answers that were made from what it changes.
If the engine fails, memory stays as it was and nothing is acknowledged.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from vsearch.changes import AnyChange, Stage
from vsearch.commit import CommitQueue, Ticket
from vsearch.errors import NotFound
from vsearch.growing import GrowingSegment
from vsearch.sealed import SealedSegment
from vsearch.segment import Segment
from vsearch.state import State, append_rows
from vsearch.storage import keys, manifest
from vsearch.storage.manifest import SegmentEntry
from vsearch.storage.rocks import TOMBSTONES, UNSEALED
from vsearch.types import IntArray
from vsearch.view import Source, View

MAX_FROZEN: Final = 4  # full segments waiting to be sealed before writers are held back: bounds memory


class Writer:
    """Serialises everything that changes a collection. `on_full` is told when a growing segment has filled up."""

    def __init__(self, state: State, on_full: Callable[[], None]) -> None:
        self.state = state
        self._on_full = on_full
        self._unseen: deque[str] = deque()  # segments replaced, whose last view is gone
        self._next_pid = manifest.last_pid(state.engine, state.number) + 1
        self._queue: CommitQueue[AnyChange] = CommitQueue(self._commit)
        self.submit = self._queue.submit
        self.turn = state.turn = self._queue.turn

    @property
    def newest_pid(self) -> int:
        """The highest pid given so far."""
        return self._next_pid - 1

    def freeze(self) -> None:
        """Stop appending to the growing segment, so that it can be sealed."""
        with self.turn():
            view = self.state.view
            if view.sources[-1].rows:
                fresh = GrowingSegment(self.state.schema)
                self.state.view = replace(view, sources=(*view.sources, Source.of(fresh, 0)))

    def frozen(self) -> list[GrowingSegment]:
        """Segments that take no more rows and are not sealed yet, oldest first."""
        return [s.segment for s in self.state.view.sources[:-1] if isinstance(s.segment, GrowingSegment)]

    def install(self, old: Sequence[Segment], entry: SegmentEntry | None) -> None:
        """Replace neighbouring segments by the sealed one made of them (None: no row of theirs was left).

        What died while it was being made is dead in it. One batch holds the manifest, the rows leaving `unsealed` and
        the tombstones that are still needed. Raises DurabilityError; then the old segments stay.
        """
        state = self.state
        new = None if entry is None else state.open_segment(entry)
        with self.turn():
            self._must_exist()
            before = state.view
            dead = np.empty(0, np.int64) if new is None else self._died(before, old, new)
            names = {s.name for s in old if s.sealed}
            last_pid = old[-1].last_pid
            segments = [e for e in state.manifest.segments if e.name not in names] + ([entry] if entry else [])
            new_manifest = replace(
                state.manifest,
                segments=tuple(sorted(segments, key=lambda e: e.first_pid)),
                sealed_pid=max(state.manifest.sealed_pid, last_pid),
            )
            batch = state.engine.batch()
            manifest.put(batch, new_manifest)
            first_pid = old[0].first_pid if old[0].sealed else state.manifest.sealed_pid + 1
            start, end = keys.pid_key(state.number, first_pid), keys.pid_key(state.number, last_pid + 1)
            if not old[0].sealed:
                batch.delete_range(UNSEALED, start, end)
            batch.delete_range(TOMBSTONES, start, end)
            for pid in dead.tolist():
                batch.put(TOMBSTONES, keys.pid_key(state.number, pid), b"")
            state.engine.commit(batch, sync=True)
            state.manifest = new_manifest
            fresh = [] if new is None else [Source.of(new, new.count).without(new.rows_of(dead, new.count))]
            state.view = before.replaced(old, fresh)
        for segment in old:
            if isinstance(segment, SealedSegment):
                weakref.finalize(segment.folder, self._unseen.append, segment.name)

    def index_payload(self, paths: Mapping[str, str]) -> None:
        """Declare the payload paths that have an index, all of them."""
        state = self.state
        with self.turn():
            self._must_exist()
            self._put_manifest(replace(state.manifest, payload_indexes=dict(paths)))
            for source in state.view.sources:
                if isinstance(source.segment, SealedSegment):
                    source.segment.index_payload(tuple(paths))

    def remove_unseen(self) -> None:
        """Remove the files of replaced segments that no view shows any more."""
        while self._unseen:
            self.state.store.remove(self.state.number, self._unseen.popleft())

    def install_index(self, segment: SealedSegment, entry: SegmentEntry) -> None:
        """Publish an entry that names more index files of the same segment."""
        state = self.state
        twin = segment.with_entry(entry)
        with self.turn():
            self._must_exist()
            entries = tuple(entry if e.name == entry.name else e for e in state.manifest.segments)
            new_manifest = replace(state.manifest, segments=entries)
            self._put_manifest(new_manifest)
            source = state.view.source_of(segment)
            state.view = state.view.replaced([segment], [Source.of(twin, source.rows, source.live)])

    def _put_manifest(self, new_manifest: manifest.Manifest) -> None:
        batch = self.state.engine.batch()
        manifest.put(batch, new_manifest)
        self.state.engine.commit(batch, sync=True)
        self.state.manifest = new_manifest

    def _must_exist(self) -> None:
        if self.state.dropped:
            raise NotFound(f"the collection {self.state.manifest.name!r} was deleted", "Create it again")

    def _died(self, view: View, old: Sequence[Segment], new: SealedSegment) -> IntArray:
        """Pids of the new segment's rows that died since its rows were chosen."""
        alive = [s.segment.pids[: s.rows][s.live] for s in view.sources if any(s.segment is o for o in old)]
        return np.setdiff1d(np.asarray(new.pids), np.concatenate(alive), assume_unique=True)

    def _commit(self, group: list[Ticket[AnyChange]]) -> None:
        self._must_exist()
        stage = Stage(self.state, self._next_pid)
        staged: list[Ticket[AnyChange]] = []
        for ticket in group:
            if stage.reads_view(ticket.change):
                self._apply(stage, staged)
                stage, staged = Stage(self.state, self._next_pid), []
            try:
                ticket.result = stage.add(ticket.change)
                staged.append(ticket)
            except Exception as error:
                ticket.error = error
        self._apply(stage, staged)

    def _apply(self, stage: Stage, tickets: list[Ticket[Any]]) -> None:
        if stage.rows or stage.dead:
            stage.close()
            dependents = self.state.dependents
            outdated = dependents.stage_removal(stage.batch, dependents.of(stage.pids))
            self.state.engine.commit(stage.batch)
            self._next_pid = stage.next_pid
            self._publish(stage)
            dependents.forget(outdated)
        for ticket in tickets:
            ticket.done = True

    def _publish(self, stage: Stage) -> None:
        view = self.state.view
        growing = view.sources[-1].segment
        assert isinstance(growing, GrowingSegment), "bug: the last source of a writer's view takes rows"
        segments = [growing]
        for batch, pids in stage.rows:
            append_rows(segments, batch, pids)
        grown = [view.sources[-1].extended(growing.count)] + [Source.of(s, s.count) for s in segments[1:]]
        view = View((*view.sources[:-1], *grown), self.state.engine.snapshot())
        self.state.view = view.without(stage.dead) if stage.dead else view
        if len(segments) > 1:
            self._on_full()
