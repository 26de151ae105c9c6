"""One computation for all who ask the same at the same time.

A flight is a computation under way. Whoever misses either starts one or finds one of the same question: the same text,
or one whose vector is as similar as a hit must be and that no guard keeps apart. Who finds one waits for it to end:

- it was answered: then they look again, and find the answer;
- it was given up, or its time is over: then they look again, and one of them starts the next;
- it failed: then each computes for himself, at once. An error is nobody else's answer, nor is the time that it took.

A flight has a token, with which it is ended from anywhere, and a time after which it counts as given up: its owner may
be a client that went away.
"""

from __future__ import annotations

import heapq
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from vsearch.cache.questions import Question
from vsearch.types import FloatArray

MAX_LEASE_S: Final = 3_600.0  # an owner that is silent for longer is gone
MAX_FLIGHTS: Final = 10_000  # each holds a prompt and a vector; beyond them everybody computes for himself


@dataclass(slots=True, eq=False)
class Flight:
    """`ends_s`: on the steady clock, when it counts as given up. `failed`: how it ended, for those who wait for it."""

    asked: Question
    category: str
    vector: FloatArray | None
    ends_s: float
    token: str
    failed: Future[bool] = field(default_factory=Future)


class Flights:
    """The flights of one cache; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_token: dict[str, Flight] = {}
        self._by_digest: dict[bytes, Flight] = {}
        self._by_partition: dict[tuple[bytes, str], list[Flight]] = {}
        self._ends: list[tuple[float, str]] = []  # a heap, also of some that have ended
        self.ended = 0  # flights so far

    def __len__(self) -> int:
        return len(self._by_token)

    def enter(
        self,
        asked: Question,
        category: str,
        vector: FloatArray | None,
        threshold: float,
        alike: Callable[[str, str], bool],
        lease_s: float,
    ) -> tuple[Flight | None, bool]:
        """A flight, and whether it is a new one, which the caller has to `end` within `lease_s`; None: there are too
        many.

        `vector`: float32 [dim] of unit length. `alike(asked, other)`: whether an answer to the other prompt may do.
        """
        with self._lock:
            self._end_late()
            flight = self._by_digest.get(asked.digest)
            if flight is None and vector is not None:
                others = self._by_partition.get((asked.scope, category), ())
                near = (other for other in others if _near(other, vector, threshold))
                flight = next((other for other in near if alike(asked.text, other.asked.text)), None)
            if flight is not None or len(self._by_token) >= MAX_FLIGHTS:
                return flight, False
            ends_s = time.monotonic() + lease_s
            own = None if vector is None else vector.copy()
            fresh = Flight(asked, category, own, ends_s, secrets.token_urlsafe(16))
            self._by_token[fresh.token] = self._by_digest[asked.digest] = fresh
            self._by_partition.setdefault((asked.scope, category), []).append(fresh)
            heapq.heappush(self._ends, (ends_s, fresh.token))
            return fresh, True

    def end(self, token: str, failed: bool = False) -> bool:
        """Let those who wait go on; False for a flight that has ended."""
        with self._lock:
            flight = self._by_token.get(token)
            if flight is not None:
                self._remove(flight, failed)
        return flight is not None

    def end_late(self) -> None:
        """End those whose time is over."""
        with self._lock:
            self._end_late()

    def _end_late(self) -> None:
        now = time.monotonic()
        while self._ends and (self._ends[0][0] <= now or self._ends[0][1] not in self._by_token):
            flight = self._by_token.get(heapq.heappop(self._ends)[1])
            if flight is not None:
                self._remove(flight, False)

    def _remove(self, flight: Flight, failed: bool) -> None:
        self.ended += 1
        del self._by_token[flight.token]
        del self._by_digest[flight.asked.digest]
        key = (flight.asked.scope, flight.category)
        self._by_partition[key].remove(flight)
        if not self._by_partition[key]:
            del self._by_partition[key]
        flight.failed.set_result(failed)


def _near(flight: Flight, vector: FloatArray, threshold: float) -> bool:
    return flight.vector is not None and float(np.dot(flight.vector, vector)) >= threshold
