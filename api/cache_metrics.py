"""What Prometheus is told of semantic caches: the numbers of `Cache.stats`, by cache and category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

LABELS: Final = ("cache", "category")
# Name, what it is, and where it stands in the numbers of a category.
COUNTERS: Final = (
    ("lookups", "Lookups in enabled categories.", "lookups"),
    ("stale_hits", "Hits whose life was over.", "hits_stale"),
    ("guarded", "Misses because a guard saw a look-alike.", "guarded"),
    ("stores", "Answers kept.", "stores"),
    ("stores_refused", "Answers not kept.", "refused"),
    ("saved_seconds", "What computing the answers of hits had taken.", "saved_s"),
    ("saved_cost", "What computing the answers of hits had cost.", "saved_cost"),
    ("hit_seconds", "Time of lookups that hit.", "hit_s"),
    ("miss_seconds", "Time of lookups that missed.", "miss_s"),
    ("computed", "Answers whose time of computing is known.", "computed"),
    ("computed_seconds", "Time of computing them.", "computed_s"),
    ("priced", "Answers whose cost is known.", "priced"),
    ("cost", "What they cost.", "cost"),
)
GAUGES: Final = (
    ("entries", "Entries.", "entries"),
    ("bytes", "Bytes of entries.", "bytes"),
    ("threshold", "Least similarity of a hit now, load considered.", "threshold"),
    ("ttl_seconds", "Life of an answer now, load considered.", "ttl"),
    ("break_even_hit_rate", "Hit rate above which the category saves time.", "break_even_hit_rate"),
)
# Counters with one more label: its values, and where each stands.
SPLIT: Final = (
    ("hits", "Hits.", "kind", (("exact", "hits_exact"), ("semantic", "hits_semantic"))),
    ("reports", "Reports on hits.", "correct", (("true", "right"), ("false", "wrong"))),
    ("removed", "Entries removed.", "why", tuple((why, why) for why in ("evicted", "expired", "invalidated"))),
)
OF_CACHE: Final = (
    ("stress", "Load of the model behind, 0 to 1.", "stress"),
    ("computing", "Answers being computed by the holder of a lease.", "computing"),
    ("memory_bytes", "Memory of its index and its table.", "memory_bytes"),
    ("max_entries", "Most entries.", "max_entries"),
    ("max_bytes", "Most bytes of entries.", "max_bytes"),
)


def cache_families(stats: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """`stats`: of each cache; one that is not open has only a name, and no metrics."""
    opened = [cache for cache in stats if "categories" in cache]
    rows = [((cache["name"], name), seen) for cache in opened for name, seen in cache["categories"].items()]
    for name, about, key in COUNTERS:
        counter = CounterMetricFamily(f"vsearch_cache_{name}", about, labels=LABELS)
        for labels, seen in rows:
            counter.add_metric(labels, seen[key])
        yield counter
    for name, about, label, values in SPLIT:
        counter = CounterMetricFamily(f"vsearch_cache_{name}", about, labels=(*LABELS, label))
        for labels, seen in rows:
            for value, key in values:
                counter.add_metric((*labels, value), seen[key])
        yield counter
    misses = CounterMetricFamily("vsearch_cache_misses", "Misses.", labels=(*LABELS, "reason"))
    for labels, seen in rows:
        for reason, count in seen["misses_by_reason"].items():
            misses.add_metric((*labels, reason), count)
    yield misses
    for name, about, key in GAUGES:
        gauge = GaugeMetricFamily(f"vsearch_cache_{name}", about, labels=LABELS)
        for labels, seen in rows:
            if seen[key] is not None:  # no ttl, or nothing measured yet
                gauge.add_metric(labels, seen[key])
        yield gauge
    for name, about, key in OF_CACHE:
        gauge = GaugeMetricFamily(f"vsearch_cache_{name}", about, labels=("cache",))
        for cache in opened:
            gauge.add_metric((cache["name"],), cache[key])
        yield gauge
