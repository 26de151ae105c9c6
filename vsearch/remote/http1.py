"""HTTP/1.1 (RFC 9112): requests' heads as bytes, and answers read from bytes as they come. No socket is touched here.

What an answer has:

1. The head: a status line and headers, at most MAX_HEAD_BYTES. Interim answers (1xx) are skipped.
2. The body: none, chunked, of the length that is told, or all there is until the connection ends.
3. Whatever is otherwise is httpx.RemoteProtocolError, and the connection of no more use.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

MAX_HEAD_BYTES: Final = 64 << 10
MAX_LINE_BYTES: Final = 4 << 10  # of the line before a chunk
MAX_INTERIM: Final = 16  # interim answers before the final one
RECEIVE_BYTES: Final = 256 << 10
SEND_BYTES: Final = 1 << 20  # larger bodies are sent in such pieces, each of which has the whole timeout
LEAVE_S: Final = 1.0  # how long to wait for leave to send a large body; not every server gives it
STREAMED: Final = "vsearch.streamed"  # extension of a request whose body or answer is a stream
STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [^\x00\r\n]*)?")
HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)")
CHUNK_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?")

Headers = list[tuple[bytes, bytes]]
Reading = Generator[None, bytes, Any]
Timeouts = Mapping[str, float | None]  # connect, write, read: seconds of silence, None for no limit


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `reusable`: whether the connection will take another request."""

    status: int
    headers: Headers
    body: bytes
    reusable: bool

    def last(self) -> Answer:
        """This answer as the last one of its connection."""
        return replace(self, reusable=False)

    def response(self) -> httpx.Response:
        return httpx.Response(self.status, headers=self.headers, stream=httpx.ByteStream(self.body))


def encode_head(request: httpx.Request, body: bytes) -> bytes:
    """What goes before the body of a request, whose headers are complete but for what asks for leave to send it."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    if len(body) > SEND_BYTES:
        lines.append(b"expect: 100-continue")
    return b"\r\n".join([*lines, b"", b""])


class AnswerReader:
    """Takes what comes from the server until the answer is whole. `told`: whether the server asks for the body.

    Raises httpx.RemoteProtocolError.
    """

    def __init__(self) -> None:
        self.told = False
        self._steps = self._read(Incoming())
        next(self._steps)

    def feed(self, data: bytes) -> Answer | None:
        """The answer, once it is whole; b"" is the end of the connection."""
        try:
            self._steps.send(data)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        return None

    def _read(self, incoming: Incoming) -> Generator[None, bytes, Answer]:
        for _ in range(MAX_INTERIM):
            head = yield from incoming.until(b"\r\n\r\n", MAX_HEAD_BYTES)
            status, version, headers = _parsed(head)
            if status >= 200:
                break
            self.told = True
        else:
            raise httpx.RemoteProtocolError("too many interim answers")
        options = _options(headers, b"connection")
        reusable = b"close" not in options and (version == b"1" or b"keep-alive" in options)
        if status in (204, 304):
            body = b""
        elif coding := _options(headers, b"transfer-encoding"):
            if coding != [b"chunked"]:
                raise httpx.RemoteProtocolError("an unknown transfer coding")
            body = yield from _chunks(incoming)
        elif (length := _length(headers)) is not None:
            body = yield from incoming.exactly(length)
        else:
            body = yield from incoming.rest()
            reusable = False
        return Answer(status, headers, body, reusable and not incoming.data)  # what nobody asked for is not trusted


class Incoming:
    """Bytes that have come and were not taken yet."""

    def __init__(self) -> None:
        self.data = bytearray()

    def until(self, mark: bytes, limit: int) -> Reading:
        """What comes before a mark; the mark is dropped."""
        searched = 0
        while (at := self.data.find(mark, searched, limit)) < 0:
            if len(self.data) >= limit:
                raise httpx.RemoteProtocolError(f"more than {limit} bytes without an end of the head or line")
            searched = max(0, len(self.data) - len(mark) + 1)
            yield from self._more()
        return self._taken(at, len(mark))

    def exactly(self, n: int) -> Reading:
        while len(self.data) < n:
            yield from self._more()
        return self._taken(n, 0)

    def rest(self) -> Reading:
        """Everything up to the end of the connection."""
        while came := (yield):
            self.data += came
        return self._taken(len(self.data), 0)

    def _more(self) -> Reading:
        came = yield
        if not came:
            where = "in the middle of" if self.data else "before"
            raise httpx.RemoteProtocolError(f"the server closed the connection {where} its answer")
        self.data += came

    def _taken(self, n: int, dropped: int) -> bytes:
        with memoryview(self.data) as view:
            taken = bytes(view[:n])
        del self.data[: n + dropped]
        return taken


def _parsed(head: bytes) -> tuple[int, bytes, Headers]:
    """Status, minor version and headers of a head. Names are in lower case."""
    first, *lines = head.split(b"\r\n")
    start = STATUS_LINE.fullmatch(first)
    if start is None:
        raise httpx.RemoteProtocolError("no status line of HTTP/1.1")
    headers = []
    for line in lines:
        header = HEADER.fullmatch(line)
        if header is None:
            raise httpx.RemoteProtocolError("a header line that is none")
        headers.append((header[1].lower(), header[2].strip(b" \t")))
    return int(start[2]), start[1], headers


def _options(headers: Headers, name: bytes) -> list[bytes]:
    """The elements of a header that is a list, in lower case."""
    values = [value for key, value in headers if key == name]
    return [item.strip(b" \t").lower() for value in values for item in value.split(b",")] if values else []


def _length(headers: Headers) -> int | None:
    lengths = {value for key, value in headers if key == b"content-length"}
    if not lengths:
        return None
    (length, *others) = lengths
    if others or not length.isdigit() or len(length) > 15:
        raise httpx.RemoteProtocolError("a content length that is none")
    return int(length)


def _chunks(incoming: Incoming) -> Reading:
    pieces = []
    while True:
        line = yield from incoming.until(b"\r\n", MAX_LINE_BYTES)
        size = CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise httpx.RemoteProtocolError("a chunk without a size")
        n = int(size[1], 16)
        if n == 0:
            break
        pieces.append((yield from incoming.exactly(n)))
        if (yield from incoming.exactly(2)) != b"\r\n":
            raise httpx.RemoteProtocolError("a chunk that is longer than its size")
    trailers = 0
    while line := (yield from incoming.until(b"\r\n", MAX_LINE_BYTES)):
        trailers += len(line)
        if trailers > MAX_HEAD_BYTES:
            raise httpx.RemoteProtocolError("too many trailers")
    return b"".join(pieces)
