"""Threads of one open database that keep its collections in shape while it is used.

One loop seals, the other compacts and indexes. A loop works while there is something to do, then sleeps until it is
woken or its period is over. An error (a full disk, say) is logged and the loop tries again later, less and less often.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

PERIOD_S: Final = 0.5
MAX_BACKOFF_S: Final = 60.0

log = logging.getLogger("vsearch")


class Loop:
    """Calls `work` until it returns False, again and again. The thread starts at the first wake."""

    def __init__(self, name: str, work: Callable[[], bool]) -> None:
        self._name = name
        self._work = work
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """There may be something to do."""
        if self._thread is None:
            with self._start:
                if self._thread is None and not self._stopping.is_set():
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end after its current task."""
        self._stopping.set()
        self._wake.set()

    def join(self) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        backoff_s = PERIOD_S
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                while not self._stopping.is_set() and self._work():
                    backoff_s = PERIOD_S
                wait_s = PERIOD_S
            except Exception as error:
                if self._stopping.is_set():
                    return
                log.warning("%s: %s (tries again in %.0f s)", self._name, error, backoff_s)
                wait_s, backoff_s = backoff_s, min(MAX_BACKOFF_S, backoff_s * 2)
            self._wake.wait(wait_s)
