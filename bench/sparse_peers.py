"""What sparse search is compared with: Seismic, by pyseismic-lsr, and exact products, by SciPy.

Seismic (Bruch et al. 2024, SIGIR, arXiv 2404.18812): of each term, blocks of documents that are alike, skipped by a
summary that bounds them roughly; then, optionally, the neighbours of what was found (SeismicWave, CIKM 2024).

pyseismic-lsr 0.5.4 takes num_threads for a batch, but searches with all cores whatever it says, so that one thread is
had by `one_core` only.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import seismic
from numpy.typing import NDArray
from scipy import sparse

from bench.measure import THREADS
from bench.sparse_data import NO_ROW, TERMS
from vsearch.types import IntArray, SparseRows

K = 10


@dataclass(frozen=True)
class Shape:
    """How an index of Seismic is built. DEFAULT is its default; NEAR_EXACT, with many short blocks and long summaries,
    what its guidelines recommend for nearly exact results. `neighbours`: of a document in the graph; 0 for no graph."""

    n_postings: int = 3500
    centroid_fraction: float = 0.1
    min_cluster_size: int = 2
    summary_energy: float = 0.4
    max_fraction: float = 1.5
    doc_cut: int = 15
    neighbours: int = 0

    def arguments(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "neighbours"}


DEFAULT = Shape()
NEAR_EXACT = Shape(n_postings=3000, centroid_fraction=0.2, summary_energy=0.5, max_fraction=6.0)


@dataclass(frozen=True)
class Effort:
    """How hard Seismic searches: lists opened, how soon blocks are skipped, neighbours of each row found, and whether
    the blocks of the first list are taken best first."""

    query_cut: int
    heap_factor: float
    neighbours: int = 0
    in_order: bool = True


# The fastest settings that reach a recall@10 on WordNet, all 4,000 queries, with a graph of NEIGHBOURS; of a grid of
# query_cut 3 to 20, heap_factor 0.7 to 1.1 and 0, 5 or 10 neighbours. The recall that each had stands beside it.
NEIGHBOURS = 10
EFFORTS = {
    DEFAULT: {
        0.91: Effort(4, 1.1),  # 0.9289
        0.983: Effort(6, 1.1, 10),  # 0.9857
        0.996: Effort(8, 1.0, 5),  # 0.9963
        0.999: Effort(13, 1.0),  # 0.9991
    },
    NEAR_EXACT: {
        0.91: Effort(4, 1.1),  # 0.9325
        0.983: Effort(6, 1.1, 10),  # 0.9863
        0.996: Effort(8, 1.0, 5),  # 0.9973
        0.999: Effort(11, 1.0, 10),  # 0.9993
    },
}
RECOMMENDED = Effort(10, 0.8, in_order=False)  # by its guidelines for NEAR_EXACT; 0.9995


@dataclass(frozen=True)
class Strings:
    """Queries as Seismic takes them: terms are strings."""

    ids: NDArray[np.str_]
    terms: list[NDArray[np.str_]]
    weights: list[NDArray[np.float32]]

    @staticmethod
    def of(queries: SparseRows) -> Strings:
        kind = seismic.get_seismic_string()
        bounds = queries.offsets[1:-1]
        terms = np.split(queries.term_values().astype(kind), bounds)
        return Strings(np.arange(len(queries)).astype(kind), terms, np.split(queries.weights, bounds))


class Seismic:
    """An index of Seismic over documents: seconds to build it and its graph, and bytes in memory, each with and without
    the graph."""

    def __init__(self, docs: SparseRows, shape: Shape, threads: int = THREADS) -> None:
        dataset = seismic.SeismicDataset(dim=TERMS)
        rows = [str(row) for row in range(len(docs))]
        added = dataset.add_documents_by_id(rows, docs.term_values().astype(np.int64), docs.weights, docs.offsets)
        assert added == len(docs), "Seismic skips empty documents"
        start = time.perf_counter()
        arguments = {**shape.arguments(), "num_threads": threads}
        self._index, _ = _printed(lambda: seismic.SeismicIndex.build_from_dataset(dataset, **arguments))
        self.build_s = time.perf_counter() - start
        self.index_bytes = self._bytes()
        if shape.neighbours:
            _printed(lambda: self._index.build_knn(shape.neighbours))
        self.total_s, self.total_bytes = time.perf_counter() - start, self._bytes()

    def _bytes(self) -> int:
        _, printed = _printed(self._index.print_space_usage_byte)
        total = re.search(r"Total: (\d+)", printed)
        assert total, printed
        return int(total[1])

    def batch(self, queries: Strings, effort: Effort) -> list[list[tuple[str, float, str]]]:
        """The K best of all queries, by one call, with all cores that the process has (`one_core`)."""
        found: list[list[tuple[str, float, str]]] = self._index.batch_search(
            queries.ids,
            queries.terms,
            queries.weights,
            K,
            effort.query_cut,
            effort.heap_factor,
            effort.neighbours,
            effort.in_order,
        )
        return found

    def singly(self, queries: Strings, effort: Effort) -> list[list[tuple[str, float, str]]]:
        """The K best of all queries, by a call for each."""
        rest = (K, effort.query_cut, effort.heap_factor, effort.neighbours, effort.in_order)
        search = self._index.search
        return [search(*query, *rest) for query in zip(queries.ids, queries.terms, queries.weights, strict=True)]


@contextmanager
def one_core() -> Iterator[None]:
    """All threads of this process share one core, where the system lets us (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        _pin({max(before)})
        yield
    finally:
        _pin(before)


def _pin(cores: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # threads may end meanwhile
            os.sched_setaffinity(int(thread), cores)


def rows(found: list[list[tuple[str, float, str]]]) -> IntArray:
    """The documents that Seismic found, int64 [nq, K], by query; NO_ROW where fewer than K were."""
    out = np.full((len(found), K), NO_ROW, np.int64)
    for hits in found:
        if hits:
            out[int(hits[0][0]), : len(hits)] = [int(row) for _, _, row in hits]
    return out


def exact_singly(by_term: sparse.csc_array, queries: sparse.csr_array) -> IntArray:
    """The K best documents by all products, int64 [nq, K], a query at a time; the matrix is [n, terms]."""
    near = np.empty((queries.shape[0], K), np.int64)
    for at, (first, last) in enumerate(pairwise(queries.indptr)):
        near[at] = _best(by_term[:, queries.indices[first:last]] @ queries.data[first:last])
    return near


def exact_batch(docs: sparse.csr_array, queries: sparse.csr_array) -> IntArray:
    """The K best documents by all products, int64 [nq, K], from one product of two matrices [., terms]."""
    return np.stack([_best(scores) for scores in (queries @ docs.T).toarray()])


def _best(scores: NDArray[np.float32]) -> IntArray:
    near = np.argpartition(scores, -K)[-K:]
    return near[np.argsort(-scores[near], kind="stable")]


def _printed(task: Callable[[], Any]) -> tuple[Any, str]:
    """What a task returns, and what compiled code printed meanwhile."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            result = task()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return result, file.read().decode()
