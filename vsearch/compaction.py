"""What to do next to a collection's segments: pure functions from facts to a task. vsearch/maintenance.py does it.

Tiers as in a log-structured merge tree: segments whose size differs by less than FANOUT are of one tier, and FANOUT
neighbours of one tier become one segment, so that a row is rewritten about log_FANOUT(n) times in its life. Only
neighbours are merged, because segments cover disjoint ranges of pids. An index is built when nothing is left to merge,
since a merge throws the indexes of its parts away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FANOUT: Final = 4
BASE_BYTES: Final = 16 << 20  # segments below this are of the lowest tier
MAX_SEGMENT_BYTES: Final = 8 << 30  # bounds the memory and the time of one index build
MAX_DEAD_SHARE: Final = 0.25  # a segment is rewritten when more of it than this is dead
AUTO_GRAPH_ROWS: Final = 4_096  # below this a scan of codes is about as fast as a walk, and finds more
AUTO_CODES_ROWS: Final = 2_048  # below this so is an exact scan
AUTO_INVERTED_ROWS: Final = 4_096  # below this so are whole inverted lists
MIN_INDEX_ROWS: Final = 256  # below this an index is never built


@dataclass(frozen=True, slots=True)
class Facts:
    """One sealed segment. `unindexed`: fields that want an index and have none."""

    rows: int
    live: int
    nbytes: int
    unindexed: tuple[str, ...] = ()

    @property
    def live_bytes(self) -> float:
        return self.nbytes * self.live / max(1, self.rows)


@dataclass(frozen=True, slots=True)
class Merge:
    """Rewrite the live rows of segments start:stop as one segment."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class BuildIndex:
    """Build the index of a field of one segment."""

    position: int
    field: str


def next_task(segments: Sequence[Facts], quiet: bool) -> Merge | BuildIndex | None:
    """The most useful background task, or None. `quiet`: no write for a while, so an index will not soon be void."""
    for i, facts in enumerate(segments):
        if facts.rows - facts.live > facts.rows * MAX_DEAD_SHARE:
            return Merge(i, i + 1)
    runs = [run for run in _runs(segments) if run.stop - run.start >= FANOUT]
    if runs:
        return min(runs, key=lambda run: sum(f.live_bytes for f in segments[run.start : run.stop]))
    return _next_index(segments) if quiet else None


def full_merge(segments: Sequence[Facts]) -> Merge | None:
    """The next merge on the way to as few and as clean segments as the size limit allows."""
    start = 0
    while start < len(segments):
        stop, size = start, 0.0
        while stop < len(segments) and (stop == start or size + segments[stop].live_bytes <= MAX_SEGMENT_BYTES):
            size += segments[stop].live_bytes
            stop += 1
        if stop - start > 1 or segments[start].live < segments[start].rows:
            return Merge(start, stop)
        start = stop
    return None


def wanted_index(kind: str, rows: int, coded: bool = True) -> str:
    """The index to build for a field declared as `kind` over so many rows; `coded`: whether binary is possible."""
    if kind == "auto":
        if rows >= AUTO_GRAPH_ROWS:
            return "hnsw"
        return "binary" if rows >= AUTO_CODES_ROWS and coded else "flat"
    return kind if rows >= MIN_INDEX_ROWS else "flat"


def wanted_sparse_index(kind: str, rows: int) -> str | None:
    """The same for a field of sparse vectors; None for no index."""
    least = {"auto": AUTO_INVERTED_ROWS, "inverted": MIN_INDEX_ROWS}.get(kind)
    return "inverted" if least is not None and rows >= least else None


def _next_index(segments: Sequence[Facts]) -> BuildIndex | None:
    for i, facts in enumerate(segments):
        if facts.unindexed:
            return BuildIndex(i, facts.unindexed[0])
    return None


def _tier(facts: Facts) -> int:
    tier, size = 0, facts.live_bytes
    while size >= BASE_BYTES:
        tier, size = tier + 1, size / FANOUT
    return tier


def _runs(segments: Sequence[Facts]) -> list[Merge]:
    """Longest runs of neighbours in which no segment is of a higher tier than the first, cut at the size limit."""
    runs = []
    for start, first in enumerate(segments):
        tier, stop, size = _tier(first), start, 0.0
        while (
            stop < len(segments)
            and _tier(segments[stop]) <= tier
            and size + segments[stop].live_bytes <= MAX_SEGMENT_BYTES
        ):
            size += segments[stop].live_bytes
            stop += 1
        runs.append(Merge(start, stop))
    return runs
