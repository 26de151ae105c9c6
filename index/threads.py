"""One search over several threads: ranges of queries or rows, each run by a kernel that releases the GIL.

1. [0, n) is cut into equal pieces, a few for each thread, so that a thread that was held up does fewer of them.
2. The calling thread works on the pieces itself; the shared executor adds `threads - 1` helpers. A caller never waits
   for a helper that has not started, so nested and concurrent calls cannot block each other.

The executor is made on first use and again after a fork: threads do not survive one.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

Result = TypeVar("Result")

PIECES_PER_THREAD: Final = 4  # evens out pieces of unequal cost; more would add only merging

_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None


def run_ranges(function: Callable[[int, int], Result], n: int, threads: int, min_chunk: int = 1) -> list[Result]:
    """[function(start, stop), ...] over consecutive ranges of [0, n), in order of the ranges.

    No range is shorter than `min_chunk`, unless n is; with one thread or one range the calling thread runs
    `function(0, n)` at once. An error of any range is raised after all running ranges have ended.
    """
    pieces = min(threads * PIECES_PER_THREAD, n // max(min_chunk, 1))
    if threads <= 1 or pieces <= 1:
        return [function(0, n)]
    waiting = deque(range(pieces))  # popleft is atomic
    results: dict[int, Result] = {}

    def work() -> None:
        while waiting:
            try:
                piece = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                results[piece] = function(piece * n // pieces, (piece + 1) * n // pieces)
            except BaseException:
                waiting.clear()  # nobody needs the rest
                raise

    helpers: list[Future[None]] = []
    with suppress(RuntimeError):  # the interpreter is shutting down: the calling thread does it all
        helpers.extend(_shared().submit(work) for _ in range(min(threads, pieces) - 1))
    try:
        work()
    finally:
        running = [helper for helper in helpers if not helper.cancel()]
        errors = [helper.exception() for helper in running]
    for error in errors:
        if error is not None:
            raise error
    return [results[piece] for piece in range(pieces)]


def _shared() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="vsearch-index")
        return _executor


def _forget() -> None:
    global _executor, _lock
    _executor, _lock = None, threading.Lock()  # the lock may have been held by a thread that is gone


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
