"""Learned-sparse search beside Seismic and SciPy, and full text beside bm25s and tantivy (`sparse_text`), on WordNet;
and how the cost grows with the number of documents (`sparse_growth`).

Ours is the embedded database: `search_batch` and `search` of a collection with one field. All sides share one core
while they are timed, in alternating rounds, of which the best counts. Each has the cheapest setting that finds the
recall: ours is the recall asked for, Seismic's was found once by a grid (`sparse_peers.EFFORTS`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import vsearch
from bench import sparse_growth, sparse_text
from bench.measure import THREADS, best_s
from bench.report import Report
from bench.sparse_data import NO_ROW, SparseWordnet, csr, exact, mrr, recall, sparse_wordnet
from bench.sparse_peers import DEFAULT, EFFORTS, NEAR_EXACT, NEIGHBOURS, Effort, Seismic, Shape, Strings, one_core, rows
from vsearch import SearchParams
from vsearch.cli.warmup import warm_up
from vsearch.collection import Collection
from vsearch.index import inverted
from vsearch.types import IntArray

K = 10
LEVELS = {0.91: 1.3, 0.983: 1.3, 0.996: 1.3, 0.999: 2.0}  # recall@10, and how many times as fast we are to be
ASKED = (0.8, 0.85, 0.88, *(0.9 + 0.005 * step for step in range(19)), 0.992, 0.994, 0.996, 0.998, 0.999, 0.9995)
BATCH = 1_000
SINGLE = 300
POINTS = 10_000  # written by one upsert
EXACT = SearchParams(exact=True)


def run(options: argparse.Namespace) -> None:
    """Measure everything and print the report."""
    data = sparse_wordnet(options.data, 10_000 if options.quick else None)
    warm_up()
    report = Report("sparse")
    with tempfile.TemporaryDirectory() as folder, vsearch.open(folder) as db:
        docs = db.create_collection("docs", {"sparse": vsearch.Sparse()})
        matrix = csr(data.docs)
        for first in range(0, len(data.docs), POINTS):
            some = matrix[first : first + POINTS]
            docs.upsert(list(range(first, first + some.shape[0])), {"sparse": some})
        docs.optimize()
        peers = _build(data, report)
        queries = csr(data.queries)
        _asked(docs, data, queries, report)
        _levels(docs, peers, data, queries, report)
        _exact(docs, data, queries, report)
    sparse_text.measure(options.data, options.quick, report)
    sparse_growth.measure(data, options.quick, report)
    report.show()


def found(docs: Collection, queries: Any, params: SearchParams) -> IntArray:
    """The ids that one batch finds, int64 [nq, K]."""
    near = np.full((queries.shape[0], K), NO_ROW, np.int64)
    for row, hits in enumerate(docs.search_batch(queries, limit=K, params=params, with_payload=False)):
        near[row, : len(hits)] = hits.point_ids
    return near


def _build(data: SparseWordnet, report: Report) -> dict[Shape, Seismic]:
    """Time and bytes of the index beside Seismic's; returns its indexes, with their graphs."""
    start = time.perf_counter()
    buffers = inverted.build(data.docs, "dot", {}, THREADS)
    our_s, our_bytes = time.perf_counter() - start, sum(array.nbytes for array in buffers.values())
    del buffers
    peers = {shape: Seismic(data.docs, replace(shape, neighbours=NEIGHBOURS)) for shape in EFFORTS}
    plain, near = peers[DEFAULT], peers[NEAR_EXACT]
    note = f"{our_s:.1f} s; Seismic {plain.build_s:.1f} s by default, {near.build_s:.1f} s near exact"
    report.row("build", f"build, {THREADS} threads: time x Seismic's", our_s / plain.build_s, ("<=", 0.5), note)
    note = f"{our_bytes / 1e6:,.0f} MB; {plain.index_bytes / 1e6:,.0f} MB, {near.index_bytes / 1e6:,.0f} MB near exact"
    report.row("bytes", "bytes of the index x Seismic's", our_bytes / plain.index_bytes, ("<=", 0.8), note)
    return peers


def _asked(docs: Collection, data: SparseWordnet, queries: Any, report: Report) -> None:
    """The recall that is found where one is asked for, and how well the labelled answers are ranked."""
    for asked in (0.9, 0.95, 0.99):
        near = found(docs, queries, SearchParams(recall=asked))
        got = recall(data, near)
        report.row(f"asked_{asked}", f"recall@10 where {asked:g} is asked for", got, (">=", asked - 0.01))
    exact = mrr(data, found(docs, queries, EXACT))
    lost = exact - mrr(data, near)
    report.row("mrr", "MRR@10, exact", exact)
    report.row("mrr_lost", "MRR@10 lost at recall 0.99", lost, ("<=", 0.002))


def _levels(
    docs: Collection, peers: dict[Shape, Seismic], data: SparseWordnet, queries: Any, report: Report
) -> None:
    """Times at each recall, one by one and by one call for all."""
    some, strings = queries[:BATCH], Strings.of(data.queries[:BATCH])
    reached = {asked: recall(data, found(docs, queries, SearchParams(recall=asked))) for asked in ASKED}
    for level, wanted in LEVELS.items():
        asked = min((asked for asked, got in reached.items() if got >= level), default=ASKED[-1])
        params = SearchParams(recall=asked)
        efforts = {shape: EFFORTS[shape][level] for shape in peers}
        tasks: list[Callable[[], Any]] = [lambda params=params: found(docs, some, params)]
        tasks += [lambda p=peer, e=efforts[shape]: p.batch(strings, e) for shape, peer in peers.items()]
        tasks += [lambda params=params: _singly(docs, some, params)]
        tasks += [lambda p=peer, e=efforts[shape]: p.singly(strings, e) for shape, peer in peers.items()]
        with one_core():
            times = np.array(best_s(*tasks)) / some.shape[0] * 1e6
        ours, theirs, ours_one, theirs_one = times[0], times[1:3], times[3], times[4:]
        got = [reached[asked], *(recall_of(peer, efforts[shape], data) for shape, peer in peers.items())]
        note = (
            f"{ours:.0f} us ({got[0]:.4f}); Seismic {theirs[0]:.0f} us ({got[1]:.4f}), "
            f"near exact {theirs[1]:.0f} us ({got[2]:.4f})"
        )
        faster = theirs.min() / ours
        report.row(f"batch_{level}", f"recall {level:g}, batch: times as fast", faster, (">=", wanted), note)
        note = f"{ours_one:.0f} us; {theirs_one[0]:.0f} us, {theirs_one[1]:.0f} us"
        faster = theirs_one.min() / ours_one
        report.row(f"one_{level}", f"recall {level:g}, one by one: times as fast", faster, None, note)
        report.row(f"one_more_{level}", f"recall {level:g}, one by one over batch, us", ours_one - ours, None)


def recall_of(peer: Seismic, effort: Effort, data: SparseWordnet) -> float:
    """Recall@10 of Seismic over all queries."""
    return recall(data, rows(peer.batch(Strings.of(data.queries), effort)))


def _singly(docs: Collection, queries: Any, params: SearchParams) -> None:
    for row in range(queries.shape[0]):
        first, last = queries.indptr[row], queries.indptr[row + 1]
        query = queries.indices[first:last], queries.data[first:last]
        docs.search(query, limit=K, params=params, with_payload=False)


def _exact(docs: Collection, data: SparseWordnet, queries: Any, report: Report) -> None:
    """Exact search beside products of SciPy's matrices."""
    matrices = csr(data.docs), queries[:SINGLE]
    few = matrices[1].shape[0]
    with one_core():
        our_s, peer_s = best_s(lambda: found(docs, matrices[1], EXACT), lambda: exact(*matrices, K))
    note = f"{our_s / few * 1e6:,.0f} us; SciPy {peer_s / few * 1e6:,.0f} us"
    report.row("exact", "exact, batch: times as fast as SciPy", peer_s / our_s, None, note)
