"""The engine: one RocksDB in the database's directory, the commit point of everything.

1. `Engine.open` checks the directory's stamp (stamp.py), then opens RocksDB beside it with the options of tuning.py.
2. Writers fill a `Batch` and `commit` it. RocksDB appends the batch to its log as one record, so that a crash leaves
   all of it or nothing, and then the log is synced. The two steps are separate calls because the binding holds Python's
   global lock while it writes, but not while it syncs: searches go on during the disk's milliseconds.
3. When either step fails nobody knows what the disk holds. The commit raises DurabilityError, and all later ones raise
   ReadOnly: a second fsync after a failed one may report success for bytes that the kernel has dropped.
4. A read-only engine is a RocksDB secondary (mirror.py); `refresh` lets it read on in the writer's log.

Invariants:
- Only attributes refer to RocksDB handles, never a local that a traceback could keep: RocksDB holds its lock file, and
  the database cannot be opened again in this process, until the last handle and iterator is gone.
- A commit is visible to `get` from its first step on; whoever needs only durable rows waits for `commit` to return.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from rocksdict import (
    BottommostLevelCompaction,
    Cache,
    Checkpoint,
    ColumnFamily,
    CompactOptions,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from vsearch.errors import DurabilityError, InvalidArgument, NotFound, ReadOnly, VSearchError
from vsearch.types import Durability

from . import failpoints, files, keys, logs, stamp, tuning
from .calls import Calls, refusal, translate
from .cursor import Cursor, rows_of
from .mirror import Mirror, belongs, size_of
from .snapshot import Snapshot
from .tuning import (
    CACHE_ANSWERS,
    CACHE_ENTRIES,
    CACHE_FAMILIES,
    CACHE_LEARNED,
    CACHE_SOURCES,
    FAMILIES,
    IDS,
    MANIFEST,
    POINTS,
    TOMBSTONES,
    UNSEALED,
)

__all__ = [
    "CACHE_ANSWERS",
    "CACHE_ENTRIES",
    "CACHE_FAMILIES",
    "CACHE_LEARNED",
    "CACHE_SOURCES",
    "COLLECTION_FAMILIES",
    "FAMILIES",
    "IDS",
    "MANIFEST",
    "POINTS",
    "TOMBSTONES",
    "UNSEALED",
    "Batch",
    "Engine",
]

COLLECTION_FAMILIES: Final = (IDS, POINTS, UNSEALED, TOMBSTONES)  # whose keys begin with a collection's number

_MULTI_GET_KEYS: Final = 16  # from here on one multi-get beats single gets, and it lets other threads run meanwhile


class Batch:
    """Changes that are committed together or not at all. Filled by one thread; committed once."""

    def __init__(self, handles: Mapping[str, ColumnFamily], calls: Calls) -> None:
        self._handles = handles  # the engine's own mapping, emptied when it closes
        self._calls = calls
        self._count = 0
        self.writes: WriteBatch | None = WriteBatch(raw_mode=True)

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Stores a value under a key, instead of any value there."""
        self._open().put(key, value, self._handles[family])

    def put_all(self, family: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Stores many values under their keys."""
        put, handle, count = self._open().put, self._handles[family], 0
        for key, value in rows:
            put(key, value, handle)
            count += 1
        self._count += count - 1  # _open has counted one

    def delete(self, family: str, key: bytes) -> None:
        """Removes a key; an absent one is fine."""
        self._open().delete(key, self._handles[family])

    def delete_range(self, family: str, start: bytes, end: bytes) -> None:
        """Removes every key from `start` to just before `end`."""
        if start < end:  # RocksDB refuses the whole batch for a range that ends before it starts
            self._open().delete_range(start, end, self._handles[family])

    def delete_collection(self, number: int) -> None:
        """Removes every key of a collection; its manifest is not among them."""
        for family in COLLECTION_FAMILIES:
            self.delete_range(family, keys.prefix(number), keys.prefix_end(number))

    def delete_cache(self, number: int) -> None:
        """Removes every entry of a cache; what names their sources is the caller's to remove."""
        for family in (CACHE_ENTRIES, CACHE_ANSWERS, CACHE_LEARNED):
            self.delete_range(family, keys.prefix(number), keys.prefix_end(number))

    def __len__(self) -> int:
        """Changes put in so far."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values, about: what the commit adds to the log."""
        return 0 if self.writes is None else self.writes.size_in_bytes()

    def _open(self) -> WriteBatch:
        self._calls.check()
        assert self.writes is not None, "bug: a batch is committed once"
        self._count += 1
        return self.writes


class Engine:
    """Families of sorted keys and values in one directory. All methods may be called from many threads.

    Every method raises Closed after `close`, and Corruption when RocksDB finds stored bytes damaged. Ranges of keys are
    from `start` to just before `end`.
    """

    def __init__(self, path: Path, durability: Durability, read_only: bool, cache_bytes: int) -> None:
        """Use `Engine.open`."""
        self.path = path
        self.durability = durability
        self.read_only = read_only
        self.failed: str | None = None  # why no more writes are taken
        self._cache = Cache(cache_bytes)
        self._commit_lock = threading.Lock()
        self._calls = Calls(path)
        self._mirror: Mirror | None = None
        self._families: dict[str, Rdict] = {}
        self._handles: dict[str, ColumnFamily] = {}
        self._db: Rdict | None = None

    @classmethod
    def open(
        cls, path: Path, durability: Durability = "sync", read_only: bool = False, cache_bytes: int = 32 << 20
    ) -> Engine:
        """Opens the database in a directory; a missing or empty one becomes a new database unless `read_only`.

        `durability`: whether `commit` syncs the log ("sync") or leaves that to the operating system ("os").
        `cache_bytes`: memory for blocks read from table files, shared by all families.

        Raises NotFound when there is no database, Locked when another process or engine has it open for writing,
        Corruption or UnsupportedFormat when it cannot be read, DurabilityError when the operating system refuses.
        """
        if durability not in ("sync", "os"):
            raise InvalidArgument(f"unknown durability {durability!r}", "Use sync or os")
        if not stamp.is_database(path):
            if read_only:
                raise NotFound(f"there is no database in {path}", "Open it without read_only=True to create one")
            stamp.write(path)
        engine = cls(path, durability, read_only, cache_bytes)
        try:
            engine._connect()
        except BaseException:
            engine.close()
            raise
        return engine

    def _connect(self) -> None:
        options = {family: tuning.family_options(family, self._cache) for family in FAMILIES}
        try:
            if self.read_only:
                logs.check(self.path)
                self._mirror = Mirror(self.path, options)
                self._attach(self._mirror.follow(None))
            else:
                logs.disarm(self.path)
                self._attach(Rdict(str(self.path), tuning.database_options(False), options))
        except VSearchError:
            raise
        except Exception as error:
            raise translate(error, self.path) from error

    def _attach(self, db: Rdict) -> None:
        self._db = db
        absent = self._mirror.absent if self._mirror is not None else ()
        names = {family: tuning.EMPTY if family in absent else family for family in FAMILIES}
        self._families.update((family, db.get_column_family(name)) for family, name in names.items())
        self._handles.update((family, db.get_column_family_handle(name)) for family, name in names.items())

    def batch(self) -> Batch:
        """A new, empty batch."""
        self._calls.check()
        return Batch(self._handles, self._calls)

    def commit(self, batch: Batch, sync: bool | None = None) -> None:
        """Stores a batch, all of it or nothing, and returns when it is as durable as asked.

        `sync` overrides the engine's durability; a synced commit makes every earlier one durable as well, so several
        batches can share one sync. An empty batch stores nothing but still syncs.

        Raises ReadOnly for a read-only engine or after a failed commit, and DurabilityError when this one fails: it may
        then be there or not when the database is opened again.
        """
        if self.read_only:
            raise ReadOnly(f"database {self.path} is open read-only", "Open it without read_only=True")
        with self._commit_lock, self._calls:
            if self.failed is not None:
                message = f"database {self.path} takes no writes since one failed: {self.failed}"
                raise ReadOnly(message, "Mend the cause, then close and open the database")
            assert self._db is not None, "bug: not connected"
            assert batch.writes is not None, "bug: a batch is committed once"
            writes, batch.writes = batch.writes, None
            try:
                failpoints.reach(failpoints.COMMIT_BEFORE)
                if len(batch):
                    self._db.write(writes, _unsynced())
                failpoints.reach(failpoints.COMMIT_WRITTEN)
                if self.durability == "sync" if sync is None else sync:
                    self._db.flush_wal(True)
                failpoints.reach(failpoints.COMMIT_AFTER)
            except Exception as error:
                self.failed = " ".join(str(error).split())
                code = error.errno if isinstance(error, OSError) else refusal(self.failed)
                message = f"database {self.path} could not store a write: {self.failed}"
                raise DurabilityError(message, files.hint_for(code)) from error
            except BaseException:
                self.failed = "it was interrupted"
                raise

    def get(self, family: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        with self._calls:
            return self._families[family].get(key)

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, or None, in the order of the keys."""
        with self._calls:
            if len(keys) < _MULTI_GET_KEYS:
                return [self._families[family].get(key) for key in keys]
            return self._families[family].get(list(keys))  # type: ignore[return-value]

    def scan(self, family: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The keys of a range in order, with their values, as they were when `scan` was called.

        Holds on to that state until it is exhausted, closed or dropped.
        """
        with self._calls:
            cursor = Cursor(self._calls, self._families[family].iter(), start, end)
            cursor.seek()
        return rows_of(cursor)

    def last_key(self, family: str, start: bytes, end: bytes) -> bytes | None:
        """The highest key of a range, or None."""
        with self._calls:
            return Cursor(self._calls, self._families[family].iter(), start, end).last()

    def snapshot(self) -> Snapshot:
        """The families as they are now, for readers that must not see later commits. (A read-only engine's is not
        isolated from `refresh`.)"""
        with self._calls:
            taken = Snapshot(self._calls, {name: family.snapshot() for name, family in self._families.items()})
            self._calls.lend(taken)
        return taken

    def refresh(self) -> None:
        """Lets a read-only engine see what the writer has committed since; for a writer, nothing."""
        with self._commit_lock, self._calls:
            if self._mirror is None:
                return
            try:
                db = self._mirror.follow(self._db)
            except OSError as error:
                raise translate(error, self.path) from error
            if db is not self._db:  # scans and snapshots that are under way stay with the one before
                self._attach(db)

    def flush(self) -> None:
        """Writes all that is in memory to table files, so that the log is not needed for it."""
        with self._calls:
            for family in self._families.values():
                family.flush(True)

    def checkpoint(self, path: Path) -> None:
        """Makes a new folder `path`, on the same file system, a copy of what is committed; tables are hard links.

        The copy has an empty log: RocksDB flushes its memory first. The binding holds Python's global lock for all of
        it (150 ms for 40 MB), but not in `flush`, which is therefore called before and leaves a few milliseconds.
        Whoever keeps writers out meanwhile calls `flush` before that too. The copy is not synced, nor is it stamped.
        """
        self.flush()
        with self._calls:
            assert self._db is not None, "bug: not connected"
            Checkpoint(self._db).create_checkpoint(str(path))

    def compact(self) -> None:
        """Rewrites all tables, so that no byte of what was removed is left in them. Other threads run meanwhile."""
        options = CompactOptions()
        options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        self.flush()
        with self._calls:
            for family in self._families.values():
                family.compact_range(None, None, options)

    def close(self) -> None:
        """Waits for calls in other threads, ends open scans and closes RocksDB. Closing again does nothing.

        Raises DurabilityError when RocksDB could not write its buffers to table files; the log still has their content.
        """
        if not self._calls.finish():
            return
        self._handles.clear()
        self._families.clear()
        try:
            if self._db is not None:
                self._db.close()
        except Exception as error:
            if self.failed is None:
                raise translate(error, self.path) from error
        finally:
            self._db = None
            if self._mirror is not None:
                self._mirror.remove()

    def memory_bytes(self) -> dict[str, int]:
        """Bytes of memory by purpose: block_cache, memtables (writes not yet in table files), table_readers."""
        with self._calls:
            return {
                "block_cache": self._cache.get_usage(),
                "memtables": self._sum("rocksdb.cur-size-all-mem-tables"),
                "table_readers": self._sum("rocksdb.estimate-table-readers-mem"),
            }

    def _sum(self, name: str) -> int:
        return sum(family.property_int_value(name) or 0 for family in self._families.values())

    def disk_bytes(self) -> int:
        """Bytes of RocksDB's files, without segments."""
        with self._calls:
            return sum(size_of(self.path / name) for name in os.listdir(self.path) if belongs(name))


def _unsynced() -> WriteOptions:
    options = WriteOptions()
    options.sync = False
    return options
