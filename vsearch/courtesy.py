"""Searches first: a writer at full rate takes at most a part of the time while searches are going on.

Threads of one Python process share its global lock. A search needs it a few times for some microseconds, and each time
it would wait behind a writer that prepares its next batch. So a writer that comes back at once, while others search,
rests for a multiple of the time that its last write took. A write that comes alone never waits, nor does any write
while no other thread searches: one that searches and writes in turn is never held back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

REST: Final = 5.0  # of the time of a write: back-to-back writes get a sixth of it
MAX_REST_S: Final = 0.1
RECENT_S: Final = 0.01  # between two searches of a busy reader there is less than this


class Courtesy:
    """Of one collection: told of every search and every write."""

    def __init__(self) -> None:
        self._searches = 0  # in flight
        self._last_search = (0, 0.0)  # the thread of the last one that ended, and when
        self._busy_s = 0.0
        self._ended_s = 0.0
        self._gate = threading.Lock()

    @contextmanager
    def searching(self) -> Iterator[None]:
        """While a search goes on."""
        with self._gate:
            self._searches += 1
        try:
            yield
        finally:
            with self._gate:
                self._searches -= 1
                self._last_search = (threading.get_ident(), time.monotonic())

    def before_write(self) -> float:
        """Rest if it is due; returns the time at which the write begins."""
        with self._gate:
            due_s = self._ended_s + min(MAX_REST_S, self._busy_s * REST) - time.monotonic()
            thread, ended_s = self._last_search
            recent = thread != threading.get_ident() and time.monotonic() - ended_s < RECENT_S
            searching = self._searches > 0 or recent
        if searching and due_s > 0:
            time.sleep(due_s)
        return time.monotonic()

    def after_write(self, began_s: float) -> None:
        with self._gate:
            self._ended_s = time.monotonic()
            self._busy_s = self._ended_s - began_s
