"""What reads return: hits of a search, points, pages of points, counts of values, and what snapshots there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray, Payload, PointId


@dataclass(frozen=True, slots=True)
class Hit:
    """A point found by a search. `score`: higher is better (cosine, inner product, minus the distance, or BM25).

    `vectors`: field -> float32 [d], {term: weight}, or the text, as the field is dense, sparse or text.
    """

    id: PointId
    score: float
    payload: Payload | None = None
    vectors: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A stored point. `vectors`: as of a Hit. `expires_at`: Unix time in seconds, or None."""

    id: PointId
    payload: Payload | None = None
    vectors: dict[str, Any] | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a scroll. `cursor` is the id at which the next page starts, None at the end."""

    points: list[Point]
    cursor: PointId | None

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A payload value and the number of points that have it."""

    value: str | int | bool
    count: int


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot: a file of `nbytes`, taken at `created_at` (UTC). `checksum`: SHA-256 of the file, hex."""

    name: str
    nbytes: int
    created_at: datetime
    checksum: str


@dataclass(frozen=True, slots=True, repr=False)
class Hits(Sequence[Hit]):
    """The hits of one query, best first. `scores` is float32 [len(hits)]; `ids` is an array of the ids."""

    point_ids: list[PointId]
    scores: FloatArray
    payloads: list[Payload | None] | None = None
    vectors: list[dict[str, Any]] | None = field(default=None)

    @property
    def ids(self) -> NDArray[Any]:
        """int64 or uint64 where every id is an integer, else an array of objects."""
        if all(isinstance(point_id, int) for point_id in self.point_ids):
            large = any(point_id >= 1 << 63 for point_id in self.point_ids)  # type: ignore[operator]
            return np.array(self.point_ids, np.uint64 if large else np.int64)
        ids = np.empty(len(self.point_ids), object)
        ids[:] = self.point_ids
        return ids

    def __len__(self) -> int:
        return len(self.point_ids)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> list[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | list[Hit]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Hit(
            self.point_ids[index],
            float(self.scores[index]),
            self.payloads[index] if self.payloads else None,
            self.vectors[index] if self.vectors else None,
        )

    def __repr__(self) -> str:
        rows = ", ".join(f"{hit.id!r}: {hit.score:.4f}" for hit in self[:10])
        return f"Hits({rows}{', ...' if len(self) > 10 else ''})"
