"""Embeddings from an endpoint that speaks OpenAI's interface: POST {url}/embeddings.

1. A call is cut into batches, which are sent one after the other, within one deadline for all.
2. What may pass (no connection, 429, 5xx) is tried again after a pause, which doubles or is what the server asks for;
   not if that would end after the deadline.
3. The answer is distrusted: as many vectors as texts, in the order of their `index`, finite, all of the dimension that
   is wanted or that was seen first.

Requests run on an event loop in a thread of its own (loop.py), whoever calls: the deadline holds also for a server that
sends a byte at a time, which no timeout of a socket notices, and all callers share the connections that are kept.
"""

from __future__ import annotations

import asyncio
import binascii
import json
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vsearch.embedders.base import checked_dim, checked_model, checked_texts, rows
from vsearch.embedders.loop import ClientLoop
from vsearch.errors import Closed, InvalidArgument, PermissionDenied, Timeout, Unavailable, VSearchError
from vsearch.types import MAX_DIM, FloatArray

if TYPE_CHECKING:
    import httpx

RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
PAUSE_S: Final = 0.1  # before the first retry
NUMBER_BYTES: Final = 32  # of a component in an answer, at most
OTHER_BYTES: Final = 1 << 16  # of an answer that are no components
TOLD_LENGTH: Final = 300  # of a server's message in ours
MAX_BATCH: Final = 2_048  # as OpenAI has it


class OpenAIEmbedder:
    """Vectors from an OpenAI-compatible endpoint.

    `url`: of the interface, with its version. `model`: as the endpoint names it. `api_key`: sent as Bearer; taken from
    nowhere else, shown nowhere. `dim`: that vectors must have; None: that of the first. `dimensions`: asked of models
    that can give shorter vectors. `timeout_s`: for a whole call, with all its retries. `retries`: of one batch, at
    most. `batch`: texts of one request. `encoding`: that is asked for, float or base64; either is understood.

    Safe for threads, event loops and fork. Close it, or leave it to the garbage collector. Raises InvalidArgument.
    """

    def __init__(
        self,
        url: str = "https://api.openai.com/v1",
        model: str = "text-embedding-3-small",
        api_key: str | None = None,
        dim: int | None = None,
        timeout_s: float = 2.0,
        retries: int = 2,
        batch: int = 256,
        dimensions: int | None = None,
        encoding: str = "float",
    ) -> None:
        self._url = _checked_url(url)
        self._model = checked_model(model)
        if api_key is not None and not (isinstance(api_key, str) and api_key.isascii() and api_key.isprintable()):
            raise InvalidArgument("the API key is no text of printable ASCII characters", "Look where it comes from")
        self._key = api_key or None
        if dimensions is not None:
            dim = checked_dim(dimensions) if dim is None else dim
        self._dim = None if dim is None else checked_dim(dim)
        number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
        if not number or not 0.0 < timeout_s <= threading.TIMEOUT_MAX:
            raise InvalidArgument(f"timeout_s is {timeout_s!r:.80}", "Use a number of seconds above 0")
        for name, value, least, most in (("retries", retries, 0, 100), ("batch", batch, 1, MAX_BATCH)):
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise InvalidArgument(f"{name} is {value!r:.80}", f"Use {least} to {most:,}")
        if encoding not in ("float", "base64"):
            raise InvalidArgument(f"encoding is {encoding!r:.80}", "Use float or base64")
        self._timeout_s, self._retries, self._size = float(timeout_s), retries, batch
        self._asked: dict[str, Any] = {"model": model, "encoding_format": encoding}
        if dimensions is not None:
            self._asked["dimensions"] = dimensions
        self._lock = threading.Lock()
        self._loop = ClientLoop()

    def __repr__(self) -> str:
        return f"OpenAIEmbedder(url={str(self._url)!r}, model={self._model!r}, dim={self._dim})"

    @property
    def model(self) -> str:
        return self._model

    @property
    def dim(self) -> int | None:
        return self._dim

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """float32 [n, dim], within `timeout_s`; [0, dim or 0] of no texts.

        Raises InvalidArgument for what the endpoint refuses, PermissionDenied when it wants another key, Timeout and
        Unavailable when it does not answer, or not with embeddings, DimensionMismatch, Closed.
        """
        texts, ends_s = checked_texts(texts), time.monotonic() + self._timeout_s
        future = self._started(texts, ends_s)
        try:
            return future.result(self._timeout_s)
        except VSearchError:
            raise
        except TimeoutError:  # the thread of the loop did not get to run
            raise self._late() from None
        finally:
            future.cancel()

    async def aembed(self, texts: Sequence[str]) -> FloatArray:
        """As `embed`, from any event loop."""
        texts, ends_s = checked_texts(texts), time.monotonic() + self._timeout_s
        return await asyncio.wrap_future(self._started(texts, ends_s))

    def close(self) -> None:
        """Close the connections; calls under way end with Closed."""
        self._loop.close()

    def __enter__(self) -> OpenAIEmbedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self, texts: list[str], ends_s: float) -> Future[FloatArray]:
        return self._loop.submit(lambda client: self._all(client, texts, ends_s))

    async def _all(self, client: httpx.AsyncClient, texts: list[str], ends_s: float) -> FloatArray:
        parts = [np.empty((0, self._dim or 0), np.float32)] if not texts else []
        try:
            async with asyncio.timeout(ends_s - time.monotonic()):
                for start in range(0, len(texts), self._size):
                    parts.append(await self._batch(client, texts[start : start + self._size], ends_s))  # noqa: PERF401
        except VSearchError:
            raise
        except TimeoutError:
            raise self._late() from None
        except asyncio.CancelledError:
            if self._loop.closed:
                raise Closed("the embedder was closed meanwhile", "Make another") from None
            raise
        return np.concatenate(parts)

    async def _batch(self, client: httpx.AsyncClient, texts: list[str], ends_s: float) -> FloatArray:
        import httpx

        body = json.dumps({**self._asked, "input": texts}).encode()
        attempt = 0
        while True:
            asked_s = 0.0
            try:
                status, asked_s, content = await self._post(client, body, len(texts))
            except httpx.TransportError as error:
                problem: VSearchError = self._unreachable(error)
            except httpx.HTTPError as error:
                raise self._unreachable(error) from None
            else:
                if status == 200:
                    return self._vectors(content, len(texts))
                problem = self._refusal(status, content)
                if status not in RETRIED:
                    raise problem
            pause_s = max(asked_s, PAUSE_S * 2**attempt * random.uniform(0.5, 1.5))
            if attempt >= self._retries or time.monotonic() + pause_s >= ends_s:
                raise problem
            await asyncio.sleep(pause_s)
            attempt += 1

    async def _post(self, client: httpx.AsyncClient, body: bytes, n: int) -> tuple[int, float, bytes]:
        """Status, the seconds until the server wants to be asked again, and the body of its answer."""
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        most = OTHER_BYTES + n * (self._dim or MAX_DIM) * NUMBER_BYTES
        content = bytearray()
        async with client.stream("POST", self._url, content=body, headers=headers) as response:
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > most:
                    raise Unavailable(f"{self._url.host} sends more than {n} embeddings need", "Look at the URL")
            return response.status_code, _seconds(response.headers.get("retry-after", "")), bytes(content)

    def _vectors(self, content: bytes, n: int) -> FloatArray:
        hint = "Look at the URL: it is that of an OpenAI-compatible interface, as https://api.openai.com/v1"
        try:
            items = json.loads(content)["data"]
            by_index = {item.get("index", i): item["embedding"] for i, item in enumerate(items)}
            given = [_components(by_index[i]) for i in range(n)]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise Unavailable(f"{self._url.host} does not answer with embeddings of {n} texts", hint) from None
        if len(items) != n:
            raise Unavailable(f"{self._url.host} answers {n} texts with {len(items)} embeddings", hint)
        array = rows(given, n, self._dim)
        with self._lock:
            if self._dim is None:
                self._dim = array.shape[1]
        return rows(array, n, self._dim)

    def _refusal(self, status: int, content: bytes) -> VSearchError:
        try:
            told = json.loads(content)["error"]
            told = told["message"] if isinstance(told, dict) else told
        except (ValueError, LookupError, TypeError, RecursionError):
            told = content[:TOLD_LENGTH].decode(errors="replace")
        told = str(told) if self._key is None else str(told).replace(self._key, "***")
        message = f"{self._url.host} refuses to embed ({status}): {told:.{TOLD_LENGTH}}".rstrip(". ")
        if status in (401, 403):
            return PermissionDenied(message, "Give another api_key" if self._key else "Give an api_key")
        if status in RETRIED or status >= 500:
            return Unavailable(message, "Try again later")
        return InvalidArgument(message, "Look at the texts, the model and the URL")

    def _unreachable(self, error: Exception) -> Unavailable:
        told = str(error) or type(error).__name__
        return Unavailable(f"no answer from {self._url.host}: {told}", "Look at the URL, and whether the server runs")

    def _late(self) -> Timeout:
        return Timeout(f"no embeddings from {self._url.host} within {self._timeout_s:g} s", "Raise timeout_s, or retry")


def _components(given: Any) -> Any:
    """A list of numbers as it is, base64 of little-endian float32 as an array."""
    if isinstance(given, str):
        return np.frombuffer(binascii.a2b_base64(given, strict_mode=True), "<f4")
    if not isinstance(given, list) or any(type(number) not in (float, int) for number in given):
        raise TypeError
    return given


def _seconds(header: str) -> float:
    """Of a retry-after in seconds; a date, which is rare, counts as none."""
    return float(header) if header.isascii() and header.isdigit() else 0.0


def _checked_url(url: str) -> httpx.URL:
    import httpx

    hint = 'Say "https://api.openai.com/v1"'
    if not isinstance(url, str):
        raise InvalidArgument(f"the URL is a {type(url).__name__}", hint)
    if any(mark in url for mark in "@?#"):  # it may hold secrets, which are not shown
        raise InvalidArgument("the URL holds a user name, a query or a fragment", "Give a key as api_key")
    try:
        parsed = httpx.URL(url.rstrip("/") + "/embeddings")
    except httpx.InvalidURL as error:
        raise InvalidArgument(f"the URL {url!r} cannot be read: {error}", hint) from None
    if parsed.scheme not in ("http", "https") or not parsed.host or " " in url:
        raise InvalidArgument(f"the URL {url!r} names no server", hint)
    return parsed
