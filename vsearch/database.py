"""One directory, one database: opening, collections, checking, closing.

On disk: FORMAT and LOCK.vsearch, the engine's files, and `segments/`, a folder for each collection's number.
Opening takes the writer's lock, reads the manifests, removes what no manifest names, and maps files as they are
needed; it rebuilds nothing.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from vsearch.background import Loop
from vsearch.check import check_collection
from vsearch.collection import Collection
from vsearch.errors import AlreadyExists, Closed, Corruption, InvalidArgument, LimitExceeded, NotFound, ReadOnly
from vsearch.maintenance import Maintenance
from vsearch.state import State
from vsearch.storage import keys, manifest
from vsearch.storage.lock import DirectoryLock
from vsearch.storage.manifest import Manifest
from vsearch.storage.rocks import IDS, POINTS, TOMBSTONES, UNSEALED, Engine
from vsearch.storage.segments import SegmentStore
from vsearch.types import MAX_FIELDS, MAX_NAME_LENGTH, Dense, Durability
from vsearch.writer import Writer

T = TypeVar("T")

CLOSE_SEAL_ROWS: Final = 2_048  # with more unsealed rows than this, closing seals them: the next open is quick
CATCH_UP_ATTEMPTS: Final = 8  # a reader that keeps meeting removed files gives up after these
CATCH_UP_PAUSE_S: Final = 0.05
BAD_NAME: Final = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]|^\.{1,2}$|^\s|\s$")


class Database:
    """An open database; a context manager. Safe to use from many threads."""

    def __init__(self, path: str | Path, durability: Durability = "sync", read_only: bool = False) -> None:
        if durability not in ("sync", "os"):
            raise InvalidArgument(f"unknown durability {durability!r}", 'Use "sync" or "os"')
        self.path = Path(path)
        self.read_only = read_only
        self._guard = threading.RLock()
        self._closed = False
        self._collections: dict[str, Collection] = {}
        self._lock = DirectoryLock(self.path)
        if not read_only:
            self._lock.acquire()
        opened = ExitStack()
        opened.callback(self._lock.release)
        with opened:
            self._engine = Engine.open(self.path, durability, read_only)
            opened.callback(self._engine.close)
            self._manifests = manifest.load(self._engine)
            self._store = SegmentStore(self.path, read_only)
            if not read_only:
                self._store.sweep({m.number: {e.name: e.files for e in m.segments} for m in self._manifests.values()})
            opened.pop_all()  # all went well: they stay open until close
        self._seal = Loop("vsearch-seal", lambda: self._work(Maintenance.seal))
        self._reshape = Loop("vsearch-reshape", lambda: self._work(Maintenance.reshape))

    def create_collection(self, name: str, fields: Mapping[str, Dense]) -> Collection:
        """Create an empty collection.

        Raises InvalidArgument for a bad name or field, AlreadyExists, ReadOnly.
        """
        _check_name("collection", name)
        if not isinstance(fields, Mapping) or not fields:
            raise InvalidArgument("a collection needs at least one field", 'Say fields={"dense": vsearch.Dense(384)}')
        if len(fields) > MAX_FIELDS:
            raise LimitExceeded(f"{len(fields)} fields", f"At most {MAX_FIELDS}")
        for field_name, field in fields.items():
            _check_name("field", field_name)
            if not isinstance(field, Dense):
                raise InvalidArgument(f"field {field_name!r} is a {type(field).__name__}", "Use vsearch.Dense(dim)")
        with self._guard:
            self._writable()
            if name in self._manifests:
                raise AlreadyExists(f"a collection named {name!r} exists", "Use db.collection(name), or another name")
            number = manifest.next_number(self._engine)
            specs = {field_name: field.to_dict() for field_name, field in fields.items()}
            new = Manifest(name, number, specs, (), 0, {}, {})
            batch = self._engine.batch()
            manifest.put(batch, new)
            manifest.put_next_number(batch, number + 1)
            self._engine.commit(batch, sync=True)
            self._manifests[name] = new
            return self.collection(name)

    def collection(self, name: str) -> Collection:
        """The collection of that name. Raises NotFound; Corruption when its files are damaged."""
        with self._guard:
            self._open()
            if name not in self._collections:
                state = self._catch_up(lambda: self._state(name)) if self.read_only else self._state(name)
                keep = None if self.read_only else Maintenance(Writer(state, self._seal.wake))
                self._collections[name] = Collection(state, keep, self._wake)
                if not self.read_only:
                    self._wake()
            return self._collections[name]

    def collections(self) -> list[str]:
        """Names of the collections, sorted."""
        self._open()
        return sorted(self._manifests)

    def delete_collection(self, name: str) -> None:
        """Delete a collection and everything in it. Raises NotFound, ReadOnly."""
        with self._guard:
            self._writable()
            docs = self.collection(name)
            keep = docs._maintenance
            assert keep is not None, "bug: a writable database maintains its collections"
            keep.stop_build()
            with keep.writer.turn():
                batch = self._engine.batch()
                manifest.remove(batch, docs._state.manifest)
                start, end = keys.prefix(docs._state.number), keys.prefix_end(docs._state.number)
                for family in (IDS, POINTS, UNSEALED, TOMBSTONES):
                    batch.delete_range(family, start, end)
                self._engine.commit(batch, sync=True)
                docs._state.dropped = True
            del self._manifests[name], self._collections[name]
            self._store.remove_collection(docs._state.number)

    def refresh(self) -> None:
        """Read-only handles: see what the writer has acknowledged until now. Otherwise nothing to do."""
        with self._guard:
            self._open()
            if not self.read_only:
                return
            self._catch_up(self._reload)

    def check(self) -> list[str]:
        """Verify every checksum and that the engine, the segments and the ids agree. Returns the problems found."""
        self._open()
        problems = []
        for name in self.collections():
            problems += check_collection(self._store, self._manifests[name], lambda name: self.collection(name)._state)
        return problems

    def stats(self) -> dict[str, Any]:
        """Sizes of the whole, and `stats()` of each collection."""
        self._open()
        return {
            "path": str(self.path),
            "disk_bytes": self._engine.disk_bytes()
            + sum(self._store.disk_bytes(m.number) for m in self._manifests.values()),
            "engine_memory_bytes": self._engine.memory_bytes(),
            "collections": [self.collection(name).stats() for name in self.collections()],
        }

    def close(self) -> None:
        """Stop background work, seal what is worth sealing, release the lock. Closing twice is no error."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            for loop in (self._seal, self._reshape):
                loop.stop()
            for keep in self._kept():
                keep.stop_build()
            for loop in (self._seal, self._reshape):
                loop.join()
            try:
                if not self.read_only and self._engine.failed is None:
                    for keep in self._kept():
                        keep.seal_all(CLOSE_SEAL_ROWS)
                        keep.writer.remove_unseen()
            finally:
                for docs in self._collections.values():
                    docs._close()
                self._engine.close()
                self._lock.release()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _state(self, name: str) -> State:
        if name not in self._manifests:
            raise NotFound(
                f"no collection named {name!r}", f"There are: {', '.join(sorted(self._manifests)) or 'none'}"
            )
        return State(self._engine, self._store, self._manifests[name])

    def _reload(self) -> None:
        """Bring every open collection to what the engine shows now."""
        for name, docs in list(self._collections.items()):
            new = self._manifests.get(name)
            if new is None or new.number != docs._state.number:
                docs._state.dropped = True
                del self._collections[name]
            else:
                docs._state.load(new)

    def _catch_up(self, load: Callable[[], T]) -> T:
        """Follow the writer, then load. Files that the writer removes in between make it follow again."""
        for attempt in range(1, CATCH_UP_ATTEMPTS + 1):
            self._engine.refresh()
            self._manifests = manifest.load(self._engine)
            try:
                return load()
            except Corruption:
                if attempt == CATCH_UP_ATTEMPTS:
                    raise
                time.sleep(CATCH_UP_PAUSE_S)
        raise AssertionError("bug: the last attempt returns or raises")

    def _kept(self) -> Iterable[Maintenance]:
        return [docs._maintenance for docs in list(self._collections.values()) if docs._maintenance is not None]

    def _work(self, task: Any) -> bool:
        done = [task(keep) for keep in self._kept()]  # a turn for each collection, even when the first has much to do
        return any(done)

    def _wake(self) -> None:
        self._seal.wake()
        self._reshape.wake()

    def _open(self) -> None:
        if self._closed:
            raise Closed(f"the database {self.path} is closed", "Open it again with vsearch.open")

    def _writable(self) -> None:
        self._open()
        if self.read_only:
            raise ReadOnly("the database is open read-only", "Open it without read_only=True in one process")


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"the {what} name is {name!r}", "Use a string of at least one character")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidArgument(f"the {what} name has {len(name)} characters", f"Use at most {MAX_NAME_LENGTH}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"the {what} name {name!r} is not valid Unicode", "Remove lone surrogates") from None
    if BAD_NAME.search(name):
        raise InvalidArgument(
            f"the {what} name {name!r} holds characters of paths or control characters",
            'Avoid / \\ : * ? " < > | and edge spaces',
        )
