"""The embedding of a prompt, for similarity: cached like those that clients ask for; or else none.

Whatever goes wrong on the way, and whatever takes longer than EMBED_TIMEOUT_S, is no vector: the request goes on
without. After that nobody waits for the model for PAUSE_S, unless it was the client's own fault.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import orjson

from vsearch.embedders.local import SentenceTransformerEmbedder
from vsearch.errors import NotFound, Unavailable, VSearchError
from vsearch.types import FloatArray

from ..request import Request
from ..workers import Workers
from . import embedded
from .caches import Caches
from .controls import USUAL
from .settings import EMBED_TIMEOUT_S, MAX_EMBEDDINGS_BYTES
from .upstream import Upstream, readable

log = logging.getLogger("vsearch.server")

PAUSE_S: Final = 5.0  # after a failure


class Model(Protocol):
    """What makes vectors of texts. `name`: its id, which the cache keeps."""

    name: str

    async def embed(self, text: str, request: Request) -> FloatArray | None: ...


class UpstreamModel:
    """An embedding model of the upstream, asked with the credentials of the request that needs it."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self._upstream = upstream

    async def embed(self, text: str, request: Request) -> FloatArray | None:
        """float32 [dim]; None if the upstream refuses the request. Raises Unavailable."""
        body = orjson.dumps({"model": self.name, "input": text, "encoding_format": "base64"})
        async with self._upstream.open(request, "/embeddings", body) as response:
            raw = bytearray()
            if 400 <= response.status_code < 500:
                return None
            if readable(response):
                async for piece in self._upstream.pieces(response):
                    raw += piece
                    if len(raw) > MAX_EMBEDDINGS_BYTES:
                        break
            found = embedded.vectors_of(bytes(raw), 1)
            if found is None:
                raise Unavailable(f"the upstream has no embedding (status {response.status_code})", "Look at its log")
            return found[0][0]


class LocalModel:
    """An embedding model on disk (vsearch/embedders.py), run in a worker thread."""

    def __init__(self, path: Path, workers: Workers) -> None:
        """Raises MissingExtra, or InvalidArgument for what is no model."""
        self._embedder = SentenceTransformerEmbedder(path)
        self.name, self.dim = self._embedder.model, self._embedder.dim
        self._workers = workers

    async def embed(self, text: str, request: Request) -> FloatArray:
        """float32 [dim]. Raises what the model raises."""
        vectors = await self._workers.call("long", lambda: self._embedder.embed([text]))
        return np.ascontiguousarray(vectors[0], np.float32)


class Vectors:
    """The embeddings of prompts by one model; without a model there are none."""

    def __init__(self, model: Model | None, caches: Caches, workers: Workers) -> None:
        self._model = model
        self._caches = caches
        self._workers = workers
        self._paused_until_s = 0.0

    async def of(self, text: str, request: Request, identity: Mapping[str, Any]) -> FloatArray | None:
        """float32 [dim], neither zero nor of another length than the cache of answers has; None if there is none."""
        if self._model is None or not text.strip() or time.monotonic() < self._paused_until_s:
            return None
        try:
            async with asyncio.timeout(EMBED_TIMEOUT_S):
                vector = await self._vector(self._model, text, request, identity)
            if vector is None or not vector.any():
                return None
            answers = await self._caches.prepare(len(vector), self._model.name)
            return vector if len(vector) == answers.dim else None
        except Exception as error:  # a model on disk may raise anything
            self._paused_until_s = time.monotonic() + PAUSE_S
            what = error.message if isinstance(error, VSearchError) else f"{type(error).__name__}: {error}"
            log.warning("no embedding, so only equal prompts are found for %g s: %s", PAUSE_S, what)
            return None

    async def _vector(
        self, model: Model, text: str, request: Request, identity: Mapping[str, Any]
    ) -> FloatArray | None:
        wanted = embedded.wanted_of({"model": model.name, "input": text}, identity)
        assert wanted is not None, "bug: a text that cannot be embedded"
        cache = self._caches.embeddings
        try:
            found = embedded.find(cache, wanted, None)[0]
        except NotFound:  # deleted meanwhile
            cache = await self._caches.again(cache)
            found = embedded.find(cache, wanted, None)[0]
        if found is not None:
            return found.vector
        vector = await model.embed(text, request)
        if vector is not None:
            await self._workers.call("write", lambda: embedded.keep(cache, wanted, (0,), (vector,), model.name, USUAL))
        return vector
