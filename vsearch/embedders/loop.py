"""An HTTP client on an event loop in a thread of its own, for callers from any thread or loop."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vsearch.errors import Closed

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
MAX_CONNECTIONS: Final = 32
IDLE_S: Final = 60.0  # that a connection is kept


class ClientLoop:
    """The thread starts with the first call, and anew after a fork; it ends when this is closed or collected."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: _Thread | None = None
        self._end: weakref.finalize[..., Any] | None = None
        self._process = os.getpid()
        self.closed = False

    def submit(self, work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]]) -> Future[T]:
        """Start a coroutine, which is given the client. Raises Closed."""
        with self._lock:
            if self.closed:
                raise Closed("the embedder is closed", "Make another")
            if self._thread is None or self._process != os.getpid():
                self._start()
            thread = self._thread
            assert thread is not None, "bug: no thread"
            return asyncio.run_coroutine_threadsafe(work(thread.client), thread.loop)

    def close(self) -> None:
        """End what is under way, and the thread. Closing again does nothing."""
        with self._lock:
            self.closed = True
            end, self._end = self._end, None
        if end is not None and self._process == os.getpid():
            end()

    def _start(self) -> None:
        if self._end is not None:
            self._end.detach()  # it is of the parent of this process
        self._process = os.getpid()
        self._thread = _Thread()
        self._end = weakref.finalize(self, self._thread.end)
        self._end.atexit = False  # no thread can be started then, which closing a loop may want


class _Thread:
    """The thread, its loop and the client; ready when it is made."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        import httpx

        kept = httpx.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=IDLE_S
        )
        self.client = httpx.AsyncClient(timeout=None, limits=kept, follow_redirects=False)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vsearch-embedder", daemon=True)
        self._thread.start()
        self._ready.wait()

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:  # it may be the one that collects garbage
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with self.client:
            self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._ready.set()
            await self._stop.wait()
            await asyncio.sleep(0)  # calls that were just made begin, so that they end as others do
            under_way = asyncio.all_tasks() - {asyncio.current_task()}
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
