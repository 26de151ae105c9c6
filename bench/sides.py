"""The sides that are compared in `binary`: our index kinds, and what faiss has of one bit a component.

A side's setting is the smallest with which it finds WANTED_RECALL of the nearest K: ours is the `recall` that is asked
for, or the beam of a graph; faiss's the number of candidates that its codes leave to be compared exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.data import recall
from bench.measure import BEAMS, WANTED_RECALL, best_s, smallest
from vsearch import SearchParams
from vsearch.index.base import Reader

K = 10
STAGE = 100  # rows that codes alone are to leave
MOST_CANDIDATES = 1_000
RECALLS = (0.01, 0.02, *(0.05 * step for step in range(1, 20)), 0.97, 0.98, 0.99, 0.995, 0.999, 0.9999)  # asked for
ROTATION_SEED = 7
ESTIMATES = SearchParams(rescore=False)


@dataclass(frozen=True)
class Side:
    """`search` takes queries [nq, d] and finds their K nearest, int64 [nq, K]; `setting` says with what, and the recall
    that it gives."""

    name: str
    setting: str
    search: Callable[[NDArray[np.float32]], NDArray[np.int64]]


def seconds_a_query(sides: Sequence[Side], queries: NDArray[np.float32], batch: int) -> list[float]:
    """Best time of each side for one query, where so many are searched in one call."""

    def all_of(side: Side) -> Callable[[], None]:
        def search() -> None:
            for at in range(0, len(queries), batch):
                side.search(queries[at : at + batch])

        return search

    return [seconds / len(queries) for seconds in best_s(*(all_of(side) for side in sides))]


def found(reader: Reader, queries: NDArray[np.float32], params: SearchParams, k: int = K) -> NDArray[np.int64]:
    """The rows that one of our readers finds, int64 [nq, k]."""
    return reader.search(queries, k, params).ordinals


def top_share(near: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Share of the true nearest K that are among the rows near [nq, any]."""
    return float((near[:, :, None] == truth[:, None, :K]).any(axis=1).mean())


def binary_side(reader: Reader, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> Side:
    """Our binary index."""
    asked, got = smallest(RECALLS, lambda asked: recall(found(reader, queries, SearchParams(recall=asked)), truth))
    params = SearchParams(recall=asked)
    return Side("binary", f"recall {asked:g}: {got:.4f}", lambda some: found(reader, some, params))


def hnsw_side(reader: Reader, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> Side:
    """Our graph index."""
    ef, got = smallest(BEAMS, lambda ef: recall(found(reader, queries, SearchParams(ef=ef)), truth))
    params = SearchParams(ef=ef)
    return Side("hnsw", f"ef {ef}: {got:.4f}", lambda some: found(reader, some, params))


def refined_side(name: str, refined: Any, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> Side:
    """A faiss index in an IndexRefineFlat, whose `k_factor` is set.

    All candidates are compared exactly, so the recall of any number of them follows from one search for many.
    """
    near = refined.base_index.search(queries, MOST_CANDIDATES)[1]
    hits = near[:, :, None] == truth[:, None, :K]
    reached = np.cumsum(hits.any(axis=2).mean(axis=0)) / K
    candidates = max(int(np.searchsorted(reached, WANTED_RECALL - 1e-9)) + 1, K)
    refined.k_factor = (candidates + 0.5) / K  # faiss multiplies by k and rounds down
    got = recall(refined.search(queries, K)[1], truth)
    return Side(name, f"{candidates} candidates: {got:.4f}", lambda some: refined.search(some, K)[1])


def flat_side(vectors: NDArray[np.float32]) -> Side:
    """faiss's exact scan."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return Side("IndexFlat", "exact", lambda some: index.search(some, K)[1])


def rabitq(kind: Callable[..., Any], sample: NDArray[np.float32]) -> Any:
    """A rotation and faiss's IndexRaBitQ or IndexRaBitQFastScan, trained on a sample [m, d], for inner products."""
    d = sample.shape[1]
    index = faiss.IndexPreTransform(rotation(d), kind(d, faiss.METRIC_INNER_PRODUCT))
    index.train(sample)
    return index


def rotation(d: int) -> Any:
    """faiss's random rotation of d components."""
    matrix = faiss.RandomRotationMatrix(d, d)
    matrix.init(ROTATION_SEED)
    return matrix


class SignBits:
    """faiss's IndexBinaryFlat over the signs of rotated vectors, less the mean of a sample [m, d]."""

    def __init__(self, sample: NDArray[np.float32]) -> None:
        self._mean, self._rotation = sample.mean(axis=0), rotation(sample.shape[1])
        self.index = faiss.IndexBinaryFlat(sample.shape[1])

    def codes(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """uint8 [n, d / 8] of vectors [n, d]."""
        return np.packbits(self._rotation.apply(vectors - self._mean) > 0, axis=1)

    def add(self, vectors: NDArray[np.float32]) -> None:
        self.index.add(self.codes(vectors))

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        near: NDArray[np.int64] = self.index.search(self.codes(queries), k)[1]
        return near
