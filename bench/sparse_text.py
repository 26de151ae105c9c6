"""Full text beside bm25s and tantivy, on WordNet: definitions, and example sentences that ask for them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import vsearch
from bench.bm25_peers import K1, LANGUAGE, B, Bm25s, K, Ranking, Tantivy, text_wordnet
from bench.measure import best_s
from bench.report import Report
from bench.sparse_data import NO_ROW
from bench.sparse_peers import one_core
from vsearch.collection import Collection
from vsearch.types import IntArray

BATCH = 1_000
POINTS = 10_000  # written by one upsert
TOLERANCE = 1e-4  # of a score, which is added up in another order


def measure(folder: Path, quick: bool, report: Report) -> None:
    """Queries a second and rankings of each side, one core."""
    data = text_wordnet(folder, 10_000 if quick else None)
    peer, tantivy = Bm25s(data.docs), Tantivy(data.docs)
    with tempfile.TemporaryDirectory() as path, vsearch.open(path) as db:
        docs = db.create_collection("docs", {"body": vsearch.Text(LANGUAGE, k1=K1, b=B)})
        for first in range(0, len(data.texts), POINTS):
            some = data.texts[first : first + POINTS]
            docs.upsert(list(range(first, first + len(some))), {"body": some})
        docs.optimize()
        ours = ranked(docs, data.query_texts)
        theirs = peer.batch(peer.numbers(data.queries))
        _quality(ours, theirs, data.answers, report)
        texts = data.query_texts[:BATCH]
        numbers, asked = peer.numbers(data.queries[:BATCH]), tantivy.queries(data.queries[:BATCH])
        with one_core():
            our_s, our_one_s, peer_s, peer_one_s, tantivy_s = best_s(
                lambda: docs.search_batch(texts, limit=K, with_payload=False),
                lambda: [docs.search(text, limit=K, with_payload=False) for text in texts],
                lambda: peer.batch(numbers),
                lambda: peer.singly(numbers),
                lambda: tantivy.singly(asked),
            )
    note = f"{BATCH / our_s:,.0f} q/s from text to hits; bm25s {BATCH / peer_s:,.0f} q/s from token numbers"
    report.row("bm25_batch", "BM25, batch: queries/s x bm25s's", peer_s / our_s, (">=", 2.0), note)
    note = f"{BATCH / our_one_s:,.0f} q/s; bm25s {BATCH / peer_one_s:,.0f} q/s, tantivy {BATCH / tantivy_s:,.0f} q/s"
    report.row("bm25_one", "BM25, one by one: queries/s x bm25s's", peer_one_s / our_one_s, (">=", 2.0), note)
    report.row("bm25_tantivy", "BM25, one by one: queries/s x tantivy's", tantivy_s / our_one_s)


def ranked(docs: Collection, texts: list[str]) -> Ranking:
    """What ours finds."""
    rows, scores = np.full((len(texts), K), NO_ROW, np.int64), np.zeros((len(texts), K), np.float32)
    for at, hits in enumerate(docs.search_batch(texts, limit=K, with_payload=False)):
        rows[at, : len(hits)], scores[at, : len(hits)] = hits.point_ids, hits.scores
    return Ranking(rows, scores)


def _quality(ours: Ranking, theirs: Ranking, answers: IntArray, report: Report) -> None:
    close = np.abs(ours.scores - theirs.scores) <= TOLERANCE * np.maximum(theirs.scores, 1.0)
    same = float(close.all(axis=1).mean())
    report.row("bm25_same", "BM25: share of queries with bm25s's scores, rank by rank", same, (">=", 1.0))
    mine, other = _mrr(ours, answers), _mrr(theirs, answers)
    report.row("bm25_mrr", "BM25: MRR@10", mine, None, f"bm25s {other:.4f}")
    report.row("bm25_mrr_off", "BM25: MRR@10 off bm25s's", abs(mine - other), ("<=", 0.0005))


def _mrr(ranking: Ranking, answers: Any) -> float:
    """Mean reciprocal rank of the labelled answers, of equal scores the smaller row first."""
    order = np.lexsort((ranking.rows, -ranking.scores))
    rows = np.take_along_axis(ranking.rows, order, axis=1)
    return float(((rows == answers[:, None]) / np.arange(1, K + 1)).sum(axis=1).mean())
