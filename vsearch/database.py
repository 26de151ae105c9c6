"""One directory, one database: opening, collections, checking, closing.

On disk: FORMAT and LOCK.vsearch, the engine's files, `segments/`, a folder for each collection's number, and
`snapshots/`.
Opening takes the writer's lock, reads the manifests, removes what no manifest names, and maps files as they are
needed; it rebuilds nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from vsearch.aliases import changed as changed_aliases
from vsearch.aliases import no_collection
from vsearch.background import Loop
from vsearch.cache.check import check_caches
from vsearch.cache.opening import Caching
from vsearch.cache.sources import Dependents
from vsearch.check import check_collection
from vsearch.collection import Collection
from vsearch.errors import AlreadyExists, Closed, Corruption, InvalidArgument, ReadOnly
from vsearch.hits import SnapshotInfo
from vsearch.maintenance import Maintenance
from vsearch.names import check_fields, check_name
from vsearch.snapshots import Snapshots
from vsearch.state import State
from vsearch.storage import manifest
from vsearch.storage.lock import DirectoryLock
from vsearch.storage.manifest import Manifest
from vsearch.storage.rocks import Batch, Engine
from vsearch.storage.segments import SegmentStore
from vsearch.types import Durability, Field
from vsearch.writer import Writer

T = TypeVar("T")

CLOSE_SEAL_ROWS: Final = 2_048  # with more unsealed rows than this, closing seals them: the next open is quick
CATCH_UP_ATTEMPTS: Final = 8  # a reader that keeps meeting removed files gives up after these
CATCH_UP_PAUSE_S: Final = 0.05


class Database(Caching):
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
            self._aliases = manifest.load_aliases(self._engine)  # replaced whole: it is read without the guard
            self._dependents = Dependents()
            self._store = SegmentStore(self.path, read_only)
            self._snapshots = Snapshots(self.path, self._engine, self._store)
            if not read_only:
                self._snapshots.sweep([m.number for m in self._manifests.values()])
                self._store.sweep({m.number: {e.name: e.files for e in m.segments} for m in self._manifests.values()})
            self._dependents.load(self._engine)
            opened.pop_all()  # all went well: they stay open until close
        self._seal = Loop("vsearch-seal", lambda: self._work(Maintenance.seal))
        self._reshape = Loop("vsearch-reshape", lambda: self._work(Maintenance.reshape))

    def create_collection(self, name: str, fields: Mapping[str, Field]) -> Collection:
        """Create an empty collection.

        Raises InvalidArgument for a bad name or field, AlreadyExists, ReadOnly.
        """
        check_name("collection", name)
        check_fields(fields)
        with self._guard:
            self._must_be_free(name)
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
        """The collection of that name or alias. Raises NotFound; Corruption when its files are damaged."""
        self._open()
        docs = self._collections.get(self._aliases.get(name, name))
        return self._opened(name) if docs is None else docs

    def collections(self) -> list[str]:
        """Names of the collections, sorted."""
        self._open()
        return sorted(self._manifests)

    def aliases(self) -> dict[str, str]:
        """The collection that each alias stands for, sorted by alias."""
        self._open()
        return dict(sorted(self._aliases.items()))

    def update_aliases(self, changes: Mapping[str, str | None]) -> None:
        """Let each of these aliases stand for a collection from now on, or for none (None): all at once, or nothing.

        Wherever a collection is asked for by name, an alias will do. Answers made from a collection that an alias no
        longer stands for leave the caches. Raises NotFound for a missing collection, AlreadyExists for an alias that is
        the name of one, InvalidArgument for a bad name, ReadOnly.
        """
        with self._guard:
            self._writable()
            batch = self._engine.batch()
            aliases = changed_aliases(batch, self._aliases, changes, self._manifests)
            moved = {name for alias, name in self._aliases.items() if aliases.get(alias) != name}
            with ExitStack() as turns:  # nobody stores an answer made from them meanwhile
                self._take_turns(turns, moved)
                made = self._dependents.of_collections({self._manifests[name].number for name in moved})
                outdated = self._dependents.stage_removal(batch, made)
                self._engine.commit(batch, sync=True)
                self._aliases = aliases
                self._dependents.forget(outdated)

    def delete_collection(self, name: str) -> None:
        """Delete a collection, everything in it, its aliases and its snapshots.

        Raises NotFound, also for an alias, and ReadOnly.
        """
        with self._guard:
            self._writable()
            if name in self._aliases or name not in self._manifests:
                raise no_collection(name, self._aliases, self._manifests)
            batch = self._engine.batch()
            aliases = {alias: target for alias, target in self._aliases.items() if target != name}
            for alias in self._aliases.keys() - aliases.keys():
                manifest.remove_alias(batch, alias)
            self._exchange(name, batch, None)
            self._aliases = aliases

    def create_snapshot(self, collection: str | None = None) -> SnapshotInfo:
        """Take a snapshot of a collection, or of everything, and keep it in the database's directory.

        It shows one instant; reads and writes go on. Deleting a collection deletes its snapshots, replacing it by
        `restore_collection` keeps them. Raises NotFound, ReadOnly, Corruption when a file to be in it is damaged, and
        DurabilityError when the disk refuses.
        """
        self._writable()
        own = None if collection is None else self._manifest(collection).name
        return self._snapshots.create(self._number(own), own or "database", lambda: self._held(own))

    def backup(self, file: str | Path, overwrite: bool = False) -> SnapshotInfo:
        """Take a snapshot of everything straight to a file. Raises as `create_snapshot`, and AlreadyExists."""
        self._writable()
        return self._snapshots.backup(Path(file), overwrite, lambda: self._held(None))

    def snapshots(self, collection: str | None = None) -> list[SnapshotInfo]:
        """The snapshots of a collection, or those of everything, oldest first. Raises NotFound."""
        return self._snapshots.of(self._number(collection))

    def snapshot_path(self, name: str, collection: str | None = None) -> Path:
        """The file of a snapshot. Raises NotFound."""
        return self._snapshots.path(name, self._number(collection))

    def delete_snapshot(self, name: str, collection: str | None = None) -> None:
        """Delete a snapshot. Raises NotFound, ReadOnly."""
        self._writable()
        self._snapshots.delete(name, self._number(collection))

    def restore_collection(
        self, name: str, file: str | Path, replace: bool = False, source: str | None = None
    ) -> Collection:
        """Bring a collection from a snapshot into this database under a name, all of it verified.

        `replace`: in place of one that has the name, at one instant: `collection(name)` gives the old one or the new,
        and afterwards what was got from it before raises NotFound. `source`: which collection of a snapshot of several;
        default: the one called `name`. Raises AlreadyExists, Corruption, UnsupportedFormat, ReadOnly, DurabilityError,
        and NotFound, which lists what the snapshot holds.
        """
        check_name("collection", name)
        with self._guard:
            self._must_be_free(name, replace)
        with self._snapshots.restored(Path(file), name, source, self._guard) as new:
            docs = self._made(State(self._engine, self._store, new, self._dependents))
            with self._guard:
                self._must_be_free(name, replace)
                batch = self._engine.batch()
                manifest.remove_restoring(batch, new.number)
                self._exchange(name, batch, docs)
        self._wake()
        return docs

    @property
    def failed(self) -> str | None:
        """Why no more writes are taken until the database is opened again; None while all is well."""
        return self._engine.failed

    def refresh(self) -> None:
        """Read-only handles: see what the writer has acknowledged until now. Otherwise nothing to do."""
        with self._guard:
            self._open()
            if not self.read_only:
                return
            self._catch_up(self._reload)

    def check(self) -> list[str]:
        """Verify every checksum and that engine, segments, ids and caches agree. Returns the problems found."""
        problems = []
        for name in self.collections():
            problems += check_collection(self._store, self._manifests[name], lambda name: self.collection(name)._state)
        return problems + check_caches(self._engine)

    def stats(self) -> dict[str, Any]:
        """Sizes of the whole, and `stats()` of each collection."""
        self._open()
        return {
            "path": str(self.path),
            "disk_bytes": self._engine.disk_bytes()
            + sum(self._store.disk_bytes(m.number) for m in self._manifests.values()),
            "engine_memory_bytes": self._engine.memory_bytes(),
            "collections": [self.collection(name).stats() for name in self.collections()],
            "caches": [] if self._catalog is None else self._catalog.stats(),
        }

    def close(self) -> None:
        """Stop background work, seal what is worth sealing, release the lock. Closing twice is no error."""
        self._snapshots.stop()
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
                if self._catalog is not None:
                    self._catalog.close()
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

    def _opened(self, name: str) -> Collection:
        """The collection of that name or alias, opened if it is not open yet."""
        with self._guard:
            self._open()
            own = self._aliases.get(name, name)
            if own not in self._collections:
                state = self._catch_up(lambda: self._state(name)) if self.read_only else self._state(name)
                own = state.manifest.name  # perhaps another: the writing process may have changed the alias meanwhile
                self._collections.setdefault(own, self._made(state))
                if not self.read_only:
                    self._wake()
            return self._collections[own]

    def _made(self, state: State) -> Collection:
        keep = None if self.read_only else Maintenance(Writer(state, self._seal.wake))
        return Collection(state, keep, self._wake)

    @contextmanager
    def _held(self, name: str | None) -> Iterator[list[Manifest]]:
        """While nobody writes to the collection of that name (None: to any), or makes or deletes one: its manifest."""
        with self._guard, ExitStack() as turns:
            self._open()
            names = list(self._manifests) if name is None else [self._manifest(name).name]
            self._take_turns(turns, names)
            yield [manifest.load(self._engine)[own] for own in names]

    def _take_turns(self, turns: ExitStack, names: Iterable[str]) -> None:
        """Keep writers out of these collections: by number, so that no two wait for each other."""
        states = [self._collections[name]._state for name in names if name in self._collections]
        for state in sorted(states, key=lambda state: state.number):
            turns.enter_context(state.turn())

    def _exchange(self, name: str, batch: Batch, new: Collection | None) -> None:
        """Commit a batch that deletes the collection of that name, if there is one, and puts `new` in its place."""
        gone, old = self._manifests.get(name), self._collections.get(name)
        with ExitStack() as turn:
            if old is not None and old._maintenance is not None:
                old._maintenance.stop_build()
                with suppress(Corruption):  # then it cannot be searched anyway
                    old._state.open_files()
                turn.enter_context(old._state.turn())
            if gone is not None:
                manifest.remove(batch, gone)
                batch.delete_collection(gone.number)
            if new is not None:
                manifest.put(batch, new._state.manifest)
            made = self._dependents.of_collections(set() if gone is None else {gone.number})
            outdated = self._dependents.stage_removal(batch, made)
            if gone is not None and new is not None:
                self._snapshots.inherit(gone.number, new._state.number)
            self._engine.commit(batch, sync=True)
            if new is None:
                del self._manifests[name]
                self._collections.pop(name, None)
            else:
                self._manifests[name], self._collections[name] = new._state.manifest, new
            if old is not None:
                old._state.dropped = True
            self._dependents.forget(outdated)
        if gone is not None:
            self._store.remove_collection(gone.number)
            self._snapshots.remove_collection(gone.number)

    def _must_be_free(self, name: str, replace: bool = False) -> None:
        """Raises unless a collection may get this name now."""
        self._writable()
        if name in self._manifests and not replace:
            raise AlreadyExists(f"a collection named {name!r} exists", "Use db.collection(name), or another name")
        if name in self._aliases:
            message = f"{name!r} is an alias of the collection {self._aliases[name]!r}"
            raise AlreadyExists(message, "Use another name, or remove the alias")

    def _number(self, name: str | None) -> int | None:
        self._open()
        return None if name is None else self._manifest(name).number

    def _manifest(self, name: str) -> Manifest:
        """That of the collection of that name or alias, as it was when the database or the collection was opened."""
        self._open()
        own = self._aliases.get(name, name)
        if own not in self._manifests:
            raise no_collection(own, self._aliases, self._manifests)
        return self._manifests[own]

    def _state(self, name: str) -> State:
        return State(self._engine, self._store, self._manifest(name), self._dependents)

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
            self._aliases = manifest.load_aliases(self._engine)
            if self._catalog is not None:
                self._catalog.reload()
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
