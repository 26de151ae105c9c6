"""A semantic cache: `Database.create_cache` makes one, `Database.cache` opens it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.cache.answers import CacheEntry, CacheHit, Lookup
from vsearch.cache.computing import AsyncComputing, Computing
from vsearch.cache.core import Core
from vsearch.cache.fitting import Fitting
from vsearch.cache.leasing import Leasing
from vsearch.cache.policy import DEFAULT, MAX_TTL_S, CachePolicy
from vsearch.cache.questions import number, question
from vsearch.cache.records import NEVER, check_tags, encode_answer
from vsearch.cache.writing import MAX_BATCH, Draft
from vsearch.errors import InvalidArgument
from vsearch.types import PointId

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Where = Callable[[CacheEntry], bool]


class Cache(Computing, AsyncComputing, Leasing, Fitting):
    """Answers by prompts. Every method may be called from any thread.

    A prompt is answered by the entry of the same prompt, or else by the most similar one, in the same `scope` only, if
    its category's policy allows. `vector`: the prompt's embedding [dim], any length but zero; without one the embedder
    is asked, if the cache was opened with one; else only the same prompt is found. `category`: one of the policies';
    None lets the fitted classifier choose, or is "default". `scope`: who asks and under which conditions, a string,
    number, boolean, None, or lists, tuples or dicts of these.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._renewals: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"Cache({self.name!r}, {len(self):,} entries)"

    def __len__(self) -> int:
        """Entries, also those whose life is over and that are not removed yet."""
        return len(self._core.contents)

    @property
    def name(self) -> str:
        return self._core.name

    @property
    def dim(self) -> int:
        return self._core.settings.dim

    @property
    def model(self) -> str | None:
        """The id of the model that makes the vectors."""
        return self._core.settings.model

    @property
    def policies(self) -> dict[str, CachePolicy]:
        """The policy of each category."""
        return dict(self._core.settings.policies)

    def check(
        self,
        prompt: str,
        vector: ArrayLike | None = None,
        category: str | None = None,
        scope: Any = (),
        max_age: float | None = None,
    ) -> CacheHit | None:
        """The cached answer to a prompt, or None. `max_age`: not of entries older than so many seconds.

        A hit may be stale, if the policy says for how long. Raises InvalidArgument, DimensionMismatch, LimitExceeded;
        an embedder that fails is a miss.
        """
        return self.lookup(prompt, vector, category, scope, max_age).hit

    def lookup(
        self,
        prompt: str,
        vector: ArrayLike | None = None,
        category: str | None = None,
        scope: Any = (),
        max_age: float | None = None,
    ) -> Lookup:
        """As `check`, with the reason of a miss and the nearest entry."""
        started = time.perf_counter()
        asked = question(prompt, scope, category)
        found, _ = self._core.find(asked, vector, number("max_age", max_age, MAX_TTL_S))
        self._core.counted(found, time.perf_counter() - started)
        return found

    def store(
        self,
        prompt: str,
        response: Any,
        vector: ArrayLike | None = None,
        category: str | None = None,
        scope: Any = (),
        ttl: float | None = None,
        depends_on: Sequence[Any] = (),
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        cost: float | None = None,
        compute_s: float | None = None,
        lease: str | None = None,
    ) -> int | None:
        """Keep an answer, in place of any to the same prompt in the same scope; returns the number of its entry.

        `response`: JSON or bytes. `ttl`: seconds, in place of the policy's. `depends_on`: points that the answer was
        made from, [("docs", id), ...] or [("docs", id, version), ...]: when one of them is changed or deleted, the
        entry goes with the same write. `version`: what `Collection.version` was before they were read. `cost`,
        `compute_s`: what computing it took. `lease`: see `lease`.

        None: it was not kept, because the category is disabled or has no room for it, or because a source has changed
        since the version named.
        Raises InvalidArgument, DimensionMismatch, LimitExceeded, NotFound, DurabilityError.
        """
        try:
            draft = self._draft(prompt, response, vector, category, scope, ttl, tags, metadata, cost, compute_s)
            if draft is None:
                return None
            self._core.teach(draft, response)
            with self._core.origins.held(depends_on) as (sources, expires_ms):
                entry = None
                if sources is not None:
                    entry = self._core.writing.put([draft], sources, expires_ms, self._core.now_ms())[0]
            self._core.tally(draft.category).stored(entry is not None, compute_s, cost)
            return entry
        except BaseException:
            if lease is not None:
                self.release(lease, failed=True)
            raise
        finally:
            if lease is not None:
                self.release(lease)

    def store_many(
        self,
        prompts: Sequence[str],
        responses: Sequence[Any],
        vectors: Any = None,
        category: str | None = None,
        scope: Any = (),
        ttl: float | None = None,
        tags: Sequence[str] = (),
    ) -> list[int | None]:
        """Keep many answers of one category and scope, as `store` does, in large commits: to fill a cache.

        `vectors`: [n, dim] or None. The category is not classified: None is "default". All arguments are checked before
        anything is written; every 4,096 answers are one commit.
        """
        if vectors is not None and not isinstance(vectors, Sequence | np.ndarray):
            raise InvalidArgument(f"vectors is a {type(vectors).__name__}", "Use an array [n, dim], or None")
        if len(responses) != len(prompts) or (vectors is not None and len(vectors) != len(prompts)):
            raise InvalidArgument(f"{len(prompts)} prompts, {len(responses)} responses", "Give as many of each")
        category = DEFAULT if category is None else category
        drafts = [
            self._draft(prompt, response, None if vectors is None else vectors[i], category, scope, ttl, tags)
            for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
        ]
        kept = [(at, draft) for at, draft in enumerate(drafts) if draft is not None]
        entries: list[int | None] = [None] * len(drafts)
        for start in range(0, len(kept), MAX_BATCH):
            some = kept[start : start + MAX_BATCH]
            found = self._core.writing.put([draft for _, draft in some], (), NEVER, self._core.now_ms())
            for (at, _), entry in zip(some, found, strict=True):
                entries[at] = entry
                self._core.tally(category).stored(entry is not None)
        return entries

    def report(self, hit: CacheHit | int, correct: bool, similarity: float | None = None) -> None:
        """Tell whether an answer was right. A wrong one's entry is removed, or, with a `max_error` and unless it was an
        exact match, is given less readily from now on. `hit`: or the number of its entry, with the `similarity`.

        An entry that is gone already is no error.
        """
        if not isinstance(correct, bool):
            raise InvalidArgument(f"correct is {correct!r}", "Use True or False")
        entry = hit.id if isinstance(hit, CacheHit) else hit
        if type(entry) is not int:
            raise InvalidArgument(f"hit is a {type(hit).__name__}", "Use a CacheHit or the number of its entry")
        if isinstance(hit, CacheHit):
            similarity = None if hit.kind == "exact" else hit.similarity
        self._core.reported(entry, correct, number("similarity", similarity, 1.0))

    def invalidate(
        self,
        id: int | None = None,
        tag: str | None = None,
        scope: Any = None,
        category: str | None = None,
        source: str | tuple[str, PointId] | None = None,
        where: Where | None = None,
        dry_run: bool = False,
    ) -> int:
        """Remove the entries for which all of the given hold, and return how many there were; `dry_run` only counts.

        `source`: made from a point, ("docs", id), or from any point of a collection, "docs". `where`: a predicate on a
        CacheEntry. To remove all, use `clear`. Raises InvalidArgument if nothing is given.
        """
        if all(condition is None for condition in (id, tag, scope, category, source, where)):
            raise InvalidArgument("nothing says what to invalidate", "Give a condition, or use clear()")
        found = self._core.selected(id, tag, scope, category, source, where)
        return len(found) if dry_run else self._core.writing.remove(found, "invalidated")

    def clear(self) -> int:
        """Remove every entry; returns how many there were."""
        return self._core.writing.remove(list(self._core.contents.rows), "invalidated")

    def entries(self, after: int = 0, limit: int | None = None) -> Iterator[CacheEntry]:
        """What there is, without the answers, in the order of the entries' numbers, from above `after` on."""
        if type(after) is not int or (limit is not None and (type(limit) is not int or limit < 0)):
            raise InvalidArgument(f"after is {after!r}, limit {limit!r}", "Use the number of an entry, and how many")
        return self._core.described(after, limit)

    def set_policy(self, category: str, policy: CachePolicy) -> None:
        """Give a category a policy from now on, or make a new category. What is above a smaller quota is removed.

        A new ttl holds for what is stored from now on.
        """
        self._core.set_policies({category: policy})

    def set_load(self, low: float, high: float) -> None:
        """Relax policies between these loads, in the unit of what is pushed."""
        self._core.set_load(low, high)

    def push_load(self, value: float, now_s: float | None = None) -> None:
        """How loaded the model behind is now: latency, requests waiting or in flight. Raises InvalidArgument when the
        cache was made without `load`."""
        self._core.push_load(value, now_s)

    def stats(self) -> dict[str, Any]:
        """Numbers of the whole and of each category, with what follows from them."""
        return self._core.stats()

    async def acheck(self, *args: Any, **kwargs: Any) -> CacheHit | None:
        """As `check`; an embedder does not hold the event loop up."""
        return (await self.alookup(*args, **kwargs)).hit

    async def alookup(self, *args: Any, **kwargs: Any) -> Lookup:
        """As `lookup`, likewise."""
        if self._core.embedder is None:
            return self.lookup(*args, **kwargs)
        return await asyncio.to_thread(self.lookup, *args, **kwargs)

    async def astore(self, *args: Any, **kwargs: Any) -> int | None:
        """As `store`."""
        return await asyncio.to_thread(self.store, *args, **kwargs)

    def _draft(
        self,
        prompt: str,
        response: Any,
        vector: Any,
        category: str | None,
        scope: Any,
        ttl: float | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        cost: float | None = None,
        compute_s: float | None = None,
    ) -> Draft | None:
        """All arguments checked; None if the category is disabled."""
        asked = question(prompt, scope, category)
        ttl = number("ttl", ttl, MAX_TTL_S)
        cost, compute_s = number("cost", cost, 1e12), number("compute_s", compute_s, 1e9)
        checked_tags = check_tags(tags)
        answer = encode_answer(prompt, response, metadata)
        chosen, unit = self._core.placed(asked, vector)
        policy = self._core.settings.policies[chosen]
        if not policy.enabled:
            self._core.tally(chosen).stored(False, compute_s, cost)
            return None
        life, price = policy.ttl if ttl is None else ttl, policy.miss_cost if cost is None else cost
        return Draft(asked, chosen, answer, unit, life, ttl is not None, checked_tags, price, compute_s or 0.0)
