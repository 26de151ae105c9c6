"""The contract of an index kind: vectors in, neighbours out.

1. `build(vectors, ...)` makes named arrays ("buffers") from the vectors of one sealed segment.
2. The caller stores the buffers and maps them again later: nothing in this folder opens a file.
3. `Reader(vectors, buffers, ...)` searches over vectors and buffers, which it never changes.

Invariants of every reader:
- Smaller distances are closer: minus the inner product for "dot", the squared Euclidean distance for "l2".
- Results are sorted by (distance, ordinal); a row with fewer than k results ends in ordinal -1, distance +inf.
- Only ordinals whose bit in `live` is set are returned; the bit is tested inside the kernel.
- Any number of threads may search one reader; kernels release the GIL and take scratch from a pool.
- Distances shown are computed from the stored vectors, never from codes, unless `rescore` is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from numpy.typing import NDArray

from vsearch.types import Bitset, Distance, FloatArray, IntArray, Progress, SearchParams

Buffers = Mapping[str, NDArray[Any]]


@dataclass(slots=True)
class Cost:
    """What a search did: counters for explain, summed over the queries of a batch."""

    distances: int = 0  # vectors or codes compared with a query
    hops: int = 0  # graph nodes expanded
    rescored: int = 0  # candidates compared again from stored vectors
    lists: int = 0  # inverted lists opened
    blocks_skipped: int = 0  # blocks of these lists that could not matter

    def __iadd__(self, other: Cost) -> Cost:
        self.distances += other.distances
        self.hops += other.hops
        self.rescored += other.rescored
        self.lists += other.lists
        self.blocks_skipped += other.blocks_skipped
        return self


class Neighbours(NamedTuple):
    """ordinals int64 [nq, k], distances float32 [nq, k], and what finding them cost."""

    ordinals: IntArray
    distances: FloatArray
    cost: Cost


class Reader(Protocol):
    """Searches the vectors of one segment.

    Constructed as `Reader(vectors, buffers, distance, threads)`: vectors [n, d] float32, float16 or int8 (read-only,
    may be memory-mapped), the buffers that `build` made, the distance, and how many threads one batch may use.
    """

    kind: ClassVar[str]

    def __init__(self, vectors: NDArray[Any], buffers: Buffers, distance: Distance, threads: int = 1) -> None: ...

    def search(self, queries: FloatArray, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The k nearest live rows of each query.

        queries float32 [nq, d], contiguous and finite; k at least 1; live uint64 [ceil(n / 64)] or None for all rows.
        """
        ...

    def width(self, k: int, params: SearchParams) -> int:
        """The beam, or number of candidates, that `search` would use; 0 where there is none."""
        ...

    def memory_bytes(self) -> int:
        """Bytes of the buffers, without the vectors."""
        ...


class Build(Protocol):
    """Makes the buffers of an index from vectors [n, d]; deterministic for the same vectors, settings and any threads.

    `settings` come from the field (`m`, `ef_construction`); `progress(done, total)` is called now and then and may
    raise to abandon the build.
    """

    def __call__(
        self,
        vectors: NDArray[Any],
        distance: Distance,
        settings: Mapping[str, Any],
        threads: int = 1,
        progress: Progress | None = None,
    ) -> dict[str, NDArray[Any]]: ...
