"""What is asked, and keeping the answer to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from vsearch.cache.cache import Cache
from vsearch.cache.questions import question
from vsearch.database import Database
from vsearch.errors import InvalidArgument, NotFound, VSearchError
from vsearch.types import FloatArray

from ..memory import MemoryBudget
from ..workers import Workers
from .answers import Answer, may_keep
from .controls import Controls, Source

log = logging.getLogger("vsearch.server")

UNKEPT_S: Final = 60.0
MAX_UNKEPT: Final = 10_000
Versions = tuple[tuple[str, int | str, int], ...]  # collection, id, Collection.version


@dataclass(slots=True)
class Asked:
    """A chat that can be cached. `versions`: of the points that its answer is made from."""

    body: bytes
    controls: Controls
    identity: dict[str, Any]
    prompt: str
    scope: tuple[Any, ...]
    stream: bool
    with_usage: bool
    vector: FloatArray | None = None
    versions: Versions = ()

    @property
    def key(self) -> dict[str, Any]:
        """As the methods of a cache take it."""
        category = self.controls.category
        return {"prompt": self.prompt, "vector": self.vector, "category": category, "scope": self.scope}


class Unkept:
    """Chats whose answer was whole and yet not to be kept, as a call of a tool: it is no use to wait for the next."""

    def __init__(self) -> None:
        self._until_s: OrderedDict[bytes, float] = OrderedDict()

    def add(self, asked: Asked) -> None:
        self._until_s[_digest(asked)] = time.monotonic() + UNKEPT_S
        if len(self._until_s) > MAX_UNKEPT:
            self._until_s.popitem(last=False)

    def __contains__(self, asked: Asked) -> bool:
        return bool(self._until_s) and self._until_s.get(_digest(asked), 0.0) > time.monotonic()


def _digest(asked: Asked) -> bytes:
    return question(asked.prompt, asked.scope, None).digest


class Keeping:
    """The answer to one chat, to be kept or not. `lease`: of those who wait for it; it ends either way, once."""

    def __init__(self, cache: Cache, asked: Asked, lease: str | None, memory: MemoryBudget, unkept: Unkept) -> None:
        self._cache = cache
        self._asked = asked
        self._lease = lease
        self._memory = memory
        self._unkept = unkept
        self._started_s = time.perf_counter()

    async def keep(self, answer: Answer | None) -> int | None:
        """The number of the entry; None if it is not kept. That it cannot be kept is no error of the request."""
        asked, controls = self._asked, self._asked.controls
        if answer is None or not may_keep(answer, controls.tools):
            self._unkept.add(asked)
            self.give_up(failed=True)
            return None
        try:
            self._memory.check()
            lease, self._lease = self._lease, None  # which `store` ends
            storing = self._cache.astore(
                **asked.key, response=answer, ttl=controls.ttl, depends_on=asked.versions, tags=controls.tags,
                compute_s=time.perf_counter() - self._started_s, lease=lease,
            )  # fmt: skip
            return await asyncio.shield(storing)  # also when the client goes away now: the answer is whole
        except VSearchError as error:
            log.warning("an answer was not cached: %s", error.message)
            self.give_up(failed=True)
            return None

    def give_up(self, failed: bool) -> None:
        """It is not kept: let those who wait compute it, one of them, or all at once if it `failed`."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self._cache.release(lease, failed)


async def versions_of(db: Database, workers: Workers, sources: tuple[Source, ...]) -> Versions:
    """The sources, as of now: an answer is not kept if they change while it is made.

    In a worker thread, since a collection may have to be opened. Raises InvalidArgument if there is no such collection.
    """
    if not sources:
        return ()
    try:
        return await workers.call(
            "read", lambda: tuple((name, key, db.collection(name).version) for name, key in sources)
        )
    except NotFound as error:
        raise InvalidArgument(f"x-vsearch-depends-on: {error.message}", error.hint) from None
