"""How loaded the model behind a cache is, and how far that relaxes a category's policy.

1. Whoever knows the load pushes it, in any unit: seconds of latency, requests waiting, requests in flight. `InFlight`
   measures it where the requests are made.
2. What is pushed holds until the next push. Its exponential average over `smoothing_s` is the load, whatever the
   intervals between pushes; after `silence_s` without any the load is taken to be 0.
3. The load between `low` and `high`, as a number from 0 to 1, is the stress. `Hysteresis` keeps noise out of it.
4. `effective` moves threshold and ttl from where the policy has them towards `min_threshold` and `max_ttl`.

The formulas are a reconstruction: the paper on category-aware caching (arXiv 2510.26835) names the idea and gives none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Lock
from typing import Any, Final, Literal

from vsearch.cache.policy import CachePolicy, check_number
from vsearch.errors import InvalidArgument

MAX_S: Final = 86_400.0  # of smoothing and the like: load of yesterday says nothing
STEPS: Final = 16  # in which a time without calls is gone through
LATENCY_WEIGHT: Final = 0.2  # of the newest request in the average latency: about the last ten count


class Hysteresis:
    """A level from 0 to 1 that follows another without its noise.

    It rises at once, but only by `band` or more, or to 1. It falls only when the other has been lower by more than
    `band` (or at 0) for `fall_s` without interruption, and then to the highest that the other has been in that time.
    Noise that spans less than `band` therefore moves it a few times at most, and then never again.
    """

    def __init__(self, band: float, fall_s: float) -> None:
        self.level = 0.0
        self._band, self._fall_s = band, fall_s
        self._below: tuple[float, float] | None = None  # since when, and the highest since then

    def follow(self, raw: float, now_s: float) -> float:
        """The level, after `raw` (0 to 1) has been seen. `now_s` never goes back."""
        if raw >= self.level + self._band or raw == 1.0:
            self.level, self._below = raw, None
        elif raw >= self.level - self._band and (raw > 0.0 or self.level == 0.0):
            self._below = None
        else:
            since, highest = self._below or (now_s, raw)
            highest = max(highest, raw)
            if now_s - since >= self._fall_s:
                self.level, self._below = highest, None
            else:
                self._below = since, highest
        return self.level


class LoadSignal:
    """The load of a model, as pushed, and the stress that it means. Threads may share it.

    `low`, `high`: the loads at which stress begins and is complete. `smoothing_s`: time constant of the average.
    `hysteresis`: how much stress has to change to be followed. `fall_s`: how long load must be lower before stress
    falls. `silence_s`: how long the last value holds. Times are seconds of any one clock; going back is standing still.

    Raises InvalidArgument for a value out of range.
    """

    def __init__(
        self,
        low: float,
        high: float,
        smoothing_s: float = 10.0,
        hysteresis: float = 0.1,
        fall_s: float = 30.0,
        silence_s: float = 60.0,
    ) -> None:
        self.low, self.high = _number("low", low), _number("high", high)
        if not self.low < self.high:
            raise InvalidArgument(f"low is {low!r} and high {high!r}", "Load must have room between them")
        self._smoothing_s = _number("smoothing_s", smoothing_s, 1e-3, MAX_S)
        self._silence_s = _number("silence_s", silence_s, 1e-3, MAX_S)
        self._stress = Hysteresis(_number("hysteresis", hysteresis, 0.0, 1.0), _number("fall_s", fall_s, 0.0, MAX_S))
        self._load = self._pushed = 0.0
        self._at_s = self._pushed_s = -math.inf  # of the average, and of the last push
        self._lock = Lock()

    def push(self, value: float, now_s: float) -> None:
        """The load from now on. Raises InvalidArgument if it is negative or not finite."""
        value = _number("load", value)
        with self._lock:
            self._advance(now_s)
            self._pushed, self._pushed_s = value, self._at_s

    def load(self, now_s: float) -> float:
        """The average, in the unit of what was pushed."""
        with self._lock:
            self._advance(now_s)
            return self._load

    def stress(self, now_s: float) -> float:
        """0: as usual; 1: relax as far as policies allow."""
        if self._load <= self.low and self._pushed <= self.low and self._stress.level == 0.0:
            return 0.0  # the usual case, without the lock: time alone does not end it
        with self._lock:
            self._advance(now_s)
            return self._stress.level

    def _advance(self, now_s: float) -> None:
        """Go on from the last call in a few steps, so that load which fell in between is seen to have fallen."""
        if self._at_s == -math.inf:
            self._at_s = now_s
        start_s = self._at_s
        passed_s = max(now_s - start_s, 0.0)
        steps = min(1 + int(passed_s / self._smoothing_s), STEPS)
        for step in range(1, steps + 1):
            self._step(start_s + passed_s * step / steps)

    def _step(self, now_s: float) -> None:
        """Average over the time since the last step: first what was pushed, then, after a silence, 0."""
        end_s = min(max(self._pushed_s + self._silence_s, self._at_s), now_s)
        self._load = self._pushed + (self._load - self._pushed) * self._kept(end_s - self._at_s)
        if now_s > end_s:
            self._pushed = 0.0
            self._load *= self._kept(now_s - end_s)
        self._at_s = now_s
        raw = (self._load - self.low) / (self.high - self.low)
        self._stress.follow(min(max(raw, 0.0), 1.0), now_s)

    def _kept(self, passed_s: float) -> float:
        return math.exp(-passed_s / self._smoothing_s)


class InFlight:
    """Requests to a model, counted and timed as they are made; the load is pushed at the start and the end of each.

    `push`: what takes the load: (value, seconds of `clock`). `of`: what the load is, the number of requests in flight
    or the average latency in seconds. Threads and tasks may share it.
    """

    def __init__(
        self,
        push: Callable[[float, float], Any],
        of: Literal["requests", "latency_s"] = "requests",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if of not in ("requests", "latency_s"):
            raise InvalidArgument(f"of is {of!r}", "Use 'requests' or 'latency_s'")
        self.latency_s = 0.0  # average of the last requests
        self._push, self._of, self._clock = push, of, clock
        self._started: dict[int, float] = {}  # the longest in flight first
        self._numbers = count()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._started)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around one request; it may fail."""
        number = next(self._numbers)
        with self._lock:
            start = self._started[number] = self._clock()
            self._tell(start)
        failed = True
        try:
            yield
            failed = False
        finally:
            with self._lock:
                now = self._clock()
                del self._started[number]
                self._finished(now - start, failed)
                self._tell(now)

    def _finished(self, latency_s: float, failed: bool) -> None:
        if failed:
            latency_s = max(latency_s, self.latency_s)  # a model that refuses at once is not a quick one
        self.latency_s += (latency_s - self.latency_s) * (LATENCY_WEIGHT if self.latency_s else 1.0)

    def _tell(self, now: float) -> None:
        if self._of == "requests":
            self._push(float(len(self._started)), now)
        else:
            longest = now - next(iter(self._started.values()), now)
            self._push(max(self.latency_s, longest), now)  # a model that hangs finishes nothing


def effective(policy: CachePolicy, stress: float) -> tuple[float, float | None]:
    """Threshold and ttl in force at a stress of 0 to 1; as the policy has them where it sets no bound.

    threshold = max(min_threshold, threshold - (threshold - min_threshold) * stress)
    ttl       = min(max_ttl, ttl + (max_ttl - ttl) * stress)
    """
    threshold, ttl = policy.threshold, policy.ttl
    if stress <= 0.0:
        return threshold, ttl
    stress = min(stress, 1.0)
    if policy.min_threshold is not None:
        threshold = max(policy.min_threshold, threshold - (threshold - policy.min_threshold) * stress)
    if policy.max_ttl is not None and ttl is not None:
        ttl = min(policy.max_ttl, ttl + (policy.max_ttl - ttl) * stress)
    return threshold, ttl


def _number(name: str, value: float, least: float = 0.0, most: float = 1e12) -> float:
    check_number(name, value, least, most)
    return float(value)
