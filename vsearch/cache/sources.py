"""Which cached answers were made from which points, so that none outlives a change of its sources.

1. An entry names the points it was made from. While it is being stored no writer of their collections has the turn, and
   the versions it names are compared with those that are stored: an answer to what is no more is not kept.
2. A writer that commits changes to points asks `of` for their dependents and puts their removal into the same batch; it
   then lets their caches `forget` them, before the change is acknowledged.

So at no time after an acknowledged change is there an answer made from what was there before, in memory or on disk,
whatever is killed in between. The family `cache_sources` is read once, when the database is opened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from vsearch.cache import records
from vsearch.storage import keys
from vsearch.storage.rocks import CACHE_SOURCES, Batch, Engine

Dependent = tuple[int, int]  # cache, entry
KEY_END = b"\xff" * 16


class Dependents:
    """The entries of all caches of a database that were made from points. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[bytes, set[Dependent]] = {}  # by the point's key
        self._points: dict[Dependent, tuple[bytes, ...]] = {}
        self._forget: dict[int, Callable[[list[int]], None]] = {}  # of each open cache

    def load(self, engine: Engine) -> None:
        """Read what is stored."""
        points: dict[Dependent, list[bytes]] = {}
        for key, _ in engine.scan(CACHE_SOURCES, b"", KEY_END):
            point, cache, entry = keys.source_of(key)
            points.setdefault((cache, entry), []).append(point)
        for dependent, its in points.items():
            self.add(dependent, tuple(its))

    def attach(self, cache: int, forget: Callable[[list[int]], None]) -> None:
        """From now on `forget` is told of entries of this cache that were removed."""
        self._forget[cache] = forget

    def add(self, dependent: Dependent, points: tuple[bytes, ...]) -> None:
        """An entry was made from points, given by their keys in the family `ids`."""
        with self._lock:
            self._points[dependent] = points
            for point in points:
                self._entries.setdefault(point, set()).add(dependent)

    def of(self, points: Iterable[bytes]) -> list[Dependent]:
        """The entries that were made from one of these points."""
        if not self._entries:
            return []
        with self._lock:
            found = [entries for point in points if (entries := self._entries.get(point))]
            return sorted(set().union(*found))

    def of_collections(self, numbers: set[int]) -> list[Dependent]:
        """The entries that were made from any point of these collections."""
        with self._lock:
            found = [entries for point, entries in self._entries.items() if keys.number_of(point) in numbers]
            return sorted(set().union(*found))

    def stage_removal(self, batch: Batch, dependents: list[Dependent]) -> list[Dependent]:
        """Put the end of entries into a batch; returns them, for `forget`."""
        for cache, entry in dependents:
            records.remove(batch, cache, entry, self._points.get((cache, entry), ()))
        return dependents

    def forget(self, dependents: list[Dependent]) -> None:
        """After the commit of that batch: they are gone, also from the memory of their caches."""
        by_cache: dict[int, list[int]] = {}
        for cache, entry in dependents:
            self.discard((cache, entry))
            by_cache.setdefault(cache, []).append(entry)
        for cache, entries in by_cache.items():
            if cache in self._forget:
                self._forget[cache](entries)

    def discard(self, dependent: Dependent) -> None:
        """An entry is no more."""
        with self._lock:
            for point in self._points.pop(dependent, ()):
                entries = self._entries[point]
                entries.discard(dependent)
                if not entries:
                    del self._entries[point]

    def discard_cache(self, cache: int) -> list[bytes]:
        """A cache is no more; returns the keys of the family `cache_sources` that named its entries."""
        with self._lock:
            gone = [dependent for dependent in self._points if dependent[0] == cache]
            keys_gone = [keys.source_key(point, *dependent) for dependent in gone for point in self._points[dependent]]
        for dependent in gone:
            self.discard(dependent)
        self._forget.pop(cache, None)
        return keys_gone
