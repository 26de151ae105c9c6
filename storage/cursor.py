"""Walks over ranges of keys, which the engine can end while the scan that uses one still exists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rocksdict import RdictIter

from .calls import Calls

_SCAN_ROWS: Final = 256  # rows fetched at a time: the entry and exit of a call is paid once for all of them
_SCAN_BYTES: Final = 1 << 20  # and at most about this much, since a payload may have a mebibyte


class Cursor:
    """A RocksDB iterator over a range, which the engine can drop while the scan that uses it still exists.

    The range is kept here and not by RocksDB's own bounds: an iterator of the binding does not keep the memory of its
    bounds alive, and ends at random places without it.
    """

    def __init__(self, calls: Calls, iterator: RdictIter, start: bytes, end: bytes) -> None:
        self.calls = calls
        self._iterator: RdictIter | None = iterator
        self._start = start
        self._end = end
        calls.lend(self)

    def fetch(self) -> list[tuple[bytes, bytes]]:
        """The next rows; none at the end."""
        rows: list[tuple[bytes, bytes]] = []
        size, end = 0, self._end
        with self.calls:
            iterator = self._iterator
            try:
                while iterator is not None and len(rows) < _SCAN_ROWS and size < _SCAN_BYTES:
                    if not iterator.valid():
                        iterator.status()  # the end and a damaged block look alike until asked
                        self._iterator = iterator = None
                    elif (key := iterator.key()) >= end:
                        self._iterator = iterator = None
                    else:
                        value = iterator.value()
                        rows.append((key, value))
                        size += len(value)
                        iterator.next()
            finally:
                del iterator
        return rows

    def seek(self) -> None:
        """Goes to the start of the range."""
        assert self._iterator is not None, "bug: the cursor was dropped"
        self._iterator.seek(self._start)

    def last(self) -> bytes | None:
        """The last key of the range."""
        assert self._iterator is not None, "bug: the cursor was dropped"
        self._iterator.seek_for_prev(self._end)
        if self._iterator.valid() and self._iterator.key() >= self._end:
            self._iterator.prev()
        if not self._iterator.valid():
            self._iterator.status()
            return None
        key: bytes = self._iterator.key()
        return key if key >= self._start else None

    def drop(self) -> None:
        """Lets go of the iterator; `fetch` then finds no more rows."""
        self._iterator = None


def rows_of(cursor: Cursor) -> Iterator[tuple[bytes, bytes]]:
    try:
        while rows := cursor.fetch():
            for row in rows:
                yield row
                cursor.calls.check()
    finally:
        cursor.drop()
