"""How the cost of a learned-sparse search grows: sets of n, 2n and 4n documents made by resampling those of WordNet."""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from bench.measure import THREADS, best_s
from bench.report import Report
from bench.sparse_data import SparseWordnet, resampled
from bench.sparse_peers import one_core
from vsearch import SearchParams
from vsearch.index.inverted import Inverted, build

SIZES = (250_000, 500_000, 1_000_000)
QUERIES = 400
K = 10
SEED = 5


def measure(data: SparseWordnet, quick: bool, report: Report) -> None:
    """Time a query at two recalls for each size, one thread, and the recall that is found."""
    for n in [size // 100 for size in SIZES] if quick else SIZES:
        _measure(data, n, report)


def _measure(data: SparseWordnet, n: int, report: Report) -> None:
    queries = data.queries[:QUERIES]
    docs = resampled(data.docs, data.doc_unit, n, SEED)
    start = time.perf_counter()
    buffers = build(docs, "dot", {}, THREADS)
    build_s = time.perf_counter() - start
    reader = Inverted(docs, buffers, "dot", THREADS)
    least = reader.search(queries, K, SearchParams(exact=True)).distances[:, -1:]
    size = f"{n:,} documents"
    report.row(f"growth_build_{n}", f"{size}: build, s", build_s)
    report.row(f"growth_bytes_{n}", f"{size}: bytes a document", reader.memory_bytes() / n)
    for asked in (0.9, 0.99):
        params = SearchParams(recall=asked)
        near = reader.search(queries, K, params)
        got = float((near.distances <= least + 1e-5 * np.abs(least)).mean())
        with one_core():
            (seconds,) = best_s(partial(reader.search, queries, K, params))
        note = f"recall {got:.4f}, {near.cost.distances / QUERIES:,.0f} rows compared"
        report.row(f"growth_us_{n}_{asked}", f"{size}: asked {asked:g}, us", seconds / QUERIES * 1e6, None, note)
