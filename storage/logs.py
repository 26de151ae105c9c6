"""Damaged logs that RocksDB would read forever.

RocksDB's log reader spins without end at a record whose type byte says that it is of a recycled log and whose log
number is not that of the file (facebook/rocksdb issues 11968 and 13333). Our logs are never recycled: such a byte is
damage, for which one flipped bit is enough. `find_endless` finds these records; `disarm` makes each an ordinary damaged
one, which ends the log there, as damage does.

A log is a sequence of blocks of 32 KiB, each of records: checksum (4 bytes), length (2), type (1), data. No record
crosses a block. Reading goes on at the next block where a record cannot be one, as RocksDB's does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from vsearch.errors import Corruption

from . import files

BLOCK: Final = 32_768
HEADER: Final = struct.Struct("<IHB")
RECYCLED: Final = frozenset((5, 6, 7, 8, 11))  # full, first, middle and last, and sizes of timestamps
WHOLE: Final = b"\x01"  # a type that our logs have; the checksum, made for another, does not fit
TYPE_AT: Final = 6  # of a record


def disarm(folder: Path) -> None:
    """Make the logs of a closed database such that reading them ends. Raises Corruption or DurabilityError."""
    for path, places in _found(folder):
        for at in places:
            files.overwrite(path, at + TYPE_AT, WHOLE)


def check(folder: Path) -> None:
    """Raises Corruption, naming the log, where `disarm` is needed."""
    for path, places in _found(folder):
        raise Corruption(f"{path} is damaged at byte {places[0]}", "Open the database for writing once")


def find_endless(log: Any) -> Iterator[int]:
    """Where the records of a log's bytes start at which RocksDB's reader would spin."""
    for start in range(0, len(log), BLOCK):
        at, end = start, min(start + BLOCK, len(log))
        while at + HEADER.size <= end:
            _, length, kind = HEADER.unpack_from(log, at)
            if kind in RECYCLED:
                yield at
            if kind == 0:
                break
            at += HEADER.size + length


def _found(folder: Path) -> Iterator[tuple[Path, list[int]]]:
    for entry in files.entries(folder):
        if entry.name.endswith(".log") or entry.name.startswith("MANIFEST-"):
            path = Path(entry.path)
            places = list(find_endless(files.map_file(path)))
            if places:
                yield path, places
