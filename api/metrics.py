"""What Prometheus is told: requests as they happen, the database's sizes when it asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

import vsearch
from vsearch.database import Database

from .cache_metrics import cache_families
from .memory import private_bytes

BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
Route = tuple[str, str]  # method and path, of our own words: a client cannot add to them
MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self, db: Database) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._in_flight = 0
        self._counts: dict[tuple[str, str, int], int] = {}  # method, route, status
        self._times: dict[Route, _Times] = {}
        self.registry.register(_Requests(self))
        self.registry.register(_Sizes(db))

    def began(self) -> None:
        self._in_flight += 1

    def ended(self, route: Route, status: int, elapsed_s: float) -> None:
        """Called by the event loop's thread only, so plain numbers do, which cost a tenth of the library's."""
        self._in_flight -= 1
        key = (*route, status)
        self._counts[key] = self._counts.get(key, 0) + 1
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = _Times()
        times.buckets[bisect_left(BUCKETS_S, elapsed_s)] += 1
        times.total_s += elapsed_s

    def families(self) -> Iterator[Metric]:
        """The requests so far."""
        in_flight = GaugeMetricFamily("vsearch_requests_in_flight", "Requests being answered.")
        in_flight.add_metric((), self._in_flight)
        requests = CounterMetricFamily("vsearch_requests", "Requests answered.", labels=("method", "route", "status"))
        for (method, route, status), count in list(self._counts.items()):
            requests.add_metric((method, route, str(status)), count)
        seconds = HistogramMetricFamily("vsearch_request_seconds", "Time of a request.", labels=("method", "route"))
        for labels, times in list(self._times.items()):
            sums = accumulate(times.buckets)
            bounds = [*map(str, BUCKETS_S), "+Inf"]
            seconds.add_metric(labels, list(zip(bounds, sums, strict=True)), times.total_s)
        yield from (in_flight, requests, seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self.registry)


@dataclass(slots=True)
class _Times:
    """Requests by the bucket of their time, the last one without a bound, and the sum of their times."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0


class _Requests:
    def __init__(self, metrics: Metrics) -> None:
        self.collect = metrics.families


class _Sizes:
    """Asked at every scrape, in the thread that serves it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def collect(self) -> Iterator[Metric]:
        stats = self._db.stats()
        writable = float(self._db.failed is None)
        yield GaugeMetricFamily("vsearch_writable", "0 after the disk refused a write: free space, restart.", writable)
        yield GaugeMetricFamily("vsearch_disk_bytes", "Bytes on disk.", value=stats["disk_bytes"])
        yield GaugeMetricFamily(
            "vsearch_private_memory_bytes", "Memory that is not mapped files.", private_bytes() or 0
        )
        points = GaugeMetricFamily("vsearch_points", "Points alive.", labels=("collection",))
        segments = GaugeMetricFamily("vsearch_segments", "Segments.", labels=("collection", "kind"))
        memory = GaugeMetricFamily("vsearch_index_memory_bytes", "Memory of indexes.", labels=("collection",))
        for docs in stats["collections"]:
            points.add_metric((docs["name"],), docs["points"])
            memory.add_metric((docs["name"],), docs["memory_bytes"])
            for kind, sealed in (("sealed", True), ("growing", False)):
                count = sum(segment["sealed"] is sealed for segment in docs["segments"])
                segments.add_metric((docs["name"], kind), count)
        version = GaugeMetricFamily("vsearch_version_info", "Version.", labels=("version",))
        version.add_metric((vsearch.__version__,), 1)
        yield from (points, segments, memory, version)
        yield from cache_families(stats["caches"])
