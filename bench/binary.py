"""The index kind `binary` beside faiss's RaBitQ, an exact scan and the graph: on WordNet (117,659 x 384) in process and
served, on a million vectors of 1,024 components (`binary_large`), and where it crosses the graph (`binary_crossover`).

Times are of the index alone, by a reader in this process, and compare at equal recall of the nearest 10 (`sides`).
faiss has as many threads as our reader. Sides are timed in alternating rounds, and the best counts.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bench import binary_crossover, binary_large, binary_served
from bench.bandwidth import reading
from bench.data import Wordnet, recall, wordnet
from bench.measure import THREADS, best_s
from bench.report import Report
from bench.sides import (
    ESTIMATES,
    STAGE,
    K,
    Side,
    SignBits,
    binary_side,
    flat_side,
    found,
    hnsw_side,
    rabitq,
    refined_side,
    seconds_a_query,
    top_share,
)
from vsearch import SearchParams
from vsearch.cli.warmup import warm_up
from vsearch.index import binary, hnsw

BATCH = 1_000
SINGLE = 200  # queries searched one at a time
SCANS = 50  # queries of which the scan is timed
EXTRA_BITS = (0, 2, 4, 8)
CORRELATED_ROWS = 20_000


def run(options: argparse.Namespace) -> None:
    """Measure everything and print the report."""
    data = wordnet(options.data, 10_000 if options.quick else None)
    warm_up()
    report = Report("binary")
    _wordnet(data, report)
    binary_served.measure(data, report)
    binary_crossover.measure(data, report)
    binary_large.measure(data, options.quick, report)
    report.show()


def _wordnet(data: Wordnet, report: Report) -> None:
    buffers = binary.build(data.docs, "dot", {}, THREADS)
    readers = {threads: binary.Binary(data.docs, buffers, "dot", threads) for threads in (1, THREADS)}
    report.row(
        "default_recall",
        "recall@10 by default",
        recall(found(readers[THREADS], data.queries, SearchParams()), data.truth),
        (">=", 0.995),
    )
    fast_scan, plain = rabitq(faiss.IndexRaBitQFastScan, data.docs), rabitq(faiss.IndexRaBitQ, data.docs)
    fast_scan.add(data.docs)
    plain.add(data.docs)
    _stage(readers[THREADS], fast_scan, plain, data, report)
    peers = [
        refined_side(name, faiss.IndexRefineFlat(index, faiss.swig_ptr(data.docs)), data.queries, data.truth)
        for name, index in (("RaBitQFastScan", fast_scan), ("RaBitQ", plain))
    ]
    _beside_faiss(readers, [*peers, flat_side(data.docs)], data, report)
    _beside_hnsw(readers[1], data, report)
    _memory(readers[1], buffers, data.docs, report)
    _scan(readers[1], data.queries, report)
    _ingest(data.docs, report)
    _extra_bits(data, report)
    _bits(buffers["codes"], data.docs, report)


def _stage(reader: binary.Binary, fast_scan: Any, plain: Any, data: Wordnet, report: Report) -> None:
    """What codes of one bit a component leave, without any vector."""
    signs = SignBits(data.docs)
    signs.add(data.docs)
    for key, title, near, wanted in (
        ("stage", "binary", found(reader, data.queries, ESTIMATES, STAGE), (">=", 0.992)),
        ("stage_fast_scan", "faiss RaBitQFastScan", fast_scan.search(data.queries, STAGE)[1], None),
        ("stage_rabitq", "faiss RaBitQ", plain.search(data.queries, STAGE)[1], None),
        ("stage_signs", "rotated signs", signs.search(data.queries, STAGE), None),
    ):
        report.row(key, f"top 10 in the best {STAGE} by codes: {title}", top_share(near, data.truth), wanted)


def _beside_faiss(readers: dict[int, binary.Binary], peers: list[Side], data: Wordnet, report: Report) -> None:
    ours = {threads: binary_side(reader, data.queries, data.truth) for threads, reader in readers.items()}
    for threads, side in ours.items():
        faiss.omp_set_num_threads(threads)
        for batch, some in ((BATCH, data.queries[:BATCH]), (1, data.queries[:SINGLE])):
            our_s, *peer_s = seconds_a_query([side, *peers], some, batch)
            how = f"{'one by one' if batch == 1 else f'batch of {batch:,}'}, {threads} thread{'s'[: threads - 1]}"
            for peer, seconds in zip(peers, peer_s, strict=True):
                wanted = ("<=", 0.5) if threads == 1 and peer.name == "RaBitQFastScan" else None
                note = f"{our_s * 1e6:,.0f} us {side.setting}; {seconds * 1e6:,.0f} us {peer.setting}"
                key = f"{peer.name}_{'one' if batch == 1 else 'batch'}_{'1' if threads == 1 else 'all'}".lower()
                report.row(key, f"{how}: time x {peer.name}'s", our_s / seconds, wanted, note)
    faiss.omp_set_num_threads(THREADS)


def _beside_hnsw(reader: binary.Binary, data: Wordnet, report: Report) -> None:
    graph = hnsw.Hnsw(data.docs, hnsw.build(data.docs, "dot", {}, THREADS), "dot", 1)
    sides = [side(index, data.queries, data.truth) for side, index in ((binary_side, reader), (hnsw_side, graph))]
    for key, batch, some, wanted in (
        ("hnsw_one", 1, data.queries[:SINGLE], (">=", 1.0)),
        ("hnsw_batch", BATCH, data.queries[:BATCH], None),
    ):
        our_s, graph_s = seconds_a_query(sides, some, batch)
        how = "one by one" if batch == 1 else f"batch of {batch:,}"
        note = f"{1 / our_s:,.0f} q/s {sides[0].setting}; {1 / graph_s:,.0f} q/s {sides[1].setting}"
        report.row(key, f"{how}, 1 thread: queries/s x our hnsw's", graph_s / our_s, wanted, note)


def _memory(reader: binary.Binary, buffers: dict[str, NDArray[Any]], docs: NDArray[np.float32], report: Report) -> None:
    n, d = docs.shape
    by_row = buffers["codes"][0, :, 0].nbytes + buffers["factors"][0, :, 0].nbytes
    note = f"{by_row} of each row, {reader.memory_bytes() - n * by_row:,} once"
    report.row(
        "bytes_a_vector", "codes and factors, bytes a vector", reader.memory_bytes() / n, ("<=", d / 8 + 16), note
    )


def _scan(reader: binary.Binary, queries: NDArray[np.float32], report: Report) -> None:
    """How fast codes and factors are read by a search that reads nothing else."""
    size, read = reader.memory_bytes(), reading(reader.memory_bytes())
    scan_s, read_s = best_s(
        lambda: [found(reader, query[None], ESTIMATES) for query in queries[:SCANS]],
        lambda: [read() for _ in range(SCANS)],
    )
    scan, most = (size * SCANS / seconds / 1e9 for seconds in (scan_s, read_s))
    note = f"{scan / most:.2f} of {most:.1f} GB/s, at which this machine reads {size / 1e6:.1f} MB"
    report.row("scan_gb_s", "scan of codes, 1 query, 1 thread, GB/s", scan, None, note)
    report.row("read_gb_s", "reading as many bytes, 1 thread, GB/s", most)


def _ingest(docs: NDArray[np.float32], report: Report) -> None:
    def peer() -> None:
        rabitq(faiss.IndexRaBitQFastScan, docs).add(docs)

    for threads in (1, THREADS):
        faiss.omp_set_num_threads(threads)
        our_s, peer_s = best_s(partial(binary.build, docs, "dot", {}, threads), peer)
        key, how = ("1", "1 thread") if threads == 1 else ("all", f"{threads} threads")
        report.row(f"build_rows_s_{key}", f"coding, {how}, rows/s", len(docs) / our_s, None, f"{peer_s / our_s:.2f} x")
        report.row(f"faiss_build_rows_s_{key}", f"faiss RaBitQFastScan, {how}, rows/s", len(docs) / peer_s)


def _extra_bits(data: Wordnet, report: Report) -> None:
    n, nq = len(data.docs), len(data.queries)
    for bits in EXTRA_BITS:
        reader = binary.Binary(data.docs, binary.build(data.docs, "dot", {"extra_bits": bits}, THREADS), "dot", THREADS)
        got = recall(found(reader, data.queries, ESTIMATES), data.truth)
        compared = reader.search(data.queries, K, SearchParams()).cost.rescored / nq
        what = f"extra_bits {bits}"
        report.row(f"extra_{bits}_recall", f"{what}: recall@10 by codes alone", got)
        report.row(f"extra_{bits}_compared", f"{what}: vectors compared a query by default", compared)
        report.row(f"extra_{bits}_bytes", f"{what}: bytes a vector", reader.memory_bytes() / n)


def _bits(codes: NDArray[np.uint8], docs: NDArray[np.float32], report: Report) -> None:
    """How much a bit of a code tells, and how much of it the other bits do not."""
    for key, title, bits in (
        ("code", "codes", unpacked(codes, len(docs))),
        ("sign", "signs of the vectors", docs > 0.0),
    ):
        share = np.clip(bits.mean(axis=0), 1e-12, 1.0 - 1e-12)
        entropy = -(share * np.log2(share) + (1.0 - share) * np.log2(1.0 - share))
        report.row(f"{key}_entropy", f"{title}: entropy of a bit, bits", float(entropy.mean()))
        some = bits[:: -(-len(bits) // CORRELATED_ROWS)].astype(np.float32)
        varied = some[:, some.std(axis=0) > 0.0]
        pairs = np.abs(np.corrcoef(varied, rowvar=False))[np.triu_indices(varied.shape[1], 1)]
        chance = np.sqrt(2.0 / np.pi / len(some))  # the mean where bits are independent
        note = f"{chance:.4f} by chance in {len(some):,} rows"
        report.row(f"{key}_correlation", f"{title}: mean |correlation| of two bits", float(pairs.mean()), None, note)


def unpacked(codes: NDArray[np.uint8], rows: int) -> NDArray[np.bool_]:
    """bool [rows, D]: the code of each row, taken out of its block (`binary_code` says how they lie there)."""
    blocks, width, _ = codes.shape
    by_row = codes.reshape(blocks, width, 16, 2).transpose(0, 3, 2, 1).reshape(-1, width)
    return np.unpackbits(by_row[:rows], axis=1, bitorder="little").astype(bool)
