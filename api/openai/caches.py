"""The two caches of the front: of answers, and of embeddings. They are created when they are missing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import orjson

from vsearch.cache.cache import Cache
from vsearch.cache.policy import CachePolicy
from vsearch.database import Database
from vsearch.errors import InvalidArgument, LimitExceeded

from ..workers import Workers
from .answers import same
from .settings import UpstreamSettings

MAX_POLICIES_BYTES: Final = 1 << 20
EMBEDDINGS: Final = "-embeddings"  # ends the name of the cache of embeddings


class Caches:
    """`answers`: None until the dimension of its vectors is known, which the first embedding tells."""

    def __init__(self, db: Database, settings: UpstreamSettings, workers: Workers) -> None:
        """Raises InvalidArgument for a cache or policies that do not fit the settings."""
        self._db = db
        self._settings = settings
        self._workers = workers
        self._creating = asyncio.Lock()
        self._policies = {} if settings.policies is None else read_policies(settings.policies)
        self.answers: Cache | None = None
        self.embeddings = self._of_embeddings()
        if settings.cache in db.caches():
            self.answers = self._opened()

    def create(self, dim: int, model: str | None) -> Cache:
        """The cache of answers with vectors of `dim` components by `model`, 0: without vectors; opened if it exists.

        Raises InvalidArgument if it is of another model.
        """
        cache = self._of_answers(dim, model) if self.answers is None else self.answers
        _check(cache, model)
        self.answers = cache
        return cache

    def check(self, model: str) -> None:
        """Raises InvalidArgument if the cache exists with vectors of another model."""
        if self.answers is not None:
            _check(self.answers, model)

    async def prepare(self, dim: int, model: str) -> Cache:
        """The same, when the dimension is not known before the first vector."""
        if self.answers is not None:
            return self.answers
        async with self._creating:
            return await self._workers.call("long", lambda: self.create(dim, model))

    async def again(self, deleted: Cache) -> Cache:
        """The cache in place of one that somebody has deleted; a new one if there is none.

        Raises InvalidArgument if what is there now does not fit the settings.
        """
        async with self._creating:
            if deleted is self.embeddings:
                self.embeddings = await self._workers.call("long", self._of_embeddings)
            elif deleted is self.answers:
                self.answers = await self._workers.call("long", lambda: self._of_answers(deleted.dim, deleted.model))
        found = self.embeddings if deleted.name == self.embeddings.name else self.answers
        assert found is not None, "bug: a cache that was there is not there again"
        return found

    def push_load(self, in_flight: float, _now_s: float) -> None:
        """How many requests the upstream is working on."""
        if self.answers is not None and self._settings.capacity is not None:
            self.answers.push_load(in_flight)

    def _of_embeddings(self) -> Cache:
        name = self._settings.cache + EMBEDDINGS
        return self._db.cache(name) if name in self._db.caches() else self._db.create_cache(name, 0)

    def _of_answers(self, dim: int, model: str | None) -> Cache:
        if self._settings.cache not in self._db.caches():
            self._db.create_cache(self._settings.cache, dim, policies=self._policies, model=model)
        return self._opened()

    def _opened(self) -> Cache:
        cache = self._db.cache(self._settings.cache, equivalent=same)
        semantic = self._settings.embedding_model is not None or self._settings.embedding_path is not None
        if semantic and cache.dim == 0:
            raise InvalidArgument(
                f"the cache {cache.name!r} was made without vectors", "Choose another with --openai-cache, or delete it"
            )
        for category, policy in self._policies.items():
            if cache.policies.get(category) != policy:
                cache.set_policy(category, policy)
        if self._settings.capacity is not None:
            cache.set_load(self._settings.capacity / 2, float(self._settings.capacity))
        return cache


def _check(cache: Cache, model: str | None) -> None:
    if None not in (model, cache.model) and model != cache.model:
        message = f"the cache {cache.name!r} has vectors of {cache.model!r}, not of {model!r}"
        raise InvalidArgument(message, "Choose another with --openai-cache, or delete it")


def read_policies(path: Path) -> dict[str, CachePolicy]:
    """The policies of a JSON file {category: policy}. Raises InvalidArgument or LimitExceeded."""
    try:
        if path.stat().st_size > MAX_POLICIES_BYTES:
            raise LimitExceeded(f"{path} is too large", f"At most {MAX_POLICIES_BYTES:,} bytes")
        given: Any = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InvalidArgument(f"{path} cannot be read: {error}", "Give a JSON file of policies") from error
    if not isinstance(given, dict):
        raise InvalidArgument(f"{path} is no JSON object", 'Write {"default": {"threshold": 0.9}}')
    policies = {}
    for category, spec in given.items():
        try:
            policies[category] = CachePolicy.from_dict(spec)
        except InvalidArgument as error:
            raise InvalidArgument(f"{path}: category {category!r}: {error.message}", error.hint) from None
    return policies
