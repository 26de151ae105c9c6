"""The engine as it was at one instant: what a view reads, whatever is committed meanwhile.

Taking one costs a microsecond. While it lives RocksDB keeps the versions that it shows. Like the engine's cursors it
can be emptied while somebody still holds it, so that the database can be closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rocksdict import Snapshot as RocksSnapshot

from .calls import Calls
from .cursor import Cursor, rows_of

ABSENT: Final = "key not found"


class Snapshot:
    """Made by `Engine.snapshot`. Reads as the engine does, from any thread; raises Closed once that is closed."""

    def __init__(self, calls: Calls, families: dict[str, RocksSnapshot]) -> None:
        self._calls = calls
        self._families = families

    def get(self, family: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        with self._calls:
            return self._value(family, key)

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, or None, in the order of the keys."""
        with self._calls:
            return [self._value(family, key) for key in keys]

    def scan(self, family: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The keys from `start` to just before `end`, in order, with their values.

        A key that was removed since the snapshot may be left out: the binding's iterators show the present, whatever
        snapshot they are made of, so each key that they meet is looked up.
        """
        with self._calls:
            cursor = Cursor(self._calls, self._families[family].iter(), start, end)
            cursor.seek()
        for key, _ in rows_of(cursor):
            value = self.get(family, key)
            if value is not None:
                yield key, value

    def drop(self) -> None:
        """Lets go of RocksDB."""
        self._families.clear()

    def _value(self, family: str, key: bytes) -> bytes | None:
        """The binding tells a missing key from an error by the text alone.

        No local refers to RocksDB: a traceback would keep it, and the database could not be opened again.
        """
        try:
            value: bytes = self._families[family][key]
        except Exception as error:
            if str(error).strip("'") == ABSENT:
                return None
            raise
        return value
