"""What is cached of a category, for how long, and how similar a question must be to be answered from the cache."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

from vsearch.errors import InvalidArgument

Guard = Literal["numbers", "dates", "units", "negation", "polarity", "entities", "identifiers", "question"]
GUARDS: Final[frozenset[str]] = frozenset(get_args(Guard))
DEFAULT: Final = "default"  # the category of whatever has none
MAX_TTL_S: Final = 10 * 365 * 86_400.0  # of an answer: ten years


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How one category is cached.

    `threshold`: the least cosine similarity of a hit, 0 to 1; 0.0 is honoured. `ttl`: seconds that an answer lives;
    None: for ever. `stale`: seconds after that in which it may still be given, marked as stale, while it is made anew.
    `quota`, `quota_bytes`, `quota_share`: most entries, most bytes, and most of the whole cache's limits (0 to 1), each
    None for no limit of its own. `enabled`: False neither finds nor stores anything. `priority`: how dear an entry is
    beside those of other categories when room is short.

    `min_threshold`, `max_ttl`: how far a loaded model behind relaxes threshold and ttl; None: not at all. `guards`:
    which of GUARDS stand between look-alikes; True for all, False for none. `max_error`: the share of wrong answers
    that is allowed; an answer is then given only as often as has been learned from observations of its entry, and the
    threshold is not used (vsearch/cache/verified.py). `miss_cost`: what computing an answer costs, in a currency of the
    caller's, where `store` does not say.

    Raises InvalidArgument for a value out of range.
    """

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
    guards: bool | Collection[str] = True
    max_error: float | None = None
    miss_cost: float = 0.0

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold, 0.0, 1.0)
        check_number("ttl", self.ttl, 0.0, MAX_TTL_S, optional=True)
        check_number("stale", self.stale, 0.0, MAX_TTL_S)
        check_number("quota_share", self.quota_share, 0.0, 1.0, optional=True)
        check_number("priority", self.priority, 0.0, 1e6)
        check_number("miss_cost", self.miss_cost, 0.0, 1e12)
        check_number("min_threshold", self.min_threshold, 0.0, self.threshold, optional=True)
        check_number("max_ttl", self.max_ttl, self.ttl or 0.0, MAX_TTL_S, optional=True)
        for name in ("quota", "quota_bytes"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 0):
                raise InvalidArgument(f"{name} is {value!r}", "Use a whole number of at least 0, or None")
        if self.max_error is not None:
            check_number("max_error", self.max_error, 0.0, 0.5)
            if self.max_error == 0.0:
                raise InvalidArgument("max_error is 0", "Use a share above 0; only exact matches are never wrong")
        if not isinstance(self.enabled, bool):
            raise InvalidArgument(f"enabled is {self.enabled!r}", "Use True or False")
        object.__setattr__(self, "guards", _guards(self.guards))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "guards": sorted(self.guards)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, spec: dict[str, Any]) -> CachePolicy:
        """The policy that `to_dict` described. Raises InvalidArgument for an unknown setting."""
        known = {field.name for field in fields(cls)}
        if not isinstance(spec, dict) or not spec.keys() <= known:
            unknown = sorted(map(str, spec.keys() - known)) if isinstance(spec, dict) else type(spec).__name__
            raise InvalidArgument(f"unknown settings of a cache policy: {unknown}", f"Use {', '.join(sorted(known))}")
        return cls(**spec)


def _guards(given: bool | Collection[str]) -> frozenset[str]:
    if isinstance(given, bool):
        return GUARDS if given else frozenset()
    if isinstance(given, str) or not isinstance(given, Collection) or not all(isinstance(name, str) for name in given):
        raise InvalidArgument(f"guards is {given!r}", "Use True, False, or a set of names")
    unknown = set(given) - GUARDS
    if unknown:
        raise InvalidArgument(f"unknown guards {sorted(unknown)}", f"Use some of {', '.join(sorted(GUARDS))}")
    return frozenset(given)


def check_number(name: str, value: object, least: float, most: float, optional: bool = False) -> None:
    """Raises InvalidArgument unless it is a number within these bounds (or, if `optional`, None)."""
    if optional and value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # type: ignore[operator]
        or_none = ", or None" if optional else ""
        raise InvalidArgument(f"{name} is {value!r}", f"Use a number from {least:g} to {most:g}{or_none}")
