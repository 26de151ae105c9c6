"""Calls about caches: of a database, and about what a cache is told and has learned, as methods of Cache are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import numpy as np

from vsearch import wire
from vsearch.cache.policy import CachePolicy
from vsearch.errors import InvalidArgument, NotFound, NotSupported
from vsearch.names import check_name
from vsearch.remote.call import Call, nothing
from vsearch.types import Durability

if TYPE_CHECKING:
    from vsearch.cache.classifier import ClassifierReport
    from vsearch.cache.clock import Clock
    from vsearch.cache.core import Equivalent
    from vsearch.cache.lookup import Verify
    from vsearch.cache.thresholds import Fitted
    from vsearch.embedders import Embedder

CACHES: Final = "/v1/cache"


@dataclass(frozen=True, slots=True)
class CacheDescription:
    """What there is to know of a cache without its entries, whose number is `entries`."""

    name: str
    dim: int
    model: str | None
    policies: dict[str, CachePolicy]
    entries: int

    @classmethod
    def of(cls, answer: Any) -> CacheDescription:
        policies = {category: CachePolicy.from_dict(spec) for category, spec in answer["policies"].items()}
        return cls(answer["name"], answer["dim"], answer["model"], policies, answer["entries"])


@lru_cache(maxsize=1_000)
def cache_path(name: str) -> str:
    """Where a cache is. Raises NotFound for what cannot be the name of one."""
    try:
        check_name("cache", name)
    except InvalidArgument:
        raise NotFound(f"no cache named {name!r}", "Use one of caches()") from None
    return f"{CACHES}/{quote(name, safe='')}"


def create_cache(
    name: str,
    dim: int,
    policies: Mapping[str, CachePolicy] | None = None,
    default: CachePolicy | None = None,
    model: str | None = None,
    durability: Durability = "os",
    max_entries: int | None = None,
    max_bytes: int | None = None,
    load: tuple[float, float] | None = None,
) -> Call[CacheDescription]:
    """Create an empty semantic cache.

    `dim`: of the prompts' vectors; 0: only the same prompts are found. `policies`: by category; `default`: of
    prompts without one. `model`: the id of the model that makes the vectors; with another one the cache is not
    opened. `durability`: "os" (an answer may be lost with the power) or "sync". `max_entries`, `max_bytes`: of the
    whole; by default a million and 4 GiB. `load`: between which loads of the model behind policies are relaxed, in
    the unit of `Cache.push_load`.

    Raises InvalidArgument, AlreadyExists, LimitExceeded, ReadOnly.
    """
    check_name("cache", name)
    if policies is not None and not isinstance(policies, Mapping):
        raise InvalidArgument(f"policies is a {type(policies).__name__}", "Say {category: CachePolicy(...)}")
    low_high = None if load is None else listed("load", load)
    if low_high is not None and len(low_high) != 2:
        raise InvalidArgument(f"load is {load!r:.80}", "Give two loads, (low, high)")
    body = {
        "dim": dim,
        "policies": {category: _policy(policy) for category, policy in (policies or {}).items()},
        "default": None if default is None else _policy(default),
        "model": model,
        "durability": durability,
        "max_entries": max_entries,
        "max_bytes": max_bytes,
        "load": None if low_high is None else dict(zip(("low", "high"), low_high, strict=True)),
    }
    return Call("PUT", cache_path(name), CacheDescription.of, body)


def cache(
    name: str,
    embedder: Embedder | None = None,
    verify: Verify | None = None,
    equivalent: Equivalent | None = None,
    clock: Clock | None = None,
) -> Call[CacheDescription]:
    """The cache of that name. What is given stays with it until another is given.

    `embedder`: makes the vectors of prompts that come without. `verify(prompt, hit)`: has the last word on a
    semantic hit. `equivalent(one, other)`: whether two responses are the same answer, for categories with a
    `max_error`; by default whether they are equal. `clock`: for tests, when the cache is opened first.

    Raises NotFound; InvalidArgument or DimensionMismatch for the embedder of another model.
    """
    if any(given is not None for given in (embedder, verify, equivalent, clock)):
        raise NotSupported("a server's cache takes no functions of this process", "Embed and verify before the calls")
    return Call("GET", cache_path(name), CacheDescription.of, repeatable=True)


def caches() -> Call[list[str]]:
    """Names of the caches, sorted."""
    return Call("GET", CACHES, itemgetter("caches"), repeatable=True)


def delete_cache(name: str) -> Call[None]:
    """Delete a cache and everything in it. Raises NotFound, ReadOnly."""
    return Call("DELETE", cache_path(name), nothing)


def set_policy(cache: str, category: str, policy: CachePolicy) -> Call[None]:
    """Give a category a policy from now on, or make a new category. What is above a smaller quota is removed.

    A new ttl holds for what is stored from now on.
    """
    check_name("category", category)
    return Call("PUT", f"{cache_path(cache)}/policies/{quote(category, safe='')}", nothing, _policy(policy))


def set_load(cache: str, low: float, high: float) -> Call[None]:
    """Relax policies between these loads, in the unit of what is pushed."""
    return Call("PUT", f"{cache_path(cache)}/load", nothing, {"low": low, "high": high})


def push_load(cache: str, value: float, now_s: float | None = None) -> Call[None]:
    """How loaded the model behind is now: latency, requests waiting or in flight. Raises InvalidArgument when the
    cache was made without `load`."""
    if now_s is not None:
        raise NotSupported("a server goes by its own clock", "Leave now_s out")
    return Call("POST", f"{cache_path(cache)}/load", nothing, {"value": value})


def stats(cache: str) -> Call[dict[str, Any]]:
    """Numbers of the whole and of each category, with what follows from them."""
    return Call("GET", f"{cache_path(cache)}/stats", dict, repeatable=True)


def fit(cache: str, pairs: Sequence[Any] | None = None, max_error: float = 0.01, apply: bool = True) -> Call[Fitted]:
    """Thresholds of the categories with which at most a share `max_error` of all prompts is answered wrongly.

    `pairs`: (asked, cached, same) or (asked, cached, same, category): a prompt, the nearest one that could have
    answered it, and whether that answer is right. Prompts are strings, which are embedded and pass the guards, or
    vectors. None: what was reported of hits. `apply`: give the policies these thresholds, from now on and stored.
    Returns the thresholds with what is expected of them (vsearch/cache/thresholds.py).

    Raises InvalidArgument, DimensionMismatch, and what the embedder raises.
    """
    body: dict[str, Any] = {"max_error": max_error, "apply": apply}
    if pairs is not None:
        rows = [_pair(pair) for pair in pairs]
        asked, cached, same, categories = ([row[at] for row in rows] for at in range(4))
        body |= {"asked": wire.vectors(asked), "cached": wire.vectors(cached), "same": same, "categories": categories}
    return Call("POST", f"{cache_path(cache)}/fit", _fitted, body, patient=True)


def fit_categories(cache: str, examples: Any, labels: Sequence[str | None]) -> Call[ClassifierReport]:
    """Let prompts that come without a category be classified as these examples are labelled, from now on and
    stored.

    `examples`: vectors [n, dim], or prompts to be embedded; `labels`: the category of each, None of those that
    belong to none. What is unclear goes to "default". Returns how good it is on examples held out.

    Raises InvalidArgument for a category without a policy, DimensionMismatch, and what the embedder raises.
    """
    body = {"examples": wire.vectors(examples), "labels": listed("labels", labels)}
    return Call("POST", f"{cache_path(cache)}/fit_categories", _classifier_report, body, patient=True)


def _policy(policy: Any) -> dict[str, Any]:
    if not isinstance(policy, CachePolicy):
        hint = "Use vsearch.CachePolicy(threshold=0.9, ttl=3600)"
        raise InvalidArgument(f"a policy is a {type(policy).__name__}", hint)
    return policy.to_dict()


def listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str):
        raise InvalidArgument(f"{name} is {values!r:.80}", "Use a list")
    return list(values)


def _pair(pair: Any) -> tuple[Any, Any, bool, Any]:
    if not isinstance(pair, list | tuple) or len(pair) not in (3, 4) or not isinstance(pair[2], bool | np.bool_):
        hint = "Use (asked, cached, same) or (asked, cached, same, category)"
        raise InvalidArgument(f"a pair is {pair!r:.100}", hint)
    return pair[0], pair[1], bool(pair[2]), pair[3] if len(pair) == 4 else None


def _fitted(answer: Any) -> Fitted:
    from vsearch.cache.thresholds import Fitted, Share

    shares = {category: Share(**share) for category, share in answer["categories"].items()}
    whole, single_share = Share(**answer["whole"]), Share(**answer["single_share"])
    return Fitted(**{**answer, "whole": whole, "categories": shares, "single_share": single_share})


def _classifier_report(answer: Any) -> ClassifierReport:
    from vsearch.cache.classifier import ClassifierReport

    return ClassifierReport(**answer)
