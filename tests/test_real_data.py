"""On real data, where it is there: recall as asked, filters as a plain loop has them, the same after reopening."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import vsearch
from bench.data import recall, wordnet
from vsearch import F, SearchParams

ROWS = 20_000


def test_wordnet(data_dir: Path, tmp_path: Path) -> None:
    data = wordnet(data_dir, ROWS)
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("wordnet", fields={"dense": vsearch.Dense(384)})
        for at in range(0, ROWS, 2_000):
            part = slice(at, at + 2_000)
            docs.upsert(range(at, at + 2_000), vectors={"dense": data.docs[part]}, payloads=data.payloads[part])
        docs.optimize()
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("wordnet")
        for params, least in ((None, 0.94), (SearchParams(recall=0.99), 0.98), (SearchParams(exact=True), 0.999)):
            found = docs.search_batch(data.queries, params=params, with_payload=False)
            assert recall(np.array([hits.ids for hits in found]), data.truth) >= least
        wanted = [p["category"] == "noun.food" and p["words"] <= 12 for p in data.payloads]
        condition = (F("category") == "noun.food") & (F("words") <= 12)
        assert docs.count(condition) == sum(wanted)
        rows = np.flatnonzero(wanted)
        for query in data.queries[:20]:
            best = rows[np.argsort(-(data.docs[rows] @ query), kind="stable")[:10]]
            assert docs.search(query, filter=condition).scores.tolist() == (
                docs.search(query, filter=condition, params=SearchParams(exact=True)).scores.tolist()
            )
            assert set(docs.search(query, filter=condition).point_ids) == set(best.tolist())
        assert db.check() == []


def matrix(path: Path, rows: slice) -> Any:
    """Rows of a CSR matrix in a file, as SciPy has them."""
    stored = dict(np.load(path))
    bounds = stored["indptr"][rows.start : rows.stop + 1]
    part = slice(bounds[0], bounds[-1])
    weights = stored["values"][part] * np.float32(stored["scale"])
    shape = (len(bounds) - 1, int(stored["dim"]))
    return SimpleNamespace(
        indptr=bounds - bounds[0], indices=stored["indices"][part], data=weights, shape=shape, format="csr"
    )


def test_sparse_wordnet(data_dir: Path, tmp_path: Path) -> None:
    queries = matrix(data_dir / "wordnet" / "queries_sparse.npz", slice(0, 1_000))
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("wordnet", fields={"s": vsearch.Sparse()})
        for at in range(0, ROWS, 10_000):
            part = matrix(data_dir / "wordnet" / "sparse.npz", slice(at, at + 10_000))
            docs.upsert(range(at, at + 10_000), vectors={"s": part})
        docs.optimize()
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("wordnet")
        assert [segment["indexes"] for segment in docs.stats()["segments"]] == [{"s": "inverted"}]
        exact = docs.search_batch(queries, using="s", params=SearchParams(exact=True), with_payload=False)
        truth = np.array([hits.ids for hits in exact])
        for asked in (0.9, 0.95, 0.99):
            found = docs.search_batch(queries, using="s", params=SearchParams(recall=asked), with_payload=False)
            assert recall(np.array([hits.ids for hits in found]), truth) >= asked - 0.02
        first = slice(queries.indptr[1])
        query = dict(zip(queries.indices[first].tolist(), queries.data[first].tolist(), strict=True))
        (step,) = docs.explain(query, using="s", params=SearchParams(recall=0.99)).steps
        assert (step.index, step.strategy) == ("inverted", "index")
