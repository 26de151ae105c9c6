"""Time that never goes back: an answer must not get younger because somebody sets the computer's clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Unix time in milliseconds, as long as that moves forward; otherwise time passed since.

    1. Within a process time follows the steady clock, so that a wall clock that is set back changes nothing.
    2. A wall clock that is ahead of it (it was set, or the computer slept) is followed at once: answers end earlier
       than they might, never later.
    3. `at_least`: entries that a former process has stored are not younger than they were then.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._steady = wall, steady
        self._start = (wall() * 1000.0, steady())

    def now_ms(self) -> int:
        """Milliseconds; no less than at any call before."""
        wall_ms, steady = self._wall() * 1000.0, self._steady()
        start_ms, start = self._start
        steady_ms = start_ms + (steady - start) * 1000.0
        if wall_ms > steady_ms:
            self._start = (wall_ms, steady)
            return int(wall_ms)
        return int(steady_ms)

    def at_least(self, ms: int) -> None:
        """Go on from this time if it is ahead."""
        if ms > self.now_ms():
            self._start = (float(ms), self._steady())
