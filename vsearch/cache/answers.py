"""What a cache says: what a lookup found and why it did not, and what an entry is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

HitKind = Literal["exact", "semantic"]
# Why there is no hit. The reasons of guards are "guard:" and the guard's name.
DISABLED: Final = "disabled"  # the category is not cached
EMPTY: Final = "empty"  # nothing is cached in this scope and category
NO_VECTOR: Final = "no vector"  # not the same prompt, and no vector to compare
NO_EMBEDDING: Final = "no embedding"  # the embedder failed or was too slow
BELOW_THRESHOLD: Final = "below threshold"
TOO_OLD: Final = "too old"  # older than the caller's max_age
UNPROVEN: Final = "unproven"  # too little is known of the entry to give its answer (max_error)
REJECTED: Final = "rejected"  # by the caller's verifier
GUARD: Final = "guard:"


@dataclass(frozen=True, slots=True)
class CacheHit:
    """An answer from the cache.

    `id`: of its entry. `prompt`: that the answer was computed for. `similarity`: cosine, 1.0 of an exact match.
    `age_s`: since it was stored. `stale`: its life is over, and it should be made anew. `threshold`, `ttl`: as they
    were in force for this lookup, load considered.
    """

    id: int
    response: Any
    prompt: str
    kind: HitKind
    similarity: float
    category: str
    age_s: float
    stale: bool
    threshold: float
    ttl: float | None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lookup:
    """What was found for a prompt: a hit, or the reason why there is none.

    `similarity`, `nearest`: of the nearest live entry that was looked at, and its id. `threshold`: in force. `lease`:
    the caller of `Cache.lease` is the one to compute the answer, and says so with this token when it stores it.
    """

    hit: CacheHit | None
    reason: str | None
    category: str
    threshold: float
    similarity: float | None = None
    nearest: int | None = None
    lease: str | None = None


@dataclass(frozen=True, slots=True)
class Computed:
    """An answer that `get_or_compute` has computed. `id`: of the new entry, None if it was not kept."""

    response: Any
    id: int | None


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """What is known of an entry without reading its answer. Times are Unix seconds; `expires_at` None: never."""

    id: int
    category: str
    scope: str  # hex digest
    tags: tuple[str, ...]
    sources: tuple[tuple[str, Any], ...]  # collection, id
    created_at: float
    expires_at: float | None
    nbytes: int
    hits: int
