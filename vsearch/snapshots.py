"""Snapshots: a database, or one collection of it, as one file (storage/archive.py), and what is made of such a file.

Taking one, while everybody goes on reading and writing:
1. The cut. With the writers concerned kept out, RocksDB makes a checkpoint and the segments' files get a second name
   (a hard link) in a temporary folder: one instant, held for some milliseconds.
2. A snapshot of one collection holds no byte of others: their keys are deleted from the copy of the engine, every table
   is rewritten, and a checkpoint of that is taken.
3. Segments are compared with their checksums, so that damage is told now and not when the snapshot is needed.
4. The folder is packed into one file, whose checksum is written beside it; then the file gets its name.

Restoring a collection into an open database:
1. The file is unpacked into a temporary folder and verified there, as `check` does.
2. A new number is marked in the manifest as being restored. Segments are linked and keys copied under that number.
3. One batch makes the collection appear, deletes the one that it replaces, and removes the mark.
A marked number that is found at open is removed with all that is under it, so a crash leaves the old or the new.

On disk, beside `segments/`; whatever has a temporary name is removed at open:

    snapshots/all/<name>, snapshots/c<collection number>/<name>       the snapshots
    snapshots/.../<name>.sha256                                       their checksums, as `sha256sum -c` reads them
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import vsearch
from vsearch.check import check_collection
from vsearch.errors import AlreadyExists, Closed, Corruption, NotFound, VSearchError
from vsearch.hits import SnapshotInfo
from vsearch.rewrite import Throttle
from vsearch.state import State
from vsearch.storage import archive, failpoints, files, keys, manifest, stamp
from vsearch.storage.manifest import Manifest
from vsearch.storage.rocks import CACHE_FAMILIES, COLLECTION_FAMILIES, Engine
from vsearch.storage.segments import SegmentStore

FOLDER: Final = "snapshots"
COPY_BATCH_BYTES: Final = 1 << 20  # of keys and values written together: others' writes wait for it some milliseconds
COPY_BYTES_PER_S: Final = 64 << 20  # what RocksDB can compact beside searches
KEY_END: Final = b"\xff" * 16  # above every key of a collection but those of the very last number
TIME_FORMAT: Final = "%Y-%m-%d-%H-%M-%S"
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}-([0-9]{4}(?:-[0-9]{2}){5})-[0-9a-f]{8}\.snapshot")
CHECKSUM_SUFFIX: Final = ".sha256"
HINT: Final = "Use another copy of the snapshot"

Hold = Callable[[], AbstractContextManager[list[Manifest]]]  # keeps out who would change what these manifests describe


class Snapshots:
    """The snapshots of an open database, and the work on them: one snapshot or restore at a time.

    `number`: of the collection, or None for snapshots of everything. Methods raise DurabilityError when the disk
    refuses, and Closed once the database is being closed.
    """

    def __init__(self, path: Path, engine: Engine, store: SegmentStore) -> None:
        self._path = path
        self._root = path / FOLDER
        self._engine = engine
        self._store = store
        self._busy = threading.Lock()
        self._stopping = threading.Event()

    def sweep(self, numbers: Collection[int]) -> None:
        """Remove what a crash has left behind, and snapshots of collections that are gone. Only at open."""
        for number in manifest.restoring(self._engine):
            self._remove_restored(number)
        for entry in files.entries(self._root):
            folder = Path(entry.path)
            gone = re.fullmatch("c[0-9]+", entry.name) and int(entry.name[1:]) not in numbers
            if gone or entry.name.startswith(files.TEMPORARY_PREFIX):
                files.discard(folder)
            elif not folder.is_symlink():
                names = {file.name for file in files.entries(folder)}
                for name in names:
                    if name.endswith(CHECKSUM_SUFFIX) and name.removesuffix(CHECKSUM_SUFFIX) not in names:
                        files.discard(folder / name)

    def stop(self) -> None:
        """Make what is going on give up, and wait until it has."""
        self._stopping.set()
        with self._busy:
            pass

    def create(self, number: int | None, label: str, hold: Hold) -> SnapshotInfo:
        """Take a snapshot and keep it. `label`: what its name begins with.

        Raises NotFound when the collection is deleted meanwhile, Corruption when a file of a segment is damaged.
        """
        label = re.sub("[^A-Za-z0-9_]+", "-", label)[:64].strip("-") or "collection"
        with self._task() as tmp:
            packed = tmp / "packed"
            created_at, checksum = self._take(tmp, number is not None, packed, hold)
            name = f"{label}-{created_at.strftime(TIME_FORMAT)}-{secrets.token_hex(4)}.snapshot"
            path = self._folder(number) / name
            with files.WritableFile(tmp / "checksum") as file:
                file.write(f"{checksum}  {name}\n".encode())
            failpoints.reach(failpoints.SNAPSHOT_PACKED)
            with hold() as manifests:
                if number is not None and [m.number for m in manifests] != [number]:
                    raise NotFound("the collection was deleted while its snapshot was taken")
                files.make_directory(path.parent)
                files.replace(tmp / "checksum", _checksum_file(path))
                files.replace(packed, path)
            return SnapshotInfo(name, path.stat().st_size, created_at, checksum)

    def backup(self, file: Path, overwrite: bool, hold: Hold) -> SnapshotInfo:
        """Take a snapshot straight to a file. Raises AlreadyExists for one that exists, NotFound without its folder."""
        if not file.parent.is_dir():
            raise NotFound(f"there is no folder {file.parent}", "Create it first")
        if not overwrite and os.path.lexists(file):
            raise AlreadyExists(f"{file} exists", "Use another name, or have it overwritten")
        packed = file.with_name(files.TEMPORARY_PREFIX + file.name)
        with self._task() as tmp:
            created_at, checksum = self._take(tmp, False, packed, hold)
            files.replace(packed, file)
        return SnapshotInfo(file.name, file.stat().st_size, created_at, checksum)

    def of(self, number: int | None) -> list[SnapshotInfo]:
        """The snapshots that there are, oldest first."""
        found = []
        for entry in files.entries(self._folder(number)):
            match, path = NAME.fullmatch(entry.name), Path(entry.path)
            with suppress(FileNotFoundError):  # removed meanwhile
                if match and entry.is_file(follow_symlinks=False):
                    checksum, about = _checksum_file(path).read_text().partition(" ")[0], path.stat()
                    created_at = datetime.strptime(match[1], TIME_FORMAT).replace(tzinfo=UTC)
                    info = SnapshotInfo(entry.name, about.st_size, created_at, checksum)
                    found.append((created_at, about.st_mtime_ns, info))
        return [info for *_, info in sorted(found, key=lambda row: row[:2])]

    def path(self, name: str, number: int | None) -> Path:
        """The file of a snapshot. Raises NotFound, also for a name that no snapshot has and for a link."""
        path = self._folder(number) / name if NAME.fullmatch(name) else None
        if path is None or path.is_symlink() or not path.is_file():
            raise NotFound(f"no snapshot named {name!r}", "Database.snapshots lists them")
        return path

    def delete(self, name: str, number: int | None) -> None:
        """Delete a snapshot; whoever reads it meanwhile can read on. Raises NotFound."""
        path = self.path(name, number)
        files.remove_file(path)
        files.remove_file(_checksum_file(path))

    def inherit(self, old: int, new: int) -> None:
        """Let the snapshots of one collection be those of another as well."""
        for entry in files.entries(self._folder(old)):
            with suppress(FileNotFoundError):  # deleted meanwhile
                files.link(Path(entry.path), self._folder(new) / entry.name)
        if self._folder(new).is_dir():
            files.sync_tree(self._folder(new))
            files.sync_directory(self._root)

    def remove_collection(self, number: int) -> None:
        """Delete all snapshots of a collection."""
        if self._folder(number).is_dir():
            files.remove_tree(self._folder(number))

    @contextmanager
    def restored(
        self, file: Path, name: str, source: str | None, lock: AbstractContextManager[Any]
    ) -> Iterator[Manifest]:
        """A collection of a snapshot, copied into this database under the name and a new number: its manifest.

        The block commits the batch that makes it appear and removes its mark (`manifest.remove_restoring`); otherwise
        the copy is removed again. `source`: which collection, where there are several; default: the one of that name.
        `lock`: that of the counter of numbers. Raises NotFound, listing what the file holds; Corruption.
        """
        with self._task() as tmp:
            archive.unpack(file, tmp / "database", self._go_on)
            with _verified(file, tmp / "database", lambda held: [_chosen(file, held, name, source)]) as (engine, found):
                with lock:
                    number = manifest.next_number(self._engine)
                    batch = self._engine.batch()
                    manifest.put_next_number(batch, number + 1)
                    manifest.put_restoring(batch, number)
                    self._engine.commit(batch, sync=True)
                try:
                    self._copy(engine, SegmentStore(tmp / "database", read_only=True), found[0], number)
                    failpoints.reach(failpoints.RESTORE_COPIED)
                    yield replace(found[0], name=name, number=number)
                finally:
                    if self._engine.failed is None and number in manifest.restoring(self._engine):
                        self._remove_restored(number)
                        self._store.remove_collection(number)
                        self.remove_collection(number)

    def _copy(self, engine: Engine, store: SegmentStore, old: Manifest, number: int) -> None:
        """Copy what another database holds of a collection; durable with the next synced commit."""
        for entry in old.segments:
            self._go_on()
            self._store.adopt(store, old.number, entry, number)
        self._store.sync_collection(number)
        prefix, throttle = keys.prefix(number), Throttle(COPY_BYTES_PER_S)
        batch = self._engine.batch()
        manifest.put_last_pid(batch, number, manifest.last_pid(engine, old.number))
        for family in COLLECTION_FAMILIES:
            for key, value in engine.scan(family, keys.prefix(old.number), keys.prefix_end(old.number)):
                batch.put(family, prefix + key[len(prefix) :], value)
                if batch.nbytes >= COPY_BATCH_BYTES:
                    throttle.copied(batch.nbytes)
                    self._go_on()
                    self._engine.commit(batch, sync=False)
                    batch = self._engine.batch()
        self._engine.commit(batch, sync=False)

    def _remove_restored(self, number: int) -> None:
        """Remove the keys of a collection whose restoring came to no end, and then its mark."""
        batch = self._engine.batch()
        batch.delete_collection(number)
        manifest.remove_last_pid(batch, number)
        manifest.remove_restoring(batch, number)
        self._engine.commit(batch, sync=True)

    def _take(self, tmp: Path, alone: bool, packed: Path, hold: Hold) -> tuple[datetime, str]:
        """Write a snapshot to a new file; returns the time of the cut and the checksum. `alone`: of one collection."""
        copy = tmp / "copy"
        self._engine.flush()
        with hold() as manifests:
            created_at = datetime.now(UTC).replace(microsecond=0)  # as names tell it
            self._engine.checkpoint(copy)
            store = SegmentStore(copy)
            for collection in manifests:
                for entry in collection.segments:
                    store.adopt(self._store, collection.number, entry, collection.number)
        failpoints.reach(failpoints.SNAPSHOT_CUT)
        stamp.write(copy)
        if alone:
            copy = _without_others(copy, tmp / "alone", manifests[0])
            store = SegmentStore(copy)
        for collection in manifests:
            for entry in collection.segments:
                self._go_on()
                for problem in store.check(collection.number, entry):
                    message = problem.replace(str(copy), str(self._path))
                    raise Corruption(message, "Run `vsearch check`; an index file is rebuilt when it is searched")
        content = {
            "vsearch": vsearch.__version__,
            "created_at": created_at.isoformat(),
            "holds": "collection" if alone else "database",
            "collections": sorted(collection.name for collection in manifests),
        }
        with files.WritableFile(packed, overwrite=True) as file:
            return created_at, archive.pack(copy, file, content, self._go_on)

    @contextmanager
    def _task(self) -> Iterator[Path]:
        """A folder for temporary files, while nothing else is going on."""
        with self._busy:
            self._go_on()
            folder = self._root / (files.TEMPORARY_PREFIX + secrets.token_hex(8))
            files.make_directory(folder)
            try:
                yield folder
            finally:
                with suppress(VSearchError, OSError):  # the next open sweeps it
                    files.remove_tree(folder)

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise Closed(f"the database {self._path} is being closed", "Open it again with vsearch.open")

    def _folder(self, number: int | None) -> Path:
        return self._root / ("all" if number is None else f"c{number}")


def restore_database(file: Path, directory: Path) -> None:
    """Make a database of a snapshot, in a directory that is missing or empty.

    Everything is checked first, as `check` does; on any error the directory stays as it was. Raises AlreadyExists when
    it holds something, Corruption when the file is damaged, UnsupportedFormat when only a newer release reads it.
    """
    file, directory = Path(file), Path(directory).resolve()
    if directory.exists() and not (directory.is_dir() and next(directory.iterdir(), None) is None):
        raise AlreadyExists(f"{directory} is not an empty directory", "Restore into a new one")
    archive.read_head(file)  # before anything is made
    folder = directory.with_name(files.TEMPORARY_PREFIX + directory.name)
    files.make_directory(directory.parent)
    files.remove_tree(folder)  # what an attempt that was killed has left
    try:
        head = archive.unpack(file, folder, lambda: None)
        with _verified(file, folder, lambda held: list(held.values())) as (_, found):
            if head["collections"] != sorted(collection.name for collection in found):
                raise Corruption(f"{file} does not hold the collections that it names", HINT)
        files.sync_tree(folder)
        failpoints.reach(failpoints.RESTORE_UNPACKED)
        files.replace(folder, directory)
    except BaseException:
        with suppress(VSearchError, OSError):
            files.remove_tree(folder)
        raise


@contextmanager
def _verified(
    file: Path, folder: Path, choose: Callable[[dict[str, Manifest]], list[Manifest]]
) -> Iterator[tuple[Engine, list[Manifest]]]:
    """The database that `file` was unpacked to, opened, and the collections of it that were chosen and checked."""
    with _named(file, folder):
        engine = Engine.open(folder, "os")
    with closing(engine):
        with _named(file, folder):
            chosen = choose(manifest.load(engine))
            store = SegmentStore(folder, read_only=True)
            for collection in chosen:
                _check(engine, store, collection)
        yield engine, chosen


def _check(engine: Engine, store: SegmentStore, collection: Manifest) -> None:
    """Raises Corruption for the first of a collection's problems."""
    for problem in check_collection(store, collection, lambda _: State(engine, store, collection)):
        raise Corruption(problem)


@contextmanager
def _named(file: Path, folder: Path) -> Iterator[None]:
    """Whatever is wrong in a folder is damage of the file unpacked there, which may hold anything."""
    try:
        yield
    except (Corruption, ValueError, TypeError, LookupError) as error:
        kind = type(error) if isinstance(error, Corruption) else Corruption
        what = error.message if isinstance(error, VSearchError) else f"{type(error).__name__}: {error}"
        what = what.replace(f"{folder}{os.sep}", "").replace(str(folder), "its database")
        raise kind(f"{file} cannot be restored: {what}", HINT) from error


def _chosen(file: Path, held: dict[str, Manifest], name: str, source: str | None) -> Manifest:
    """The collection to restore."""
    if source is None and len(held) == 1:
        return next(iter(held.values()))
    wanted = name if source is None else source
    if wanted not in held:
        raise NotFound(f"{file} holds no collection {wanted!r}", f"It holds: {', '.join(sorted(held)) or 'none'}")
    return held[wanted]


def _without_others(copy: Path, alone: Path, collection: Manifest) -> Path:
    """Make a database of one collection of a checkpoint, without a byte of any other.

    RocksDB's own manifest names the first and last key of tables, also of those that are gone; it is written anew when
    the database is opened, hence the second opening. A checkpoint has the live tables only.
    """
    with closing(Engine.open(copy, "os")) as engine:
        batch = engine.batch()
        for family in COLLECTION_FAMILIES:
            batch.delete_range(family, b"", keys.prefix(collection.number))
            batch.delete_range(family, keys.prefix_end(collection.number), KEY_END)
        for family in CACHE_FAMILIES:
            batch.delete_range(family, b"", KEY_END)
        manifest.keep_only(batch, engine, collection)
        engine.commit(batch, sync=False)
        engine.compact()
    with closing(Engine.open(copy, "os")) as engine:
        engine.checkpoint(alone)
    stamp.write(alone)
    if (copy / stamp.SEGMENTS_FOLDER).exists():
        files.replace(copy / stamp.SEGMENTS_FOLDER, alone / stamp.SEGMENTS_FOLDER)
    return alone


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM_SUFFIX)
