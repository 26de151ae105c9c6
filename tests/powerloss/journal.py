"""The journal of a recording: what a program did to the files of one folder, in the order in which it happened.

1. `snapshot` begins a journal: a ROOT record, then records that make up what lies in the folder already, all synced
   and therefore taken as durable, then START.
2. The preloaded library (shim.c) appends a record for each call that changed a file, and one for each
   acknowledgement of the program.
3. `read_journal` gives the records back. A record cut short at the end, where the program was killed, is left out.

Files and folders are named by inode number (`node`). A number is given again only after its file is gone, and a
CREATE or MKDIR record says so; so at each place in the journal a number means one file.

Bytes of a record, little-endian, the same as `struct header` in shim.c: kind u32, flag u32, node u64, parent u64,
to_parent u64, offset u64, length of path u32, length of to_path u32, length of data u64; then path, to_path, data.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_HEADER = struct.Struct("<IIQQQQIIQ")


class Kind(IntEnum):
    """What a record says happened."""

    ROOT = 1  # the recorded folder itself
    CREATE = 2  # a new, empty file
    MKDIR = 3
    LINK = 4  # another name for a file
    WRITE = 5
    TRUNCATE = 6  # the file's size was set: shorter, or longer with zeros
    SYNC = 7  # fsync or fdatasync, of a file or a folder
    RENAME = 8
    UNLINK = 9  # a file's name or an empty folder was removed
    ACK = 10  # the program promised something: `message`
    UNSUPPORTED = 11  # something that a replay would get wrong; `message` says what
    START = 12  # what comes before lay in the folder already


@dataclass(frozen=True, slots=True)
class Record:
    """One event. Paths are relative to the recorded folder and for people; `node` and `parent` are what counts."""

    kind: Kind
    node: int = 0
    path: str = ""
    parent: int = 0  # the folder that holds or held the entry
    to_path: str = ""  # RENAME
    to_parent: int = 0
    offset: int = 0  # of a WRITE; the new size of a TRUNCATE
    data: bytes = b""
    data_only: bool = False  # SYNC: fdatasync

    @property
    def message(self) -> str:
        """What an ACK or UNSUPPORTED record says."""
        return self.data.decode("utf-8")

    def pack(self) -> bytes:
        path, to_path = os.fsencode(self.path), os.fsencode(self.to_path)
        head = (self.kind, self.data_only, self.node, self.parent, self.to_parent, self.offset)
        return _HEADER.pack(*head, len(path), len(to_path), len(self.data)) + path + to_path + self.data


def read_journal(journal: Path) -> Iterator[Record]:
    """The records in their order; an index into them is a place where the power can be cut."""
    content = journal.read_bytes()
    place = 0
    while place + _HEADER.size <= len(content):
        kind, flag, node, parent, to_parent, offset, n_path, n_to_path, n_data = _HEADER.unpack_from(content, place)
        path_end = place + _HEADER.size + n_path
        to_path_end = path_end + n_to_path
        path = os.fsdecode(content[path_end - n_path : path_end])
        to_path = os.fsdecode(content[path_end:to_path_end])
        place = to_path_end + n_data
        if place <= len(content):
            data = content[to_path_end:place]
            yield Record(Kind(kind), node, path, parent, to_path, to_parent, offset, data, bool(flag))


def sync_counts(journal: Path) -> list[int]:
    """How many fsync and fdatasync calls each acknowledgement took: the i-th count is of those between
    acknowledgement i - 1 (or the start) and acknowledgement i; a last one is of those after the last."""
    counts = [0]
    started = False
    for record in read_journal(journal):
        started |= record.kind is Kind.START
        if record.kind is Kind.ACK:
            counts.append(0)
        elif record.kind is Kind.SYNC and started:
            counts[-1] += 1
    return counts


def snapshot(root: Path, journal: Path) -> None:
    """Begins a journal with what lies in the folder `root`."""
    seen: set[int] = set()

    def contents(folder: str, node: int, path: str) -> Iterator[Record]:
        for entry in os.scandir(folder):
            inside = f"{path}/{entry.name}".lstrip("/")
            if entry.is_dir(follow_symlinks=False):
                yield Record(Kind.MKDIR, entry.inode(), inside, node)
                yield from contents(entry.path, entry.inode(), inside)
            elif not entry.is_file(follow_symlinks=False):
                yield Record(Kind.UNSUPPORTED, path=inside, data=b"neither a file nor a folder")
            elif entry.inode() in seen:
                yield Record(Kind.LINK, entry.inode(), inside, node)
            else:
                seen.add(entry.inode())
                yield Record(Kind.CREATE, entry.inode(), inside, node)
                yield Record(Kind.WRITE, entry.inode(), inside, data=Path(entry.path).read_bytes())
                yield Record(Kind.SYNC, entry.inode(), inside)
        yield Record(Kind.SYNC, node, path)

    node = root.stat().st_ino
    with journal.open("wb") as file:
        file.write(Record(Kind.ROOT, node).pack())
        file.writelines(record.pack() for record in contents(str(root), node, ""))
        file.write(Record(Kind.START).pack())
