"""HTTP/1.1 to one server over plain sockets that are kept open: httpx's transport for the calls of every day.

httpx's own transport costs half a millisecond of CPU a request, several times a small search. This one does what our
calls need and no more:
1. A kept connection is taken from the pool if it is still open, else one is made.
2. Head and body leave in one send. A large body follows in pieces once the server has given leave, so that one that
   it refuses is not sent, and the refusal not lost.
3. The answer is read whole (http1.py), and the connection goes back to the pool if the server lets it.

Anything unusual, an error or Ctrl-C, closes the connection: one in an unknown state is never used again. Errors are
httpx's. Requests and answers that are streamed go through httpx's own transport.

Safe for threads, since a connection is either in one request or in the pool; and for fork.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import httpx

from vsearch.remote.http1 import (
    LEAVE_S,
    RECEIVE_BYTES,
    SEND_BYTES,
    STREAMED,
    Answer,
    AnswerReader,
    Timeouts,
    encode_head,
)
from vsearch.remote.pool import MAX_IDLE_S, Pool

# A peer that vanished without a word is noticed after minutes, also by calls that wait without a limit.
SOCKET_OPTIONS: Final = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *([(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)] if hasattr(socket, "TCP_KEEPIDLE") else []),
]


class SocketConnection:
    """An open socket, used by one request at a time."""

    def __init__(self, host: str, port: int, timeout_s: float | None) -> None:
        try:
            self._socket = socket.create_connection((host, port), timeout_s)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(error.strerror or str(error)) from error
        for option in SOCKET_OPTIONS:
            self._socket.setsockopt(*option)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._used_s = time.monotonic()

    def usable(self) -> bool:
        """An idle connection has nothing to be read, but for the end that the server put to it."""
        return time.monotonic() - self._used_s < MAX_IDLE_S and not self._poll.poll(0)

    def exchange(self, head: bytes, body: bytes, timeouts: Timeouts) -> Answer:
        """Send a request and read its answer. Raises httpx.TransportError."""
        reader = AnswerReader()
        try:
            answer = self._send(head, body, timeouts["write"], reader)
        except TimeoutError as error:
            raise httpx.WriteTimeout("the server takes no more of the request") from error
        except OSError:  # perhaps it refused the request before it had all of it: then its answer says why
            return self._receive(timeouts["read"], reader).last()
        if answer is not None:
            return answer.last()
        answer = self._receive(timeouts["read"], reader)
        self._used_s = time.monotonic()
        return answer

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def _send(self, head: bytes, body: bytes, timeout_s: float | None, reader: AnswerReader) -> Answer | None:
        """Send all; or less, and return the answer, if that comes instead of leave to send the body."""
        self._socket.settimeout(timeout_s)
        if len(body) <= SEND_BYTES:
            self._socket.sendall(head + body)
            return None
        self._socket.sendall(head)
        while not reader.told and self._poll.poll(LEAVE_S * 1000):
            if (answer := reader.feed(self._socket.recv(RECEIVE_BYTES))) is not None:
                return answer
        view = memoryview(body)
        for start in range(0, len(body), SEND_BYTES):
            self._socket.sendall(view[start : start + SEND_BYTES])
        return None

    def _receive(self, timeout_s: float | None, reader: AnswerReader) -> Answer:
        self._socket.settimeout(timeout_s)
        try:
            while (answer := reader.feed(self._socket.recv(RECEIVE_BYTES))) is None:
                pass
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time") from error
        except OSError as error:
            raise httpx.ReadError(error.strerror or str(error)) from error
        return answer


class SocketTransport(httpx.BaseTransport):
    """`streams`: makes the transport for requests that are streamed, when there is one."""

    def __init__(self, host: str, port: int, streams: Callable[[], httpx.BaseTransport]) -> None:
        self._host = host
        self._port = port
        self._make_streams = streams
        self._streams: httpx.BaseTransport | None = None
        self._pool = Pool[SocketConnection]()
        self._process = os.getpid()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, read whole unless it is streamed. Raises httpx.TransportError."""
        if self._process != os.getpid():
            self._leave_to_parent()
        if STREAMED in request.extensions:
            if self._streams is None:
                self._streams = self._make_streams()
            return self._streams.handle_request(request)
        timeouts: Timeouts = request.extensions["timeout"]
        body = request.read()
        head = encode_head(request, body)
        connection = self._pool.take() or SocketConnection(self._host, self._port, timeouts["connect"])
        try:
            answer = connection.exchange(head, body, timeouts)
        except BaseException:
            connection.close()
            raise
        if answer.reusable:
            self._pool.put(connection)
        else:
            connection.close()
        return answer.response()

    def close(self) -> None:
        """Close every idle connection; those in use are closed when their request ends."""
        self._pool.close()
        if self._streams is not None:
            self._streams.close()

    def _leave_to_parent(self) -> None:
        """After a fork: close the sockets here, which leaves the connections open there."""
        self._process = os.getpid()
        self._pool.close()
        self._pool = Pool()
        self._streams = None
