"""Files and folders that survive power loss; the only module that opens a file for writing.

A file survives when its bytes are synced, its folder's entry is synced, and in that order. So:
1. New content goes to a temporary name and is synced (`WritableFile.close`).
2. `replace` renames it over the final name, then syncs the folder: readers see the old content or the new.
3. `make_directory` syncs each new folder into its parent.

When the operating system refuses (disk full, read-only, I/O error) the error is a DurabilityError that names the path.
After a failed fsync nothing more is tried with that file: the kernel may have dropped the pages it could not write.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, Final

import xxhash

from vsearch.errors import Corruption, DurabilityError

from . import failpoints

TEMPORARY_PREFIX: Final = ".tmp-"  # what starts with it was never finished and may be removed when nobody is writing
SPOOL_PREFIX: Final = TEMPORARY_PREFIX + "spool-"
DAMAGED_HINT: Final = "An index file can be rebuilt from its vectors; restore any other file from a backup"
_WRITE_BUFFER_BYTES: Final = 1 << 20  # gathers many small arrays into few system calls
COPY_BYTES: Final = 1 << 20  # read at a time where a file is read from front to back
_HASH_CHUNK_BYTES: Final = 16 << 20

_NO_LINKS: Final = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

_HINTS: Final = {
    errno.ENOSPC: "The disk is full: free space, then reopen the database",
    errno.EDQUOT: "The disk quota is used up: free space, then reopen the database",
    errno.EROFS: "The file system is read-only: remount it for writing, or open with read_only=True",
    errno.EIO: "The disk reports an error: look at the system's log, and check the database before writing again",
    errno.EACCES: "Give this user write permission on the directory, or open with read_only=True",
    errno.EPERM: "Give this user write permission on the directory, or open with read_only=True",
    errno.EMFILE: "This process has too many open files: raise the limit (ulimit -n)",
}


def hint_for(code: int | None) -> str:
    """What to do about an errno value."""
    return _HINTS.get(code or 0, "Find out why the operating system refused, then reopen the database")


@contextmanager
def _durable(path: Path, action: str) -> Iterator[None]:
    """Turns the operating system's refusals into DurabilityError; absent and existing files remain what they are."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, NotADirectoryError):
        raise
    except OSError as error:
        raise DurabilityError(f"cannot {action} {path}: {error.strerror or error}", hint_for(error.errno)) from error


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":  # there fsync leaves the bytes in the drive's cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Makes the entries of a folder durable: names created, renamed or removed in it."""
    with _durable(path, "sync the folder"):
        failpoints.reach(failpoints.DIRECTORY_SYNC_BEFORE)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)
        failpoints.reach(failpoints.DIRECTORY_SYNC_AFTER)


def make_directory(path: Path) -> None:
    """Creates a folder and its missing parents, each synced into its own parent; an existing folder is fine."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with _durable(path, "create the folder"):
        path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def replace(tmp: Path, final: Path) -> None:
    """Renames a synced file or folder to its final name and makes the name durable. Readers see the old or the new."""
    with _durable(final, "rename to"):
        failpoints.reach(failpoints.RENAME_BEFORE)
        os.replace(tmp, final)
        failpoints.reach(failpoints.RENAME_AFTER)
    sync_directory(final.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Gives a small file new content, durably; after a crash it has the old content or the new."""
    tmp = path.with_name(TEMPORARY_PREFIX + path.name)
    with WritableFile(tmp, overwrite=True) as file:
        file.write(data)
    replace(tmp, path)


def remove_file(path: Path) -> None:
    """Removes a file or a symbolic link durably; an absent one is fine."""
    with _durable(path, "remove"):
        failpoints.reach(failpoints.REMOVE_BEFORE)
        path.unlink(missing_ok=True)
        failpoints.reach(failpoints.REMOVE_AFTER)
    sync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Removes a folder and all in it durably; an absent one is fine. Symbolic links are removed, never followed."""
    with _durable(path, "remove"):
        failpoints.reach(failpoints.REMOVE_BEFORE)
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
        failpoints.reach(failpoints.REMOVE_AFTER)
    sync_directory(path.parent)


def link(source: Path, target: Path) -> None:
    """Gives a file a second name, in a folder that is made when it is missing; copies it where there are no hard links.

    Names are not synced: see `sync_tree`. Raises FileNotFoundError, FileExistsError, DurabilityError.
    """
    with _durable(target, "link"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with open(source, "rb") as original, WritableFile(target) as copy:
                while piece := original.read(COPY_BYTES):
                    copy.write(piece)


def sync_tree(path: Path) -> None:
    """Makes all names in a folder, and in the folders within it, durable."""
    for folder, _, _ in os.walk(path):
        sync_directory(Path(folder))


def discard(path: Path) -> None:
    """Removes whatever has this name: a folder and all in it, a file, or a symbolic link."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        remove_file(path)


def entries(path: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing for one that is missing."""
    if not path.is_dir():
        return []
    with os.scandir(path) as found:
        return sorted(found, key=lambda entry: entry.name)


def open_descriptor(path: Path) -> int:
    """Opens a file for reading and writing, creating it; the caller closes the descriptor. For lock files."""
    with _durable(path, "open"):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


class Spool:
    """A temporary file being filled: never synced, since nobody looks for it after a crash."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self.nbytes = 0
        self._file = file

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        with _durable(self.path, "write"):
            self._file.write(data)
        self.nbytes += len(data)

    def flush(self) -> None:
        """Lets others read what was written, under `path`."""
        with _durable(self.path, "write"):
            self._file.flush()


@contextmanager
def spool(folder: Path) -> Iterator[Spool]:
    """A temporary file in a folder, removed at the end. Raises DurabilityError when the disk refuses."""
    with ExitStack() as opened:
        with _durable(folder, "create a file in"):
            file = opened.enter_context(NamedTemporaryFile(prefix=SPOOL_PREFIX, dir=folder))
        yield Spool(Path(file.name), file)


def sweep_spools(folder: Path) -> None:
    """Removes the temporary files that a killed process left behind; only while nobody else has any there."""
    for path in folder.glob(f"{SPOOL_PREFIX}*"):
        remove_file(path)


def map_file(path: Path) -> Any:
    """The bytes of a file as a read-only memory map, which lives as long as a view of it; b"" for an empty file.

    Raises Corruption, naming the file, when it is missing or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return b""  # which cannot be mapped
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise Corruption(f"{path} is missing", DAMAGED_HINT) from None
    except (OSError, ValueError) as error:
        raise Corruption(f"{path} cannot be read: {error}", DAMAGED_HINT) from error


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Replaces bytes of a file in place, from byte `at` on, synced. Raises DurabilityError when the disk refuses."""
    with _durable(path, "write"), open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def digest(data: Any) -> int:
    """xxh3 (64 bits) of a buffer, in pieces: other threads run meanwhile, and Ctrl-C is heard."""
    whole = memoryview(data)
    state = xxhash.xxh3_64()
    for start in range(0, len(whole), _HASH_CHUNK_BYTES):
        state.update(whole[start : start + _HASH_CHUNK_BYTES])
    value: int = state.intdigest()
    return value


class WritableFile:
    """A new file, written once from front to back; `write_at` fills in a header afterwards. Closing it syncs it.

    As a context manager it is closed at the end, or removed when the block raises. Raises FileExistsError for a path
    that exists unless `overwrite`, and DurabilityError when the operating system refuses.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        self.path = path
        self.position = 0  # bytes written so far; the next `write` lands here
        with _durable(path, "create"):
            self._file = open(path, "wb" if overwrite else "xb", buffering=_WRITE_BUFFER_BYTES)  # noqa: SIM115

    def write(self, buffer: Any) -> None:
        """Appends the bytes of any contiguous buffer."""
        data = memoryview(buffer)
        with _durable(self.path, "write"):
            failpoints.reach(failpoints.FILE_WRITE)
            self._file.write(data)
        self.position += data.nbytes

    def write_at(self, offset: int, buffer: Any) -> None:
        """Overwrites bytes that were written before; the position of `write` stays where it is."""
        data = memoryview(buffer)
        assert offset + data.nbytes <= self.position, "bug: write_at is for bytes written before"
        with _durable(self.path, "write"):
            failpoints.reach(failpoints.FILE_WRITE)
            self._file.seek(offset)
            self._file.write(data)
            self._file.seek(self.position)

    def close(self) -> None:
        """Syncs the bytes to disk and closes; the name becomes durable with `sync_directory` or `replace`."""
        if self._file.closed:
            return
        try:
            with _durable(self.path, "sync"):
                self._file.flush()
                failpoints.reach(failpoints.FILE_SYNC_BEFORE)
                _sync(self._file.fileno())
                failpoints.reach(failpoints.FILE_SYNC_AFTER)
        finally:
            self._shut()

    def abandon(self) -> None:
        """Closes without syncing and removes the file."""
        self._shut()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _shut(self) -> None:
        with suppress(OSError):  # closing flushes, and fails again after a failed write
            self._file.close()

    def __enter__(self) -> WritableFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.abandon()
            return
        try:
            self.close()
        except BaseException:
            self.abandon()
            raise
