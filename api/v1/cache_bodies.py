"""The arguments of calls of a cache, as they come over the wire. What the cache checks itself is not checked twice."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from vsearch.cache.flights import MAX_LEASE_S
from vsearch.cache.policy import CachePolicy

from ..endpoint import Body, Params
from .bodies import PointId, Vector, Vectors

MAX_STORED: Final = 10_000  # entries of one request
MAX_PAIRS: Final = 1_000_000
MAX_PAGE: Final = 10_000

Scope = Annotated[
    Any, Field(description="Who asks, under which conditions: a text, number, boolean, or lists or objects of these.")
]
Source = Annotated[
    list[PointId], Field(min_length=2, max_length=3, description="Collection and id of a point; and its version.")
]


class Policy(Body):
    """The settings of a vsearch.CachePolicy, with its defaults."""

    threshold: float = 0.9
    ttl: float | None = None
    quota: int | None = None
    quota_bytes: int | None = None
    quota_share: float | None = None
    enabled: bool = True
    priority: float = 1.0
    min_threshold: float | None = None
    max_ttl: float | None = None
    stale: float = 0.0
    guards: bool | list[str] = True
    max_error: float | None = None
    miss_cost: float = 0.0

    def made(self) -> CachePolicy:
        """Raises InvalidArgument for a value out of range."""
        return CachePolicy.from_dict(self.model_dump())


class LoadRange(Body):
    """Loads between which policies relax, in the unit of what is pushed."""

    low: float
    high: float


class CreateCache(Body):
    dim: int = Field(description="Of its vectors; 0: exact matches only.")
    policies: dict[str, Policy] = Field({}, description="Category -> its policy.")
    default: Policy | None = Field(None, description="The policy of prompts without a category.")
    model: str | None = Field(None, description="The id of the model that makes the vectors.")
    durability: Literal["os", "sync"] = "os"
    max_entries: int | None = None
    max_bytes: int | None = None
    load: LoadRange | None = None


class Ask(Body):
    prompt: str
    vector: Vector | None = Field(None, description="Without it only the same prompt is found.")
    category: str | None = None
    scope: Scope = ()
    max_age: float | None = Field(None, description="Seconds; what was stored longer ago is not found.")


class Lease(Ask):
    lease_s: float = Field(60.0, gt=0, le=MAX_LEASE_S, description="How long others wait for this caller's answer.")
    wait_s: float = Field(30.0, ge=0, le=MAX_LEASE_S, description="How long to wait for another caller's answer.")


class Release(Body):
    lease: str
    failed: bool = Field(False, description="Each of those who wait computes for himself, at once.")


class Store(Body):
    prompt: str
    response: Any = Field(None, description="A JSON value; in MessagePack also bytes.")
    response_base64: str | None = Field(None, description="In place of response: bytes.")
    vector: Vector | None = None
    category: str | None = None
    scope: Scope = ()
    ttl: float | None = None
    depends_on: list[Source] = Field([])
    tags: list[str] = Field([])
    metadata: dict[str, Any] | None = None
    cost: float | None = None
    compute_s: float | None = None
    lease: str | None = Field(None, description="Of the caller that was to compute this; those who wait get it.")


class StoreMany(Body):
    prompts: list[str] = Field(max_length=MAX_STORED)
    responses: list[Any] = Field(max_length=MAX_STORED, description="JSON values; in MessagePack also bytes.")
    vectors: Vectors | None = None
    category: str | None = None
    scope: Scope = ()
    ttl: float | None = None
    tags: list[str] = Field([])


class Report(Body):
    id: int
    correct: bool
    similarity: float | None = None


class Invalidate(Body):
    """All that is given must hold."""

    id: int | None = None
    tag: str | None = None
    scope: Scope = None
    category: str | None = None
    source: str | Annotated[list[PointId], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Collection and id of a point, or a collection."
    )
    dry_run: bool = Field(False, description="Only count.")


class Load(Body):
    value: float = Field(description="Of the model behind: latency, queue depth, requests in flight.")


class Fit(Body):
    """Labelled pairs, column by column; without any, what was reported of hits."""

    asked: Vectors | None = Field(None, description="Prompts' vectors.")
    cached: Vectors | None = Field(None, description="Vectors of the nearest prompts that could have answered them.")
    same: list[bool] | None = Field(None, description="Whether that answer is right.", max_length=MAX_PAIRS)
    categories: list[str | None] | None = Field(None, description="Categories of the prompts.", max_length=MAX_PAIRS)
    max_error: float = Field(0.01, description="The share of all prompts that may be answered wrongly.")
    apply: bool = Field(True, description="Give the policies these thresholds.")


class FitCategories(Body):
    examples: Vectors = Field(description="Prompts' vectors.")
    labels: list[str | None] = Field(description="The category of each; null: none.", max_length=MAX_PAIRS)


class EntriesParams(Params):
    after: int = Field(0, ge=0, le=2**63 - 1, description="Entries with larger numbers only.")
    limit: int = Field(100, ge=1, le=MAX_PAGE)
