"""Embeddings: `POST /v1/embeddings`, each input from the cache or from the upstream."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from vsearch.cache.cache import Cache
from vsearch.database import Database
from vsearch.errors import NotFound, VSearchError

from ..errors import BadGateway
from ..memory import MemoryBudget
from ..workers import Workers
from . import embedded
from .caches import Caches
from .controls import Controls, controls_of
from .embedded import Found, Wanted
from .keeping import Versions, versions_of
from .relay import Client, begin, bypass, passed_on, whole
from .settings import MAX_EMBEDDINGS_BYTES
from .upstream import Headers, Upstream, readable

log = logging.getLogger("vsearch.server")

PATH: Final = "/embeddings"
NOTHING_USED: Final = {"prompt_tokens": 0, "total_tokens": 0}


@dataclass(slots=True)
class Filling:
    """A request on its way to its answer. `found`: what is known of each input. `missing`: the places of the others."""

    cache: Cache
    body: bytes
    given: dict[str, Any]
    wanted: Wanted
    found: list[Found | None]
    controls: Controls
    versions: Versions
    missing: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.missing = [place for place, one in enumerate(self.found) if one is None]

    @property
    def part(self) -> bool:
        """Whether some are missing and some are not."""
        return 0 < len(self.missing) < len(self.found)

    @property
    def request(self) -> bytes:
        """The body for the upstream."""
        if not self.part:
            return self.body
        return orjson.dumps({**self.given, "input": [self.wanted.inputs[place] for place in self.missing]})

    @property
    def notes(self) -> Headers:
        """What headers say of the cache."""
        if not self.controls.look:
            return bypass("no-cache")
        if not self.missing:
            return [(b"x-cache", b"HIT-EXACT")]
        have = len(self.found) - len(self.missing)
        return [(b"x-cache", b"MISS"), (b"x-cache-reason", b"%d of %d cached" % (have, len(self.found)))]

    def filled(self, raw: bytes, memory: MemoryBudget) -> bytes | None:
        """Keep what the upstream sent for those that were missing; the whole answer, None if that is not readable."""
        read = embedded.vectors_of(raw, len(self.missing))
        if read is None:
            return None
        vectors, answer = read
        model = answer.get("model", self.given["model"])
        if self.controls.keep:
            try:
                memory.check()
                embedded.keep(self.cache, self.wanted, self.missing, vectors, model, self.controls, self.versions)
            except VSearchError as error:
                log.warning("embeddings were not cached: %s", error.message)
        if not self.part:
            return raw
        for place, vector in zip(self.missing, vectors, strict=True):
            self.found[place] = Found(vector, model)
        return self.answer(answer.get("usage"))

    def answer(self, usage: Any) -> bytes:
        """The answer, once nothing is missing. `usage`: tokens that the upstream has counted."""
        found = [one for one in self.found if one is not None]
        return embedded.listing([one.vector for one in found], self.wanted.encoding, found[-1].model, usage)


class Embeddings:
    """The handler, over one upstream and one cache of embeddings."""

    def __init__(
        self, upstream: Upstream, caches: Caches, db: Database, workers: Workers, memory: MemoryBudget
    ) -> None:
        self._upstream = upstream
        self._caches = caches
        self._db = db
        self._workers = workers
        self._memory = memory

    async def embeddings(self, client: Client, body: bytes) -> None:
        """Embed texts: those that are cached from the cache, the others through the upstream."""
        headers = client.request.headers
        self._upstream.check(headers)
        controls = controls_of(headers)
        given, wanted = self._wanted(body, {"key": self._upstream.identity(client.request), "scope": controls.scope})
        if wanted is None or not (controls.look or controls.keep):
            await self._pass(client, body, bypass("not understood" if wanted is None else "no-cache, no-store"))
            return
        versions = await versions_of(self._db, self._workers, controls.depends_on)
        found: list[Found | None] = [None] * len(wanted.inputs)
        cache = self._caches.embeddings
        if controls.look:
            try:
                try:
                    found = await self._found(cache, wanted, controls)
                except NotFound:  # deleted meanwhile
                    cache = await self._caches.again(cache)
                    found = await self._found(cache, wanted, controls)
            except VSearchError as error:  # deleted meanwhile, or damaged
                log.warning("the cache %r cannot be asked: %s", cache.name, error.message)
        task = Filling(cache, body, given, wanted, found, controls, versions)
        if task.missing:
            await self._fill(client, task)
        else:
            answer = await self._workers.call("read", lambda: task.answer(NOTHING_USED))
            await whole(client, answer, task.notes)

    async def _found(self, cache: Cache, wanted: Wanted, controls: Controls) -> list[Found | None]:
        return await self._workers.call("read", lambda: embedded.find(cache, wanted, controls.max_age))

    def _wanted(self, body: bytes, identity: dict[str, Any]) -> tuple[Any, Wanted | None]:
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None, None
        return given, embedded.wanted_of(given, identity)

    async def _fill(self, client: Client, task: Filling) -> None:
        """Ask the upstream for what is missing, keep it, and give all in order."""
        async with self._upstream.open(client.request, PATH, task.request) as response:
            if not readable(response):
                await passed_on(client, self._upstream, response, task.notes)
                return
            raw = bytearray()
            async with aclosing(self._upstream.pieces(response)) as pieces:
                async for piece in pieces:
                    raw += piece
                    if len(raw) > MAX_EMBEDDINGS_BYTES:
                        raise BadGateway(f"embeddings of more than {MAX_EMBEDDINGS_BYTES:,} bytes", "Ask for fewer")
        answer = await self._workers.call("write", lambda: task.filled(bytes(raw), self._memory))
        if not task.part:
            await begin(client, response, task.notes)
            await client.send(bytes(raw))
        elif answer is None:  # a success that is none: the upstream shall say what it thinks of the whole
            await self._pass(client, task.body, task.notes)
        else:
            await whole(client, answer, task.notes)

    async def _pass(self, client: Client, body: bytes, notes: Headers) -> None:
        async with self._upstream.open(client.request, PATH, body) as response:
            await passed_on(client, self._upstream, response, notes)
