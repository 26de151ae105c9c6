"""Semantic caches: one route for each method of Cache.

A response is a JSON value or bytes. In MessagePack it stands under `response`; in JSON bytes stand, in base64, under
`response_base64`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
from pydantic import BaseModel

from vsearch import wire
from vsearch.cache.answers import Lookup
from vsearch.errors import InvalidArgument, NotSupported

from ..endpoint import Call, Routes
from ..warm import load_cache_kernels
from . import cache_bodies as bodies
from .points import Done

if TYPE_CHECKING:
    from vsearch.cache.cache import Cache

routes: Final = Routes("v1 cache", envelope=False)
CACHES: Final = "/v1/cache"
CACHE: Final = "/v1/cache/{cache}"
WRITE: Final[dict[str, Any]] = {"access": "write"}
LONG: Final[dict[str, Any]] = {"access": "write", "lane": "long"}


class CacheNames(BaseModel):
    caches: list[str]


class CacheDescribed(BaseModel):
    name: str
    dim: int
    model: str | None
    policies: dict[str, bodies.Policy]
    entries: int
    stats: dict[str, Any]


class Hit(BaseModel):
    id: int
    response: Any
    response_base64: str | None
    prompt: str
    kind: str
    similarity: float
    category: str
    age_s: float
    stale: bool
    threshold: float
    ttl: float | None
    tags: list[str]
    metadata: dict[str, Any]


class Checked(BaseModel):
    hit: Hit | None


class LookedUp(Checked):
    reason: str | None
    category: str
    threshold: float
    similarity: float | None
    nearest: int | None
    lease: str | None


class Stored(BaseModel):
    id: int | None


class StoredMany(BaseModel):
    ids: list[int | None]


class Removed(BaseModel):
    removed: int


class Released(BaseModel):
    released: bool


class Entry(BaseModel):
    id: int
    category: str
    scope: str
    tags: list[str]
    sources: list[list[int | str]]
    created_at: float
    expires_at: float | None
    nbytes: int
    hits: int


class Entries(BaseModel):
    entries: list[Entry]


class Share(BaseModel):
    pairs: int
    hit_rate: float
    error: float


class Fitted(BaseModel):
    thresholds: dict[str, float]
    whole: Share
    categories: dict[str, Share]
    single: float
    single_share: Share
    max_error: float


class FittedCategories(BaseModel):
    examples: int
    accuracy: float
    abstained: float
    refused: float | None


@routes.add("GET", CACHES, CacheNames)
def v1_caches(call: Call[None, None]) -> Any:
    """List the caches."""
    return {"caches": call.db.caches()}


@routes.add("PUT", CACHE, CacheDescribed, body=bodies.CreateCache, **WRITE)
def v1_create_cache(call: Call[bodies.CreateCache, None]) -> Any:
    """Create a cache."""
    body = call.body
    policies = {category: policy.made() for category, policy in body.policies.items()}
    cache = call.db.create_cache(
        call.names["cache"],
        body.dim,
        policies,
        default=None if body.default is None else body.default.made(),
        model=body.model,
        durability=body.durability,
        max_entries=body.max_entries,
        max_bytes=body.max_bytes,
        load=None if body.load is None else (body.load.low, body.load.high),
    )
    if cache.dim:
        threading.Thread(target=load_cache_kernels, name="vsearch-warm", daemon=True).start()
    return _described(cache)


@routes.add("GET", CACHE, CacheDescribed)
def v1_cache(call: Call[None, None]) -> Any:
    """Describe a cache: its settings, and how it is doing."""
    return _described(_cache(call))


@routes.add("DELETE", CACHE, Done, **LONG)
def v1_delete_cache(call: Call[None, None]) -> Any:
    """Delete a cache and all in it."""
    call.db.delete_cache(call.names["cache"])
    return {}


@routes.add("POST", f"{CACHE}/check", Checked, body=bodies.Ask)
def v1_cache_check(call: Call[bodies.Ask, None]) -> Any:
    """Find the answer to a prompt."""
    body = call.body
    found = _cache(call).lookup(body.prompt, _vector(body.vector), body.category, body.scope, body.max_age)
    return {"hit": _told(found, call.binary)["hit"]}


@routes.add("POST", f"{CACHE}/lookup", LookedUp, body=bodies.Ask)
def v1_cache_lookup(call: Call[bodies.Ask, None]) -> Any:
    """Find the answer to a prompt, or tell why there is none."""
    body = call.body
    found = _cache(call).lookup(body.prompt, _vector(body.vector), body.category, body.scope, body.max_age)
    return _told(found, call.binary)


@routes.add("POST", f"{CACHE}/lease", LookedUp, body=bodies.Lease, access="write", lane="loop")
async def v1_cache_lease(call: Call[bodies.Lease, None]) -> Any:
    """As lookup; of those who miss the same at the same time one gets a lease, to compute it, and the others wait."""
    body = call.body
    cache = await asyncio.to_thread(_cache, call)  # which may have to be read
    found = await cache.alease(
        body.prompt,
        _vector(body.vector),
        body.category,
        body.scope,
        max_age=body.max_age,
        lease_s=body.lease_s,
        wait_s=body.wait_s,
    )
    return _told(found, call.binary)


@routes.add("POST", f"{CACHE}/release", Released, body=bodies.Release, **WRITE)
def v1_cache_release(call: Call[bodies.Release, None]) -> Any:
    """Give a lease up: there will be no answer, and another caller may compute it."""
    return {"released": _cache(call).release(call.body.lease, call.body.failed)}


@routes.add("POST", f"{CACHE}/store", Stored, body=bodies.Store, **WRITE)
def v1_cache_store(call: Call[bodies.Store, None]) -> Any:
    """Keep an answer."""
    body = call.body
    entry = _cache(call).store(
        body.prompt,
        _response(body),
        _vector(body.vector),
        body.category,
        body.scope,
        ttl=body.ttl,
        depends_on=[tuple(source) for source in body.depends_on],
        tags=body.tags,
        metadata=body.metadata,
        cost=body.cost,
        compute_s=body.compute_s,
        lease=body.lease,
    )
    return {"id": entry}


@routes.add("POST", f"{CACHE}/store_many", StoredMany, body=bodies.StoreMany, **WRITE)
def v1_cache_store_many(call: Call[bodies.StoreMany, None]) -> Any:
    """Keep many answers of one category and scope."""
    body = call.body
    vectors = None if body.vectors is None else _vector(body.vectors)
    ids = _cache(call).store_many(body.prompts, body.responses, vectors, body.category, body.scope, body.ttl, body.tags)
    return {"ids": ids}


@routes.add("POST", f"{CACHE}/report", Done, body=bodies.Report, **WRITE)
def v1_cache_report(call: Call[bodies.Report, None]) -> Any:
    """Tell whether an answer was right: a wrong one is evicted and learned from."""
    body = call.body
    _cache(call).report(body.id, body.correct, body.similarity)
    return {}


@routes.add("POST", f"{CACHE}/invalidate", Removed, body=bodies.Invalidate, **LONG)
def v1_cache_invalidate(call: Call[bodies.Invalidate, None]) -> Any:
    """Remove entries by id, tag, scope, category or source, or count them."""
    body = call.body
    source: Any = tuple(body.source) if isinstance(body.source, list) else body.source
    count = _cache(call).invalidate(
        id=body.id, tag=body.tag, scope=body.scope, category=body.category, source=source, dry_run=body.dry_run
    )
    return {"removed": count}


@routes.add("GET", f"{CACHE}/stats", dict[str, Any])
def v1_cache_stats(call: Call[None, None]) -> Any:
    """Count lookups, hits and what they saved, by category."""
    return _cache(call).stats()


@routes.add("GET", f"{CACHE}/entries", Entries, params=bodies.EntriesParams)
def v1_cache_entries(call: Call[None, bodies.EntriesParams]) -> Any:
    """List entries in the order of their numbers, without their answers."""
    page = list(_cache(call).entries(call.params.after, call.params.limit))
    return {"entries": [wire.cache_entry_out(entry) for entry in page]}


@routes.add("DELETE", f"{CACHE}/entries", Removed, **LONG)
def v1_clear_cache(call: Call[None, None]) -> Any:
    """Remove all entries."""
    return {"removed": _cache(call).clear()}


@routes.add("PUT", f"{CACHE}/policies/{{category}}", Done, body=bodies.Policy, **WRITE)
def v1_set_cache_policy(call: Call[bodies.Policy, None]) -> Any:
    """Set the policy of a category."""
    _cache(call).set_policy(call.names["category"], call.body.made())
    return {}


@routes.add("PUT", f"{CACHE}/load", Done, body=bodies.LoadRange, **WRITE)
def v1_set_cache_load(call: Call[bodies.LoadRange, None]) -> Any:
    """Set the loads between which policies relax."""
    _cache(call).set_load(call.body.low, call.body.high)
    return {}


@routes.add("POST", f"{CACHE}/load", Done, body=bodies.Load, **WRITE)
def v1_push_cache_load(call: Call[bodies.Load, None]) -> Any:
    """Tell how loaded the model behind is."""
    _cache(call).push_load(call.body.value)
    return {}


@routes.add("POST", f"{CACHE}/fit", Fitted, body=bodies.Fit, **LONG)
def v1_fit_cache(call: Call[bodies.Fit, None]) -> Any:
    """Fit thresholds to labelled pairs for a wanted share of wrong answers."""
    body, cache = call.body, _cache(call)
    return asdict(cache.fit(_pairs(body), body.max_error, body.apply))


@routes.add("POST", f"{CACHE}/fit_categories", FittedCategories, body=bodies.FitCategories, **LONG)
def v1_fit_cache_categories(call: Call[bodies.FitCategories, None]) -> Any:
    """Let prompts that come without a category be classified as labelled examples are."""
    return asdict(_cache(call).fit_categories(_vector(call.body.examples), call.body.labels))


def _cache(call: Call[Any, Any]) -> Cache:
    """The cache that the path names. Raises NotFound."""
    return call.db.cache(call.names["cache"])


def _described(cache: Cache) -> dict[str, Any]:
    policies = {category: policy.to_dict() for category, policy in cache.policies.items()}
    entries, stats = len(cache), cache.stats()
    return {
        "name": cache.name,
        "dim": cache.dim,
        "model": cache.model,
        "policies": policies,
        "entries": entries,
        "stats": stats,
    }


def _response(answer: bodies.Store) -> Any:
    """What is to be stored. Raises InvalidArgument unless it is given in one way."""
    given = answer.model_fields_set & {"response", "response_base64"}
    if len(given) != 1:
        raise InvalidArgument("there is no response, or two", "Send response, or response_base64")
    if answer.response_base64 is None:
        return answer.response
    try:
        return base64.b64decode(answer.response_base64, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument("response_base64 is not base64", "Encode the bytes as RFC 4648 says") from None


def _pairs(body: bodies.Fit) -> list[Any] | None:
    """The labelled pairs of a body; None when it has none. Raises InvalidArgument when columns are missing or short."""
    columns = [_vector(body.asked), _vector(body.cached), body.same]
    given = [column for column in (*columns, body.categories) if column is not None]
    if not given:
        return None
    if any(column is None for column in columns) or len({len(column) for column in given}) != 1:
        raise InvalidArgument("the columns of the pairs are not alike", "Send asked, cached and same, of one length")
    return list(zip(*given, strict=True))


def _vector(given: Any) -> Any:
    """A vector for calls of a cache: a list or an array. Raises InvalidArgument for anything else."""
    vector = wire.from_wire(given) if isinstance(given, dict) else given
    if vector is not None and not isinstance(vector, list | np.ndarray):
        raise InvalidArgument("the vector is not a list of numbers", "Send a dense vector")
    return vector


def _told(found: Lookup, binary: bool) -> dict[str, Any]:
    """What was found, for an answer. Raises NotSupported for a response that cannot be told in JSON."""
    answer = wire.lookup_out(found)
    hit = answer["hit"]
    if hit is not None and not binary:
        response = hit["response"]
        hit["response_base64"] = base64.b64encode(response).decode() if isinstance(response, bytes) else None
        hit["response"] = None if isinstance(response, bytes) else _json("response", response)
        hit["metadata"] = _json("metadata", hit["metadata"])
    return answer


def _json(what: str, value: Any) -> orjson.Fragment:
    try:
        return orjson.Fragment(orjson.dumps(value))
    except TypeError as error:
        message = f"the {what} cannot be told in JSON: {error}"
        raise NotSupported(message, "Accept application/msgpack") from None
