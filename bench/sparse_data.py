"""WordNet as learned sparse vectors: exact answers, what counts as found, and larger sets made of its documents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from vsearch.types import IntArray, SparseRows

TERMS = 30_522  # of the encoder's vocabulary
EXCHANGED = 0.3  # share of a resampled document that comes from a second one
CHUNK = 50_000  # documents resampled at a time
CODE_BITS, TERM_BITS = 8, 24  # of a resampled entry packed in one integer
NO_ROW = -1  # in place of a row, where fewer were found than asked for


@dataclass(frozen=True)
class SparseWordnet:
    """docs [n] and queries [nq], numbers uint32 (the terms) and weights float32; exact top 100 rows by query, ties by
    row; the labelled row of each query [nq]. A weight is an integer of 1 to 255 times `doc_unit` or `query_unit`, so
    that scores are compared as integers, without rounding."""

    docs: SparseRows
    queries: SparseRows
    truth: IntArray
    answers: IntArray
    doc_unit: float
    query_unit: float

    @cached_property
    def matrices(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Documents and queries as SciPy matrices of weights in units."""
        return integers(self.docs, self.doc_unit), integers(self.queries, self.query_unit)


def sparse_wordnet(folder: Path, rows: int | None = None) -> SparseWordnet:
    """The WordNet definitions; with `rows`, the first of them, and the first 500 queries whose answer is among them,
    with truth computed anew."""
    folder = folder / "wordnet"
    docs, doc_unit = _read(folder / "sparse.npz")
    queries, query_unit = _read(folder / "queries_sparse.npz")
    answers = pq.read_table(folder / "queries.parquet", columns=["doc"])["doc"].to_numpy().astype(np.int64)
    truth = np.load(folder / "sparse_top100.npy").astype(np.int64)
    if rows is None:
        return SparseWordnet(docs, queries, truth, answers, doc_unit, query_unit)
    answered = np.flatnonzero(answers < rows)[:500]
    docs, queries = docs[:rows], queries[answered]
    truth = exact(integers(docs, doc_unit), integers(queries, query_unit), 100)
    return SparseWordnet(docs, queries, truth, answers[answered], doc_unit, query_unit)


def csr(rows: SparseRows, terms: int = TERMS) -> sparse.csr_array:
    """The rows as a SciPy matrix [n, terms], float32."""
    return sparse.csr_array((rows.weights, rows.term_values().astype(np.int32), rows.offsets), (len(rows), terms))


def integers(rows: SparseRows, unit: float) -> sparse.csr_array:
    """The rows as a SciPy matrix [n, terms] of weights in units, int32: their sums of products are exact."""
    matrix = csr(rows)
    matrix.data = np.rint(matrix.data / np.float32(unit)).astype(np.int32)
    return matrix


def exact(docs: sparse.csr_array, queries: sparse.csr_array, k: int) -> IntArray:
    """The rows with the highest inner products, int64 [nq, k], ties by row."""
    near = np.empty((queries.shape[0], k), np.int64)
    by_term = docs.tocsc()
    for at, (first, last) in enumerate(pairwise(queries.indptr)):
        scores = by_term[:, queries.indices[first:last]] @ queries.data[first:last]
        least = np.partition(scores, -k)[-k]
        rows = np.flatnonzero(scores >= least)
        near[at] = rows[np.argsort(-scores[rows], kind="stable")[:k]]
    return near


def scores(data: SparseWordnet, found: IntArray) -> IntArray:
    """Exact scores of the rows found [nq, k], in units, int64; -1 for NO_ROW."""
    docs, queries = data.matrices
    by_query = np.repeat(np.arange(len(found)), found.shape[1])
    products = docs[np.maximum(found.ravel(), 0)].multiply(queries[by_query]).sum(axis=1)
    return np.where(found == NO_ROW, -1, products.reshape(found.shape))


def recall(data: SparseWordnet, found: IntArray, k: int = 10) -> float:
    """Share of the best k that are found: distinct rows that score as high as the true kth, which may share its place
    with others."""
    found = np.sort(found[:, :k], axis=1)
    again = np.zeros(found.shape, np.bool_)
    again[:, 1:] = found[:, 1:] == found[:, :-1]
    least = scores(data, data.truth[:, k - 1 : k])
    return float(((scores(data, found) >= least) & ~again).sum() / (len(found) * k))


def mrr(data: SparseWordnet, found: IntArray, k: int = 10) -> float:
    """Mean over the queries of 1 / rank of the labelled answer, or 0 where it is not among the first k."""
    return float(((found[:, :k] == data.answers[:, None]) / np.arange(1, k + 1)).sum(axis=1).mean())


def resampled(docs: SparseRows, unit: float, n: int, seed: int) -> SparseRows:
    """n documents like those given: each is one of them at random, in which about EXCHANGED of the terms give way to as
    large a share of another's, weights kept. A term of both has its weight of the first."""
    random = np.random.default_rng(seed)
    lengths = np.diff(docs.offsets)
    pairs = random.integers(0, len(docs), (2, n))
    most = int(lengths[pairs].sum())
    numbers, weights = np.empty(most, np.uint32), np.empty(most, np.float32)  # memory is taken as it is written
    offsets = np.zeros(n + 1, np.int64)
    codes = np.rint(docs.weights / np.float32(unit)).astype(np.uint64)
    packed = docs.numbers.astype(np.uint64) << np.uint64(CODE_BITS + 1) | codes
    weight_of = np.arange(1 << CODE_BITS, dtype=np.float32) * np.float32(unit)
    for at in range(0, n, CHUNK):
        first, other = (
            _drawn(packed, docs.offsets, chosen, share, random)
            for chosen, share in zip(pairs[:, at : at + CHUNK], (1 - EXCHANGED, EXCHANGED), strict=True)
        )
        entries = np.concatenate([first, other | np.uint64(1 << CODE_BITS)])
        entries.sort()  # by row, term, and then whose it is
        places = entries >> np.uint64(CODE_BITS + 1)
        entries = entries[np.concatenate([np.ones(1, np.bool_), places[1:] != places[:-1]])]
        start, rows = offsets[at], min(CHUNK, n - at)
        stop = start + len(entries)
        counts = np.bincount((entries >> np.uint64(CODE_BITS + 1 + TERM_BITS)).astype(np.int64), minlength=rows)
        offsets[at + 1 : at + 1 + rows] = start + np.cumsum(counts)
        numbers[start:stop] = entries >> np.uint64(CODE_BITS + 1) & np.uint64((1 << TERM_BITS) - 1)
        weights[start:stop] = weight_of[entries & np.uint64((1 << CODE_BITS) - 1)]
    return SparseRows(offsets, numbers[: offsets[-1]], weights[: offsets[-1]])


def _drawn(
    packed: NDArray[np.uint64], offsets: IntArray, chosen: IntArray, share: float, random: np.random.Generator
) -> NDArray[np.uint64]:
    """A share of the packed entries of each chosen document, with its place among the chosen in front."""
    lengths = np.diff(offsets)[chosen]
    ends = np.cumsum(lengths)
    kept = np.flatnonzero(random.random(ends[-1], dtype=np.float32) < share)
    row = np.repeat(np.arange(len(chosen)), lengths)[kept]
    entries = packed[kept + (offsets[:-1][chosen] - ends + lengths)[row]]
    return entries | row.astype(np.uint64) << np.uint64(CODE_BITS + 1 + TERM_BITS)


def _read(path: Path) -> tuple[SparseRows, float]:
    with np.load(path) as file:
        arrays: dict[str, NDArray[Any]] = dict(file)
    unit = arrays["scale"].astype(np.float32)
    weights = arrays["values"].astype(np.float32) * unit
    return SparseRows(arrays["indptr"].astype(np.int64), arrays["indices"].astype(np.uint32), weights), float(unit)
