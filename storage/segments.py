"""Folders of sealed segments: `segments/<collection number>/<segment name>/<files>`.

1. `begin` makes a temporary folder beside the final one; the draft's files are written and synced there.
2. `publish` syncs the folder, renames it to its name and syncs the folders above. Only then may a manifest name it.
3. `add_file` adds one more file to a published segment in the same way: temporary name, sync, rename, sync.
4. What a crash leaves behind is never named by a manifest; `sweep` removes it when the database is opened for writing.

Invariants: files never change once they have their name; every name is checked before it becomes part of a path;
nothing outside `segments/` is ever touched, and symbolic links are not followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from numpy.typing import NDArray

from vsearch.errors import AlreadyExists, Corruption, InvalidArgument, ReadOnly
from vsearch.types import Column

from . import arrayfile, columns, failpoints, files
from .arrayfile import ArrayFile, ArrayFileWriter
from .manifest import FileEntry, SegmentEntry
from .stamp import SEGMENTS_FOLDER

COLUMNS_FILE: Final = "payload.arrow"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")  # of segments and files; so none is hidden or a way out
NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")


class SegmentDraft:
    """A segment being written. A context manager: unless it was published, its files are removed at the end."""

    def __init__(self, folder: Path, final: Path) -> None:
        self._folder = folder
        self._final = final
        self._writers: dict[str, ArrayFileWriter] = {}
        self._entries: dict[str, FileEntry] = {}
        self._open = True

    def arrays(self, file_name: str, kind: str, meta: dict[str, Any]) -> ArrayFileWriter:
        """A new array file of the segment, to be used in a `with` block before `publish`."""
        writer = ArrayFileWriter(self._folder / _checked(file_name), kind, meta)
        self._writers[file_name] = writer
        return writer

    def columns(self, columns_: Sequence[Column], rows: int) -> None:
        """Writes the payload columns of the segment's rows."""
        self._entries[COLUMNS_FILE] = FileEntry(*columns.write(self._folder / COLUMNS_FILE, columns_, rows))

    def publish(self) -> dict[str, FileEntry]:
        """Gives the segment its name, durably; returns its files by name, for the manifest.

        Raises AlreadyExists when there is a segment of that name, DurabilityError.
        """
        assert self._open, "bug: the draft is published or abandoned"
        for file_name, writer in self._writers.items():
            assert writer.checksum, f"bug: {file_name} is not finished"
            self._entries[file_name] = FileEntry(writer.checksum, writer.nbytes)
        if self._final.exists():
            raise AlreadyExists(f"there is a segment {self._final}", "Use a name that was not used before")
        failpoints.reach(failpoints.SEGMENT_PUBLISH_BEFORE)
        files.sync_directory(self._folder)
        files.replace(self._folder, self._final)
        self._open = False
        # An earlier process may have been killed between making these folders and syncing them.
        files.sync_directory(self._final.parent.parent)
        files.sync_directory(self._final.parent.parent.parent)
        failpoints.reach(failpoints.SEGMENT_PUBLISH_AFTER)
        return dict(self._entries)

    def abandon(self) -> None:
        """Removes what was written; nothing after `publish`."""
        if self._open:
            self._open = False
            files.remove_tree(self._folder)

    def __enter__(self) -> SegmentDraft:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.abandon()
            return
        with suppress(Exception):  # the first error is the one to see, and the next open sweeps the folder
            self.abandon()


class SegmentStore:
    """The segment folders of the database in directory `root`. Safe to use from many threads on different segments.

    Methods that write raise ReadOnly in a store opened `read_only`, DurabilityError when the operating system refuses,
    and InvalidArgument for a name that cannot be part of a path.
    """

    def __init__(self, root: Path, read_only: bool = False) -> None:
        self._root = root / SEGMENTS_FOLDER
        self._read_only = read_only

    def begin(self, number: int, name: str) -> SegmentDraft:
        """Starts writing the segment `name` of collection `number`."""
        self._writable()
        final = self._folder(number, name)
        folder = final.with_name(files.TEMPORARY_PREFIX + name)
        files.make_directory(final.parent)
        if folder.exists():  # an attempt that could not be cleaned up
            files.remove_tree(folder)
        files.make_directory(folder)
        return SegmentDraft(folder, final)

    def add_file(
        self,
        number: int,
        name: str,
        file_name: str,
        kind: str,
        meta: dict[str, Any],
        arrays: Mapping[str, NDArray[Any]],
    ) -> FileEntry:
        """Adds an array file to a published segment, or replaces one; readers of the old one keep it."""
        self._writable()
        folder = self._folder(number, name)
        final = folder / _checked(file_name)
        tmp = folder / (files.TEMPORARY_PREFIX + file_name)
        failpoints.reach(failpoints.SEGMENT_ADD_FILE_BEFORE)
        if tmp.exists():
            files.remove_file(tmp)
        with ArrayFileWriter(tmp, kind, meta) as writer:
            for array_name, array in arrays.items():
                writer.add(array_name, array)
        files.replace(tmp, final)
        failpoints.reach(failpoints.SEGMENT_ADD_FILE_AFTER)
        return FileEntry(writer.checksum, writer.nbytes)

    def adopt(self, source: SegmentStore, source_number: int, entry: SegmentEntry, number: int) -> None:
        """Takes over a segment of a store on the same file system, as one of collection `number`, by hard links.

        Nothing is durable before `sync_collection`. Raises Corruption when a file is missing.
        """
        self._writable()
        for file_name in entry.files:
            original = source._folder(source_number, entry.name) / _checked(file_name)
            try:
                files.link(original, self._folder(number, entry.name) / file_name)
            except FileNotFoundError:
                raise Corruption(f"{original} is missing", files.DAMAGED_HINT) from None

    def sync_collection(self, number: int) -> None:
        """Makes the names of all segments of a collection durable."""
        if self._collection(number).is_dir():
            files.sync_tree(self._collection(number))
            files.sync_directory(self._root)
            files.sync_directory(self._root.parent)

    def open_arrays(self, number: int, name: str, file_name: str, kind: str, verify: bool = False) -> ArrayFile:
        """Maps an array file of a segment; `verify` reads and checks all of it. Raises Corruption."""
        return arrayfile.read(self._folder(number, name) / _checked(file_name), kind, verify)

    def open_columns(self, number: int, name: str, checksum: str | None = None) -> list[Column]:
        """Maps the payload columns of a segment; with the entry's checksum, checks all. Raises Corruption."""
        return columns.read(self._folder(number, name) / COLUMNS_FILE, checksum)

    def remove(self, number: int, name: str) -> None:
        """Removes a segment; whoever has mapped its files keeps them."""
        self._writable()
        files.remove_tree(self._folder(number, name))

    def remove_collection(self, number: int) -> None:
        """Removes all segments of a collection."""
        self._writable()
        folder = self._collection(number)
        if folder.is_dir():
            files.remove_tree(folder)

    def sweep(self, live: Mapping[int, Mapping[str, Collection[str]]]) -> list[str]:
        """Removes every folder and file under `segments/` that is not in `live` (number -> segment -> file names).

        Only for the writer, while nobody else writes: at open. Returns the removed paths, relative to `segments/`.
        """
        self._writable()
        removed: list[str] = []
        for collection in files.entries(self._root):
            segments = live.get(int(collection.name)) if NUMBER.fullmatch(collection.name) else None
            if segments is None or not collection.is_dir(follow_symlinks=False):
                removed.append(self._discard(collection))
                continue
            for segment in files.entries(Path(collection.path)):
                if segment.name not in segments or not segment.is_dir(follow_symlinks=False):
                    removed.append(self._discard(segment))
                    continue
                keep = segments[segment.name]
                removed += [self._discard(file) for file in files.entries(Path(segment.path)) if file.name not in keep]
        return removed

    def check(self, number: int, entry: SegmentEntry) -> list[str]:
        """Reads all files of a segment and compares them with their checksums; returns what is wrong with which."""
        problems: list[str] = []
        for file_name, expected in entry.files.items():
            path = self._folder(number, entry.name) / _checked(file_name)
            try:
                actual = _measure(path, file_name, expected)
            except Corruption as error:
                problems.append(error.message)
                continue
            if actual != expected:
                problems.append(
                    f"{path} has {actual.nbytes} bytes and checksum {actual.checksum}, "
                    f"the manifest says {expected.nbytes} and {expected.checksum}"
                )
        return problems

    def disk_bytes(self, number: int) -> int:
        """Bytes of all files of a collection's segments."""
        total = 0
        for folder, _, names in os.walk(self._collection(number)):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except FileNotFoundError:  # removed meanwhile
                    continue
        return total

    def _collection(self, number: int) -> Path:
        return self._root / str(int(number))

    def _folder(self, number: int, name: str) -> Path:
        return self._collection(number) / _checked(name)

    def _writable(self) -> None:
        if self._read_only:
            raise ReadOnly(f"{self._root} is open read-only", "Open the database without read_only=True")

    def _discard(self, entry: os.DirEntry[str]) -> str:
        path = Path(entry.path)
        files.discard(path)
        return str(path.relative_to(self._root))


def _checked(name: str) -> str:
    """A name that is safe as one step of a path."""
    if not NAME.fullmatch(name):
        hint = "Use up to 128 letters, digits, dots, dashes and underscores, a letter or digit first"
        raise InvalidArgument(f"{name!r} cannot name a segment or a file", hint)
    return name


def _measure(path: Path, file_name: str, expected: FileEntry) -> FileEntry:
    """Checksum and length of a file as it is. Raises Corruption when it contradicts itself."""
    if file_name == COLUMNS_FILE:
        columns.read(path, expected.checksum)
        return FileEntry(expected.checksum, path.stat().st_size)
    file = arrayfile.read(path, None, verify=True)
    return FileEntry(file.checksum, file.nbytes)
