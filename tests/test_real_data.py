"""On real data, where it is there: recall as asked, filters as a plain loop has them, the same after reopening."""

from __future__ import annotations

from pathlib import Path

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
