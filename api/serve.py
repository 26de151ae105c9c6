"""One server process: open the database, listen, serve, stop in order.

1. The directory is opened (and its lock taken) and the socket bound; only then is anything announced.
2. Kernels are loaded in the background if there is something to search, so that no first search waits.
3. SIGTERM or SIGINT: no new connection is taken, requests in flight get STOP_S to finish and are answered, then the
   database is closed and the process ends with exit code 0. A second signal ends it at once; acknowledged writes are on
   disk either way.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

import vsearch
from vsearch.errors import InvalidArgument
from vsearch.storage.files import sweep_spools

from .app import create_app
from .front import Front
from .logs import to_stderr
from .settings import MAX_CONNECTIONS, STOP_S, Settings
from .warm import load_kernels

log = logging.getLogger("vsearch.server")

KEEP_ALIVE_S = 75  # of an idle connection; longer than the minute after which most proxies close theirs


def run(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until told to stop. `ready` gets the URL once requests are taken.

    Raises what opening the database raises, and InvalidArgument for an address that cannot be had.
    """
    to_stderr(settings.log_format)
    with vsearch.open(settings.directory, settings.durability) as db:
        sweep_spools(settings.directory)
        listener = _listen(settings)
        scheme = "http" if settings.tls_cert is None else "https"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"{scheme}://{host}:{listener.getsockname()[1]}"
        app = create_app(db, settings)
        try:
            server = _Server(_config(app, settings), app, lambda: ready(url))
            threading.Thread(target=load_kernels, args=(db,), name="vsearch-warm", daemon=True).start()
            server.run(sockets=[listener])
        finally:
            app.workers.close()
            app.logs.flush()
            listener.close()


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(STOP_S),
        limit_concurrency=MAX_CONNECTIONS,
        backlog=2 * MAX_CONNECTIONS,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.host.strip("[]"), settings.port), family=family, backlog=2 * MAX_CONNECTIONS
        )
    except OSError as error:
        message = f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}"
        raise InvalidArgument(message, "Stop what uses it, or choose another with --port") from error


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it is ready and ends with exit code 0 when it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: Front, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.stop_waiting()
        await super().shutdown(sockets)
        await self._app.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does it, but without raising the signal again at the end, which would be another exit code."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
