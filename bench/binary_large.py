"""The index kind `binary` on many and long vectors: 1,000,000 x 1,024 in float16, made of real ones.

1. A row is a WordNet vector, blended with another to be a new one between them, as 1,024 components: its own 384, and
   the same rotated twice. Noise fills the components that 384 do not span. Queries are made so of real queries, without
   a blend.
2. Chunks keep this below 12 GB, of which faiss's float32 copy is 4 GB, and for a moment more while it grows. Both sides
   have the same numbers, those of float16.
"""

from __future__ import annotations

import time
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.bandwidth import reading
from bench.data import Wordnet, recall
from bench.measure import ROUNDS, THREADS
from bench.report import Report
from bench.sides import (
    ESTIMATES,
    STAGE,
    K,
    SignBits,
    binary_side,
    found,
    rabitq,
    refined_side,
    seconds_a_query,
    top_share,
)
from vsearch import SearchParams
from vsearch.index import binary

SHAPE, QUICK_SHAPE = (1_000_000, 1_024), (50_000, 256)
QUERIES = 200
SINGLE = 30  # queries searched one at a time
BATCH = 100
CHUNK = 50_000
SAMPLE = 100_000  # rows that faiss is trained on
BLEND = 0.5  # of the second of two vectors, the first being 1
NOISE = 0.3  # likewise


def measure(data: Wordnet, quick: bool, report: Report) -> None:
    """Make the vectors, measure, and report."""
    n, d = QUICK_SHAPE if quick else SHAPE
    vectors, queries = _made(data, n, d)
    truth = _truth(vectors, queries)
    start = time.perf_counter()
    buffers = binary.build(vectors, "dot", {}, THREADS)
    build_s = time.perf_counter() - start
    reader = binary.Binary(vectors, buffers, "dot", 1)
    note = f"{n:,} x {d:,}"
    report.row("large_build_rows_s", f"large: coding, {THREADS} threads, rows/s", n / build_s, None, note)
    got = recall(found(reader, queries, SearchParams()), truth)
    report.row("large_recall", "large: recall@10 by default", got, (">=", 0.995))
    report.row("large_bytes", "large: codes and factors, bytes a vector", reader.memory_bytes() / n, ("<=", d / 8 + 16))
    refined, signs = _peers(vectors)
    for key, title, near in (
        ("large_stage", "binary", found(reader, queries, ESTIMATES, STAGE)),
        ("large_stage_fast_scan", "faiss RaBitQFastScan", refined.base_index.search(queries, STAGE)[1]),
        ("large_stage_signs", "rotated signs", signs.search(queries, STAGE)),
    ):
        report.row(key, f"large: top 10 in the best {STAGE} by codes: {title}", top_share(near, truth))
    sides = [
        binary_side(reader, queries, truth),
        refined_side("RaBitQFastScan", refined, queries, truth),
    ]
    faiss.omp_set_num_threads(1)
    for key, how, some, batch in (
        ("large_one", "one by one", queries[:SINGLE], 1),
        ("large_batch", f"batch of {BATCH}", queries[:BATCH], BATCH),
    ):
        our_s, peer_s = seconds_a_query(sides, some, batch)
        note = f"{our_s * 1e6:,.0f} us {sides[0].setting}; {peer_s * 1e6:,.0f} us {sides[1].setting}"
        report.row(key, f"large: {how}, 1 thread: time x RaBitQFastScan's", our_s / peer_s, ("<=", 0.5), note)
    _hamming(reader, buffers, signs, queries[:SINGLE], report)
    faiss.omp_set_num_threads(THREADS)


def scan_seconds(reader: binary.Binary, queries: NDArray[np.float32]) -> float:
    """Seconds of one scan of all codes for one query, one thread: of estimates, which are more work than Hamming
    distances, and which read the factors besides."""
    start = time.perf_counter()
    for query in queries:
        found(reader, query[None], ESTIMATES)
    return (time.perf_counter() - start) / len(queries)


def _hamming(
    reader: binary.Binary,
    buffers: dict[str, NDArray[Any]],
    signs: SignBits,
    queries: NDArray[np.float32],
    report: Report,
) -> None:
    """The scan of codes alone beside faiss's and beside reading. The ratio is of time, over the same number of rows."""
    coded = signs.codes(queries)
    ours, theirs = buffers["codes"].nbytes, signs.index.ntotal * coded.shape[1]
    read = reading(ours)

    def faiss_seconds() -> float:
        start = time.perf_counter()
        for code in coded:
            signs.index.search(code[None], K)
        return (time.perf_counter() - start) / len(coded)

    def read_seconds() -> float:
        start = time.perf_counter()
        read()
        return time.perf_counter() - start

    rounds = [(scan_seconds(reader, queries), faiss_seconds(), read_seconds()) for _ in range(ROUNDS)]
    our_s, faiss_s, read_s = np.min(rounds, axis=0).tolist()
    report.row("hamming_gb_s", "large: scan of codes, 1 query, 1 thread, GB/s", ours / our_s / 1e9)
    report.row("hamming_faiss_gb_s", "large: the same by faiss IndexBinaryFlat, GB/s", theirs / faiss_s / 1e9)
    note = f"{our_s * 1e3:.2f} ms; {faiss_s * 1e3:.2f} ms"
    title = "large: scan of codes: rows/s x IndexBinaryFlat's (Hamming)"
    report.row("hamming_ratio", title, faiss_s / our_s, (">=", 1.0), note)
    note = f"{ours / read_s / 1e9:.1f} GB/s, at which this machine reads {ours / 1e6:.0f} MB"
    report.row("hamming_read_ratio", "large: scan of codes: GB/s x those of reading", read_s / our_s, None, note)


def _made(data: Wordnet, n: int, d: int) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """vectors float16 [n, d] and queries float32 [QUERIES, d], of unit length."""
    rng = np.random.default_rng(0)
    narrow = data.docs.shape[1]
    turns = [np.linalg.qr(rng.standard_normal((narrow, narrow)))[0] for _ in range(1, -(-d // narrow))]
    widen = np.concatenate([np.eye(narrow), *turns], axis=1)[:, :d].astype(np.float32)

    def finish(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        wide = rows @ widen
        wide += rng.standard_normal(wide.shape, np.float32) * np.float32(NOISE / np.sqrt(narrow))
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        return wide

    vectors = np.empty((n, d), np.float16)
    for start in range(0, n, CHUNK):
        some = np.arange(start, min(start + CHUNK, n))
        others = rng.integers(len(data.docs), size=len(some))
        vectors[some[0] : some[-1] + 1] = finish(
            data.docs[some % len(data.docs)] + np.float32(BLEND) * data.docs[others]
        )
    return vectors, finish(data.queries[:QUERIES])


def _truth(vectors: NDArray[np.float16], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """The rows of the K largest inner products, best first, int64 [nq, K]."""
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), CHUNK):
        here = queries @ vectors[start : start + CHUNK].astype(np.float32).T
        best = np.argpartition(-here, K, axis=1)[:, :K]
        scores = np.concatenate([scores, np.take_along_axis(here, best, axis=1)], axis=1)
        rows = np.concatenate([rows, best + start], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return np.take_along_axis(rows, order, axis=1)


def _peers(vectors: NDArray[np.float16]) -> tuple[Any, SignBits]:
    """faiss's RaBitQFastScan with the vectors in float32 to refine, and sign bits."""
    sample = vectors[:: -(-len(vectors) // SAMPLE)].astype(np.float32)
    refined, signs = faiss.IndexRefineFlat(rabitq(faiss.IndexRaBitQFastScan, sample)), SignBits(sample)
    for start in range(0, len(vectors), CHUNK):
        rows = vectors[start : start + CHUNK].astype(np.float32)
        refined.add(rows)
        signs.add(rows)
    return refined, signs
