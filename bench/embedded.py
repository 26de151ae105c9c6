"""The embedded database beside hnswlib and faiss, on WordNet (117,659 x 384): load, index, search, reopen, memory.

Searches compare at equal recall: for either side the smallest beam that reaches recall@10 of 0.99 on the real queries.
One thread where one query is searched, all cores where a batch is; peers get the same. Times are the best of several
alternating rounds, since machines are shared.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np
import psutil

import vsearch
from bench.data import Wordnet, recall, wordnet
from bench.measure import BEAMS, THREADS, WANTED_RECALL, best_s, smallest
from bench.report import Report
from vsearch.cli.warmup import warm_up

M, EF_CONSTRUCTION = 16, 200
MB = 1 << 20


def run(options: argparse.Namespace) -> None:
    """Measure everything and print the report."""
    data = wordnet(options.data, 10_000 if options.quick else None)
    warm_up()  # kernels are compiled once a machine, which is not what is measured
    report = Report("embedded")
    _import_time(report)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        base_bytes = _memory_bytes()
        raw, raw_build_s = _raw_index(data)
        db, docs = _load(path, data, report, raw_build_s)
        _searches(docs, raw, data, report)
        _flat(docs, data, report)
        del raw
        db.close()
        _reopen(path, data, report)
        _memory(path, data, report, base_bytes)
        _beside_a_writer(path, data, report)
    report.show()


def _import_time(report: Report) -> None:
    code = "import sys, time; t = time.perf_counter(); import vsearch; print(time.perf_counter() - t, *sys.modules)"
    runs = []
    for _ in range(5):
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
        runs.append(float(out[0]))
        heavy = {"numba", "faiss", "fastapi", "cupy"} & set(out[1:])
        assert not heavy, f"bug: import vsearch loads {heavy}"
    report.row("import_s", "import vsearch, s", min(runs), ("<=", 0.25))


def _raw_index(data: Wordnet) -> tuple[Any, float]:
    raw = hnswlib.Index("ip", data.docs.shape[1])
    raw.init_index(len(data.docs), M=M, ef_construction=EF_CONSTRUCTION)
    raw.set_num_threads(THREADS)
    start = time.perf_counter()
    raw.add_items(data.docs)
    return raw, time.perf_counter() - start


def _load(path: Path, data: Wordnet, report: Report, raw_build_s: float) -> tuple[vsearch.Database, vsearch.Collection]:
    db = vsearch.open(path)
    fields = {"dense": vsearch.Dense(data.docs.shape[1], index="hnsw", m=M, ef_construction=EF_CONSTRUCTION)}
    docs = db.create_collection("docs", fields=fields)
    start = time.perf_counter()
    for at in range(0, len(data.docs), 1000):
        stop = min(at + 1000, len(data.docs))
        docs.upsert(range(at, stop), vectors={"dense": data.docs[at:stop]}, payloads=data.payloads[at:stop])
    upsert_s = time.perf_counter() - start
    docs.optimize(wait=True)
    indexed_s = time.perf_counter() - start
    report.row(
        "upsert_points_s", "durable upsert, batches of 1,000, points/s", len(data.docs) / upsert_s, (">=", 25_000)
    )
    note = f"{indexed_s:.1f} s; hnswlib {raw_build_s:.1f} s, {THREADS} threads"
    report.row("indexed_ratio", "load and index, x hnswlib's build", indexed_s / raw_build_s, ("<=", 1.3), note)
    return db, docs


def _ids(batch: list[vsearch.Hits]) -> np.ndarray:
    return np.array([hits.ids for hits in batch])


def _searches(docs: vsearch.Collection, raw: Any, data: Wordnet, report: Report) -> None:
    queries, truth = data.queries, data.truth

    def raw_recall(ef: int) -> float:
        raw.set_ef(ef)
        return recall(raw.knn_query(queries, 10)[0], truth)

    def params(ef: int) -> vsearch.SearchParams:
        return vsearch.SearchParams(ef=ef)

    raw_ef, raw_got = smallest(BEAMS, raw_recall)
    ef, got = smallest(
        BEAMS,
        lambda ef: recall(_ids(docs.search_batch(queries, params=params(ef), with_payload=False)), truth),
    )
    raw.set_ef(raw_ef)
    some, wanted = queries[:1000], params(ef)
    for query in some[:50]:
        docs.search(query, params=wanted)
    raw.set_num_threads(1)
    raw_one_s, one_s, bare_s = best_s(
        lambda: [raw.knn_query(query, 10) for query in some],
        lambda: [docs.search(query, params=wanted) for query in some],
        lambda: [docs.search(query, params=wanted, with_payload=False) for query in some],
    )
    ours, peer = f"ef {ef} recall {got:.4f}", f"hnswlib ef {raw_ef} {raw_got:.4f}"
    note = f"{ours} {len(some) / one_s:,.0f} q/s; {peer} {len(some) / raw_one_s:,.0f} q/s"
    report.row("search_ratio", "search one by one with payloads, x hnswlib", raw_one_s / one_s, (">=", 0.75), note)
    report.row(
        "search_bare_ratio", "the same without payloads", raw_one_s / bare_s, None, f"{len(some) / bare_s:,.0f} q/s"
    )
    raw.set_num_threads(THREADS)
    raw_s, batch_s, bare_s = best_s(
        lambda: raw.knn_query(some, 10),
        lambda: docs.search_batch(some, params=wanted),
        lambda: docs.search_batch(some, params=wanted, with_payload=False),
    )
    note = f"{len(some) / batch_s:,.0f} q/s; hnswlib {len(some) / raw_s:,.0f} q/s, {THREADS} threads"
    report.row("batch_ratio", "search_batch of 1,000 with payloads, x hnswlib", raw_s / batch_s, (">=", 0.9), note)
    report.row("batch_bare_ratio", "the same without payloads", raw_s / bare_s, None, f"{len(some) / bare_s:,.0f} q/s")
    asked = vsearch.SearchParams(recall=WANTED_RECALL)
    got = recall(_ids(docs.search_batch(queries, params=asked, with_payload=False)), truth)
    report.row("asked_recall", "recall@10 when 0.99 is asked for", got, (">=", WANTED_RECALL - 0.003))
    got = recall(_ids(docs.search_batch(queries, with_payload=False)), truth)
    report.row("default_recall", "recall@10 by default (0.95 is asked for)", got, (">=", 0.95))


def _flat(docs: vsearch.Collection, data: Wordnet, report: Report) -> None:
    exact, some = vsearch.SearchParams(exact=True), data.queries[:1000]
    peer = faiss.IndexFlatIP(data.docs.shape[1])
    peer.add(data.docs)
    faiss.omp_set_num_threads(THREADS)
    peer_s, flat_s = best_s(
        lambda: peer.search(some, 10), lambda: docs.search_batch(some, params=exact, with_payload=False)
    )
    note = f"{len(some) / flat_s:,.0f} q/s; faiss IndexFlatIP {len(some) / peer_s:,.0f} q/s, {THREADS} threads"
    report.row("flat_ratio", "flat, batch of 1,000, x faiss", peer_s / flat_s, (">=", 0.9), note)
    got = recall(_ids(docs.search_batch(data.queries, params=exact, with_payload=False)), data.truth)
    report.row("flat_recall", "recall@10 of flat", got, (">=", 0.999))


def _reopen(path: Path, data: Wordnet, report: Report) -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with vsearch.open(path) as db:
            db.collection("docs").search(data.queries[0])
            times.append(time.perf_counter() - start)
    report.row("reopen_s", "reopen to first answer, s", min(times), ("<=", 0.3))


def _memory(path: Path, data: Wordnet, report: Report, base_bytes: int) -> None:
    """Resident memory of a fresh process that has loaded, indexed and searched, less that of one that has only
    imported everything. Every vector page is touched, so that mapped files count whole."""
    code = (
        "import sys, psutil, numpy as np, vsearch\n"
        "import vsearch.database, vsearch.search, vsearch.index.registry as r, pyarrow, tempfile\n"
        "warm = vsearch.open(tempfile.mkdtemp()).create_collection('w', {'d': vsearch.Dense(384)})\n"
        "warm.upsert(range(5000), {'d': np.random.default_rng(0).normal(size=(5000, 384))})\n"
        "warm.optimize(); [warm.search(np.ones(384), params=p) for p in (None, vsearch.SearchParams(exact=True))]\n"
        "queries = np.load(sys.argv[2])\n"
        "before = psutil.Process().memory_info().rss\n"
        "docs = vsearch.open(sys.argv[1]).collection('docs')\n"
        "for q in queries[:100]: docs.search(q)\n"
        "docs.search_batch(queries, with_payload=False)\n"
        "docs.search(queries[0], params=vsearch.SearchParams(exact=True))\n"
        "print(psutil.Process().memory_info().rss - before)\n"
    )
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, data.queries)
        file.flush()
        out = subprocess.run(
            [sys.executable, "-c", code, str(path), file.name], check=True, capture_output=True, text=True
        )
    used = int(out.stdout)
    n, d = data.docs.shape
    graph = n * (2 * M * 4 + 4 + 8 + M * 4 / (M - 1))
    ideal = n * d * 4 + graph
    note = f"{used / MB:.0f} MB; vectors {n * d * 4 / MB:.0f} MB + hnswlib's graph {graph / MB:.0f} MB"
    report.row("memory_ratio", "memory after load, x (vectors + hnswlib graph)", used / ideal, ("<=", 1.25), note)
    report.row(
        "memory_here_mb", "this whole process so far, MB more than at its start", (_memory_bytes() - base_bytes) / MB
    )


def _beside_a_writer(path: Path, data: Wordnet, report: Report) -> None:
    """Queries/s of four reader threads alone, and beside a thread that upserts without a pause."""
    with vsearch.open(path) as db:
        docs = db.collection("docs")
        alone = _readers(docs, data, None)
        beside = _readers(docs, data, data.docs)
    note = f"{alone:,.0f} q/s alone, {beside:,.0f} q/s beside the writer"
    report.row("beside_writer_ratio", "4 reader threads beside a writer, x alone", beside / alone, (">=", 0.6), note)


def _readers(docs: vsearch.Collection, data: Wordnet, written: np.ndarray | None, seconds: float = 6.0) -> float:
    stop = threading.Event()
    counts = [0] * 4

    def read(number: int) -> None:
        rng = np.random.default_rng(number)
        while not stop.is_set():
            docs.search(data.queries[rng.integers(len(data.queries))])
            counts[number] += 1

    def write(rows: np.ndarray) -> None:
        at = 0
        while not stop.is_set():
            batch = range(at, at + 100)
            docs.upsert([1_000_000 + i for i in batch], vectors={"dense": rows[[i % len(rows) for i in batch]]})
            at += 100

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    if written is not None:
        threads.append(threading.Thread(target=write, args=(written,)))
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def _memory_bytes() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss
