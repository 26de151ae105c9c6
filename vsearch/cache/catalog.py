"""The caches of a database: making, opening and deleting them, and what runs in the background for them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from vsearch.background import Loop
from vsearch.cache.cache import Cache
from vsearch.cache.clock import Clock
from vsearch.cache.core import Core, Equivalent
from vsearch.cache.lookup import Verify
from vsearch.cache.origins import Origins
from vsearch.cache.records import Records
from vsearch.cache.settings import Settings
from vsearch.cache.sources import Dependents
from vsearch.errors import AlreadyExists, Closed, NotFound, ReadOnly
from vsearch.names import check_name
from vsearch.storage import caches, manifest
from vsearch.storage.rocks import CACHE_SOURCES, Engine

if TYPE_CHECKING:
    from vsearch.embedders import Embedder

SWEEP_MS: Final = 5_000  # how often each cache is relieved of what is over


class Catalog:
    """`guard`: held while the names of collections and caches change, and taken before any other lock."""

    def __init__(
        self, engine: Engine, dependents: Dependents, guard: AbstractContextManager[Any], origins: Origins
    ) -> None:
        self._engine = engine
        self._dependents = dependents
        self._guard = guard
        self._origins = origins
        self._manifests = caches.load(engine)
        self._open: dict[str, tuple[Cache, Core]] = {}
        self._closing = False
        self._loop = Loop("vsearch-cache", self._sweep)

    def names(self) -> list[str]:
        """Of the caches, sorted."""
        return sorted(self._manifests)

    def create(self, name: str, settings: Settings) -> Cache:
        """Make an empty cache. Raises AlreadyExists, InvalidArgument."""
        check_name("cache", name)
        with self._guard:
            if name in self._manifests:
                raise AlreadyExists(f"a cache named {name!r} exists", "Use db.cache(name), or another name")
            number = manifest.next_number(self._engine)
            new = settings.stored(name, number)
            batch = self._engine.batch()
            caches.put(batch, new)
            manifest.put_next_number(batch, number + 1)
            self._engine.commit(batch, sync=True)
            self._manifests[name] = new
            return self.open(name)

    def open(
        self,
        name: str,
        embedder: Embedder | None = None,
        verify: Verify | None = None,
        equivalent: Equivalent | None = None,
        clock: Clock | None = None,
    ) -> Cache:
        """The cache of that name, read from the engine when it is not open yet."""
        found = self._open.get(name)
        if found is None:
            with self._guard:
                found = self._open.get(name)
                if found is None:
                    found = self._open[name] = self._read(name, clock)
        cache, core = found
        core.attach(embedder, verify, equivalent)
        return cache

    def delete(self, name: str) -> None:
        """Delete a cache and everything in it. Raises NotFound."""
        with self._guard:
            old, found = self._manifest(name), self._open.get(name)
            if found is not None:  # nothing is written to it any more when its keys go
                found[1].end(NotFound(f"the cache {name!r} was deleted", "Create it again"))
            batch = self._engine.batch()
            caches.remove(batch, old)
            for key in self._dependents.discard_cache(old.number):
                batch.delete(CACHE_SOURCES, key)
            self._engine.commit(batch, sync=True)
            del self._manifests[name]
            self._open.pop(name, None)

    def reload(self) -> None:
        """In a read-only database: forget what was read before."""
        self._manifests = caches.load(self._engine)
        self._open.clear()

    def close(self) -> None:
        """Stop the background work and keep the counters."""
        self._closing = True
        self._loop.stop()
        self._loop.join()
        for _, core in self._open.values():
            core.end(Closed("the database is closed", "Open it again with vsearch.open"))

    def stats(self) -> list[dict[str, Any]]:
        """`stats()` of every cache; of those that are not open, only their names."""
        opened = dict(self._open)
        return [opened[name][0].stats() if name in opened else {"name": name} for name in self.names()]

    def _read(self, name: str, clock: Clock | None) -> tuple[Cache, Core]:
        found = self._manifest(name)
        settings = Settings.of(found)
        stored = Records(self._engine, found.number, settings.durability == "sync")

        def save(changed: Settings) -> None:
            new = changed.stored(name, found.number)
            batch = self._engine.batch()
            caches.put(batch, new)
            self._engine.commit(batch, sync=True)
            self._manifests[name] = new

        core = Core(name, settings, stored, self._dependents, self._origins, save, clock)
        if self._engine.read_only:
            core.load_entries(vectors=False)
            hint = "Ask the process that writes to it, or its server"
            core.end(ReadOnly(f"cache {name!r} of a database open read-only may be behind its sources", hint))
        else:
            core.load_entries(vectors=True)
            self._loop.wake()
        return Cache(core), core

    def _manifest(self, name: str) -> caches.CacheManifest:
        if name not in self._manifests:
            raise NotFound(f"no cache named {name!r}", f"There are: {', '.join(self.names()) or 'none'}")
        return self._manifests[name]

    def _go_on(self, done: int, total: int) -> None:
        if self._closing:
            raise Closed("the database is being closed")

    def _sweep(self) -> bool:
        for _, core in list(self._open.values()):
            core.warm(self._go_on)
            core.sweep(SWEEP_MS)
        return False

