"""What a database offers of caches."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vsearch.cache.policy import DEFAULT, CachePolicy
from vsearch.cache.sources import Dependents
from vsearch.errors import InvalidArgument
from vsearch.storage.rocks import Engine
from vsearch.types import Durability

if TYPE_CHECKING:
    from vsearch.cache.cache import Cache
    from vsearch.cache.catalog import Catalog
    from vsearch.cache.clock import Clock
    from vsearch.cache.core import Equivalent
    from vsearch.cache.lookup import Verify
    from vsearch.collection import Collection
    from vsearch.embedders import Embedder
    from vsearch.storage.manifest import Manifest


class Caching:
    """The part of `Database` that is about semantic caches."""

    _guard: threading.RLock
    _engine: Engine
    _dependents: Dependents
    _manifests: dict[str, Manifest]
    _collections: dict[str, Collection]
    _aliases: dict[str, str]
    _catalog: Catalog | None = None

    def create_cache(
        self,
        name: str,
        dim: int,
        policies: Mapping[str, CachePolicy] | None = None,
        default: CachePolicy | None = None,
        model: str | None = None,
        durability: Durability = "os",
        max_entries: int | None = None,
        max_bytes: int | None = None,
        load: tuple[float, float] | None = None,
    ) -> Cache:
        """Create an empty semantic cache.

        `dim`: of the prompts' vectors; 0: only the same prompts are found. `policies`: by category; `default`: of
        prompts without one. `model`: the id of the model that makes the vectors; with another one the cache is not
        opened. `durability`: "os" (an answer may be lost with the power) or "sync". `max_entries`, `max_bytes`: of the
        whole; by default a million and 4 GiB. `load`: between which loads of the model behind policies are relaxed, in
        the unit of `Cache.push_load`.

        Raises InvalidArgument, AlreadyExists, LimitExceeded, ReadOnly.
        """
        from vsearch.cache.settings import DEFAULT_BYTES, DEFAULT_ENTRIES, Settings

        self._writable()
        if policies is not None and not isinstance(policies, Mapping):
            raise InvalidArgument(f"policies is a {type(policies).__name__}", "Say {category: CachePolicy(...)}")
        every = {**(policies or {}), **({} if default is None else {DEFAULT: default})}
        most = DEFAULT_ENTRIES if max_entries is None else max_entries
        most_bytes = DEFAULT_BYTES if max_bytes is None else max_bytes
        return self._caches().create(name, Settings(dim, every, model, durability, most, most_bytes, load))

    def cache(
        self,
        name: str,
        embedder: Embedder | None = None,
        verify: Verify | None = None,
        equivalent: Equivalent | None = None,
        clock: Clock | None = None,
    ) -> Cache:
        """The cache of that name. What is given stays with it until another is given.

        `embedder`: makes the vectors of prompts that come without. `verify(prompt, hit)`: has the last word on a
        semantic hit. `equivalent(one, other)`: whether two responses are the same answer, for categories with a
        `max_error`; by default whether they are equal. `clock`: for tests, when the cache is opened first.

        Raises NotFound; InvalidArgument or DimensionMismatch for the embedder of another model.
        """
        return self._caches().open(name, embedder, verify, equivalent, clock)

    def caches(self) -> list[str]:
        """Names of the caches, sorted."""
        return self._caches().names()

    def delete_cache(self, name: str) -> None:
        """Delete a cache and everything in it. Raises NotFound, ReadOnly."""
        self._writable()
        self._caches().delete(name)

    def _caches(self) -> Catalog:
        """Made when it is first asked for: it loads kernels."""
        self._open()
        if self._catalog is None:
            from vsearch.cache.catalog import Catalog
            from vsearch.cache.origins import Origins

            with self._guard:
                if self._catalog is None:
                    self._catalog = Catalog(
                        self._engine,
                        self._dependents,
                        self._guard,
                        Origins(self._engine, self.collection, self._open_now, self._name_of_number),
                    )
        return self._catalog

    def _open_now(self, name: str) -> Collection | None:
        return self._collections.get(self._aliases.get(name, name))

    def _name_of_number(self, number: int) -> str:
        return next((name for name, found in list(self._manifests.items()) if found.number == number), "")

    def collection(self, name: str) -> Collection:
        raise NotImplementedError

    def _open(self) -> None:
        raise NotImplementedError

    def _writable(self) -> None:
        raise NotImplementedError
