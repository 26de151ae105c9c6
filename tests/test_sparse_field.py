"""Collections with sparse vectors: everything that Dense does, and what is theirs alone."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from naive_fields import check_hits, dot_scores, weighed_by_idf
from pyarrow import parquet

import vsearch
from vsearch import F, SearchParams, Sparse, compaction, growing
from vsearch.transfer import export, import_file
from vsearch.types import MAX_TERMS

EXACT = SearchParams(exact=True)
Vector = dict[int, float]


def csr(rows: list[Vector]) -> Any:
    """What SciPy's matrices look like."""
    indptr = np.cumsum([0] + [len(row) for row in rows])
    indices = np.array([term for row in rows for term in row], np.int64)
    data = np.array([weight for row in rows for weight in row.values()], np.float32)
    shape = (len(rows), 1 + max(indices.tolist(), default=0))
    return SimpleNamespace(indptr=indptr, indices=indices, data=data, shape=shape, format="csr")


def random_vectors(n: int, terms: int = 300, seed: int = 3, length: int = 12) -> dict[int, Vector]:
    """Weights are multiples of a quarter, so that float16 has them exactly."""
    rng = np.random.default_rng(seed)
    made = {}
    for number in range(n):
        chosen = np.unique((terms * rng.random(rng.integers(0, 2 * length)) ** 2).astype(int))
        made[number] = {int(term): float(rng.integers(1, 40)) / 4 for term in chosen}
    return made


VECTORS = random_vectors(1_500)
QUERIES = [{t: w / 8 for t, w in v.items()} for v in random_vectors(30, seed=4).values() if v]


def fill(docs: vsearch.Collection, vectors: dict[int, Vector] = VECTORS, step: int = 500) -> None:
    names = list(vectors)
    for start in range(0, len(names), step):
        part = names[start : start + step]
        docs.upsert(part, vectors={"s": [vectors[n] for n in part]}, payloads=[{"n": n, "tenth": n % 10} for n in part])


def check(docs: vsearch.Collection, vectors: dict[int, Vector], limit: int = 20, **options: Any) -> None:
    """Exact searches find what they should; others as many, with right scores."""
    for query in QUERIES:
        scores = dot_scores(query, vectors)
        check_hits(docs.search(query, using="s", limit=limit, params=EXACT, **options), scores, limit)
        hits = docs.search(query, using="s", limit=limit, **options)
        assert len(hits) == min(limit, len(scores))
        assert hits.scores == pytest.approx([scores[name] for name in hits.point_ids], rel=1e-5)
    batch = docs.search_batch(QUERIES, using="s", limit=limit, params=EXACT, **options)
    for query, hits in zip(QUERIES, batch, strict=True):
        check_hits(hits, dot_scores(query, vectors), limit)


def seal(docs: vsearch.Collection) -> None:
    assert docs._maintenance is not None
    docs._maintenance.seal_all()


@pytest.mark.parametrize("index", ["auto", "flat", "inverted"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_fresh_sealed_and_reopened(tmp_path: Path, index: Any, dtype: Any) -> None:
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"s": Sparse(index=index, dtype=dtype)})
        assert docs.schema == {"s": Sparse(index=index, dtype=dtype)}
        fill(docs)
        check(docs, VECTORS)
        seal(docs)
        check(docs, VECTORS)
        docs.optimize()
        check(docs, VECTORS)
        kinds = {"auto": "postings", "flat": "sparse_flat", "inverted": "inverted"}
        assert [s["indexes"] for s in docs.stats()["segments"]] == [{"s": kinds[index]}]
        docs.upsert([0, 1], vectors={"s": [VECTORS[1], VECTORS[0]]})
        docs.delete(ids=range(2, 40))
    vectors = {**VECTORS, 0: VECTORS[1], 1: VECTORS[0]}
    vectors = {name: vector for name, vector in vectors.items() if not 2 <= name < 40}
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("docs")
        assert docs.schema["s"] == Sparse(index=index, dtype=dtype)
        check(docs, vectors)
        assert {p.id: (p.vectors or {})["s"] for p in docs.scroll(limit=2_000, with_vectors=True)} == vectors
        docs.optimize()
        check(docs, vectors)
        assert db.check() == []


def test_large_segments_get_an_inverted_index(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse()})
    vectors = random_vectors(compaction.AUTO_INVERTED_ROWS, 3_000, seed=9, length=30)
    fill(docs, vectors, 2_048)
    docs.optimize()
    (step,) = docs.explain(QUERIES[0], analyze=True).steps
    assert step.index == "inverted"
    check(docs, vectors, 10)
    found = docs.search_batch(QUERIES, limit=10)
    exact = docs.search_batch(QUERIES, limit=10, params=EXACT)
    shared = sum(len(set(a.point_ids) & set(b.point_ids)) for a, b in zip(found, exact, strict=True))
    assert shared >= 0.6 * sum(map(len, exact)), "and random terms are the worst case"


FORMS: dict[str, Callable[[list[Vector]], Any]] = {
    "dicts": lambda rows: rows,
    "pairs of lists": lambda rows: [(list(row), list(row.values())) for row in rows],
    "lists of arrays": lambda rows: [[np.array(list(row), np.uint64), np.array(list(row.values()))] for row in rows],
    "matrix": csr,
    "matrices of a row": lambda rows: [csr([row]) for row in rows],
    "mixed": lambda rows: tuple(row if i % 2 else (list(row), list(row.values())) for i, row in enumerate(rows)),
    "numpy scalars": lambda rows: [{np.int64(t): np.float32(w) for t, w in row.items()} for row in rows],
    "backwards": lambda rows: [dict(reversed(row.items())) for row in rows],
    "repeated": lambda rows: [([*row, *row], [w / 2 for w in row.values()] * 2) for row in rows],
    "with zeros": lambda rows: [{9_999: 0.0, **row, 10_000: 1e-60} for row in rows],
    "whole weights": lambda rows: [(list(row), np.array(list(row.values())).astype(np.float64)) for row in rows],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_input_is_the_same(db: vsearch.Database, form: str) -> None:
    make = FORMS[form]
    rows = [{1: 0.5, 70_000: 2.0, 2**32 - 1: 1.25}, {}, {5: 4.0, 6: 1.0}]
    docs = db.create_collection("docs", fields={"s": Sparse()})
    docs.upsert([0, 1, 2], vectors={"s": make(rows)})
    docs.insert([10, 11, 12], vectors={"s": make(rows)})
    docs.upsert([20, 21, 22])
    docs.update_vectors([20, 21, 22], {"s": make(rows)})
    docs.upsert([30, 31, 32])
    for name, row in zip([30, 31, 32], rows, strict=True):
        one = make([row])
        docs.update(name, vectors={"s": one if form == "matrix" else one[0]})
    stored = {p.id: (p.vectors or {}).get("s") for p in docs.scroll(with_vectors=True)}
    assert stored == {ten + i: row for ten in (0, 10, 20, 30) for i, row in enumerate(rows)}
    one = make([{5: 1.0, 6: 2.0}])
    hits = docs.search(one if form == "matrix" else one[0], limit=9)
    assert (hits.point_ids, hits.scores.tolist()) == ([2, 12, 22, 32], [6.0] * 4)
    assert [h.point_ids for h in docs.search_batch(make([rows[0], {}, rows[2]]), limit=1)] == [[0], [], [2]]


def test_points_without_the_field_and_with_an_empty_vector(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse(), "d": vsearch.Dense(2)})
    docs.upsert(["a", "b", "c"], vectors={"s": [None, {}, {3: 1.0}], "d": [[1, 0], None, [0, 1]]})
    docs.upsert(["d"], vectors={"d": [[1, 1]]})
    docs.upsert(["e"], payloads=[{"x": 1}])
    for _ in range(2):
        shown = {p.id: set(p.vectors or {}) for p in docs.scroll(with_vectors=True)}
        assert shown == {"a": {"d"}, "b": {"s"}, "c": {"s", "d"}, "d": {"d"}, "e": set()}
        assert docs.search({3: 1.0}, using="s", with_vectors=True)[0].vectors["s"] == {3: 1.0}  # type: ignore[index]
        assert docs.search({3: 1.0, 4: 1.0}, using="s").point_ids == ["c"]
        assert docs.search({}, using="s").point_ids == docs.search({7: 1.0}, using="s").point_ids == []
        assert docs.search([1, 0], using="d", limit=1).point_ids == ["a"]
        docs.optimize()


BAD_POINTS: list[tuple[Any, str]] = [
    ({1: 0.5}, "dict"),
    ("text", "str"),
    (np.ones((3, 4)), "ndarray"),
    ([{1: 0.5}], "1 vectors of field 's' for 3 ids"),
    (csr([{1: 1.0}] * 4), "4 vectors of field 's' for 3 ids"),
    ([{1: 0.5}, 7, None], "row 1 is a int"),
    ([{1: 0.5}, [1, 2], None], "row 1 is a list of another form"),
    ([{1: 0.5}, "ab", None], "row 1 is a str"),
    ([{1: 0.5}, {-1: 0.5}, None], "row 1 has the term -1"),
    ([{1: 0.5}, {2**32: 0.5}, None], "row 1 has the term 4294967296"),
    ([{1: 0.5}, {2**70: 0.5}, None], "row 1 has the term"),
    ([{1: 0.5}, (np.array([2**64 - 1], np.uint64), [0.5]), None], "row 1 has a term out of range"),
    ([{1: 0.5}, (np.array([-5]), [0.5]), None], "row 1 has a term out of range"),
    ([{1: 0.5}, {"1": 0.5}, None], "row 1 has indices that are not all integers"),
    ([{1: 0.5}, {1.0: 0.5}, None], "row 1 has indices that are not all integers"),
    ([{1: 0.5}, {True: 0.5}, None], "row 1 has indices that are not all integers"),
    ([{1: 0.5}, (np.array([1.0]), [0.5]), None], "row 1 has indices of type float64"),
    ([{1: 0.5}, ([[1]], [0.5]), None], "row 1 has indices that are not all integers"),
    ([{1: 0.5}, {1: "x"}, None], "row 1 has weights that are not all numbers"),
    ([{1: 0.5}, {1: None}, None], "row 1 has weights that are not all numbers"),
    ([{1: 0.5}, {1: True}, None], "row 1 has weights that are not all numbers"),
    ([{1: 0.5}, {1: 1j}, None], "row 1 has weights that are not all numbers"),
    ([{1: 0.5}, {1: 10**400}, None], "row 1 has a weight beyond every float"),
    ([{1: 0.5}, ([1], np.array(["x"])), None], "row 1 has weights of type"),
    ([{1: 0.5}, ([1, 2], [0.5]), None], "row 1 has 2 indices and 1 values"),
    ([{1: 0.5}, {1: float("nan")}, None], "row 1 has NaN or infinity"),
    ([None, {1: float("inf")}, {1: 1.0}], "row 1 has NaN or infinity"),
    ([{1: 0.5}, {}, {3: 1.0, 1: -0.5}], r"row 2 has a negative weight \(term 1\)"),
    ([{1: 0.5}, {1: 1e16}, None], "row 1 has a weight above 1e"),
    ([{1: 0.5}, {1: 1e300}, None], "row 1 has a weight above 1e"),
    ([{1: 0.5}, ([1, 1], [9e14, 9e14]), None], "row 1 has a weight above 1e"),
    ([{1: 0.5}, csr([{1: 1.0}, {2: 1.0}]), None], "row 1 is a matrix of 2 rows"),
]


def bad_matrices() -> list[tuple[Any, str]]:
    good = csr([{1: 1.0}, {2: 1.0}, {3: 1.0}])
    return [
        (SimpleNamespace(**{**vars(good), "format": "csc"}), "format csc"),
        (SimpleNamespace(**{**vars(good), "indptr": np.array([0, 2, 1, 3])}), "does not ascend"),
        (SimpleNamespace(**{**vars(good), "indptr": np.array([1, 2, 3, 3])}), "does not ascend"),
        (SimpleNamespace(**{**vars(good), "indptr": np.array([0, 1, 2, 9])}), "up to 9"),
        (SimpleNamespace(**{**vars(good), "indptr": np.array([0.0, 1, 2, 3])}), "indptr of type float64"),
        (SimpleNamespace(**{**vars(good), "indices": np.array([1, 2])}), "2 indices and 3 values"),
        (SimpleNamespace(**{**vars(good), "indices": np.array([1, 2, -3])}), "row 2 has a term out of range"),
        (SimpleNamespace(**{**vars(good), "data": np.array([1, 2, np.nan])}), "row 2 has NaN"),
        (SimpleNamespace(**{**vars(good), "data": np.array([1, 2, -3])}), "row 2 has a negative weight"),
        (SimpleNamespace(**{**vars(good), "data": np.array(["a", "b", "c"])}), "weights of type"),
    ]


@pytest.mark.parametrize(("values", "message"), [*BAD_POINTS, *bad_matrices()])
def test_bad_vectors_are_refused_and_nothing_is_written(db: vsearch.Database, values: Any, message: str) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse()})
    docs.upsert([0, 1, 2], vectors={"s": [{7: 1.0}] * 3})
    for write in (docs.upsert, docs.insert, docs.update_vectors):
        with pytest.raises(vsearch.InvalidArgument, match=message):
            write([0, 1, 2], {"s": values})
    assert {p.id: (p.vectors or {})["s"] for p in docs.scroll(with_vectors=True)} == {n: {7: 1.0} for n in range(3)}


def test_too_many_terms_and_float16(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse(dtype="float16")})
    docs.upsert([0], vectors={"s": [(np.arange(MAX_TERMS), np.ones(MAX_TERMS))]})
    with pytest.raises(vsearch.LimitExceeded, match="row 1 has 65,536 terms"):
        docs.upsert([1, 2], vectors={"s": [{1: 1.0}, (np.arange(MAX_TERMS + 1), np.ones(MAX_TERMS + 1))]})
    docs.upsert([1], vectors={"s": [(np.arange(MAX_TERMS + 1), np.append(np.ones(MAX_TERMS), 0))]})
    with pytest.raises(vsearch.InvalidArgument, match=r"row 0 has a weight above 65,504 \(term 2\)"):
        docs.upsert([1], vectors={"s": [{1: 1.0, 2: 70_000.0}]})
    docs.upsert([3], vectors={"s": [{1: 1e-9, 2: 0.1}]})
    assert docs.get(3, with_vectors=True)[0].vectors == {"s": {2: float(np.float16(0.1))}}
    assert docs.search({MAX_TERMS - 1: 2.0}).scores.tolist() == [2.0, 2.0]


BAD_QUERIES: list[Any] = [
    None, "text", 7, [1, 2], {1: float("nan")}, {-1: 1.0}, {2**32: 1.0}, {"a": 1.0}, ([1], [1, 2]), {1: 1e16},
    np.ones(4), csr([{1: 1.0}, {2: 1.0}]), (np.arange(MAX_TERMS + 1), np.ones(MAX_TERMS + 1)),
]  # fmt: skip


@pytest.mark.parametrize("query", BAD_QUERIES, ids=range(len(BAD_QUERIES)))
def test_bad_queries_are_refused(db: vsearch.Database, query: Any) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse()})
    docs.upsert([0], vectors={"s": [{1: 1.0}]})
    wrong = (vsearch.InvalidArgument, vsearch.LimitExceeded)
    for search in (docs.search, docs.explain, lambda one: docs.search_batch([{1: 1.0}, one])):
        with pytest.raises(wrong):
            search(query)
    with pytest.raises(wrong):
        docs.search_batch(query if not hasattr(query, "indptr") else "x")


def test_what_is_for_dense_fields_only(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse()})
    docs.upsert([0], vectors={"s": [{1: 1.0}]})
    with pytest.raises(vsearch.InvalidArgument, match="is for dense fields"):
        docs.search({1: 1.0}, params=SearchParams(score="probability"))
    for options in ({"index": "hnsw"}, {"dtype": "int8"}, {"modifier": "tf"}, {"knn": -1}, {"knn": True}):
        with pytest.raises(vsearch.InvalidArgument):
            Sparse(**options)  # type: ignore[arg-type]
    with pytest.raises(vsearch.InvalidArgument, match="field 'x' is a dict"):
        db.create_collection("other", fields={"x": {"kind": "sparse"}})  # type: ignore[dict-item]


def test_negative_weights_in_a_query_make_it_exact(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse(index="inverted")})
    fill(docs)
    docs.optimize()
    query = {**QUERIES[0], 0: -3.0, 5: -0.5}
    plan = docs.explain(query, analyze=True)
    assert (plan.exact, plan.steps[0].strategy) == (True, "scan")
    for limit in (1, 10, 2_000):
        check_hits(docs.search(query, limit=limit), dot_scores(query, VECTORS), limit)


def test_filters_thresholds_and_offsets(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse(index="inverted")})
    fill(docs, {n: VECTORS[n] for n in range(1_000)})
    docs.optimize()
    fill(docs, {n: VECTORS[n] for n in range(1_000, 1_500)})
    conditions: list[tuple[Any, Callable[[int], bool]]] = [
        (F("n") < 3, lambda n: n < 3),
        (F("tenth") == 3, lambda n: n % 10 == 3),
        (F("tenth") != 3, lambda n: n % 10 != 3),
        (F("n") < 0, lambda n: False),
        (F.ids([5, 1_100]), lambda n: n in (5, 1_100)),
    ]
    for node, holds in conditions:
        check(docs, {n: v for n, v in VECTORS.items() if holds(n)}, filter=node)
    every = docs.search(QUERIES[0], limit=50, params=EXACT)
    assert docs.search(QUERIES[0], limit=20, offset=10, params=EXACT).point_ids == every.point_ids[10:30]
    least = float(every.scores[7])
    above = docs.search(QUERIES[0], limit=50, score_threshold=least, params=EXACT)
    assert above.scores.tolist() == [s for s in every.scores.tolist() if s >= least]


def test_what_explain_says(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse(index="inverted")})
    fill(docs)
    seal(docs)
    plan = docs.explain(QUERIES[0], analyze=True)
    assert (plan.metric, [step.index for step in plan.steps][:1]) == ("dot", ["postings"])
    assert plan.steps[0].measured is not None
    assert plan.steps[0].measured.lists > 0
    assert " lists" in str(plan)
    docs.optimize()
    plan = docs.explain(QUERIES[0])
    assert [step.index for step in plan.steps] == ["inverted"]
    assert plan.to_dict()["steps"][0]["index"] == "inverted"
    (few,) = docs.explain(QUERIES[0], filter=F("n") < 5).steps
    assert (few.strategy, few.matched) == ("scan", 5)
    assert docs.explain(QUERIES[0], filter=F("n") < 0).steps[0].strategy == "skip"


@pytest.fixture
def _tiny_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "MIN_ROWS", 16)
    monkeypatch.setattr(growing, "MAX_ROWS", 64)


@pytest.mark.usefixtures("_tiny_segments")
def test_segments_of_different_dictionaries_are_merged(tmp_path: Path) -> None:
    vectors: dict[int, Vector] = {}
    with vsearch.open(tmp_path / "db", durability="os") as db:
        docs = db.create_collection("docs", fields={"s": Sparse()})
        for part in range(12):
            base = [0, 50, 7_000_000, 2**32 - 40][part % 4]  # beyond what is numbered by a table, too
            new = {part * 40 + i: {base + (i * j) % 39: 1.0 + j for j in range(i % 7)} for i in range(40)}
            docs.upsert(list(new), vectors={"s": list(new.values())})
            vectors.update(new)
            docs.delete(ids=[part * 40, part * 40 + 39])
            del vectors[part * 40], vectors[part * 40 + 39]
        assert len(docs.stats()["segments"]) > 3
        queries = [vectors[n] for n in (5, 45, 85, 125)] + [{0: 1.0, 50: 1.0, 7_000_001: 2.0, 2**32 - 39: 3.0}]
        for state in ("growing", "merged", "merged again"):
            for query in queries:
                check_hits(docs.search(query, limit=30), dot_scores(query, vectors), 30)
            assert {p.id: (p.vectors or {})["s"] for p in docs.scroll(limit=999, with_vectors=True)} == vectors, state
            docs.optimize()
        (entry,) = docs._state.manifest.segments
        file = docs._state.store.open_arrays(docs._state.number, entry.name, "f0.vectors.vsa", "vectors")
        assert file.arrays["terms"].tolist() == sorted({t for v in vectors.values() for t in v})
        assert file.arrays["numbers"].dtype == np.uint16
        docs.delete(ids=list(vectors)[10:])
        docs.optimize()
        (entry,) = docs._state.manifest.segments
        file = docs._state.store.open_arrays(docs._state.number, entry.name, "f0.vectors.vsa", "vectors")
        left = {t for n in list(vectors)[:10] for t in vectors[n]}
        assert file.arrays["terms"].tolist() == sorted(left), "terms of deleted rows are forgotten"
        assert db.check() == []


def test_a_dictionary_of_more_than_65_536_terms(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse()})
    rows = [(np.arange(50_000), np.ones(50_000)), (np.arange(40_000, 80_000) * 3, np.full(40_000, 2.0))]
    docs.upsert([0, 1], vectors={"s": rows})
    for _ in range(2):
        assert docs.search({49_998: 1.0, 120_000: 1.0}).point_ids == [1, 0]
        docs.optimize()
    vector = (docs.get(1, with_vectors=True)[0].vectors or {})["s"]
    assert vector == dict.fromkeys(range(120_000, 240_000, 3), 2.0)


def test_segments_are_sealed_by_bytes(db: vsearch.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "SEAL_BYTES", 4_000)
    docs = db.create_collection("docs", fields={"s": Sparse()})
    vectors = {n: dict.fromkeys(range(n % 100), 1.0 + n) for n in range(200)}
    fill(docs, vectors, 200)
    fresh = [s.segment for s in docs._state.view.sources if isinstance(s.segment, growing.GrowingSegment)]
    sizes = [s.vectors("s").offsets[-1] * 8 for s in fresh]
    assert len(docs._state.view.sources) > 5
    assert all(size < 4_000 + 800 for size in sizes)
    check_hits(docs.search({50: 1.0}, limit=200), dot_scores({50: 1.0}, vectors), 200)


def idf_scores(query: Vector, vectors: dict[int, Vector]) -> dict[int, float]:
    return dot_scores(weighed_by_idf(query, vectors.values()), vectors)


@pytest.mark.usefixtures("_tiny_segments")
def test_inverse_document_frequencies_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    vectors: dict[int, Vector] = {}
    with vsearch.open(tmp_path / "db", durability="os") as db:
        docs = db.create_collection("docs", fields={"s": Sparse(modifier="idf"), "d": vsearch.Dense(2)})
        pool = random_vectors(600, 40, seed=8)
        for round_ in range(30):
            names = rng.integers(0, 300, 25).tolist()
            new = {name: pool[(name + 97 * round_) % 600] for name in names}
            docs.upsert(list(new), vectors={"s": list(new.values())})
            vectors.update(new)
            docs.upsert([10_000 + round_], vectors={"d": [[1.0, 0.0]]})  # which lacks the field and counts for nothing
            gone = rng.integers(0, 300, 8).tolist()
            docs.delete(ids=gone)
            for name in gone:
                vectors.pop(name, None)
            if round_ % 7 == 3:
                docs.optimize()
            for query in QUERIES[:4]:
                check_hits(docs.search(query, using="s", limit=15), idf_scores(query, vectors), 15)
        expected = [docs.search(query, using="s", limit=400).scores.tolist() for query in QUERIES]
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("docs")
        assert expected == [docs.search(query, using="s", limit=400).scores.tolist() for query in QUERIES]


def test_edits(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse(), "d": vsearch.Dense(2), "t": Sparse()})
    docs.upsert([0, 1, 2], {"s": [{1: 1.0}, {2: 1.0}, None], "d": np.eye(3)[:, :2] + 1})
    docs.optimize()
    docs.upsert([3], {"s": [{1: 2.0, 9: 1.0}]})
    assert docs.update_vectors([0, 3, 2], {"s": [{5: 5.0}, None, {6: 6.0}]}) == 3
    assert docs.set_payload({"x": 1}, ids=[1]) == 1
    docs.update(1, vectors={"t": {8: 8.0}})
    shown = {p.id: (p.vectors or {}) for p in docs.scroll(with_vectors=True)}
    assert {n: v.get("s") for n, v in shown.items()} == {0: {5: 5.0}, 1: {2: 1.0}, 2: {6: 6.0}, 3: {1: 2.0, 9: 1.0}}
    assert {n for n, v in shown.items() if "d" in v} == {0, 1, 2}
    assert {n for n, v in shown.items() if "t" in v} == {1}
    assert docs.delete_vectors(["s"], ids=[0, 1]) == 2
    assert docs.search({1: 1.0, 2: 1.0, 5: 1.0, 6: 1.0}, using="s").point_ids == [2, 3]
    with pytest.raises(vsearch.InvalidArgument, match="unknown field"):
        docs.update(1, vectors={"nope": {1: 1.0}})
    with pytest.raises(vsearch.InvalidArgument, match="row 0 has a negative"):
        docs.update(1, vectors={"s": {1: -1.0}})


def test_read_only_followers_see_what_was_written(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"s": Sparse(index="inverted", modifier=None)})
        fill(docs, {n: VECTORS[n] for n in range(600)})
        with vsearch.open(tmp_path / "db", read_only=True) as follower:
            seen = follower.collection("docs")
            check(seen, {n: VECTORS[n] for n in range(600)})
            docs.delete(ids=range(100))
            fill(docs, {n: VECTORS[n] for n in range(600, 900)})
            docs.optimize()
            check(seen, {n: VECTORS[n] for n in range(600)})
            follower.refresh()
            check(seen, {n: VECTORS[n] for n in range(100, 900)})


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import vsearch
from vsearch import Sparse, growing
from test_sparse_field import fill, random_vectors
growing.MIN_ROWS, growing.MAX_ROWS = 16, 256
db = vsearch.open({path!r})
docs = db.create_collection("docs", fields={{"s": Sparse(index="inverted"), "t": vsearch.Text(language=None)}})
fill(docs, random_vectors(700))
docs.delete(ids=range(50))
docs.upsert(range(1000, 1100), vectors={{"t": [f"word{{n % 7}} number{{n}}" for n in range(100)]}})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    code = KILLED.format(tests=str(Path(__file__).parent), path=str(tmp_path / "db"))
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=Path(__file__).parents[1], check=False,
                          capture_output=True, text=True, env={**os.environ})  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    vectors = {n: v for n, v in random_vectors(700).items() if n >= 50}
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("docs")
        assert docs.count() == 750
        check(docs, vectors)
        assert set(docs.search("WORD3", using="t", limit=99).point_ids) == {1000 + n for n in range(100) if n % 7 == 3}
        docs.optimize()
        check(docs, vectors)
        assert db.check() == []


@pytest.mark.parametrize("damage", ["missing", "cut short", "of other rows"])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "db"
    with vsearch.open(path) as db:
        for name, count in (("docs", 900), ("other", 400)):
            docs = db.create_collection(name, fields={"s": Sparse(index="inverted")})
            fill(docs, {n: VECTORS[n] for n in range(count)})
            docs.optimize()
    file, stranger = (next(path.glob(f"segments/{number}/*/f0.inverted.vsa")) for number in (1, 2))
    data = file.read_bytes()
    file.unlink()
    if damage == "cut short":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "of other rows":
        file.write_bytes(stranger.read_bytes())
    with caplog.at_level(logging.WARNING, "vsearch"), vsearch.open(path) as db:
        docs = db.collection("docs")
        assert db.check()
        check(docs, {n: VECTORS[n] for n in range(900)})
        assert "will be rebuilt" in caplog.text
        docs.optimize()
        assert db.check() == []
        check(docs, {n: VECTORS[n] for n in range(900)})


def test_damaged_vectors_are_corruption(tmp_path: Path) -> None:
    from vsearch.storage.arrayfile import ArrayFileWriter

    path = tmp_path / "db"
    with vsearch.open(path) as db:
        docs = db.create_collection("docs", fields={"s": Sparse()})
        fill(docs, {n: VECTORS[n] for n in range(300)})
        docs.optimize()
    (file,) = path.glob("segments/*/*/f0.vectors.vsa")
    from vsearch.storage import arrayfile

    arrays = {name: np.array(array) for name, array in arrayfile.read(file, "vectors").arrays.items()}
    broken = {
        "offsets": np.concatenate([arrays["offsets"][:-1], [10**9]]),
        "numbers": np.full_like(arrays["numbers"], 65_535),
        "terms": arrays["terms"][::-1],
        "weights": arrays["weights"][:-1],
    }
    for name, array in broken.items():
        file.unlink()
        with ArrayFileWriter(file, "vectors", {"field": "s"}) as writer:
            for other, content in arrays.items():
                writer.add(other, np.ascontiguousarray(array) if other == name else content)
        with vsearch.open(path) as db:
            with pytest.raises(vsearch.Corruption, match=r"f0\.vectors\.vsa is damaged"):
                db.collection("docs").search({1: 1.0})
            assert db.check()


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_export_and_import(db: vsearch.Database, tmp_path: Path, format: Any) -> None:
    fields = {"s": Sparse(modifier="idf"), "d": vsearch.Dense(2, metric="l2"), "t": vsearch.Text()}
    docs = db.create_collection("docs", fields=fields)  # type: ignore[arg-type]
    sparse = [None if n % 5 == 0 else VECTORS[n] for n in range(100)]
    texts = [None if n % 7 == 0 else f"text {n} \u00e9" for n in range(100)]
    docs.upsert(range(100), {"s": sparse, "t": texts, "d": np.ones((100, 2))}, [{"n": n} for n in range(100)])
    file = tmp_path / f"export.{format}"
    file.write_bytes(b"".join(export(docs, format, batch_rows=17)))
    from vsearch.transfer import exported_fields

    assert exported_fields(file) == fields
    copy = db.create_collection("copy", fields=exported_fields(file) or {})
    assert sum(batch.rows for batch in import_file(copy, file)) == 100
    ours, theirs = (list(c.scroll(limit=100, with_vectors=True)) for c in (docs, copy))
    assert [(p.id, p.payload) for p in ours] == [(p.id, p.payload) for p in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.vectors or {}).keys() == (other.vectors or {}).keys()
        assert (one.vectors or {}).get("s") == (other.vectors or {}).get("s")
        assert (one.vectors or {}).get("t") == (other.vectors or {}).get("t")


def tables() -> dict[str, pa.Table]:
    struct = pa.struct([("indices", pa.list_(pa.int64())), ("values", pa.list_(pa.float64()))])
    pairs = pa.list_(pa.struct([("term", pa.uint32()), ("weight", pa.float32())]))
    rows: list[Any] = [{1: 0.5, 7: 2.0}, None, {}, {9: 1.0}]
    lists = [None if r is None else list(r) for r in rows]
    weights = [None if r is None else list(r.values()) for r in rows]
    as_struct = [None if r is None else {"indices": list(r), "values": list(r.values())} for r in rows]
    as_pairs = [None if r is None else [{"term": t, "weight": w} for t, w in r.items()] for r in rows]
    as_map = [None if r is None else list(r.items()) for r in rows]
    eighths = [None if r is None else [int(w * 8) for w in r] for r in weights]
    number = pa.array(range(4))
    return {
        "struct": pa.table({"id": number, "s": pa.array(as_struct, struct)}),
        "pairs": pa.table({"id": number, "s": pa.array(as_pairs, pairs)}),
        "map": pa.table({"id": number, "s": pa.array(as_map, pa.map_(pa.uint32(), pa.float32()))}),
        "two": pa.table({"id": number, "terms": pa.array(lists, pa.list_(pa.uint16())), "weights": weights}),
        "scaled": pa.table(
            {"id": number, "terms": lists, "weights": pa.array(eighths, pa.list_(pa.uint8()))}
        ).replace_schema_metadata({"s_scale": "0.125"}),
    }


@pytest.mark.parametrize("form", ["struct", "pairs", "map", "two", "scaled", "jsonl", "jsonl pairs"])
def test_tables_of_every_form_are_imported(db: vsearch.Database, tmp_path: Path, form: str) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse()})
    file = tmp_path / "table"
    if form == "jsonl":
        values = ['{"1": 0.5, "7": 2}', "null", "{}", '{"9": 1}']
        file.write_text("\n".join(f'{{"id": {i}, "s": {value}}}' for i, value in enumerate(values)))
    elif form == "jsonl pairs":
        rows = ['[1, 7], "values": [0.5, 2]', None, '[], "values": []', '[9], "values": [1]']
        lines = [f'{{"id": {i}, "s": {"null" if r is None else f"{{{chr(34)}indices{chr(34)}: {r}}}"}}}' for i, r in
                 enumerate(rows)]  # fmt: skip
        file.write_text("\n".join(lines))
    else:
        parquet.write_table(tables()[form], file)
    vectors = {"s": "terms,weights"} if form in ("two", "scaled") else None
    for batch_rows in (1, 3, 10):
        assert sum(b.rows for b in import_file(docs, file, vectors=vectors, batch_rows=batch_rows)) == 4
        stored = {p.id: ((p.vectors or {}).get("s"), p.payload) for p in docs.scroll(with_vectors=True)}
        expected: dict[int, Any] = {0: {1: 0.5, 7: 2.0}, 1: None, 2: {}, 3: {9: 1.0}}
        assert stored == {name: (vector, {}) for name, vector in expected.items()}
        docs.delete(ids=range(4))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1.5]]), "not sparse vectors"),
        (pa.array(["x"]), "not sparse vectors"),
        (pa.array([{"indices": [1, 2], "values": [0.5]}]), "more indices than values"),
        (pa.array([{"indices": [1.5], "values": [0.5]}]), "not lists of integers"),
        (pa.array([{"indices": [None], "values": [0.5]}], pa.struct([("indices", pa.list_(pa.int8())),
         ("values", pa.list_(pa.float32()))])), "missing parts"),
        (pa.array([{"indices": [-1], "values": [0.5]}]), "row 0 has a term out of range"),
    ],
)  # fmt: skip
def test_tables_of_other_things_are_refused(db: vsearch.Database, tmp_path: Path, column: Any, message: str) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse()})
    parquet.write_table(pa.table({"id": [0], "s": column}), tmp_path / "table")
    with pytest.raises(vsearch.InvalidArgument, match=message):
        list(import_file(docs, tmp_path / "table"))


def test_a_sparse_matrix_is_imported(db: vsearch.Database, tmp_path: Path) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse(), "d": vsearch.Dense(2)})
    rows = [VECTORS[n] for n in range(100)]
    matrix = csr(rows)
    file = tmp_path / "matrix.npz"
    np.savez_compressed(file, indptr=matrix.indptr, indices=matrix.indices, data=matrix.data, shape=(100, 300),
                        format=b"csr")  # fmt: skip
    assert [b.rows for b in import_file(docs, file, batch_rows=40)] == [40, 40, 20]
    assert {p.id: (p.vectors or {})["s"] for p in docs.scroll(with_vectors=True)} == dict(enumerate(rows))
    np.savez(file, indptr=matrix.indptr, indices=matrix.indices.astype(np.uint16), dim=300, scale=np.float32(0.25),
             values=(matrix.data * 4).astype(np.uint8))  # fmt: skip
    docs.delete(ids=range(100))
    assert sum(b.rows for b in import_file(docs, file, start=60)) == 40
    left = {p.id: (p.vectors or {})["s"] for p in docs.scroll(with_vectors=True)}
    assert left == {n: rows[n] for n in range(60, 100)}
    from vsearch.storage.tables import count_rows

    assert count_rows(file) == 100


@pytest.mark.parametrize(
    "arrays",
    [
        {"indptr": np.array([0, 1]), "indices": np.array([1])},
        {"indptr": np.array([0, 2]), "indices": np.array([1]), "data": np.ones(1)},
        {"indptr": np.array([0, 1]), "indices": np.array([1.0]), "data": np.ones(1)},
        {"indptr": np.array([0, 1]), "indices": np.array([1]), "data": np.array([object()])},
        {"indptr": np.array([0, 1]), "indices": np.array([1]), "data": np.ones(1), "format": b"csc"},
        {"indptr": np.array([0, 1]), "indices": np.array([1]), "data": np.ones(1), "scale": np.ones(2)},
    ],
    ids=range(6),
)
def test_other_archives_are_refused(db: vsearch.Database, tmp_path: Path, arrays: dict[str, Any]) -> None:
    docs = db.create_collection("docs", fields={"s": Sparse()})
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(vsearch.InvalidArgument, match=r"bad\.npz"):
        list(import_file(docs, tmp_path / "bad.npz"))
    (tmp_path / "bad.npz").write_bytes((tmp_path / "bad.npz").read_bytes()[:60])
    with pytest.raises(vsearch.InvalidArgument, match=r"bad\.npz"):
        list(import_file(docs, tmp_path / "bad.npz"))


def reciprocal_rank(found: list[vsearch.Hits], answers: list[Any]) -> float:
    ranks = [h.point_ids.index(a) + 1 if a in h.point_ids else 0 for h, a in zip(found, answers, strict=True)]
    return float(np.mean([1 / rank if rank else 0 for rank in ranks]))


def test_on_real_data(db: vsearch.Database) -> None:
    data = Path(vsearch.__file__).parent / "data"
    docs = db.create_collection("wordnet", fields={"sparse": Sparse(), "text": vsearch.Text()})
    columns = {"sparse": "terms,weights", "text": "text"}
    imported = import_file(docs, data / "wordnet_demo_docs.parquet", vectors=columns, skip=["dense"])
    assert sum(batch.rows for batch in imported) == 5_000
    table = parquet.read_table(data / "wordnet_demo_queries.parquet").to_pydict()
    queries = [(t, np.array(w) * 0.01) for t, w in zip(table["terms"], table["weights"], strict=True)]
    exact = docs.search_batch(queries, "sparse", params=EXACT, with_payload=False)
    for _ in range(2):
        found = docs.search_batch(queries, "sparse", with_payload=False)
        shared = [len(set(a.point_ids) & set(b.point_ids)) for a, b in zip(found, exact, strict=True)]
        assert sum(shared) >= 0.93 * sum(map(len, exact))
        assert reciprocal_rank(found, table["answer"]) > 0.3
        docs.optimize()
    assert docs.explain(queries[0], "sparse").steps[0].index == "inverted"
    best = docs.search_batch(table["text"], "text", with_payload=False)
    assert reciprocal_rank(best, table["answer"]) > 0.2


def test_many_exact_queries_of_an_indexed_segment(tmp_path: Path) -> None:
    """They make complete inverted lists, which later ones use too; the hits are those of a scan."""
    rng = np.random.default_rng(3)
    rows = [dict(zip(rng.choice(200, 8, replace=False).tolist(), rng.random(8) + 0.1, strict=True)) for _ in range(600)]
    with vsearch.open(tmp_path) as db:
        docs = db.create_collection("docs", {"sparse": vsearch.Sparse(index="inverted")})
        docs.upsert(list(range(len(rows))), {"sparse": rows})
        docs.optimize()
        exact = vsearch.SearchParams(exact=True)
        alone = [docs.search(row, params=exact) for row in rows[:40]]
        assert docs.explain(rows[0], params=exact).steps[0].index == "inverted"
        together = docs.search_batch(rows[:40], params=exact)
        assert docs.explain(rows[0], params=exact).steps[0].index == "postings"
        for one, other in zip(alone, together, strict=True):
            assert one.point_ids == other.point_ids
            assert (one.scores == other.scores).all()
