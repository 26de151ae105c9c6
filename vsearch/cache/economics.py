"""What a category of a cache was asked, what it saved, and whether it pays.

`Tally` counts. From the counts, with T the mean seconds of a hit, of a miss's lookup, and of computing an answer:

    mean time with the cache     h * T_hit + (1 - h) * (T_miss + T_compute)
    which is less than T_compute if     h > T_miss / (T_compute + T_miss - T_hit)     the break-even hit rate

With T_s = T_miss for the search and T_f = T_hit - T_miss for fetching the answer this is the h > T_s / (T_llm - T_f) of
arXiv 2510.26835. Where answers are wrong at a rate e a hit, and a wrong one costs C, the saving of a hit is smaller by
e * C (`break_even`).

`advise` compares rates by the ends of their Wilson intervals (95 %), so that few observations advise nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import Any, Final, Literal

from vsearch.cache.answers import BELOW_THRESHOLD, DISABLED, GUARD, HitKind
from vsearch.cache.policy import CachePolicy

Action = Literal["raise threshold", "lower threshold", "disable", "keep", "too few lookups"]
Removal = Literal["evicted", "expired", "invalidated"]
MIN_LOOKUPS: Final = 200  # before any advice: a hit rate of 5 % is then known to within 3
MIN_REPORTS: Final = 20  # before a lower threshold is advised: without reports wrong answers are not rare but unseen
ALLOWED_ERROR: Final = 0.01  # wrong answers a hit, where the policy does not say
Z: Final = 1.96  # of the normal distribution: 95 % of it are within


@dataclass(slots=True)
class Tally:
    """Counters of one category since they began. Every method is safe for threads and takes about a microsecond.

    `hits_stale` are among `hits_exact` and `hits_semantic`. `refused`: stores that kept nothing. `wrong`, `right`: as
    reported. `saved_s`, `saved_cost`: what computing the answers of the hits had taken. `hit_s`, `miss_s`: seconds of
    lookups. `computed`: answers whose time is known, `computed_s` their sum; `priced` and `cost` likewise the costs.
    """

    hits_exact: int = 0
    hits_semantic: int = 0
    hits_stale: int = 0
    stores: int = 0
    refused: int = 0
    wrong: int = 0
    right: int = 0
    evicted: int = 0
    expired: int = 0
    invalidated: int = 0
    computed: int = 0
    priced: int = 0
    saved_s: float = 0.0
    saved_cost: float = 0.0
    hit_s: float = 0.0
    miss_s: float = 0.0
    computed_s: float = 0.0
    cost: float = 0.0
    misses: dict[str, int] = field(default_factory=dict)  # by reason
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def hit(self, kind: HitKind, stale: bool, lookup_s: float, saved_s: float, saved_cost: float) -> None:
        """A hit after `lookup_s`. `saved_s`, `saved_cost`: what its answer had taken to compute; 0 if unknown."""
        with self._lock:
            if kind == "exact":
                self.hits_exact += 1
            else:
                self.hits_semantic += 1
            self.hits_stale += stale
            self.hit_s += lookup_s
            self.saved_s += saved_s
            self.saved_cost += saved_cost

    def miss(self, reason: str, lookup_s: float) -> None:
        """No hit, for one of the reasons of answers.py."""
        with self._lock:
            self.misses[reason] = self.misses.get(reason, 0) + 1
            if reason != DISABLED:  # nothing was looked up
                self.miss_s += lookup_s

    def stored(self, kept: bool = True, compute_s: float | None = None, cost: float | None = None) -> None:
        """An answer was computed and kept, or not. `compute_s`, `cost`: what it took, where that is known."""
        with self._lock:
            self.stores += kept
            self.refused += not kept
            if compute_s is not None:
                self.computed += 1
                self.computed_s += compute_s
            if cost is not None:
                self.priced += 1
                self.cost += cost

    def reported(self, correct: bool) -> None:
        """Somebody says whether a hit was right."""
        with self._lock:
            self.right += correct
            self.wrong += not correct

    def removed(self, why: Removal, entries: int = 1) -> None:
        """Entries have gone."""
        with self._lock:
            setattr(self, why, getattr(self, why) + entries)

    def add(self, counts: Mapping[str, Any]) -> None:
        """Count on from what `to_dict` gave, of another tally or of a former process; unknown names are passed over."""
        with self._lock:
            for name in COUNTERS:
                setattr(self, name, getattr(self, name) + counts.get(name, 0))
            for reason, count in counts.get("misses", {}).items():
                self.misses[reason] = self.misses.get(reason, 0) + count

    def to_dict(self) -> dict[str, Any]:
        """The counters, as JSON or MessagePack has them."""
        with self._lock:
            return {**{name: getattr(self, name) for name in COUNTERS}, "misses": dict(self.misses)}

    @classmethod
    def from_dict(cls, *counts: Mapping[str, Any]) -> Tally:
        """The sum of what `to_dict` gave: one goes on counting, several are the whole cache."""
        tally = cls()
        for each in counts:
            tally.add(each)
        return tally

    def snapshot(self) -> dict[str, Any]:
        """Counters and what follows from them: a flat dictionary but for `misses_by_reason`.

        `lookups` leave out those that a disabled category refused (`lookups_disabled`). Means and `break_even_hit_rate`
        are None as long as nothing was measured; a break-even of 1.0 is never reached.
        """
        counts = self.to_dict()
        misses: dict[str, int] = counts.pop("misses")
        disabled = misses.get(DISABLED, 0)
        missed = sum(misses.values()) - disabled
        hits = counts["hits_exact"] + counts["hits_semantic"]
        lookups = hits + missed
        hit_s, miss_s = _mean(counts["hit_s"], hits), _mean(counts["miss_s"], missed)
        compute_s = _mean(counts["computed_s"], counts["computed"])
        search_s = miss_s if miss_s is not None else hit_s  # without misses the search is all of a hit
        saving_s = even = None
        if compute_s is not None and search_s is not None:
            saving_s = compute_s + search_s - (hit_s if hit_s is not None else search_s)
            even = break_even(search_s, saving_s)
        return {
            "lookups": lookups,
            "lookups_disabled": disabled,
            "hits": hits,
            "misses": missed,
            "hit_rate": hits / lookups if lookups else 0.0,
            "guarded": sum(count for reason, count in misses.items() if reason.startswith(GUARD)),
            **counts,
            "wrong_per_hit": counts["wrong"] / hits if hits else 0.0,
            "net_saved_s": counts["saved_s"] - counts["hit_s"] - counts["miss_s"],
            "mean_hit_s": hit_s,
            "mean_search_s": search_s,
            "mean_compute_s": compute_s,
            "mean_saving_s": saving_s,
            "mean_cost": _mean(counts["cost"], counts["priced"]),
            "break_even_hit_rate": even,
            "misses_by_reason": misses,
        }


COUNTERS: Final = tuple(entry.name for entry in fields(Tally) if entry.type in ("int", "float"))


def total(tallies: Iterable[Tally]) -> Tally:
    """Of all categories together."""
    return Tally.from_dict(*(tally.to_dict() for tally in tallies))


def break_even(lookup: float, saving: float, error: float = 0.0, error_cost: float = 0.0) -> float:
    """The least hit rate at which a cache pays: hit rate * (saving - error * error_cost) > lookup. At most 1.0: never.

    `lookup`: what a lookup costs, hit or not; `saving`: what a hit saves; `error`: wrong answers a hit; `error_cost`:
    of one. All in seconds, or all in money.
    """
    net = saving - error * error_cost
    return min(lookup / net, 1.0) if net > 0.0 else 1.0


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do with a category, and why in words and numbers."""

    action: Action
    reason: str


def advise(seen: Mapping[str, Any], policy: CachePolicy, error_cost: float = 0.0) -> Advice:
    """Advice on a category from its `Tally.snapshot()`.

    `error_cost`: what a wrong answer costs, in seconds of computing. The wrong answers are those reported, so there are
    at least so many; how many are allowed is the policy's `max_error`, or ALLOWED_ERROR.
    """
    lookups, hits, wrong = seen["lookups"], seen["hits"], seen["wrong"]
    if not policy.enabled:
        return Advice("keep", f"the category is disabled; {seen['lookups_disabled']:,} lookups were passed on")
    if lookups < MIN_LOOKUPS:
        return Advice("too few lookups", f"{lookups:,} lookups; {MIN_LOOKUPS} say something")
    allowed = policy.max_error if policy.max_error is not None else ALLOWED_ERROR
    errors = f"{wrong:,} of {hits:,} hits reported wrong ({seen['wrong_per_hit']:.2%}; allowed {allowed:.2%})"
    rate = f"hit rate {seen['hit_rate']:.1%}"
    too_wrong = wilson(wrong, hits)[0] > allowed
    even = seen["break_even_hit_rate"]
    if even is not None and error_cost > 0.0:
        even = break_even(seen["mean_search_s"], seen["mean_saving_s"], seen["wrong_per_hit"], error_cost)
    pays_not = even is not None and wilson(hits, lookups)[1] < even
    near = seen["misses_by_reason"].get(BELOW_THRESHOLD, 0)
    adjustable = policy.max_error is None  # otherwise thresholds are learned entry by entry
    lower = (
        adjustable and policy.threshold > 0.0 and not too_wrong and near > 0
        and wrong + seen["right"] >= MIN_REPORTS and wilson(wrong, hits)[1] < allowed
    )  # fmt: skip
    if pays_not and not lower:
        return Advice("disable", f"{rate} is below break-even at {even:.1%}; {errors}")
    if too_wrong and adjustable:
        return Advice("raise threshold", f"{errors} at threshold {policy.threshold:g}")
    if lower:
        misses = f"{near:,} of {lookups:,} lookups were below threshold {policy.threshold:g}"
        return Advice("lower threshold", f"{errors}; {misses}; {rate}")
    beside = f" beside break-even at {even:.1%}" if even is not None else ""
    return Advice("keep", f"{rate}{beside}; {errors}")


def wilson(count: int, n: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a share of which `count` of `n` were seen (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    share, spread = count / n, Z * Z / n
    middle = share + spread / 2.0
    half = Z * math.sqrt(share * (1.0 - share) / n + spread / (4.0 * n))
    return max((middle - half) / (1.0 + spread), 0.0), min((middle + half) / (1.0 + spread), 1.0)


def _mean(whole: float, n: int) -> float | None:
    return whole / n if n else None
