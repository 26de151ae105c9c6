"""One query by binary codes and by a graph, over more and more rows: what the planner should know."""

from __future__ import annotations

import faiss
import numpy as np

from bench.data import Wordnet
from bench.measure import THREADS
from bench.report import Report
from bench.sides import K, binary_side, hnsw_side, seconds_a_query
from vsearch.index import binary, hnsw

ROWS = (5_000, 10_000, 20_000, 40_000, 80_000)
QUERIES = 500


def measure(data: Wordnet, report: Report) -> None:
    """Measure the first so many rows, and all; and report."""
    queries, most = data.queries[:QUERIES], len(data.docs)
    for n in (*(rows for rows in ROWS if rows < most), most):
        docs = np.ascontiguousarray(data.docs[:n])
        exact = faiss.IndexFlatIP(docs.shape[1])
        exact.add(docs)
        truth = exact.search(queries, K)[1]
        codes = binary.Binary(docs, binary.build(docs, "dot", {}, THREADS), "dot", 1)
        graph = hnsw.Hnsw(docs, hnsw.build(docs, "dot", {}, THREADS), "dot", 1)
        sides = [binary_side(codes, queries, truth), hnsw_side(graph, queries, truth)]
        for side, seconds in zip(sides, seconds_a_query(sides, queries, 1), strict=True):
            title = f"{n:,} rows, one query, 1 thread: {side.name}, us"
            report.row(f"rows_{n}_{side.name}_us", title, seconds * 1e6, None, side.setting)
