"""A field with index="binary" through its whole life: fresh, sealed, filtered, merged, damaged, served."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive_binary import bits_of
from naive_knn import clustered

import vsearch
from bench.data import recall, wordnet
from vsearch import F, SearchParams
from vsearch.index.coding import encode

N, D = 6_000, 24
RNG = np.random.default_rng(11)
X, Q = np.split(clustered(RNG, N + 40, D), [N])
EXACT = SearchParams(exact=True)


def fill(db: vsearch.Database, name: str = "docs", **options: Any) -> vsearch.Collection:
    docs = db.create_collection(name, fields={"v": vsearch.Dense(D, index="binary", **options)})
    for start in range(0, N, 1_000):
        part = range(start, start + 1_000)
        docs.upsert(part, vectors={"v": X[start : start + 1_000]}, payloads=[{"n": i, "tenth": i % 10} for i in part])
    return docs


def agrees(docs: vsearch.Collection, least: float = 0.99, queries: np.ndarray = Q, **options: Any) -> bool:
    """Whether searches find nearly all that exact ones find, and score it equally."""
    found = docs.search_batch(queries, limit=10, **options)
    exact = docs.search_batch(queries, limit=10, params=EXACT, **options)
    for ours, true in zip(found, exact, strict=True):
        scores = dict(zip(true.point_ids, true.scores.tolist(), strict=True))
        assert len(ours) == len(true)
        assert all(scores.get(hit.id, hit.score) == hit.score for hit in ours)
    shared = [len(set(ours.point_ids) & set(true.point_ids)) for ours, true in zip(found, exact, strict=True)]
    return sum(shared) >= least * sum(map(len, exact))


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("extra_bits", [0, 4])
def test_fresh_sealed_and_reopened(tmp_path: Path, metric: str, extra_bits: int) -> None:
    with vsearch.open(tmp_path / "db") as db:
        docs = fill(db, metric=metric, extra_bits=extra_bits)
        assert docs.explain(Q[0]).steps[0].index == "binary"
        assert agrees(docs)
        docs.optimize()
        assert agrees(docs)
        assert {kind for s in docs.stats()["segments"] for kind in s["indexes"].values()} == {"binary"}
        docs.upsert([0, 1], vectors={"v": X[[1, 0]]}, payloads=[{"n": 0}, {"n": 1}])
        docs.delete(ids=range(2, 40))
        assert agrees(docs)
        assert docs.search(X[1], limit=1).point_ids == [0]
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("docs")
        assert docs.schema["v"].extra_bits == extra_bits
        assert agrees(docs)
        docs.optimize()
        assert docs.count() == N - 38
        assert agrees(docs)
        assert db.check() == []


def test_filters_of_every_density_and_what_explain_says(db: vsearch.Database) -> None:
    docs = fill(db)
    docs.optimize()
    for condition in (F("n") < 1, F("n") < 30, F("tenth") == 3, F("tenth") != 3, F("n") < 0, F("n") >= 0):
        assert agrees(docs, filter=condition)
    plan = docs.explain(Q[0], params=SearchParams(recall=0.99), analyze=True)
    (step,) = plan.steps
    assert step.strategy == "index"
    assert step.measured is not None
    assert step.measured.distances == N
    assert 10 <= step.measured.rescored < N / 4
    assert "one-bit codes" in str(plan)
    (step,) = docs.explain(Q[0], filter=F("n") < 5).steps
    assert step.strategy == "scan", "few rows are compared exactly"


def test_what_params_ask_for(db: vsearch.Database) -> None:
    docs = fill(db, extra_bits=4)
    docs.optimize()
    exact = docs.search(Q[0], params=EXACT)
    assert docs.search(Q[0], params=SearchParams(recall=1.0)).scores.tolist() == exact.scores.tolist()
    (step,) = docs.explain(Q[0], params=SearchParams(oversampling=3.0), analyze=True).steps
    assert step.measured is not None
    assert (step.width, step.measured.rescored) == (30, 30)
    rough = docs.search(Q[0], params=SearchParams(rescore=False))
    assert rough.scores == pytest.approx(exact.scores, abs=0.1)
    (step,) = docs.explain(Q[0], params=SearchParams(rescore=False), analyze=True).steps
    assert step.measured is not None
    assert step.measured.rescored == 0


@pytest.mark.parametrize("damage", ["missing", "cut short", "of other rows", "of another coding"])
def test_damaged_codes_are_made_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "db"
    with vsearch.open(path) as db:
        fill(db).optimize()
        other = db.create_collection("other", fields={"v": vsearch.Dense(D, index="binary")})
        other.upsert(range(300), vectors={"v": X[:300]})
        other.optimize()
    file, stranger = sorted(path.glob("segments/*/*/f0.binary.vsa"))
    data = file.read_bytes()
    file.unlink()
    if damage == "cut short":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "of other rows":
        file.write_bytes(stranger.read_bytes())
    elif damage == "of another coding":
        seed = int(encode_seed()).to_bytes(8, "little")
        assert data.count(seed) == 1
        file.write_bytes(data.replace(seed, (7).to_bytes(8, "little")))
    with caplog.at_level(logging.WARNING, "vsearch"), vsearch.open(path) as db:
        docs = db.collection("docs")
        assert db.check()
        assert agrees(docs)
        assert "will be rebuilt" in caplog.text
        docs.optimize()
        assert db.check() == []
        assert agrees(docs)


def encode_seed() -> int:
    from vsearch.index.coding import SEED

    return SEED


@pytest.mark.parametrize(
    "options", [{"dim": 7}, {"dim": 8_193}, *({"dim": 8, "extra_bits": bits} for bits in (1, 3, 9, -1, True, 2.5))]
)
def test_impossible_fields_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(vsearch.InvalidArgument):
        vsearch.Dense(**options, index="binary")  # type: ignore[arg-type]


@pytest.mark.parametrize("index", ["flat", "hnsw", "binary"])
@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_vectors_of_int8(tmp_path: Path, index: Any, metric: Any) -> None:
    whole = np.rint(X * 127)
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"v": vsearch.Dense(D, metric=metric, index=index, dtype="int8")})
        docs.upsert(range(N), vectors={"v": whole})
        assert agrees(docs, 0.9, 127 * Q)
        docs.optimize()
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("docs")
        assert agrees(docs, 0.9, 127 * Q)
        expected = whole @ Q[0] if metric == "dot" else -np.linalg.norm(whole - Q[0], axis=1)
        hits = docs.search(Q[0], params=EXACT, with_vectors=True)
        assert hits.scores == pytest.approx(np.sort(expected)[::-1][:10], rel=1e-5)
        assert (hits[0].vectors or {})["v"].tolist() == whole[int(hits[0].id)].tolist()
        for wrong in (0.5, 128, -129, np.nan):
            with pytest.raises(vsearch.InvalidArgument):
                docs.upsert([1], vectors={"v": np.full((1, D), wrong)})
    with pytest.raises(vsearch.InvalidArgument, match="cosine"):
        vsearch.Dense(D, dtype="int8")


def test_bad_queries_are_refused(db: vsearch.Database) -> None:
    docs = fill(db)
    with pytest.raises(vsearch.DimensionMismatch):
        docs.search(np.ones(D + 1))
    with pytest.raises(vsearch.InvalidArgument, match="NaN"):
        docs.search(np.full(D, np.nan))
    assert len(docs.search(Q[0], limit=N + 100, params=SearchParams(recall=0.9))) == N


@pytest.mark.parametrize("dim", [1, 7, 8_200])
def test_dimensions_without_codes_are_searched_as_they_are(db: vsearch.Database, dim: int) -> None:
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(dim, metric="l2")})
    vectors = np.random.default_rng(dim).standard_normal((1_100, dim)).astype(np.float32)
    docs.upsert(range(1_100), vectors={"v": vectors})
    assert docs.explain(vectors[0]).steps[0].index == "flat"
    assert docs.search(vectors[77], limit=1).point_ids == [77]


def test_on_real_data(data_dir: Path, tmp_path: Path) -> None:
    data = wordnet(data_dir, 20_000)
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("wordnet", fields={"v": vsearch.Dense(384, index="binary", dtype="float16")})
        for at in range(0, len(data.docs), 4_000):
            docs.upsert(range(at, at + 4_000), vectors={"v": data.docs[at : at + 4_000]})
        docs.optimize()
        found = docs.search_batch(data.queries, with_payload=False)
        assert recall(np.array([hits.ids for hits in found]), data.truth) >= 0.99
        best = docs.search_batch(data.queries, limit=100, params=SearchParams(rescore=False), with_payload=False)
        inside = [len(set(h.point_ids) & set(t[:10].tolist())) for h, t in zip(best, data.truth, strict=True)]
        assert np.mean(inside) / 10 >= 0.975
    bits = bits_of(encode(data.docs, "dot", 0), len(data.docs))
    share = bits.mean(axis=0)
    assert -(share * np.log2(share) + (1 - share) * np.log2(1 - share)).mean() > 0.999
