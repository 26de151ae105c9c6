"""Answers that are computed when they are not cached, once for all who ask at the same time.

Everything here is made of `lease`, `store` and `release` (and their awaitable twins), so that it is the same for a
cache in this process and for one on a server.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from vsearch.cache.answers import CacheHit, Computed, Lookup
from vsearch.errors import InvalidArgument

F = TypeVar("F", bound=Callable[..., Any])

TIMEOUT_S: Final = 60.0  # for an answer that another caller computes

log = logging.getLogger("vsearch.cache")


class Computing:
    """What a cache offers beside `lease`, `store` and `release`, which are another's to define."""

    lease: Callable[..., Lookup]
    store: Callable[..., int | None]
    release: Callable[..., bool]

    def get_or_compute(
        self,
        prompt: str,
        compute: Callable[[], Any],
        vector: Any = None,
        category: str | None = None,
        scope: Any = (),
        timeout_s: float = TIMEOUT_S,
        **kept: Any,
    ) -> CacheHit | Computed:
        """The cached answer to a prompt, or what `compute()` returns, which is stored; both have `.response`.

        Of callers who miss the same, or something similar, at the same time one computes, and the others wait, at most
        `timeout_s`; then they compute for themselves, as they do when the one fails. What `compute` raises is raised
        here and is nobody else's answer. A stale answer is returned at once and made anew in the background. `kept`:
        more arguments of `store`.
        """
        asked = {"prompt": prompt, "vector": vector, "category": category, "scope": scope}
        found = self.lease(**asked, lease_s=timeout_s, wait_s=timeout_s)
        if found.hit is not None:
            if found.lease is not None:
                work = functools.partial(self._renew, compute, asked, found.lease, kept)
                threading.Thread(target=work, name="vsearch-renew", daemon=True).start()
            return found.hit
        return self._compute(compute, asked, found.lease, kept)

    def _compute(
        self, compute: Callable[[], Any], asked: dict[str, Any], lease: str | None, kept: dict[str, Any]
    ) -> Computed:
        started = time.perf_counter()
        try:
            response = compute()
            spent = {"compute_s": time.perf_counter() - started, **kept}
            return Computed(response, self.store(response=response, lease=lease, **asked, **spent))
        except BaseException as error:
            if lease is not None:
                self.release(lease, isinstance(error, Exception))
            raise

    def _renew(self, *arguments: Any) -> None:
        try:
            self._compute(*arguments)
        except Exception as error:
            log.warning("a stale answer could not be made anew: %s", error)

    def cached(
        self,
        category: str | None = None,
        scope: Any = (),
        key: Callable[..., str] | None = None,
        timeout_s: float = TIMEOUT_S,
        **kept: Any,
    ) -> Callable[[F], F]:
        """Decorates a function, or a coroutine function, of a prompt: what it returns is cached.

        The first argument is the prompt, or `key(*args, **kwargs)` is; the other arguments, and which function it is,
        belong to the scope, and must be of JSON. `kept`: more arguments of `store`.

        Raises InvalidArgument for a lambda or a closure without a `scope`: nothing tells it from others like it.
        """

        def question(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
            prompt = next(iter(given.values()), None) if key is None else key(*args, **kwargs)
            if key is None:
                del given[next(iter(given))]
            rest = (function.__module__, function.__qualname__, given)
            return {"prompt": prompt, "category": category, "scope": (scope, rest), "timeout_s": timeout_s, **kept}

        def decorate(function: F) -> F:
            nameless = function.__name__ == "<lambda>" or getattr(function, "__closure__", None)
            if nameless and scope == ():
                raise InvalidArgument(f"{function.__qualname__} has no name of its own", "Give it a scope")
            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def cached_later(*args: Any, **kwargs: Any) -> Any:
                    asked = question(function, args, kwargs)
                    later = self.aget_or_compute  # type: ignore[attr-defined]
                    return (await later(compute=lambda: function(*args, **kwargs), **asked)).response

                return cached_later  # type: ignore[return-value]

            @functools.wraps(function)
            def cached(*args: Any, **kwargs: Any) -> Any:
                asked = question(function, args, kwargs)
                return self.get_or_compute(compute=lambda: function(*args, **kwargs), **asked).response

            return cached  # type: ignore[return-value]

        return decorate


class AsyncComputing:
    """The awaitable twin; `alease`, `astore` and `arelease` are another's to define."""

    alease: Callable[..., Coroutine[Any, Any, Lookup]]
    astore: Callable[..., Coroutine[Any, Any, int | None]]
    arelease: Callable[..., Coroutine[Any, Any, bool]]
    _renewals: set[asyncio.Task[Any]]

    async def aget_or_compute(
        self,
        prompt: str,
        compute: Callable[[], Awaitable[Any]],
        vector: Any = None,
        category: str | None = None,
        scope: Any = (),
        timeout_s: float = TIMEOUT_S,
        **kept: Any,
    ) -> CacheHit | Computed:
        """As `Computing.get_or_compute`, of a coroutine function. A caller that is cancelled lets another compute."""
        asked = {"prompt": prompt, "vector": vector, "category": category, "scope": scope}
        found = await self.alease(**asked, lease_s=timeout_s, wait_s=timeout_s)
        if found.hit is not None:
            if found.lease is not None:
                task = asyncio.ensure_future(self._arenew(compute, asked, found.lease, kept))
                self._renewals.add(task)  # the event loop itself keeps no task alive
                task.add_done_callback(self._renewals.discard)
            return found.hit
        return await self._acompute(compute, asked, found.lease, kept)

    async def _acompute(
        self, compute: Callable[[], Awaitable[Any]], asked: dict[str, Any], lease: str | None, kept: dict[str, Any]
    ) -> Computed:
        started = time.perf_counter()
        try:
            response = await compute()
            spent = {"compute_s": time.perf_counter() - started, **kept}
            return Computed(response, await self.astore(response=response, lease=lease, **asked, **spent))
        except BaseException as error:  # cancelled, among others: then one of those who wait goes on
            if lease is not None:
                await asyncio.shield(self.arelease(lease, isinstance(error, Exception)))
            raise

    async def _arenew(self, *arguments: Any) -> None:
        try:
            await self._acompute(*arguments)
        except Exception as error:
            log.warning("a stale answer could not be made anew: %s", error)
