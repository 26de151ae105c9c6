"""Chats: `POST /v1/chat/completions`, from the cache or from the upstream."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import Final

import httpx
import orjson

from vsearch.cache import answers as reasons
from vsearch.cache.answers import CacheHit, Lookup
from vsearch.cache.cache import Cache
from vsearch.cache.flights import MAX_LEASE_S
from vsearch.cache.load import InFlight
from vsearch.cache.policy import DEFAULT
from vsearch.cache.questions import MAX_PROMPT_BYTES
from vsearch.database import Database
from vsearch.errors import InvalidArgument, NotFound, VSearchError
from vsearch.integrations.chat import chat_key

from ..memory import MemoryBudget
from ..request import Request
from ..workers import Workers
from .answers import Answer, answer_of, completion, may_keep
from .caches import Caches
from .controls import Controls, controls_of
from .keeping import Asked, Keeping, Unkept, versions_of
from .relay import Client, Nobody, begin, bypass, of_hit, of_miss, passed_on, whole
from .settings import MAX_ANSWER_BYTES, UpstreamSettings
from .stream import MEDIA_TYPE, Assembler, replay
from .upstream import Headers, Upstream, readable
from .vectors import Vectors

log = logging.getLogger("vsearch.server")

PATH: Final = "/chat/completions"


class Chat:
    """The handler, over one upstream and one cache of answers."""

    def __init__(
        self,
        settings: UpstreamSettings,
        upstream: Upstream,
        caches: Caches,
        vectors: Vectors,
        db: Database,
        workers: Workers,
        memory: MemoryBudget,
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._caches = caches
        self._vectors = vectors
        self._db = db
        self._workers = workers
        self._memory = memory
        self._load = InFlight(caches.push_load)
        self._unkept = Unkept()
        self._renewals: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop what nobody waits for."""
        for task in self._renewals:
            task.cancel()
        await asyncio.gather(*self._renewals, return_exceptions=True)

    async def chat_completions(self, client: Client, body: bytes) -> None:
        """Answer a chat: from the cache, or through the upstream."""
        request = client.request
        self._upstream.check(request.headers)
        controls = controls_of(request.headers)
        self._check_category(controls.category)
        asked = self._asked(body, controls, request)
        if isinstance(asked, str):
            await self._pass(client, body, bypass(asked))
            return
        asked.versions = await versions_of(self._db, self._workers, controls.depends_on)
        asked.vector = await self._vectors.of(asked.prompt, request, asked.identity)
        cache = self._caches.answers
        if cache is None:
            miss = Lookup(None, reasons.NO_EMBEDDING, controls.category or DEFAULT, 0.0)
            await self._pass(client, body, of_miss(miss))
            return
        try:
            try:
                found = await self._found(cache, asked)
            except NotFound:  # deleted meanwhile
                cache = await self._caches.again(cache)
                if asked.vector is not None and len(asked.vector) != cache.dim:
                    asked.vector = None
                found = await self._found(cache, asked)
        except VSearchError as error:  # damaged, or another cache now
            log.warning("the cache %r cannot be asked: %s", cache.name, error.message)
            await self._pass(client, body, bypass("cache failed"))
            return
        if found is not None and found.hit is not None and may_keep(found.hit.response, controls.tools):
            if found.lease is not None:
                self._renew(cache, asked, found, request)
            await self._give(client, asked, found.hit)
            return
        notes = bypass("no-cache") if found is None else of_miss(found)
        lease = None if found is None else found.lease
        await self._compute(client, cache, asked, notes, lease)

    def _check_category(self, category: str | None) -> None:
        cache = self._caches.answers
        if category is not None and cache is not None and category not in cache.policies:
            known = ", ".join(sorted(cache.policies))
            raise InvalidArgument(f"x-vsearch-category is {category[:60]!r}", f"The categories are {known}"[:300])

    def _asked(self, body: bytes, controls: Controls, request: Request) -> Asked | str:
        """The chat, or why the cache is left out. What is wrong with a body is for the upstream to say."""
        if not controls.look and not controls.keep:
            return "no-cache, no-store"
        identity = {"key": self._upstream.identity(request), "scope": controls.scope}
        try:
            given = orjson.loads(body)
            prompt, scope = chat_key(given, identity)
        except (orjson.JSONDecodeError, InvalidArgument):
            return "not understood"
        if given.get("n") not in (None, 1):
            return "n"
        if not prompt.strip() or len(prompt.encode()) > MAX_PROMPT_BYTES:
            return "prompt length"
        options = given.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        return Asked(body, controls, identity, prompt, scope, given.get("stream") is True, with_usage)

    async def _found(self, cache: Cache, asked: Asked) -> Lookup | None:
        """What the cache has; None if it is not to be looked at. Waits for another that computes the same."""
        controls = asked.controls
        if not controls.look:
            return None
        if not controls.keep or asked in self._unkept:
            return await cache.alookup(**asked.key, max_age=controls.max_age)
        wait_s = self._settings.timeout_s
        return await cache.alease(**asked.key, lease_s=MAX_LEASE_S, wait_s=wait_s, max_age=controls.max_age)

    async def _give(self, client: Client, asked: Asked, hit: CacheHit) -> None:
        answer: Answer = hit.response
        if asked.stream:
            notes = [(b"cache-control", b"no-cache"), *of_hit(hit)]
            await whole(client, b"".join(replay(answer, asked.with_usage)), notes, MEDIA_TYPE)
        else:
            await whole(client, completion(answer), of_hit(hit))

    def _renew(self, cache: Cache, asked: Asked, found: Lookup, request: Request) -> None:
        """Have a stale answer made anew while it is given."""

        async def renewed() -> None:
            with suppress(VSearchError):  # the next who asks tries again
                await self._compute(Nobody(request), cache, asked, [], found.lease)

        task = asyncio.ensure_future(renewed())
        self._renewals.add(task)  # the event loop itself keeps no task alive
        task.add_done_callback(self._renewals.discard)

    async def _pass(self, client: Client, body: bytes, notes: Headers) -> None:
        with self._load.request():
            async with self._upstream.open(client.request, PATH, body) as response:
                await passed_on(client, self._upstream, response, notes)

    async def _compute(self, client: Client, cache: Cache, asked: Asked, notes: Headers, lease: str | None) -> None:
        """Let the upstream answer. The lease ends in any case: when this fails those who wait pass their own requests
        on, all at once; when the client goes away one of them takes over."""
        keeping = Keeping(cache, asked, lease, self._memory, self._unkept)
        try:
            with self._load.request():
                async with self._upstream.open(client.request, PATH, asked.body) as response:
                    if not asked.controls.keep or not readable(response):
                        keeping.give_up(failed=True)
                        await passed_on(client, self._upstream, response, notes)
                    elif response.headers.get("content-type", "").startswith("text/event-stream"):
                        await self._streamed(client, response, notes, keeping)
                    else:
                        await self._plain(client, response, notes, keeping)
        except Exception:
            keeping.give_up(failed=True)
            raise
        finally:
            keeping.give_up(failed=False)

    async def _plain(self, client: Client, response: httpx.Response, notes: Headers, keeping: Keeping) -> None:
        """A plain answer: read whole, kept, sent; one that is too large is sent as it comes."""
        body, begun = bytearray(), False
        async with aclosing(self._upstream.pieces(response)) as pieces:
            async for piece in pieces:
                body += piece
                if not begun and len(body) > MAX_ANSWER_BYTES:
                    begun = True
                    keeping.give_up(failed=True)
                    await begin(client, response, notes)
                if begun:
                    await client.send(bytes(body), more=True)
                    body.clear()
        if not begun:
            entry = await keeping.keep(answer_of(bytes(body)))
            await begin(client, response, notes if entry is None else [*notes, (b"x-cache-entry", b"%d" % entry)])
        await client.send(bytes(body))

    async def _streamed(self, client: Client, response: httpx.Response, notes: Headers, keeping: Keeping) -> None:
        """A stream: every piece is sent as it comes; the last one once the answer is kept, so that whoever asks again
        gets it."""
        assembler, told = Assembler(), False
        await begin(client, response, notes)
        async with aclosing(self._upstream.pieces(response)) as pieces:
            async for piece in pieces:
                assembler.feed(piece)
                if assembler.done and not told:
                    told = True
                    await keeping.keep(assembler.end())
                await client.send(piece, more=True)
        if not told:
            await keeping.keep(assembler.end())
        await client.send(b"")
