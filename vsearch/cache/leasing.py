"""Leases: of callers who miss the same at the same time one is told to compute, the others wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from vsearch.cache import answers
from vsearch.cache.answers import Lookup
from vsearch.cache.core import Core
from vsearch.cache.flights import MAX_LEASE_S, Flight
from vsearch.cache.guards import refusal
from vsearch.cache.policy import MAX_TTL_S
from vsearch.cache.questions import Question, number, question
from vsearch.types import FloatArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

ALONE: Final = 2.0  # a similarity that no two vectors have


class Leasing:
    """The part of `Cache` that hands out leases."""

    _core: Core

    def lease(
        self,
        prompt: str,
        vector: ArrayLike | None = None,
        category: str | None = None,
        scope: Any = (),
        lease_s: float = 60.0,
        wait_s: float = 60.0,
        max_age: float | None = None,
    ) -> Lookup:
        """As `lookup`, but of callers that miss the same, or something similar, at the same time one is told to
        compute: its `Lookup.lease` is a token, to be given to `store`, or to `release`, within `lease_s`. The others
        wait until then, at most `wait_s`, and look again. Who gets neither hit nor lease computes for himself.
        """
        deadline = _deadline(lease_s, wait_s)
        while True:
            found, flight = self._lease(prompt, vector, category, scope, lease_s, max_age)
            if flight is None or (left_s := min(deadline, flight.ends_s) - time.monotonic()) <= 0.0:
                return found
            try:
                if flight.failed.result(left_s):
                    return found
            except TimeoutError:
                if time.monotonic() >= deadline:
                    return found

    def release(self, lease: str, failed: bool = False) -> bool:
        """Let those who wait for an answer go on: one of them computes it, or, if it `failed`, each for himself. False
        if the lease has ended."""
        return self._core.flights.end(lease, failed)

    async def alease(
        self,
        prompt: str,
        vector: ArrayLike | None = None,
        category: str | None = None,
        scope: Any = (),
        lease_s: float = 60.0,
        wait_s: float = 60.0,
        max_age: float | None = None,
    ) -> Lookup:
        """As `lease`."""
        deadline = _deadline(lease_s, wait_s)
        arguments = (prompt, vector, category, scope, lease_s, max_age)
        while True:
            if self._core.embedder is None:
                found, flight = self._lease(*arguments)
            else:
                found, flight = await self._lease_in_thread(*arguments)
            if flight is None or (left_s := min(deadline, flight.ends_s) - time.monotonic()) <= 0.0:
                return found
            try:  # whoever is cancelled while it waits must not end the wait of others
                if await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(flight.failed)), left_s):
                    return found
            except TimeoutError:
                if time.monotonic() >= deadline:
                    return found

    async def arelease(self, lease: str, failed: bool = False) -> bool:
        """As `release`."""
        return self.release(lease, failed)

    async def _lease_in_thread(self, *arguments: Any) -> tuple[Lookup, Flight | None]:
        """As `_lease`. Whoever is cancelled meanwhile gives back the lease that the thread may yet get."""

        def give_back(task: asyncio.Future[tuple[Lookup, Flight | None]]) -> None:
            lease = None if task.exception() is not None else task.result()[0].lease
            if lease is not None:
                self.release(lease)

        task = asyncio.ensure_future(asyncio.to_thread(self._lease, *arguments))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(give_back)
            raise

    def _lease(
        self, prompt: str, vector: Any, category: str | None, scope: Any, lease_s: float, max_age: float | None
    ) -> tuple[Lookup, Flight | None]:
        """What is found, with a lease if it is this caller's to compute; or else the flight to wait for."""
        started = time.perf_counter()
        asked = question(prompt, scope, category)
        ended = self._core.flights.ended
        found, unit = self._core.find(asked, vector, number("max_age", max_age, MAX_TTL_S))
        fresh = found.hit is not None and not found.hit.stale
        flight, first = (None, False)
        if not fresh and found.reason != answers.DISABLED:
            flight, first = self._enter(asked, found, unit, lease_s)
        if flight is not None and not first and found.hit is None:
            return found, flight
        if flight is not None and first:
            try:
                if self._core.flights.ended != ended:  # perhaps just now with an answer to this
                    again, _ = self._core.find(asked, unit, number("max_age", max_age, MAX_TTL_S))
                    if again.hit is not None and not again.hit.stale:
                        self._core.flights.end(flight.token)
                        self._core.counted(again, time.perf_counter() - started)
                        return again, None
            except BaseException:
                self._core.flights.end(flight.token)
                raise
            found = replace(found, lease=flight.token)
        self._core.counted(found, time.perf_counter() - started)
        return found, None

    def _enter(
        self, asked: Question, found: Lookup, unit: FloatArray | None, lease_s: float
    ) -> tuple[Flight | None, bool]:
        policy = self._core.settings.policies[found.category]
        threshold = found.threshold if policy.max_error is None else ALONE

        def alike(one: str, other: str) -> bool:
            return refusal(one, other, policy.guards) is None  # type: ignore[arg-type]

        return self._core.flights.enter(asked, found.category, unit, threshold, alike, lease_s)


def _deadline(lease_s: float, wait_s: float) -> float:
    number("lease_s", lease_s, MAX_LEASE_S)
    number("wait_s", wait_s, MAX_LEASE_S)
    return time.monotonic() + wait_s
