"""What a cache is told when it is made, checked; and the part of it that is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vsearch.cache.load import LoadSignal
from vsearch.cache.policy import DEFAULT, CachePolicy
from vsearch.cache.room import Limits
from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.names import check_name
from vsearch.storage.caches import CacheManifest
from vsearch.types import MAX_DIM, Durability

MAX_CATEGORIES: Final = 1_000  # each has counters, and metrics
MAX_ENTRIES: Final = 100_000_000
DEFAULT_ENTRIES: Final = 1_000_000  # 1.4 GB of vectors and links at 384 dimensions
DEFAULT_BYTES: Final = 4 << 30


@dataclass(frozen=True, slots=True)
class Settings:
    """`load`: the loads, in the unit of what is pushed, at which policies begin and end to relax; None: they never do.

    Raises InvalidArgument or LimitExceeded.
    """

    dim: int
    policies: Mapping[str, CachePolicy]
    model: str | None = None
    durability: Durability = "os"
    max_entries: int = DEFAULT_ENTRIES
    max_bytes: int = DEFAULT_BYTES
    load: tuple[float, float] | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # what was fitted

    def __post_init__(self) -> None:
        if type(self.dim) is not int or not 0 <= self.dim <= MAX_DIM:
            raise InvalidArgument(f"dim is {self.dim!r}", f"Use 0 to {MAX_DIM}; 0 finds exact matches only")
        if self.model is not None and (not isinstance(self.model, str) or not 0 < len(self.model) <= 1_024):
            raise InvalidArgument(f"model is {self.model!r:.80}", "Use the name of the embedding model")
        if self.durability not in ("os", "sync"):
            raise InvalidArgument(f"unknown durability {self.durability!r}", 'Use "os" or "sync"')
        if type(self.max_entries) is not int or not 1 <= self.max_entries <= MAX_ENTRIES:
            raise InvalidArgument(f"max_entries is {self.max_entries!r}", f"Use 1 to {MAX_ENTRIES:,}")
        if type(self.max_bytes) is not int or not 1 <= self.max_bytes <= 1 << 50:
            raise InvalidArgument(f"max_bytes is {self.max_bytes!r}", "Use a number of bytes")
        if self.load is not None:
            if not isinstance(self.load, tuple | list) or len(self.load) != 2:
                raise InvalidArgument(f"load is {self.load!r:.80}", "Use (low, high), or None")
            LoadSignal(*self.load)
        if len(self.policies) > MAX_CATEGORIES:
            raise LimitExceeded(f"{len(self.policies)} categories", f"At most {MAX_CATEGORIES}")
        for category, policy in self.policies.items():
            check_name("category", category)
            check_policy(category, policy)
        if DEFAULT not in self.policies:
            object.__setattr__(self, "policies", {DEFAULT: CachePolicy(), **self.policies})

    @property
    def limits(self) -> Limits:
        return Limits(self.max_entries, self.max_bytes)

    def stored(self, name: str, number: int) -> CacheManifest:
        """As it is kept in the engine."""
        options = {
            "durability": self.durability,
            "max_entries": self.max_entries,
            "max_bytes": self.max_bytes,
            "load": self.load,
            "extra": self.extra,
        }
        policies = {category: policy.to_dict() for category, policy in self.policies.items()}
        return CacheManifest(name, number, self.dim, self.model, policies, options)

    @classmethod
    def of(cls, manifest: CacheManifest) -> Settings:
        """The settings that `stored` gave."""
        policies = {category: CachePolicy.from_dict(spec) for category, spec in manifest.policies.items()}
        options = dict(manifest.options)
        load = options.pop("load", None)
        return cls(manifest.dim, policies, manifest.model, load=None if load is None else tuple(load), **options)


def check_policy(category: str, policy: object) -> None:
    """Raises InvalidArgument for what is no policy."""
    if not isinstance(policy, CachePolicy):
        hint = "Use vsearch.CachePolicy(threshold=0.9, ttl=3600)"
        raise InvalidArgument(f"the policy of {category!r} is a {type(policy).__name__}", hint)
