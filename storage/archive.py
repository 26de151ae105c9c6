"""A database directory as one file: a plain tar, which any tool can list and unpack.

Its entries, all of them regular files:

    snapshot.json        the format's version, the names of the collections, and whatever else the caller says
    FORMAT, CURRENT, MANIFEST-*, OPTIONS-*, *.sst, *.log, segments/<number>/<segment>/<file> ...
    checksums.json       the xxh3 (16 hex digits) of every file before, by name

1. `pack` writes them in this order and in pieces. Nothing is compressed: vectors would not get smaller.
2. `unpack` believes nothing: an entry of another type, an unknown or repeated name, a size beyond the end of the file,
   a byte that does not match its checksum and a missing end are each a Corruption error that names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import xxhash

from vsearch.errors import Corruption, InvalidArgument, UnsupportedFormat

from . import files
from .segments import NAME, NUMBER
from .stamp import FORMAT_FILE, SEGMENTS_FOLDER

VERSION: Final = 1
_HEAD: Final = "snapshot.json"
_CHECKSUMS: Final = "checksums.json"
_MAX_JSON_BYTES: Final = 64 << 20  # of these two, which are read whole: some hundred thousand names
_END: Final = bytes(2 * tarfile.BLOCKSIZE)
_ROCKS: Final = r"CURRENT|IDENTITY|MANIFEST-[0-9]{1,20}|OPTIONS-[0-9]{1,20}|[0-9]{1,20}\.(?:sst|log)"
_SEGMENTS: Final = rf"{SEGMENTS_FOLDER}/(?:{NUMBER.pattern})/{NAME.pattern}/{NAME.pattern}"
_LAYOUT: Final = re.compile(rf"{FORMAT_FILE}|{_ROCKS}|{_SEGMENTS}")
_HINT: Final = "Use another copy of the snapshot"


def pack(folder: Path, file: files.WritableFile, content: dict[str, Any], check: Callable[[], None]) -> str:
    """Writes the database in a folder to a file; returns the SHA-256 of all its bytes, hex.

    `content`: what the head says besides the version. `check` is called between pieces and may raise to stop.
    """
    tar = _Writer(file, check)
    tar.add_json(_HEAD, {"version": VERSION, **content})
    for path in sorted(folder.rglob("*")):
        if _LAYOUT.fullmatch(name := path.relative_to(folder).as_posix()):
            tar.add(name, path.stat().st_size, _pieces(path))
    tar.add_json(_CHECKSUMS, dict(tar.checksums))
    return tar.end()


def read_head(path: Path) -> dict[str, Any]:
    """What the head of a snapshot says.

    Raises Corruption for a file that is no snapshot, UnsupportedFormat for one that only a newer release reads,
    InvalidArgument for a file that cannot be opened.
    """
    with _opened(path) as file:
        return _head(_Reader(path, file))


def unpack(path: Path, folder: Path, check: Callable[[], None]) -> dict[str, Any]:
    """Writes the files of a snapshot into a new folder, synced, and returns what its head says.

    `check` is called between pieces and may raise to stop. Raises as `read_head` does, and DurabilityError when the
    disk refuses; the folder is then the caller's to remove.
    """
    with _opened(path) as file:
        tar = _Reader(path, file)
        head = _head(tar)
        while (name := tar.next()) != _CHECKSUMS:
            if not _LAYOUT.fullmatch(name):
                raise tar.damaged(f"it has an entry {name[:200]!r}, which no snapshot has")
            files.make_directory((folder / name).parent)
            with files.WritableFile(folder / name) as copy:
                for piece in tar.pieces():
                    check()
                    copy.write(piece)
        expected = dict(tar.checksums)
        if tar.json() != expected:
            raise tar.damaged("its files do not match their checksums")
        if file.read(len(_END) + 1) != _END:
            raise tar.damaged("its end is missing, or something follows it")
        if not {FORMAT_FILE, "CURRENT"} <= expected.keys():
            raise tar.damaged("it holds no database")
    files.sync_tree(folder)
    return head


def _head(tar: _Reader) -> dict[str, Any]:
    if tar.next() != _HEAD:
        raise tar.damaged(f"it does not start with {_HEAD}")
    head = tar.json()
    if not isinstance(head, dict) or type(head.get("version")) is not int:
        raise tar.damaged(f"its {_HEAD} has no version")
    if head["version"] > VERSION:
        message = f"{tar.path} has format {head['version']}, this release reads {VERSION}"
        raise UnsupportedFormat(message, "Restore it with the release that wrote it, or a newer one")
    names = head.get("collections")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise tar.damaged(f"its {_HEAD} does not say what it holds")
    return head


def _opened(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror or error}") from error


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(files.COPY_BYTES):
            yield piece


class _Writer:
    """Writes entries one after the other."""

    def __init__(self, file: files.WritableFile, check: Callable[[], None]) -> None:
        self.checksums: dict[str, str] = {}
        self._file = file
        self._check = check
        self._time_s = int(time.time())
        self._sha256 = hashlib.sha256()

    def add(self, name: str, nbytes: int, pieces: Iterable[bytes]) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime = nbytes, self._time_s
        header = entry.tobuf(tarfile.GNU_FORMAT)  # which has no limit of 8 GiB for a file
        assert len(header) == tarfile.BLOCKSIZE, f"bug: {name} is too long for a plain entry"
        self._write(header)
        end, digest = self._file.position + nbytes, xxhash.xxh3_64()
        for piece in pieces:
            self._check()
            digest.update(piece)
            self._write(piece)
        assert self._file.position == end, f"bug: {name} changed while it was read"
        self._write(bytes(-nbytes % tarfile.BLOCKSIZE))
        self.checksums[name] = digest.hexdigest()

    def add_json(self, name: str, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.add(name, len(data), [data])

    def end(self) -> str:
        self._write(_END)
        return self._sha256.hexdigest()

    def _write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._file.write(data)


class _Reader:
    """Reads entries one after the other; `checksums` are those of what was read, by name."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.checksums: dict[str, str] = {}
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._name = ""
        self._nbytes = 0  # of the current entry

    def next(self) -> str:
        """Goes to the next entry, the one before being read; returns its name."""
        try:
            entry = tarfile.TarInfo.frombuf(self._file.read(tarfile.BLOCKSIZE), "ascii", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self.damaged(f"after {self._name or 'its start'}: {error}") from None
        self._name, self._nbytes = entry.name, entry.size
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise self.damaged(f"its entry {entry.name[:200]!r} is not a plain file")
        if entry.name in self.checksums:
            raise self.damaged(f"it has two entries {entry.name[:200]!r}")
        if not 0 <= entry.size <= self._size - self._file.tell():
            raise self.damaged(f"its entry {entry.name[:200]!r} is said to have {entry.size} bytes")
        return entry.name

    def pieces(self) -> Iterator[bytes]:
        """The content of the current entry."""
        left, digest = self._nbytes, xxhash.xxh3_64()
        while left:
            piece = self._file.read(min(left, files.COPY_BYTES))
            if not piece:
                raise self.damaged(f"it ends within {self._name[:200]!r}")
            digest.update(piece)
            left -= len(piece)
            yield piece
        self._file.seek(-self._nbytes % tarfile.BLOCKSIZE, os.SEEK_CUR)
        self.checksums[self._name] = digest.hexdigest()

    def json(self) -> Any:
        """The current entry as JSON."""
        if self._nbytes > _MAX_JSON_BYTES:
            raise self.damaged(f"its {self._name} has {self._nbytes} bytes")
        try:
            return json.loads(b"".join(self.pieces()))
        except (ValueError, RecursionError) as error:
            raise self.damaged(f"its {self._name} cannot be read: {error}") from None

    def damaged(self, what: str) -> Corruption:
        return Corruption(f"{self.path} is not a whole snapshot: {what}", _HINT)
