"""A Call as an HTTP request, and an answer as a result or an error of ours: what both clients share. No I/O.

An answer is ours if it is a success in MessagePack, or an error in JSON that has a `code`. Everything else came from
something in between, or from another kind of server, and is Unavailable.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode
from urllib.request import getproxies, proxy_bypass

import httpx

import vsearch
from vsearch import errors, wire
from vsearch.errors import Closed, InvalidArgument, Timeout, Unavailable, VSearchError
from vsearch.remote.call import Call
from vsearch.remote.files import Sending
from vsearch.remote.http1 import STREAMED
from vsearch.remote.pool import MAX_IDLE_S, MAX_KEPT
from vsearch.remote.transport import SOCKET_OPTIONS, SocketTransport

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")

BYTES: Final = "application/octet-stream"
UNSURE: Final = "A change may have been made all the same: look before you repeat it"
ERRORS: Final[dict[str, type[VSearchError]]] = {
    kind.code: kind for kind in (getattr(errors, name) for name in errors.__all__)
}


class Server:
    """Where a server is, and how it is spoken to. `str()` is its URL; the key is never shown.

    `timeout_s`: how long to wait for a connection, and then whenever the server is silent; None: without end. `verify`:
    whether the certificate of an https server is checked, or a file or folder of the certificates to check it with.

    Raises InvalidArgument.
    """

    def __init__(
        self, url: str, api_key: str | None = None, timeout_s: float | None = 60.0, verify: bool | str = True
    ) -> None:
        self._url = _checked_url(url)
        number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
        if timeout_s is not None and not (number and timeout_s > 0):
            raise InvalidArgument(f"timeout_s is {timeout_s!r}", "Use a number of seconds above 0, or None")
        if api_key is not None and not (isinstance(api_key, str) and api_key.isascii() and api_key.isprintable()):
            raise InvalidArgument("the API key is no text of printable ASCII characters", "Look where it comes from")
        self._timeout_s = timeout_s
        self._verify = _checked_verify(verify)
        self._headers = [
            (b"host", self._url.netloc),
            (b"user-agent", f"vsearch/{vsearch.__version__}".encode()),
            (b"accept", wire.MSGPACK.encode()),
            (b"accept-encoding", b"identity"),
            *([(b"api-key", api_key.encode())] if api_key is not None else []),
        ]
        self._url_of = lru_cache(maxsize=1_000)(self._below)  # to make one costs more than the rest of a request

    def __str__(self) -> str:
        return str(self._url).rstrip("/")

    def transport(self) -> httpx.BaseTransport:
        """What requests go through."""

        def standard() -> httpx.BaseTransport:
            return httpx.HTTPTransport(**self._options())

        return SocketTransport(self._url.host, self._url.port or 80, standard) if self._plain else standard()

    def async_transport(self) -> httpx.AsyncBaseTransport:
        """What requests go through in asyncio."""
        from vsearch.remote.async_transport import LoopTransport

        def standard() -> httpx.AsyncBaseTransport:
            return httpx.AsyncHTTPTransport(**self._options())

        return LoopTransport(self._url.host, self._url.port or 80, standard) if self._plain else standard()

    def request(self, call: Call[Any]) -> httpx.Request:
        """Raises InvalidArgument when an argument cannot be sent."""
        limit_s = self._timeout_s
        silence_s = None if call.patient or limit_s is None else limit_s + call.wait_s
        timeouts = {"connect": limit_s, "pool": limit_s, "write": limit_s, "read": silence_s}
        extensions: dict[str, Any] = {"timeout": timeouts}
        if call.upload is not None or call.download is not None:
            extensions[STREAMED] = True
        headers = self._headers
        stream: httpx.ByteStream | Sending = httpx.ByteStream(b"")
        if call.upload is not None:
            headers, stream = self._with_body(BYTES, call.upload.stat().st_size), Sending(call.upload)
        elif call.body is not None:
            body = _packed(call.body)
            headers, stream = self._with_body(wire.MSGPACK, len(body)), httpx.ByteStream(body)
        url = self._url_of(call.path, call.params)
        return httpx.Request(call.method, url, headers=headers, stream=stream, extensions=extensions)

    def result(self, call: Call[T], response: httpx.Response, body: bytes) -> T:
        """What an answer says. Raises the error that it tells, or Unavailable when it is not ours."""
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code == 200 and media_type == wire.MSGPACK:
            try:
                return call.decode(wire.unpack(body))
            except (VSearchError, LookupError, TypeError, ValueError, AttributeError) as error:
                raise self._foreign(response) from error
        if response.status_code >= 400 and media_type == wire.JSON:
            raise _told(body) or self._foreign(response)
        raise self._foreign(response)

    def failure(self, call: Call[Any], error: httpx.RequestError) -> VSearchError:
        """What became of a call whose connection failed."""
        here = f"Is the server running at {self}?"
        again = "Try again" if call.repeatable else UNSURE
        if isinstance(error, httpx.ConnectTimeout):
            return Timeout(f"no connection to {self} within {self._timeout_s} s", here)
        if isinstance(error, httpx.TimeoutException):
            return Timeout(f"{self} did not answer within {self._timeout_s} s", again)
        why = str(error) or type(error).__name__
        if isinstance(error, httpx.ConnectError | httpx.ProxyError):
            return Unavailable(f"cannot connect to {self}: {why}", here)
        return Unavailable(f"the connection to {self} broke: {why}", again)

    def closed(self) -> Closed:
        """For calls of a client that was closed."""
        return Closed(f"the client of {self} is closed", "Connect again with vsearch.connect")

    def _with_body(self, media_type: str, nbytes: int) -> list[tuple[bytes, bytes]]:
        return [*self._headers, (b"content-type", media_type.encode()), (b"content-length", b"%d" % nbytes)]

    def _below(self, path: str, params: tuple[tuple[str, str], ...]) -> httpx.URL:
        target = self._url.raw_path.decode().rstrip("/") + path + (f"?{urlencode(params)}" if params else "")
        return self._url.copy_with(raw_path=target.encode())

    def _options(self) -> dict[str, Any]:
        """Of httpx's transports."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=MAX_KEPT, keepalive_expiry=MAX_IDLE_S)
        verify = self._verify if self._url.scheme == "https" else False  # loading certificates takes 20 ms
        return {"verify": verify, "limits": limits, "proxy": self._proxy(), "socket_options": SOCKET_OPTIONS}

    @property
    def _plain(self) -> bool:
        """Whether our own transports can reach it."""
        return self._url.scheme == "http" and self._proxy() is None

    def _proxy(self) -> str | None:
        """The proxy that the environment names: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY; never for this machine itself."""
        host = self._url.host
        if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(self._url.netloc.decode()):
            return None
        proxies = getproxies()
        return proxies.get(self._url.scheme) or proxies.get("all")

    def _foreign(self, response: httpx.Response) -> Unavailable:
        status = f"{response.status_code} {response.reason_phrase}".strip()
        hint = "Is this the URL of a vsearch server, of this release? A proxy on the way may have answered too"
        return Unavailable(f"{self} answered {status}, but not as a vsearch server does", hint)


def repeatable(call: Call[Any], error: httpx.RequestError) -> bool:
    """Whether to make a call once more: what was never sent, and reads whose connection broke."""
    if isinstance(error, httpx.ConnectError):
        return True
    return call.repeatable and isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


def _checked_url(url: str) -> httpx.URL:
    hint = 'Say "http://localhost:6333", or "https://..."'
    if not isinstance(url, str):
        raise InvalidArgument(f"the URL is a {type(url).__name__}", hint)
    if any(mark in url for mark in "@?#"):  # it may hold secrets, which are not shown
        raise InvalidArgument("the URL holds a user name, a query or a fragment", "Give a key as api_key")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidArgument(f"the URL {url!r} cannot be read: {error}", hint) from None
    if parsed.scheme not in ("http", "https") or not parsed.host or " " in url:
        raise InvalidArgument(f"the URL {url!r} names no server", hint)
    return parsed


def _checked_verify(verify: bool | str) -> bool | SSLContext:
    if isinstance(verify, bool):
        return verify
    from ssl import create_default_context

    try:
        return create_default_context(capath=verify) if Path(verify).is_dir() else create_default_context(cafile=verify)
    except (OSError, TypeError) as error:  # errors of ssl are OSErrors
        raise InvalidArgument(f"no certificates in {verify!r}: {error}", "Name a PEM file, or a folder") from None


def _packed(body: dict[str, Any]) -> bytes:
    try:
        packed: bytes = wire.pack(body)
    except UnicodeEncodeError:
        raise InvalidArgument("an argument holds invalid Unicode", "Remove lone surrogates") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(f"an argument cannot be sent: {error}", "Use the types that the method names") from None
    return packed


def _told(content: bytes) -> VSearchError | None:
    """The error in an answer's JSON; None when it is none of ours."""
    try:
        answer = json.loads(content)
        code, status = answer["code"], answer["status"]["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return ERRORS.get(str(code), VSearchError)(str(answer.get("message", status)), str(answer.get("hint", "")))
