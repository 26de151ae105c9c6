"""The ASGI application: what every request passes on its way to a handler and back.

1. The endpoint is found, the key checked, the body read within its limit (an upload goes to a temporary file).
2. In a worker thread the body is parsed and validated, the handler runs, its result becomes bytes.
3. The answer is sent; metrics and logs are told. Whatever was raised on the way is an error answer in JSON: a client
   never sees a traceback, and the log has it under the request's id.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import GeneratorType
from typing import Any, Final, TypeVar

import orjson

from vsearch import wire
from vsearch.database import Database
from vsearch.errors import Corruption, ReadOnly, ResourceExhausted, Unavailable, VSearchError
from vsearch.storage.files import spool

from .endpoint import Call, Download, Endpoint, Table, Text
from .errors import OWN_SHAPE, DiskRefused, InternalError, Malformed, TooLarge, TooSlow, status_of
from .keys import Keys
from .logs import Logs
from .memory import MemoryBudget
from .metrics import Metrics
from .parsing import parse_body, parse_params
from .request import Request, Scope
from .settings import BODY_PAUSE_S, MAX_BODIES_BYTES, Settings
from .together import Steps
from .traces import Traces
from .workers import Workers

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
T = TypeVar("T")

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
JSON_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY
RETRY_AFTER_S: Final = b"1"
CLIENT_GONE: Final = 499  # in the logs: there was nobody to answer


class Gone(Exception):
    """The client went away before its request was whole."""


class Front:
    """The application over one open database. Used by the event loop's thread."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        table: Table,
        workers: Workers,
        memory: MemoryBudget,
        closing: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        """`closing`: what `close` awaits."""
        self.db = db
        self.settings = settings
        self.table = table
        self.workers = workers
        self.metrics = Metrics(db)
        self.logs = Logs(settings)
        self.traces = Traces(settings.traces)
        self.memory = memory
        self.waiting: set[asyncio.Future[Any]] = set()  # work that awaits other requests
        self._keys = Keys(settings)
        self._body_bytes = 0  # of all requests whose bodies are being read or worked on
        self._closing = closing
        self._ids = itertools.count()
        self._id_prefix = secrets.token_hex(4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await Exchange(self, scope, receive, send).run()

    def admit(self, request: Request, endpoint: Endpoint) -> None:
        """Raises PermissionDenied, TooLarge or ResourceExhausted for a request that is not to be served."""
        self._keys.check(request.headers, endpoint.access)
        if endpoint.access == "write" and not endpoint.live:
            self.memory.check()
        limit = self.settings.max_upload_bytes if endpoint.upload else self.settings.max_body_bytes
        if limit is not None and request.content_length > limit:
            raise TooLarge(f"the body has {request.content_length:,} bytes", f"Send at most {limit:,} bytes at once")

    def stop_waiting(self) -> None:
        """The server is being stopped: what waits for other requests fails."""
        for task in self.waiting:
            task.cancel()

    async def close(self) -> None:
        """Let go of what handlers hold. Called on the event loop when no request is left."""
        for close in self._closing:
            await close()

    def new_id(self) -> str:
        """An id for a request that brings none."""
        return f"{self._id_prefix}{next(self._ids):08x}"

    def hold(self, nbytes: int) -> None:
        """Account for a body in memory. Raises ResourceExhausted when there are too many."""
        self._body_bytes += nbytes
        if self._body_bytes > MAX_BODIES_BYTES:
            raise ResourceExhausted("too many large requests at once", "Try again, with fewer at a time")

    def release(self, nbytes: int) -> None:
        self._body_bytes -= nbytes


class Exchange:
    """One request and its answer."""

    def __init__(self, front: Front, scope: Scope, receive: Receive, send: Send) -> None:
        self.front = front
        self.request = request = Request(scope)
        given = request.headers.get(b"x-request-id")
        request.id = front.new_id() if given is None or not REQUEST_ID.fullmatch(given) else given.decode()
        self._receive = receive
        self._send = send
        self._unread = request.has_body  # whether there may be more of it
        self._ended = False  # whether the answer is whole

    async def run(self) -> None:
        """Answer, whatever happens."""
        front = self.front
        front.metrics.began()
        try:
            with front.traces.span(self.request):
                try:
                    await self._answer()
                except Gone:
                    self.request.status = CLIENT_GONE
                except Exception as error:
                    await self._refuse(error)
        finally:
            front.metrics.ended(self.request.route, self.request.status, self.request.elapsed_s)
            front.logs.request(self.request)

    async def _answer(self) -> None:
        method = "GET" if self.request.method == "HEAD" else self.request.method
        self.request.endpoint, self.request.names = self.front.table.find(method, self.request.raw_path)
        self.front.admit(self.request, self.request.endpoint)
        answer: tuple[bytes, str] | Download | None
        if self.request.endpoint.upload:
            answer = await self._with_upload(self.request.endpoint)
        else:
            answer = await self._with_body(self.request.endpoint)
        if isinstance(answer, Download):
            await self._stream(answer)
        elif answer is not None:
            await self._whole(200, *answer)

    async def _with_body(self, endpoint: Endpoint) -> tuple[bytes, str] | Download | None:
        limit = self.front.settings.max_body_bytes
        pieces: list[bytes] = []
        held = 0
        try:
            async for piece in self._pieces():
                held += len(piece)
                self.front.hold(len(piece))
                if held > limit:
                    raise TooLarge(f"the body has more than {limit:,} bytes", "Send several requests")
                pieces.append(piece)
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if endpoint.live:
                await self._live(endpoint, body)
                return None
            if endpoint.lane == "loop":
                call = self._call(endpoint, body, None)
                return self._encoded(endpoint, call, await self._while_there(endpoint.handler(call)))
            return await self._serve(endpoint, self._work(endpoint, body, None))
        finally:
            self.front.release(held)

    async def _live(self, endpoint: Endpoint, body: bytes) -> None:
        """Let the handler answer; it is cancelled when the client goes away before. Raises what it raises, and Gone."""
        handling = asyncio.ensure_future(endpoint.handler(self, body))
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait((handling, gone), return_when=asyncio.FIRST_COMPLETED)
            if not handling.done() and not self._ended:
                handling.cancel()
            await asyncio.wait((handling,))
        finally:
            gone.cancel()
            handling.cancel()  # when the server is being stopped
        if handling.cancelled():
            raise Gone
        handling.result()

    async def begin(self, status: int, headers: list[Header]) -> None:
        """Start the answer."""
        self.request.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, piece: bytes, more: bool = False) -> None:
        """Send the body, or with `more` a piece of it."""
        self._ended = not more
        if self.request.method == "HEAD":
            piece = b""
        self.request.sent_bytes += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def _with_upload(self, endpoint: Endpoint) -> tuple[bytes, str] | Download:
        limit = self.front.settings.max_upload_bytes
        with spool(self.front.db.path) as upload:
            async for piece in self._pieces():
                await self.front.workers.call("long", partial(upload.write, piece))
                if limit is not None and upload.nbytes > limit:
                    raise TooLarge(f"the upload has more than {limit:,} bytes", "Send it in parts")
            if upload.nbytes == 0:
                raise Malformed("the body is empty", "Send the file as the body")
            await self.front.workers.call("long", upload.flush)
            return await self._serve(endpoint, self._work(endpoint, b"", upload.path))

    async def _serve(self, endpoint: Endpoint, steps: Steps[T]) -> T:
        kind = (endpoint, self.request.names.get("collection"))
        return await self.front.workers.serve(endpoint.lane, kind, self.request.client, steps)

    def _work(self, endpoint: Endpoint, raw: bytes, upload: Path | None) -> Steps[tuple[bytes, str] | Download]:
        """Parse, handle, encode: in a worker thread. Raises what the handler raises."""
        call = self._call(endpoint, raw, upload)
        result = endpoint.handler(call)
        if isinstance(result, GeneratorType):
            result = yield from result
        return self._encoded(endpoint, call, result)

    def _call(self, endpoint: Endpoint, raw: bytes, upload: Path | None) -> Call[Any, Any]:
        content_type, accept = self.request.content_type, self.request.accept
        media_type = content_type.split(";")[0].strip().lower()
        return Call(
            db=self.front.db,
            metrics=self.front.metrics,
            table=self.front.table,
            names=self.request.names,
            body=parse_body(endpoint, raw, media_type),
            params=parse_params(endpoint, self.request.query),
            upload=upload,
            content_type=content_type,
            accept=accept,
            binary=not endpoint.envelope and wire.MSGPACK in accept,
        )

    def _encoded(self, endpoint: Endpoint, call: Call[Any, Any], result: Any) -> tuple[bytes, str] | Download:
        if endpoint.lane != "loop" and self.request.elapsed_s * 1000 > self.front.settings.slow_ms:
            self.request.note = repr(call.body)
        if isinstance(result, Text):
            return result.content, result.media_type
        if isinstance(result, Download):
            return result
        if endpoint.envelope:
            result = {"result": result, "status": "ok", "time": self.request.elapsed_s}
        elif call.binary:
            return wire.pack(result), wire.MSGPACK
        return orjson.dumps(result, option=JSON_OPTIONS), wire.JSON

    async def _pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Gone, or TooSlow for a client that stops in the middle."""
        while self._unread:
            # asyncio.timeout does the same, and costs as much as the rest of a request's way through here.
            task, late = asyncio.current_task(), False

            def cut_off(task: Any = task) -> None:
                nonlocal late
                late = True
                task.cancel()

            timer = asyncio.get_running_loop().call_later(BODY_PAUSE_S, cut_off)
            try:
                message = await self._receive()
            except asyncio.CancelledError:
                if not late or task is None or task.uncancel():
                    raise
                raise TooSlow(f"no more of the body came for {BODY_PAUSE_S:g} s", "Send it without pauses") from None
            finally:
                timer.cancel()
            if message["type"] == "http.disconnect":
                raise Gone
            self._unread = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def _refuse(self, error: Exception) -> None:
        request = self.request
        if request.status:  # in the middle of an answer: the connection is cut, so that it is not taken for a whole one
            self.front.logs.failure(self.request, error)
            raise error
        known = error if isinstance(error, VSearchError) else None
        if known is None:
            known = InternalError("the server failed", f"This is a bug: its log has more under request id {request.id}")
        elif isinstance(known, ReadOnly) and self.front.db.failed is not None:
            known = DiskRefused(known.message, known.hint)
        status = status_of(known)
        if isinstance(known, Corruption) and self.request.endpoint is not None and self.request.endpoint.upload:
            status = status_of(Malformed(""))  # it is the client's file that is damaged
        if status in (500, 507):
            self.front.logs.failure(self.request, error)
        headers: list[Header] = []
        if self._unread:
            headers.append((b"connection", b"close"))  # what is left of the body is not read
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status in (429, 503):
            headers.append((b"retry-after", RETRY_AFTER_S))
        if status == 405:
            headers.append((b"allow", ", ".join(self.front.table.methods(self.request.raw_path)).encode()))
        shape = OWN_SHAPE if request.endpoint is None else request.endpoint.errors
        await self._whole(status, orjson.dumps(shape.body(known, self.request.elapsed_s)), wire.JSON, headers)

    async def _whole(self, status: int, body: bytes, media_type: str, headers: list[Header] | None = None) -> None:
        await self._start(status, media_type, len(body), headers or [])
        await self.send(body)

    async def _stream(self, download: Download) -> None:
        """Piece by piece; the first is made before the answer starts, so that an early failure is an error answer."""
        pieces = download.pieces

        def following() -> bytes:
            return next(pieces, b"")

        gone = asyncio.ensure_future(self._gone())
        try:
            piece = await self.front.workers.call("long", following)
            disposition = f'attachment; filename="{download.file_name}"'.encode()
            await self._start(200, download.media_type, download.nbytes, [(b"content-disposition", disposition)])
            while piece and self.request.method != "HEAD" and not gone.done():
                await self.send(piece, more=True)
                piece = await self.front.workers.call("long", following)
            await self.send(b"")
        finally:
            gone.cancel()
            with suppress(ValueError):  # a step still running in its thread, when the server is being stopped
                pieces.close()

    async def _while_there(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, or raises. It is cancelled when the client goes away; raises Gone."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self._gone())
        self.front.waiting.add(task)
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if task.cancelled():
                raise Unavailable("the server is stopping", "Try again when it runs, or another one")
            if not task.done():
                raise Gone
            return task.result()
        finally:
            self.front.waiting.discard(task)
            gone.cancel()
            task.cancel()

    async def _gone(self) -> None:
        """Returns when the client has gone away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _start(self, status: int, media_type: str, nbytes: int | None, headers: list[Header]) -> None:
        start = [(b"content-type", media_type.encode()), (b"x-request-id", self.request.id.encode()), *headers]
        if nbytes is not None:
            start.append((b"content-length", str(nbytes).encode()))
        await self.begin(status, start)
