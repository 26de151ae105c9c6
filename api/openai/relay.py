"""Answers on their way to the client, and what their headers tell of the cache."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final, Protocol

import httpx

from vsearch import wire
from vsearch.cache.answers import CacheHit, Lookup

from ..request import Request
from .upstream import Headers, Upstream, returned

REQUEST_ID: Final = b"x-request-id"


class Client(Protocol):
    """Whom an answer is for: an exchange of api/front.py, or nobody."""

    request: Request

    async def begin(self, status: int, headers: Headers) -> None: ...
    async def send(self, piece: bytes, more: bool = False) -> None: ...


class Nobody:
    """Takes the answer to a request that is made only to have it in the cache."""

    def __init__(self, request: Request) -> None:
        self.request = request

    async def begin(self, status: int, headers: Headers) -> None:
        pass

    async def send(self, piece: bytes, more: bool = False) -> None:
        pass


async def whole(client: Client, body: bytes, notes: Headers, media_type: bytes = wire.JSON.encode()) -> None:
    """Send an answer of ours."""
    own = [(b"content-type", media_type), (REQUEST_ID, client.request.id.encode())]
    await client.begin(200, [*own, (b"content-length", str(len(body)).encode()), *notes])
    await client.send(body)


async def begin(client: Client, response: httpx.Response, notes: Headers) -> None:
    """Start the answer as the upstream has started it. The upstream's id of the request is kept if it has one."""
    headers = returned(response)
    if not any(name == REQUEST_ID for name, _ in headers):
        headers.append((REQUEST_ID, client.request.id.encode()))
    await client.begin(response.status_code, [*headers, *notes])


async def passed_on(client: Client, upstream: Upstream, response: httpx.Response, notes: Headers) -> None:
    """The upstream's answer, unchanged and as it comes."""
    await begin(client, response, notes)
    async with aclosing(upstream.pieces(response)) as pieces:
        async for piece in pieces:
            await client.send(piece, more=True)
    await client.send(b"")


def of_hit(hit: CacheHit) -> Headers:
    """What headers say of a hit."""
    return [
        (b"x-cache", b"HIT-" + hit.kind.upper().encode()),
        (b"x-cache-similarity", b"%.4f" % hit.similarity),
        (b"x-cache-age", b"%.3f" % hit.age_s),
        (b"x-cache-entry", b"%d" % hit.id),
        (b"x-cache-category", hit.category.encode()),
    ]


def of_miss(found: Lookup) -> Headers:
    """What headers say of a lookup that found nothing."""
    headers = [(b"x-cache", b"MISS"), (b"x-cache-category", found.category.encode())]
    if found.reason is not None:
        headers.append((b"x-cache-reason", found.reason.encode()))
    if found.similarity is not None:
        headers.append((b"x-cache-similarity", b"%.4f" % found.similarity))
    return headers


def bypass(reason: str) -> Headers:
    """What headers say of a request that the cache was not asked for."""
    return [(b"x-cache", b"BYPASS"), (b"x-cache-reason", reason.encode())]
