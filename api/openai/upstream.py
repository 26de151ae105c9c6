"""The server behind: requests are passed on to it, and its answers back, as they are.

Left out on the way there: what concerns one connection only (hop-by-hop, RFC 9110 section 7.6.1), headers for this
server, and wishes for compression, so that answers can be read and stored. On the way back: hop-by-hop headers, and the
names of those that this server sets itself.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from hashlib import blake2b
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from vsearch.errors import InvalidArgument

from ..errors import BadGateway, GatewayTimeout, NoKey
from ..request import Request
from .controls import PREFIX
from .settings import CONNECT_TIMEOUT_S, UpstreamSettings

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
NOT_FORWARDED: Final = HOP_BY_HOP | {b"host", b"content-length", b"accept-encoding", b"expect"}
NOT_RETURNED: Final = HOP_BY_HOP | {b"date"}
# Headers that say who asks; OpenAI's name an organisation and a project.
CREDENTIALS: Final = frozenset(
    (b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key", b"cookie", b"openai-organization",
     b"openai-project")
)  # fmt: skip
# Headers that no answer depends on: how it is sent, by which program, and which request it is of. All others may say
# who asks, or for what: gateways have many such.
OF_NO_ANSWER: Final = frozenset(
    (b"content-type", b"accept", b"user-agent", b"cache-control", b"x-request-id", b"x-correlation-id", b"traceparent",
     b"tracestate", b"x-amzn-trace-id", b"x-cloud-trace-context")
)  # fmt: skip
SDK: Final = b"x-stainless-"  # what OpenAI's clients tell of themselves
IDENTITY_BYTES: Final = 16
KEEP_ALIVE: Final = 100  # idle connections


class Upstream:
    """One pool of connections to the upstream. For the event loop's thread."""

    def __init__(self, settings: UpstreamSettings, own_key: bool) -> None:
        """`own_key`: this server wants a key of its own, which is never passed on.

        Raises InvalidArgument for an upstream whose URL is none.
        """
        try:
            httpx.URL(settings.url)
        except httpx.InvalidURL:
            raise InvalidArgument(
                f"the upstream is {settings.url!r}", "Give a URL as https://api.openai.com/v1"
            ) from None
        self._settings = settings
        self._own_key = own_key
        self._timeout = httpx.Timeout(settings.timeout_s, connect=min(CONNECT_TIMEOUT_S, settings.timeout_s)).as_dict()
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=KEEP_ALIVE),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # one client's are not another's
            follow_redirects=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises NoKey for a request whose Authorization is this server's own key and would be passed on."""
        if self._own_key and self._settings.key is None and b"api-key" not in headers:
            hint = "Send it as the header api-key; Authorization is passed on to the upstream"
            raise NoKey("this server's API key came as Authorization", hint)

    def identity(self, request: Request) -> str:
        """A digest of all that is passed on besides the body, and that answers may depend on: query and headers.

        Credentials are not part of it if clients share.
        """
        left_out = OF_NO_ANSWER | CREDENTIALS if self._settings.shared else OF_NO_ANSWER
        digest = blake2b(b"%d?%s;" % (len(request.query), request.query), digest_size=IDENTITY_BYTES)
        for name, value in sorted(_passing(request.headers)):
            if name not in left_out and not name.startswith(SDK):
                digest.update(b"%d:%s%d:%s;" % (len(name), name, len(value), value))
        return digest.hexdigest()

    def forwarded(self, headers: Mapping[bytes, bytes]) -> Headers:
        """The headers of a request as the upstream gets them."""
        kept = _passing(headers)
        if self._own_key:
            kept = [item for item in kept if item[0] != b"api-key"]
        if self._settings.key is not None:
            kept = [item for item in kept if item[0] != b"authorization"]
            kept.append((b"authorization", b"Bearer " + self._settings.key.encode()))
        return [*kept, (b"accept-encoding", b"identity")]

    @asynccontextmanager
    async def open(self, request: Request, path: str, body: bytes | None) -> AsyncIterator[httpx.Response]:
        """The answer to a request, its body still to be read by `pieces`. `path`: percent-encoded.

        Raises InvalidArgument for a query that cannot be passed on, BadGateway, GatewayTimeout.
        """
        query = b"?" + request.query if request.query else b""
        with _told(self._settings.timeout_s):
            wanted = httpx.Request(
                request.method,
                self._settings.url + path + query.decode("ascii", "replace"),
                headers=self.forwarded(request.headers),
                content=body,
                extensions={"timeout": self._timeout},
            )
            response = await self._client.send(wanted, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body as it comes, undecoded. Raises BadGateway or GatewayTimeout."""
        with _told(self._settings.timeout_s):
            async for piece in response.aiter_raw():
                yield piece


def returned(response: httpx.Response) -> Headers:
    """The headers of an upstream's answer as the client gets them."""
    left_out = NOT_RETURNED | _named(response.headers.get("connection", "").encode())
    raw = [(name.lower(), value) for name, value in response.headers.raw]
    return [item for item in raw if item[0] not in left_out and not item[0].startswith(b"x-cache")]


def readable(response: httpx.Response) -> bool:
    """Whether it succeeded, and its body is not compressed in spite of what was asked."""
    return response.status_code == 200 and response.headers.get("content-encoding", "identity") == "identity"


def _passing(headers: Mapping[bytes, bytes]) -> Headers:
    """The headers of a request that are not for this server or this connection only."""
    left_out = NOT_FORWARDED | _named(headers.get(b"connection", b""))
    return [item for item in headers.items() if item[0] not in left_out and not item[0].startswith(PREFIX)]


def _named(connection: bytes) -> frozenset[bytes]:
    """The headers that a Connection header declares to be hop-by-hop."""
    return frozenset(name.strip().lower() for name in connection.split(b",") if name.strip())


@contextmanager
def _told(timeout_s: float) -> Iterator[None]:
    """httpx's errors as ours."""
    try:
        yield
    except httpx.TimeoutException as error:
        message = f"the upstream did not answer in time ({type(error).__name__})"
        raise GatewayTimeout(message, f"It had {timeout_s:g} s; try again later") from error
    except httpx.InvalidURL:
        raise InvalidArgument("the URL cannot be passed on", "Percent-encode it; at most 64 kB") from None
    except httpx.LocalProtocolError as error:  # its text, and its cause's, quote headers: credentials too
        kind = type(error).__name__
        raise BadGateway(f"the request cannot be passed on: {kind}", "Look for odd bytes in its headers") from None
    except httpx.HTTPError as error:
        message = f"the upstream failed: {type(error).__name__}: {error}"[:300]
        raise BadGateway(message, "Try again later") from error
