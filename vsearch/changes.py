"""The changes that a writer can make, and how a group of them becomes one atomic batch.

1. Each change is resolved against the collection and the changes staged before it: which ids exist, which versions
   die. A change that cannot be made (an id that is taken, or missing) fails here and stages nothing.
2. Staged changes are bytes of one engine batch and, beside it, what must be done in memory once it is committed.

Every version of a point has a pid of its own. A new version is written under a new pid and the old one gets a
tombstone; `ids` always points at the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vsearch.edits import Edit, new_versions
from vsearch.errors import AlreadyExists
from vsearch.filters import Node
from vsearch.points import NEVER, PointBatch, decode_point, now_ms
from vsearch.reading import matches
from vsearch.state import State
from vsearch.storage import keys, manifest
from vsearch.storage.rocks import IDS, POINTS, TOMBSTONES, UNSEALED
from vsearch.types import IntArray


@dataclass(frozen=True, slots=True)
class Put:
    """Write points, each id once. `vector_records`: those of the batch. `insert`: fail when an id exists."""

    batch: PointBatch
    vector_records: list[bytes]
    insert: bool = False

    @property
    def points(self) -> int:
        return len(self.batch)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete by encoded id, each once. `expired_only`: leave alone what was written anew or lives on."""

    id_keys: Sequence[bytes]
    expired_only: bool = False

    @property
    def points(self) -> int:
        return len(self.id_keys)


@dataclass(frozen=True, slots=True)
class DeleteMatching:
    """Delete whatever satisfies a filter at the moment of the write."""

    node: Node

    @property
    def points(self) -> int:
        return 1_000


AnyChange = Put | Delete | DeleteMatching | Edit


@dataclass(slots=True)
class Stage:
    """Changes resolved and not yet committed."""

    state: State
    next_pid: int
    batch: Any = None  # the engine's write batch
    pids: dict[bytes, int | None] = field(default_factory=dict)  # full id key -> newest pid, None where deleted
    rows: list[tuple[PointBatch, IntArray]] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batch = self.state.engine.batch()

    def add(self, change: AnyChange) -> Any:
        """Stage a change and return its result. Raises, having staged nothing, when it cannot be made."""
        if isinstance(change, Put):
            return self._put(change)
        if isinstance(change, Delete):
            return self._delete(change)
        if isinstance(change, Edit):
            return self._edit(change)
        return self._delete_matching(change)

    def reads_view(self, change: AnyChange) -> bool:
        """Whether the change looks at the view, and so needs what is staged to be committed first."""
        return isinstance(change, Edit | DeleteMatching) and bool(self.rows or self.dead)

    def close(self) -> None:
        """Record the highest pid in the batch, so that none is ever given twice."""
        manifest.put_last_pid(self.batch, self.state.number, self.next_pid - 1)

    def _put(self, change: Put) -> None:
        batch = change.batch
        prefix = keys.prefix(self.state.number)
        id_keys = [prefix + key for key in batch.keys]
        old = self._lookup(id_keys)
        if change.insert:
            for point_id, pid in zip(batch.ids, old, strict=True):
                if pid is not None and not self._expired(pid):
                    raise AlreadyExists(f"a point with id {point_id!r} exists", "Use upsert to replace it")
        pids = np.arange(self.next_pid, self.next_pid + len(batch))
        self.next_pid += len(batch)
        for was in old:
            if was is not None:
                self._kill(was)
        pid_keys = [keys.pid_key(self.state.number, pid) for pid in pids.tolist()]
        self.batch.put_all(IDS, zip(id_keys, map(keys.pid_value, pids.tolist()), strict=True))
        self.batch.put_all(POINTS, zip(pid_keys, batch.records, strict=True))
        self.batch.put_all(UNSEALED, zip(pid_keys, change.vector_records, strict=True))
        self.pids.update(zip(id_keys, pids.tolist(), strict=True))
        self.rows.append((batch, pids))

    def _delete(self, change: Delete) -> int:
        prefix = keys.prefix(self.state.number)
        id_keys = [prefix + key for key in change.id_keys]
        deleted = 0
        for id_key, pid in zip(id_keys, self._lookup(id_keys), strict=True):
            if pid is None:
                continue
            expired = self._expired(pid)
            if change.expired_only and not expired:
                continue
            deleted += not expired
            self._forget(id_key, pid)
        return deleted

    def _delete_matching(self, change: DeleteMatching) -> int:
        prefix, deleted = keys.prefix(self.state.number), 0
        for source, mask in matches(self.state, self.state.view, change.node, now_ms()):
            rows = np.flatnonzero(mask)
            pids = source.segment.pids[rows].tolist()
            for point_id, pid in zip(source.segment.ids_at(rows.tolist()), pids, strict=True):
                self._forget(prefix + keys.encode_id(point_id), pid)
            deleted += len(pids)
        return deleted

    def _edit(self, change: Edit) -> int:
        batch = new_versions(self.state, change, now_ms())
        if len(batch):
            self._put(Put(batch, batch.vector_records(self.state.schema)))
        return len(batch)

    def _lookup(self, id_keys: list[bytes]) -> list[int | None]:
        """Newest pid of each id, staged changes included."""
        found = self.state.engine.get_many(IDS, id_keys)
        pids = [None if value is None else keys.pid_from_value(value) for value in found]
        if self.pids:
            staged = self.pids
            pids = [staged.get(key, pid) for key, pid in zip(id_keys, pids, strict=True)]
        return pids

    def _expired(self, pid: int) -> bool:
        record = self.state.engine.get(POINTS, keys.pid_key(self.state.number, pid))
        expires_ms = decode_point(record)[2] if record else NEVER
        return expires_ms != NEVER and expires_ms <= now_ms()

    def _forget(self, id_key: bytes, pid: int) -> None:
        self.batch.delete(IDS, id_key)
        self.pids[id_key] = None
        self._kill(pid)

    def _kill(self, pid: int) -> None:
        """End a version. A row that is being sealed at this moment needs its tombstone as much as a sealed one."""
        pid_key = keys.pid_key(self.state.number, pid)
        self.batch.delete(POINTS, pid_key)
        self.batch.put(TOMBSTONES, pid_key, b"")
        if pid > self.state.manifest.sealed_pid:
            self.batch.delete(UNSEALED, pid_key)
        self.dead.append(pid)
