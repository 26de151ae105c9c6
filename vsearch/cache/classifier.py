"""The category of a prompt by its vector: the nearest centroid, or none where two categories are about as near.

1. Each category's example vectors are divided by spherical k-means (Dhillon and Modha 2001, Machine Learning 42) into
   up to `per_category` clusters; their mean directions are its centroids.
2. A vector's score for a category is its cosine with the nearest of that category's centroids. The best category is the
   answer if its score is at least `floor`, and exceeds that of the second by at least `margin`.
3. The margin is the least one with which, of examples that are held out, WANTED of those that get a category get the
   right one. Examples of no category (label None) choose the floor: as high as costs at most FLOOR_COST of the others.
4. The report is of a second part held out, which chose nothing; then centroids are made anew from all examples.

Bytes: centroids float32 [categories * per_category, dim].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from vsearch.errors import Corruption, DimensionMismatch, InvalidArgument
from vsearch.types import FloatArray, IntArray

WANTED: Final = 0.97
MAX_ABSTAINED: Final = 0.15  # by the margin, of held-out examples, whatever is wanted
FLOOR_COST: Final = 0.02
HELD_OUT: Final = 5  # every fifth example chooses, another fifth is reported on
ROUNDS: Final = 25  # of k-means
NOWHERE: Final = -2.0  # below every cosine


@dataclass(frozen=True, slots=True)
class ClassifierReport:
    """On examples held out. `accuracy`: right ones among those that got a category. `abstained`: share of the examples
    of a category that got none. `refused`: share of the examples of no category that got none; None without such."""

    examples: int
    accuracy: float
    abstained: float
    refused: float | None


class Centroids:
    """Immutable; safe to use from many threads."""

    def __init__(
        self, names: Sequence[str], centroids: FloatArray, starts: IntArray, margin: float, floor: float,
        report: ClassifierReport,
    ) -> None:  # fmt: skip
        """centroids float32 [c, d] of unit length, those of category i in rows starts[i] to starts[i + 1]."""
        self.names, self.margin, self.floor, self.report = tuple(names), margin, floor, report
        self._centroids, self._starts = centroids, starts
        self._owner: list[int] = np.repeat(np.arange(len(names)), np.diff(starts)).tolist()
        self._bounds: list[int] = starts.tolist()

    @property
    def dim(self) -> int:
        return int(self._centroids.shape[1])

    def classify(self, vector: FloatArray) -> str | None:
        """The category of a unit vector, float32 [d]; None where it is unclear."""
        scores = self._centroids @ vector
        nearest = int(scores.argmax())
        owner, best = self._owner[nearest], float(scores[nearest])
        scores[self._bounds[owner] : self._bounds[owner + 1]] = NOWHERE
        if best < self.floor or best - float(scores.max()) < self.margin:
            return None
        return self.names[owner]

    def to_dict(self) -> dict[str, Any]:
        """As msgpack has it; the centroids are bytes."""
        return {
            "names": list(self.names),
            "centroids": self._centroids.astype("<f4").tobytes(),
            "starts": self._bounds,
            "margin": self.margin,
            "floor": self.floor,
            "report": asdict(self.report),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Centroids:
        """What `to_dict` made. Raises Corruption."""
        try:
            starts = np.array(stored["starts"], np.int64)
            counts = np.diff(starts)
            centroids = np.frombuffer(stored["centroids"], "<f4").astype(np.float32).reshape(int(starts[-1]), -1)
            if starts[0] != 0 or len(counts) != len(stored["names"]) or len(counts) < 2 or (counts < 1).any():
                raise ValueError("centroids without a category")
            report = ClassifierReport(**stored["report"])
            return cls(stored["names"], centroids, starts, float(stored["margin"]), float(stored["floor"]), report)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise Corruption(f"the classifier of a cache cannot be read: {error}", "Fit it again") from error


def fit(
    vectors: ArrayLike, labels: Sequence[str | None], per_category: int = 12, margin: float | None = None, seed: int = 0
) -> Centroids:
    """Centroids of labelled vectors, float [n, d]; None labels an example of no category.

    `margin`: None chooses it. Raises InvalidArgument for fewer than two categories, or an example that is no vector.
    """
    unit = unit_rows(vectors)
    labels = list(labels)
    if len(labels) != len(unit):
        raise InvalidArgument(f"{len(unit)} vectors with {len(labels)} labels", "Give one label a vector")
    if not all(label is None or isinstance(label, str) for label in labels):
        raise InvalidArgument("a label is neither a string nor None", "Use names of categories")
    if type(per_category) is not int or not 1 <= per_category <= 256:
        raise InvalidArgument(f"per_category is {per_category!r}", "Use a whole number from 1 to 256")
    if margin is not None and not 0.0 <= margin <= 2.0:
        raise InvalidArgument(f"margin is {margin!r}", "Use a difference of cosines from 0 to 2, or None")
    names = sorted({label for label in labels if label is not None})
    if len(names) < 2:
        raise InvalidArgument(f"examples of {len(names)} categories", "Give examples of at least two")
    number = {name: i for i, name in enumerate(names)}
    owner = np.array([-1 if label is None else number[label] for label in labels])
    random = np.random.default_rng(seed)
    part = _parts(owner, random)
    rest, starts = _centroids(unit[part > 1], owner[part > 1], len(names), per_category, random)
    chosen = _decisions(unit[part == 0], rest, starts)
    floor = _floor(*chosen, owner[part == 0])
    least = _margin(*chosen, owner[part == 0], floor) if margin is None else margin
    report = _report(*_decisions(unit[part == 1], rest, starts), owner[part == 1], least, floor)
    centroids, starts = _centroids(unit, owner, len(names), per_category, random)
    return Centroids(names, centroids, starts, float(least), floor, report)


def unit_rows(vectors: ArrayLike) -> FloatArray:
    """float32 [n, d] of unit length. Raises DimensionMismatch, or InvalidArgument for what has no direction."""
    try:
        array = np.asarray(vectors, np.float32)
    except (TypeError, ValueError):
        raise InvalidArgument("the vectors are not an array of numbers", "Use one row a vector") from None
    if array.ndim != 2 or 0 in array.shape:
        raise DimensionMismatch(f"vectors of shape {array.shape}", "Use one row a vector")
    lengths = np.linalg.norm(array.astype(np.float64), axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise InvalidArgument(f"vector {bad[0]} is zero or not finite", "Remove or replace it")
    result: FloatArray = (array / lengths).astype(np.float32)
    return result


def _parts(owner: IntArray, random: np.random.Generator) -> IntArray:
    """The part of each example, int64 [n]: 0 chooses, 1 is reported on; within each category, so that all take part.
    Categories of fewer than HELD_OUT examples are all learned from."""
    part = np.empty(len(owner), np.int64)
    for category in np.unique(owner):
        rows = random.permutation(np.flatnonzero(owner == category))
        part[rows] = np.arange(len(rows)) % HELD_OUT if len(rows) >= HELD_OUT else HELD_OUT
    return part


def _centroids(
    unit: FloatArray, owner: IntArray, categories: int, per_category: int, random: np.random.Generator
) -> tuple[FloatArray, IntArray]:
    """float32 [c, d] by category, and where each category begins, int64 [categories + 1]."""
    found = [spherical_means(unit[owner == category], per_category, random) for category in range(categories)]
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in found])]).astype(np.int64)
    return np.concatenate(found), starts


def spherical_means(rows: FloatArray, k: int, random: np.random.Generator) -> FloatArray:
    """At most k mean directions of unit rows [n, d]; fewer where there are few rows."""
    k = max(1, min(k, len(rows) // 4))
    centroids = rows[random.permutation(len(rows))[:k]]
    for _ in range(ROUNDS if k > 1 else 1):
        nearest = (rows @ centroids.T).argmax(axis=1)
        sums = (nearest == np.arange(k)[:, None]).astype(np.float32) @ rows
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        moved = np.where(lengths > 1e-9, sums / np.maximum(lengths, 1e-9), centroids).astype(np.float32)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return np.ascontiguousarray(centroids)


def _decisions(unit: FloatArray, centroids: FloatArray, starts: IntArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Of each vector the best category, its score, and by how much it leads the second; each [n]."""
    scores = np.maximum.reduceat(unit @ centroids.T, starts[:-1], axis=1)
    rows, best = np.arange(len(unit)), scores.argmax(axis=1)
    top = scores[rows, best]
    scores[rows, best] = NOWHERE
    return best, top, top - scores.max(axis=1)


def _floor(best: IntArray, top: FloatArray, lead: FloatArray, owner: IntArray) -> float:
    if (owner >= 0).all() or not (owner >= 0).any():
        return -1.0
    return float(np.quantile(top[owner >= 0], FLOOR_COST))


def _margin(best: IntArray, top: FloatArray, lead: FloatArray, owner: IntArray, floor: float) -> float:
    """The least margin with which WANTED of the classified examples are right, within MAX_ABSTAINED."""
    known = (owner >= 0) & (top >= floor)
    order = np.argsort(-lead[known], kind="stable")
    if not len(order):
        return 0.0
    right = np.cumsum((best == owner)[known][order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(right >= WANTED)
    last = max(int(enough[-1]) if len(enough) else 0, int((1.0 - MAX_ABSTAINED) * len(order)) - 1, 0)
    return 0.0 if last == len(order) - 1 else float(lead[known][order[last]])


def _report(
    best: IntArray, top: FloatArray, lead: FloatArray, owner: IntArray, margin: float, floor: float
) -> ClassifierReport:
    taken, known = (top >= floor) & (lead >= margin), owner >= 0
    right = int(((best == owner) & taken).sum())
    accuracy = right / max(int((taken & known).sum()), 1)
    abstained = float((~taken[known]).mean()) if known.any() else 0.0
    refused = float((~taken[~known]).mean()) if not known.all() else None
    return ClassifierReport(int(known.sum()), accuracy, abstained, refused)
