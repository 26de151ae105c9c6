"""The front as a whole: its endpoints, and what they share."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from vsearch.database import Database
from vsearch.errors import InvalidArgument

from ..endpoint import Endpoint, Routes
from ..memory import MemoryBudget
from ..workers import Workers
from .caches import Caches
from .chat import Chat
from .embeddings import Embeddings
from .problems import SHAPE
from .relay import Client, passed_on
from .settings import UpstreamSettings
from .upstream import Upstream
from .vectors import LocalModel, Model, UpstreamModel, Vectors

BASE: Final = "/v1"
OF_A_STEP: Final = "!$&'()*+,;=:@"  # may stand in a step of a path as they are (RFC 3986, section 3.3)


class Open(BaseModel):
    """For the OpenAPI document; what is not named here is passed on too."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class ChatBody(Open):
    """As OpenAI documents it."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False


class EmbeddingsBody(Open):
    """As OpenAI documents it."""

    model: str
    input: Any


class OpenAIService:
    """The endpoints over one upstream; `close` is for the event loop, when no request is left.

    Raises what the caches and the embedding model raise when they cannot be opened.
    """

    def __init__(
        self, db: Database, settings: UpstreamSettings, workers: Workers, memory: MemoryBudget, own_key: bool
    ) -> None:
        self._upstream = Upstream(settings, own_key)
        caches = Caches(db, settings, workers)
        model: Model | None = None
        if settings.embedding_path is not None:
            local = LocalModel(settings.embedding_path, workers)
            caches.create(local.dim, local.name)
            model = local
        elif settings.embedding_model is not None:
            model = UpstreamModel(settings.embedding_model, self._upstream)
            caches.check(model.name)
        else:
            caches.create(0, None)
        vectors = Vectors(model, caches, workers)
        self._chat = Chat(settings, self._upstream, caches, vectors, db, workers, memory)
        self._embeddings = Embeddings(self._upstream, caches, db, workers, memory)

    async def close(self) -> None:
        await self._chat.close()
        await self._upstream.close()

    def endpoints(self) -> list[Endpoint]:
        """Those of OpenAI's interface that there are."""
        routes = Routes("openai", envelope=False)
        options: dict[str, Any] = {"live": True, "lane": "loop", "errors": SHAPE}
        write = {**options, "access": "write"}
        routes.add("POST", f"{BASE}/chat/completions", Open, body=ChatBody, **write)(self._chat.chat_completions)
        routes.add("POST", f"{BASE}/embeddings", Open, body=EmbeddingsBody, **write)(self._embeddings.embeddings)
        routes.add("GET", f"{BASE}/models", Open, **options)(self.models)
        routes.add("GET", f"{BASE}/models/{{id}}", Open, **options)(self.model)
        routes.add("GET", f"{BASE}/models/{{owner}}/{{id}}", Open, **options)(self.model_of_owner)
        return routes.endpoints

    async def models(self, client: Client, body: bytes) -> None:
        """List the upstream's models."""
        self._upstream.check(client.request.headers)
        path = "/".join(("/models", *(_step(name) for name in client.request.names.values())))
        async with self._upstream.open(client.request, path, None) as response:
            await passed_on(client, self._upstream, response, [])

    async def model(self, client: Client, body: bytes) -> None:
        """Describe one of the upstream's models."""
        await self.models(client, body)

    async def model_of_owner(self, client: Client, body: bytes) -> None:
        """Describe one of the upstream's models whose id is owner/name."""
        await self.models(client, body)


def _step(name: str) -> str:
    """A name as a step of a path that leads nowhere else, however often it is decoded. Raises InvalidArgument."""
    parts = re.split(r"[/\\]", name)
    if "%" in name or not name.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise InvalidArgument(f"{name[:60]!r} names no model", "Ask for /v1/models")
    return quote(name, safe=OF_A_STEP)
