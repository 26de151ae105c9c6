"""Worker threads for everything that touches the database, and when a request need not go to one alone.

Handing a request to another thread and its answer back costs about 0.2 ms, as much as a search. So:
1. While one client is alone, a request of a kind that has been quick so far runs on the event loop itself: nobody else
   is kept waiting.
2. When several come close to each other, one thread serves all that are waiting, then all that came meanwhile: their
   searches are made together (together.py), in a kernel that uses all cores, while the event loop takes in the next.
   More such threads were slower: they only compete for Python's global lock.
3. Kinds that take long run in threads of their own, beside each other: kernels do not hold that lock.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from .endpoint import Lane
from .together import Steps, Task, finish, together

T = TypeVar("T")

QUICK_S: Final = 0.002  # what a lone client's request may take on the event loop
TOGETHER_S: Final = 0.02  # what a request may take that others are bound to
UNKNOWN_S: Final = 0.1  # expected of a new kind, so that it shows some times that it is quick
RECENT: Final = 0.1  # weight of the last time in what is expected of the next
ALONE_S: Final = 0.05  # since the last request of another client
MAX_KINDS: Final = 10_000
MAX_TOGETHER: Final = 64  # requests handed over at once
WRITERS: Final = 16  # writers wait together for one fsync: the more of them, the more share it
LONG: Final = 4  # exports, snapshots, optimizing


class Workers:
    """Threads in three lanes. `call` and `serve` are for the event loop's thread only."""

    def __init__(self) -> None:
        readers = (os.cpu_count() or 1) + 1  # one of them for those served together
        sizes: dict[Lane, int] = {"read": readers, "write": WRITERS, "long": LONG}
        self._lanes = {lane: ThreadPoolExecutor(size, f"vsearch-{lane}") for lane, size in sizes.items()}
        self._expected_s: dict[object, float] = {}
        self._in_flight = 0
        self._last_client: object = None
        self._client_changed_s = 0.0
        self._pending: deque[tuple[Task[Any], asyncio.Future[Any]]] = deque()
        self._serving = False

    async def call(self, lane: Lane, work: Callable[[], T]) -> T:
        """What `work` returns, or raises, in a thread of the lane."""
        return await asyncio.get_running_loop().run_in_executor(self._lanes[lane], work)

    async def serve(self, lane: Lane, kind: object, client: object, steps: Steps[T]) -> T:
        """The result of a request's steps. `kind`: what is expected to take about the same time each time."""
        now = time.monotonic()
        if client != self._last_client:
            self._last_client, self._client_changed_s = client, now
        alone = self._in_flight == 0 and now - self._client_changed_s > ALONE_S
        expected_s = self._expected_s.get(kind, UNKNOWN_S)
        self._in_flight += 1
        try:
            if lane != "read" or expected_s > TOGETHER_S:
                return await self.call(lane, lambda: finish(steps))
            if alone and expected_s < QUICK_S:
                return finish(steps)
            future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            self._pending.append((Task(steps), future))
            self._hand_over()
            return await future
        finally:
            self._in_flight -= 1
            if len(self._expected_s) > MAX_KINDS:  # names of collections are the clients' choice
                self._expected_s.clear()
            self._expected_s[kind] = expected_s + RECENT * (time.monotonic() - now - expected_s)

    def close(self) -> None:
        """Wait for what is running."""
        for pool in self._lanes.values():
            pool.shutdown(wait=True)

    def _hand_over(self) -> None:
        """Give what is pending to a thread, unless one is at work and will be given it next."""
        if self._pending and not self._serving:
            self._serving = True
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_TOGETHER))]
            self._lanes["read"].submit(self._work, asyncio.get_running_loop(), batch)

    def _work(self, loop: asyncio.AbstractEventLoop, batch: list[tuple[Task[Any], asyncio.Future[Any]]]) -> None:
        """In a thread: do it all, then tell the event loop once."""
        together([task for task, _ in batch])
        loop.call_soon_threadsafe(self._settle, batch)

    def _settle(self, batch: list[tuple[Task[Any], asyncio.Future[Any]]]) -> None:
        self._serving = False
        self._hand_over()
        for task, future in batch:
            if future.cancelled():  # the server is being stopped
                continue
            if task.error is None:
                future.set_result(task.result)
            else:
                future.set_exception(task.error)
