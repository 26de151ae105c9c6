"""Calls about the answers in a cache: a function for each method of Cache that is one request, its arguments after the
cache's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vsearch import wire
from vsearch.cache.answers import CacheEntry, CacheHit, Lookup
from vsearch.errors import InvalidArgument, NotSupported
from vsearch.remote.caches import cache_path, listed
from vsearch.remote.call import Call, nothing
from vsearch.types import PointId

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from vsearch.cache.cache import Where

MAX_WAIT_S: Final = 3_600.0  # a server refuses to wait longer


def check(
    cache: str,
    prompt: str,
    vector: ArrayLike | None = None,
    category: str | None = None,
    scope: Any = (),
    max_age: float | None = None,
) -> Call[CacheHit | None]:
    """The cached answer to a prompt, or None. `max_age`: not of entries older than so many seconds.

    A hit may be stale, if the policy says for how long. Raises InvalidArgument, DimensionMismatch, LimitExceeded;
    an embedder that fails is a miss.
    """
    body = _asked(prompt, vector, category, scope, max_age)
    return Call("POST", f"{cache_path(cache)}/check", _hit, body, repeatable=True)


def lookup(
    cache: str,
    prompt: str,
    vector: ArrayLike | None = None,
    category: str | None = None,
    scope: Any = (),
    max_age: float | None = None,
) -> Call[Lookup]:
    """As `check`, with the reason of a miss and the nearest entry."""
    body = _asked(prompt, vector, category, scope, max_age)
    return Call("POST", f"{cache_path(cache)}/lookup", wire.lookup_in, body, repeatable=True)


def store(
    cache: str,
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
) -> Call[int | None]:
    """Keep an answer, in place of any to the same prompt in the same scope; returns the number of its entry.

    `response`: JSON or bytes. `ttl`: seconds, in place of the policy's. `depends_on`: points that the answer was
    made from, [("docs", id), ...] or [("docs", id, version), ...]: when one of them is changed or deleted, the
    entry goes with the same write. `version`: what `Collection.version` was before they were read. `cost`,
    `compute_s`: what computing it took. `lease`: see `lease`.

    None: it was not kept, because the category is disabled or has no room for it, or because a source has changed
    since the version named.
    Raises InvalidArgument, DimensionMismatch, LimitExceeded, NotFound, DurabilityError.
    """
    body = {
        "prompt": prompt,
        "response": response,
        "vector": _vector(vector),
        "category": category,
        "scope": scope,
        "ttl": ttl,
        "depends_on": [_source(source) for source in listed("depends_on", depends_on)],
        "tags": listed("tags", tags),
        "metadata": None if metadata is None else dict(metadata),
        "cost": cost,
        "compute_s": compute_s,
        "lease": lease,
    }
    return Call("POST", f"{cache_path(cache)}/store", itemgetter("id"), body)


def store_many(
    cache: str,
    prompts: Sequence[str],
    responses: Sequence[Any],
    vectors: Any = None,
    category: str | None = None,
    scope: Any = (),
    ttl: float | None = None,
    tags: Sequence[str] = (),
) -> Call[list[int | None]]:
    """Keep many answers of one category and scope, as `store` does, in large commits: to fill a cache.

    `vectors`: [n, dim] or None. The category is not classified: None is "default". All arguments are checked before
    anything is written; every 4,096 answers are one commit.
    """
    body = {
        "prompts": listed("prompts", prompts),
        "responses": list(responses),
        "vectors": None if vectors is None else wire.vectors(vectors),
        "category": category,
        "scope": scope,
        "ttl": ttl,
        "tags": listed("tags", tags),
    }
    return Call("POST", f"{cache_path(cache)}/store_many", itemgetter("ids"), body)


def report(cache: str, hit: CacheHit | int, correct: bool, similarity: float | None = None) -> Call[None]:
    """Tell whether an answer was right. A wrong one's entry is removed, or, with a `max_error` and unless it was an
    exact match, is given less readily from now on. `hit`: or the number of its entry, with the `similarity`.

    An entry that is gone already is no error.
    """
    number = hit.id if isinstance(hit, CacheHit) else hit
    if type(number) is not int:
        raise InvalidArgument(f"hit is a {type(hit).__name__}", "Use a CacheHit or the number of its entry")
    if isinstance(hit, CacheHit):
        similarity = None if hit.kind == "exact" else hit.similarity
    body = {"id": number, "correct": correct, "similarity": similarity}
    return Call("POST", f"{cache_path(cache)}/report", nothing, body)


def invalidate(
    cache: str,
    id: int | None = None,
    tag: str | None = None,
    scope: Any = None,
    category: str | None = None,
    source: str | tuple[str, PointId] | None = None,
    where: Where | None = None,
    dry_run: bool = False,
) -> Call[int]:
    """Remove the entries for which all of the given hold, and return how many there were; `dry_run` only counts.

    `source`: made from a point, ("docs", id), or from any point of a collection, "docs". `where`: a predicate on a
    CacheEntry. To remove all, use `clear`. Raises InvalidArgument if nothing is given.
    """
    if where is not None:
        raise NotSupported("a server does not run a predicate", "Ask for entries(), and invalidate those by id")
    body = {
        "id": id,
        "tag": tag,
        "scope": scope,
        "category": category,
        "source": source if source is None or isinstance(source, str) else _source(source),
        "dry_run": dry_run,
    }
    return Call("POST", f"{cache_path(cache)}/invalidate", itemgetter("removed"), body, patient=True)


def clear(cache: str) -> Call[int]:
    """Remove every entry; returns how many there were."""
    return Call("DELETE", f"{cache_path(cache)}/entries", itemgetter("removed"), patient=True)


def entries(cache: str, after: int, limit: int) -> Call[list[CacheEntry]]:
    """A page of entries, from above the number `after` on."""
    params = (("after", str(after)), ("limit", str(limit)))
    return Call("GET", f"{cache_path(cache)}/entries", _entries, params=params, repeatable=True)


def lease(
    cache: str,
    prompt: str,
    vector: ArrayLike | None = None,
    category: str | None = None,
    scope: Any = (),
    lease_s: float = 60.0,
    wait_s: float = 60.0,
    max_age: float | None = None,
) -> Call[Lookup]:
    """As `lookup`, but of callers that miss the same, or something similar, at the same time one is told to
    compute: its `Lookup.lease` is a token, to be given to `store`, or to `release`, within `lease_s`. The others
    wait until then, at most `wait_s`, and look again. Who gets neither hit nor lease computes for himself.
    """
    body = {**_asked(prompt, vector, category, scope, max_age), "lease_s": lease_s, "wait_s": wait_s}
    patience_s = min(float(wait_s), MAX_WAIT_S) if isinstance(wait_s, int | float) and wait_s > 0 else 0.0
    return Call("POST", f"{cache_path(cache)}/lease", wire.lookup_in, body, wait_s=patience_s)


def release(cache: str, lease: str, failed: bool = False) -> Call[bool]:
    """Let those who wait for an answer go on: one of them computes it, or, if it `failed`, each for himself. False
    if the lease has ended."""
    body = {"lease": lease, "failed": failed}
    return Call("POST", f"{cache_path(cache)}/release", itemgetter("released"), body)


def _asked(prompt: str, vector: Any, category: str | None, scope: Any, max_age: float | None) -> dict[str, Any]:
    return {
        "prompt": prompt, "vector": _vector(vector), "category": category, "scope": scope, "max_age": max_age
    }  # fmt: skip


def _vector(vector: Any) -> Any:
    """As it is sent; what is not one is sent too, for the server to refuse it as the embedded cache would."""
    return None if vector is None else wire.vectors(vector)


def _source(source: Any) -> Any:
    return [one.item() if isinstance(one, np.generic) else one for one in source]


def _hit(answer: Any) -> CacheHit | None:
    hit = answer["hit"]
    return None if hit is None else wire.cache_hit_in(hit)


def _entries(answer: Any) -> list[CacheEntry]:
    return [wire.cache_entry_in(entry) for entry in answer["entries"]]
