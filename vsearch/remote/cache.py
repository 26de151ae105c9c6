"""A cache on a server, for callers that wait and for asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from vsearch.cache.answers import CacheEntry
from vsearch.cache.computing import TIMEOUT_S, AsyncComputing, Computing
from vsearch.cache.policy import CachePolicy
from vsearch.errors import InvalidArgument, NotSupported
from vsearch.remote import answers, caches
from vsearch.remote.caches import CacheDescription
from vsearch.remote.call import Call, as_method

if TYPE_CHECKING:
    from vsearch.remote.asynchronous import AsyncDatabase
    from vsearch.remote.blocking import RemoteDatabase

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Awaited = Coroutine[Any, Any, T]

PAGE: Final = 1_000  # entries of one request


def of_cache(make: Callable[Concatenate[str, P], Call[T]]) -> Callable[Concatenate[RemoteCache, P], T]:
    @as_method(make, bound=1)
    def method(self: RemoteCache, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._db._run(make(self.name, *args, **kwargs))

    return method


def of_async_cache(make: Callable[Concatenate[str, P], Call[T]]) -> Callable[Concatenate[AsyncCache, P], Awaited[T]]:
    @as_method(make, bound=1)
    async def method(self: AsyncCache, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db._run(make(self.name, *args, **kwargs))

    return method


class _Described:
    """What is known of a cache without asking its server."""

    def __init__(self, description: CacheDescription) -> None:
        self._description = description

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def name(self) -> str:
        return self._description.name

    @property
    def dim(self) -> int:
        return self._description.dim

    @property
    def model(self) -> str | None:
        """The id of the model that makes the vectors."""
        return self._description.model


class RemoteCache(_Described, Computing):
    """A cache on a server, with the methods of `Cache`. Made by `RemoteDatabase.create_cache` and
    `RemoteDatabase.cache`."""

    def __init__(self, db: RemoteDatabase, description: CacheDescription) -> None:
        super().__init__(description)
        self._db = db

    def __len__(self) -> int:
        """Entries, also those whose life is over and that are not removed yet."""
        return self._db._run(caches.cache(self.name)).entries

    @property
    def policies(self) -> dict[str, CachePolicy]:
        """The policy of each category."""
        return self._db._run(caches.cache(self.name)).policies

    check = of_cache(answers.check)
    lookup = of_cache(answers.lookup)
    store = of_cache(answers.store)
    store_many = of_cache(answers.store_many)
    report = of_cache(answers.report)
    invalidate = of_cache(answers.invalidate)
    clear = of_cache(answers.clear)
    set_policy = of_cache(caches.set_policy)
    set_load = of_cache(caches.set_load)
    push_load = of_cache(caches.push_load)
    stats = of_cache(caches.stats)
    lease = of_cache(answers.lease)
    fit = of_cache(caches.fit)
    fit_categories = of_cache(caches.fit_categories)
    release = of_cache(answers.release)

    def entries(self, after: int = 0, limit: int | None = None) -> Iterator[CacheEntry]:
        """What there is, without the answers, in the order of the entries' numbers, from above `after` on."""
        while (wanted := PAGE if limit is None else min(limit, PAGE)) > 0:
            page = self._db._run(answers.entries(self.name, after, wanted))
            yield from page
            if len(page) < wanted:
                return
            after, limit = page[-1].id, None if limit is None else limit - len(page)

    async def aget_or_compute(self, *args: Any, **kwargs: Any) -> Any:
        """Not here: this client waits. Raises NotSupported."""
        raise NotSupported("this client waits for its answers", "Use vsearch.connect_async for coroutine functions")


class AsyncCache(_Described, AsyncComputing):
    """`RemoteCache` for asyncio: every method is to be awaited. Made by `AsyncDatabase.create_cache` and
    `AsyncDatabase.cache`."""

    def __init__(self, db: AsyncDatabase, description: CacheDescription) -> None:
        super().__init__(description)
        self._db = db
        self._renewals: set[asyncio.Task[Any]] = set()

    @property
    def policies(self) -> Awaited[dict[str, CachePolicy]]:
        """The policy of each category: `await cache.policies`."""
        return self._policies()

    check = of_async_cache(answers.check)
    lookup = of_async_cache(answers.lookup)
    store = of_async_cache(answers.store)
    store_many = of_async_cache(answers.store_many)
    report = of_async_cache(answers.report)
    invalidate = of_async_cache(answers.invalidate)
    clear = of_async_cache(answers.clear)
    set_policy = of_async_cache(caches.set_policy)
    set_load = of_async_cache(caches.set_load)
    push_load = of_async_cache(caches.push_load)
    stats = of_async_cache(caches.stats)
    lease = of_async_cache(answers.lease)
    fit = of_async_cache(caches.fit)
    fit_categories = of_async_cache(caches.fit_categories)
    release = of_async_cache(answers.release)

    # Under the names that they have in a cache of this process, too.
    acheck = check
    alookup = lookup
    astore = store
    alease = lease
    arelease = release
    get_or_compute = AsyncComputing.aget_or_compute

    async def entries(self, after: int = 0, limit: int | None = None) -> Iterator[CacheEntry]:
        """What there is, without the answers, in the order of the entries' numbers, from above `after` on."""
        found: list[CacheEntry] = []
        while (wanted := PAGE if limit is None else min(limit - len(found), PAGE)) > 0:
            page = await self._db._run(answers.entries(self.name, found[-1].id if found else after, wanted))
            found += page
            if len(page) < wanted:
                break
        return iter(found)

    def cached(
        self,
        category: str | None = None,
        scope: Any = (),
        key: Callable[..., str] | None = None,
        timeout_s: float = TIMEOUT_S,
        **kept: Any,
    ) -> Callable[[F], F]:
        """Decorates a coroutine function of a prompt: what it returns is cached.

        The first argument is the prompt, or `key(*args, **kwargs)` is; all other arguments belong to the scope, and
        must be of JSON. `kept`: more arguments of `store`. Raises InvalidArgument for any other function.
        """
        itself: Any = self
        decorate: Callable[[F], F] = Computing.cached(itself, category, scope, key, timeout_s, **kept)

        def decorate_coroutine(function: F) -> F:
            if not inspect.iscoroutinefunction(function):
                raise InvalidArgument(f"{function!r} is no coroutine function", "Use vsearch.connect for others")
            return decorate(function)

        return decorate_coroutine

    async def _policies(self) -> dict[str, CachePolicy]:
        return (await self._db._run(caches.cache(self.name))).policies
