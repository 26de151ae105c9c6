"""Tells people that kernels are being compiled, when that makes them wait.

numba says when it begins and ends to compile a function, of anybody's. Once kernels of this folder have kept a process
waiting for a second, one line goes to the log `vsearch`: the next processes find the kernels in the cache.
"""

from __future__ import annotations

import logging
import threading
from importlib import import_module
from typing import Any, Final

PATIENCE_S: Final = 1.0
MESSAGE: Final = "compiling kernels, once for this machine and version (`vsearch warmup` does it ahead of time)"

log = logging.getLogger("vsearch")
event: Any = import_module("numba.core.event")


class Compiling(event.Listener):  # type: ignore[misc]
    """Starts a timer when the first kernel of a burst begins to compile; at its end the line is logged, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._timer: threading.Timer | None = None
        self._told = False

    def on_start(self, happening: Any) -> None:
        """A function begins to compile."""
        with self._lock:
            if self._told or not _is_ours(happening):
                return
            self._depth += 1
            if self._timer is None:
                self._timer = threading.Timer(PATIENCE_S, self._tell)
                self._timer.daemon = True
                self._timer.start()

    def on_end(self, happening: Any) -> None:
        """It has been compiled."""
        with self._lock:
            if not self._depth or not _is_ours(happening):
                return
            self._depth -= 1
            if self._depth == 0 and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _tell(self) -> None:
        with self._lock:
            self._told, self._depth = True, 0
        log.warning(MESSAGE)


def _is_ours(happening: Any) -> bool:
    function = getattr(happening.data.get("dispatcher"), "py_func", None)
    return getattr(function, "__module__", "").startswith("vsearch.index.")


def watch() -> None:
    """Begin to watch, once a process."""
    event.register("numba:compile", Compiling())
