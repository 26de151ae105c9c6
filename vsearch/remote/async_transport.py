"""The transport for asyncio: as transport.py, over the event loop's connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import httpx

from vsearch.remote.http1 import LEAVE_S, SEND_BYTES, STREAMED, Answer, AnswerReader, Timeouts, encode_head
from vsearch.remote.pool import MAX_IDLE_S, Pool
from vsearch.remote.transport import SOCKET_OPTIONS


class LoopConnection(asyncio.Protocol):
    """An open connection, used by one request at a time. The loop calls what asyncio.Protocol has."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writable = asyncio.Event()
        self._writable.set()
        self._reader: AnswerReader | None = None  # while a request waits for its answer
        self._answer: asyncio.Future[Answer] = self._loop.create_future()
        self._heard = asyncio.Event()  # something of the answer, or leave to send the body
        self._silence: asyncio.Timeout | None = None
        self._silence_s: float | None = None
        self._lost = False
        self._used_s = time.monotonic()

    @classmethod
    async def open(cls, host: str, port: int, timeout_s: float | None) -> LoopConnection:
        """Raises httpx.ConnectTimeout or ConnectError."""
        try:
            async with asyncio.timeout(timeout_s):
                transport, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(error.strerror or str(error)) from error
        for option in SOCKET_OPTIONS:
            transport.get_extra_info("socket").setsockopt(*option)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._writable.set()
        if error is None:
            self._feed(b"")
        else:
            self._end(httpx.ReadError(str(error)))

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            self.close()  # nobody asked
        self._feed(data)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def usable(self) -> bool:
        """Of this loop, and as far as the loop knows still open."""
        here = self._loop is asyncio.get_running_loop() and not self._transport.is_closing()
        return here and time.monotonic() - self._used_s < MAX_IDLE_S

    async def exchange(self, head: bytes, body: bytes, timeouts: Timeouts) -> Answer:
        """Send a request and read its answer. Raises httpx.TransportError."""
        self._reader, self._answer = AnswerReader(), self._loop.create_future()
        self._heard.clear()
        self._silence_s = timeouts["read"]
        try:
            sent = await self._send(head, body, timeouts["write"])
            async with asyncio.timeout(self._silence_s) as self._silence:
                answer = await self._answer
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time") from error
        finally:
            self._reader = self._silence = None
            self._used_s = time.monotonic()
        return answer if sent else answer.last()

    def close(self) -> None:
        if not self._lost:
            with suppress(RuntimeError):  # its loop was closed before it
                self._transport.abort()

    async def _send(self, head: bytes, body: bytes, timeout_s: float | None) -> bool:
        """Whether all was sent: not if the answer comes instead of leave to send the body, or before its end."""
        if len(body) <= SEND_BYTES:
            self._transport.write(head + body)
            return True
        self._transport.write(head)
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._heard.wait()
        view = memoryview(body)
        for start in range(0, len(body), SEND_BYTES):
            if self._answer.done() or self._transport.is_closing():
                return False
            self._transport.write(view[start : start + SEND_BYTES])
            try:
                async with asyncio.timeout(timeout_s):
                    await self._writable.wait()
            except TimeoutError as error:
                raise httpx.WriteTimeout("the server takes no more of the request") from error
        return True

    def _feed(self, data: bytes) -> None:
        """Take a part of the answer, if one is waited for."""
        if self._reader is None:
            return
        try:
            answer = self._reader.feed(data)
        except httpx.RemoteProtocolError as error:
            self._end(error)
            return
        if answer is not None:
            self._end(answer)
        elif self._reader.told:
            self._heard.set()
        if self._silence is not None and self._silence_s is not None:
            self._silence.reschedule(self._loop.time() + self._silence_s)

    def _end(self, outcome: Answer | httpx.TransportError) -> None:
        if self._reader is None or self._answer.done():
            return
        self._reader = None
        if isinstance(outcome, Answer):
            self._answer.set_result(outcome)
        else:
            self._answer.set_exception(outcome)
        self._heard.set()


class LoopTransport(httpx.AsyncBaseTransport):
    """`streams`: makes the transport for requests that are streamed, when there is one."""

    def __init__(self, host: str, port: int, streams: Callable[[], httpx.AsyncBaseTransport]) -> None:
        self._host = host
        self._port = port
        self._make_streams = streams
        self._streams: httpx.AsyncBaseTransport | None = None
        self._pool = Pool[LoopConnection]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, read whole unless it is streamed. Raises httpx.TransportError."""
        if STREAMED in request.extensions:
            if self._streams is None:
                self._streams = self._make_streams()
            return await self._streams.handle_async_request(request)
        timeouts: Timeouts = request.extensions["timeout"]
        body = await request.aread()
        head = encode_head(request, body)
        connection = self._pool.take() or await LoopConnection.open(self._host, self._port, timeouts["connect"])
        try:
            answer = await connection.exchange(head, body, timeouts)
        except BaseException:
            connection.close()
            raise
        if answer.reusable:
            self._pool.put(connection)
        else:
            connection.close()
        return answer.response()

    async def aclose(self) -> None:
        """Close every idle connection; those in use are closed when their request ends."""
        self._pool.close()
        if self._streams is not None:
            await self._streams.aclose()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn
