"""The planner: a pure function from a request and statistics to a Plan.

For each segment it chooses between an exact scan of the matching rows and a search of the index with the filter tested
inside, by estimated time. A scan reads the vector of every matching row once. A walk over a graph meets about
`width * degree` rows, and that many more as the share of matching rows is smaller. A scan of one-bit codes takes about
the same for every block of rows in which one matches, and reads `width` vectors again. Inverted lists of sparse vectors
and texts are read as far as the query has their terms, whatever the filter; those indexes that are exact serve exact
searches too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

Strategy = Literal["skip", "scan", "index"]

SCAN_BYTES_PER_US: Final = 15_000.0  # vectors read by an exact scan on one core
SCAN_ROW_US: Final = 0.01  # overhead of a row met in a scan: testing its bit, keeping the best
WALK_ROW_US: Final = 0.06  # a row met on a walk: a cache miss and a distance
FRESH_SHARE: Final = 0.5  # neighbours of a node that were not met before
CODE_BYTES_PER_US: Final = 25_000.0  # codes of one bit a component, read on one core
CODE_ROW_US: Final = 0.0005  # turning the sums of a row into a distance
CODE_QUERY_US: Final = 10.0  # making the tables of a query
CODE_BLOCK: Final = 32  # rows that are scanned together
TERM_US: Final = 0.001  # a term of a row met in an exact scan of sparse vectors
LISTED_SHARE: Final = 1 / 2_000  # of all terms of all rows that are in the list of one term of a query, about
LISTED_US: Final = 0.0015  # an entry of an inverted list: adding to a row's score
LISTS_US: Final = 10.0  # opening the lists, choosing the best
INVERTED_US: Final = 100.0  # a search of the block summaries
EXACT_INDEXES: Final = ("postings", "bm25")
SCANS: Final = ("flat", "sparse_flat")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the planner knows of one segment. `matched`: rows that are alive and satisfy the filter. `width`: the beam
    that the index wants for the request; `degree`: links of a node. `terms`: of a sparse vector or a text, on average,
    0 of dense vectors; `query_terms`: of a query."""

    segment: str
    rows: int
    matched: int
    index: str
    dim: int
    component_bytes: int
    width: int = 0
    degree: int = 0
    terms: float = 0.0
    query_terms: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one step really did, summed over the queries of the batch."""

    distances: int
    hops: int
    rescored: int
    filter_us: float
    search_us: float
    lists: int = 0
    blocks_skipped: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What happens in one segment, and why: the estimated time of either way."""

    segment: str
    rows: int
    matched: int
    index: str
    strategy: Strategy
    width: int
    scan_us: float
    index_us: float | None
    measured: Measured | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search is run. `str()` is for people, `to_dict()` for programs."""

    collection: str
    field: str
    metric: str
    limit: int
    recall: float
    exact: bool
    filter: str | None
    steps: tuple[Step, ...]
    total_us: float | None = None  # the whole search, when it was run

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        wanted = "exact" if self.exact else f"recall {self.recall:g}"
        lines = [f"search {self.collection}.{self.field} ({self.metric}), limit {self.limit}, {wanted}"]
        if self.filter is not None:
            lines.append(f"  filter {self.filter}: bitmap first, tested inside the index")
        for step in self.steps:
            lines.append(f"  segment {step.segment}: {step.rows:,} rows, {step.matched:,} match")
            lines.append(f"    {_described(step)}")
            if step.measured is not None:
                m = step.measured
                lines.append(
                    f"    measured: {m.distances:,} distances, {m.hops:,} hops, {m.rescored:,} rescored{_listed(m)}; "
                    f"filter {m.filter_us:,.0f} us, search {m.search_us:,.0f} us"
                )
        if self.total_us is not None:
            lines.append(f"  total {self.total_us:,.0f} us")
        return "\n".join(lines)


def with_measured(step: Step, measured: Measured) -> Step:
    return replace(step, measured=measured)


def choose(stats: Statistics, limit: int, exact: bool) -> Step:
    """What to do in one segment."""
    row_us = stats.terms * TERM_US if stats.terms else stats.dim * stats.component_bytes / SCAN_BYTES_PER_US
    scan_us = stats.matched * (row_us + SCAN_ROW_US)
    index_us = _index_us(stats, limit) if stats.index not in SCANS and stats.matched else None
    exact = exact and stats.index not in EXACT_INDEXES
    strategy: Strategy = "scan"
    if stats.matched == 0:
        strategy = "skip"
    elif index_us is not None and not exact and (index_us < scan_us or stats.index == "bm25"):
        strategy = "index"
    width = stats.width if strategy == "index" else 0
    return Step(stats.segment, stats.rows, stats.matched, stats.index, strategy, width, scan_us, index_us)


def _index_us(stats: Statistics, limit: int) -> float:
    if stats.index in EXACT_INDEXES:
        return LISTS_US + min(1.0, stats.query_terms * LISTED_SHARE) * stats.rows * stats.terms * LISTED_US
    if stats.index == "inverted":
        return INVERTED_US
    if stats.index == "binary":
        scanned = min(stats.rows, CODE_BLOCK * stats.matched)
        again_us = stats.width * (stats.dim * stats.component_bytes / SCAN_BYTES_PER_US + WALK_ROW_US)
        return CODE_QUERY_US + scanned * (stats.dim / 8 / CODE_BYTES_PER_US + CODE_ROW_US) + again_us
    met = max(stats.width, limit) * max(1.0, stats.degree * FRESH_SHARE) * stats.rows / stats.matched
    return min(met, float(stats.rows)) * WALK_ROW_US


def _described(step: Step) -> str:
    if step.strategy == "skip":
        return "skipped: no row matches"
    scan = f"an exact scan would take about {step.scan_us:,.0f} us"
    if step.strategy == "scan":
        other = "" if step.index_us is None else f"; {step.index} would take about {step.index_us:,.0f} us"
        return f"exact scan of the matching rows, about {step.scan_us:,.0f} us a query{other}"
    if step.index == "binary":
        return f"scan of one-bit codes, about {step.width} rescored, about {step.index_us:,.0f} us a query; {scan}"
    if step.index == "bm25":  # there is no scan to compare with
        return f"bm25 over inverted lists, about {step.index_us:,.0f} us a query"
    if step.index == "postings":
        return f"all of the inverted lists, about {step.index_us:,.0f} us a query; {scan}"
    if step.index == "inverted":
        return f"inverted lists by blocks, width {step.width}, about {step.index_us:,.0f} us a query; {scan}"
    return f"{step.index} walk, ef {step.width}, about {step.index_us:,.0f} us a query; {scan}"


def _listed(measured: Measured) -> str:
    counters = (("lists", measured.lists), ("blocks skipped", measured.blocks_skipped))
    return "".join(f", {count:,} {what}" for what, count in counters if count)
