"""What a collection does with good input: writing, reading, searching, reopening."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

import vsearch
from vsearch import F, SearchParams, reading

RNG = np.random.default_rng(7)
X = RNG.normal(size=(300, 8)).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def docs(db: vsearch.Database) -> vsearch.Collection:
    """300 points, half of them sealed, half growing."""
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(8)})
    payloads = [{"n": i, "even": i % 2 == 0, "tags": ["a"] if i < 10 else []} for i in range(300)]
    docs.upsert(range(150), vectors={"v": X[:150]}, payloads=payloads[:150])
    docs.optimize()
    docs.upsert(range(150, 300), vectors={"v": X[150:]}, payloads=payloads[150:])
    return docs


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scores_are_higher_for_nearer_points(db: vsearch.Database, metric: str, dtype: str) -> None:
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(8, metric=metric, dtype=dtype)})
    docs.upsert(range(300), vectors={"v": X})
    if metric == "cosine":
        wanted = unit(X) @ unit(X[5])
    elif metric == "dot":
        wanted = X @ X[5]
    else:
        wanted = -np.linalg.norm(X - X[5], axis=1)
    order = np.argsort(-wanted, kind="stable")[:10]
    for _ in range(2):
        hits = docs.search(X[5], limit=10)
        assert hits.scores == pytest.approx(wanted[order], abs=2e-2 if dtype == "float16" else 1e-5)
        if dtype == "float32":
            assert hits.ids.tolist() == order.tolist()
        docs.optimize()


def test_a_search_spans_sealed_and_growing_segments(docs: vsearch.Collection) -> None:
    truth = np.argsort(-(unit(X) @ unit(X[3])), kind="stable")[:20]
    hits = docs.search(X[3], limit=20)
    assert hits.ids.tolist() == truth.tolist()
    assert [hit.payload["n"] for hit in hits if hit.payload] == truth.tolist()
    assert docs.search(X[3], limit=10, offset=10).ids.tolist() == truth[10:].tolist()


def test_a_batch_gives_what_single_searches_give(docs: vsearch.Collection) -> None:
    batch = docs.search_batch(X[:20], limit=5, filter=F("even") == True)  # noqa: E712
    singles = [docs.search(x, limit=5, filter=F("even") == True) for x in X[:20]]  # noqa: E712
    assert [b.point_ids for b in batch] == [s.point_ids for s in singles]
    assert docs.search_batch(np.empty((0, 8)), limit=5) == []


def test_three_spellings_of_a_filter_agree(docs: vsearch.Collection) -> None:
    builder = docs.search(X[0], limit=300, filter=(F("n") >= 140) & (F("n") < 160))
    qdrant = docs.search(X[0], limit=300, filter={"must": [{"key": "n", "range": {"gte": 140, "lt": 160}}]})
    mongo = docs.search(X[0], limit=300, filter={"n": {"$gte": 140, "$lt": 160}})
    assert sorted(builder.point_ids) == list(range(140, 160))
    assert builder.point_ids == qdrant.point_ids == mongo.point_ids


def test_a_payload_index_changes_no_answer(docs: vsearch.Collection, db: vsearch.Database) -> None:
    conditions = [F("n") == 7, F("n").between(100, 220), F("tags").any(["a"]), F("even") == True]  # noqa: E712
    before = [docs.count(condition) for condition in conditions]
    docs.create_payload_index("n")
    docs.create_payload_index("tags")
    assert docs.payload_indexes == ["n", "tags"]
    for _ in range(2):
        assert [docs.count(condition) for condition in conditions] == before
        docs.optimize()  # the index is a file of the new segment
    assert db.check() == []
    docs.delete_payload_index("tags")
    assert docs.payload_indexes == ["n"]
    with pytest.raises(vsearch.NotFound):
        docs.delete_payload_index("tags")
    with pytest.raises(vsearch.InvalidFilter):
        docs.create_payload_index("a..b")


def test_a_filtered_search_is_never_short(docs: vsearch.Collection) -> None:
    for limit in (1, 7, 10, 50):
        assert len(docs.search(X[0], limit=limit, filter=F("tags").any(["a"]))) == min(limit, 10)


def test_threshold_vectors_and_payload_can_be_chosen(docs: vsearch.Collection) -> None:
    hits = docs.search(X[3], limit=300, score_threshold=0.5, with_vectors=True, with_payload=False)
    assert 0 < len(hits) < 300
    assert (hits.scores >= 0.5).all()
    assert hits[0].payload is None
    assert hits[0].vectors is not None
    assert hits[0].vectors["v"] == pytest.approx(unit(X[3]), abs=1e-6)
    assert len(docs.search(X[3], limit=300, score_threshold=1.1)) == 0


def test_an_upsert_replaces_the_whole_point(docs: vsearch.Collection) -> None:
    docs.upsert([5], vectors={"v": [X[200]]}, payloads=[{"new": True}])
    (point,) = docs.get([5])
    assert point.payload == {"new": True}
    assert docs.count() == 300
    assert docs.count(F("n") == 5) == 0
    assert set(docs.search(X[200], limit=2).point_ids) == {5, 200}


def test_the_last_of_equal_ids_in_a_batch_wins(docs: vsearch.Collection) -> None:
    docs.upsert(["x", "y", "x"], vectors={"v": X[:3]}, payloads=[{"i": 0}, {"i": 1}, {"i": 2}])
    assert [p.payload for p in docs.get(["x", "y"])] == [{"i": 2}, {"i": 1}]
    assert docs.count() == 302


def test_insert_refuses_an_existing_id_and_writes_nothing(docs: vsearch.Collection) -> None:
    with pytest.raises(vsearch.AlreadyExists, match="7"):
        docs.insert([1000, 7], vectors={"v": X[:2]})
    assert docs.get([1000]) == []
    docs.insert([1000], vectors={"v": X[:1]})
    assert docs.count() == 301


def test_update_merges_the_payload_and_keeps_the_vector(docs: vsearch.Collection) -> None:
    docs.update(3, payload={"n": -1, "extra": {"deep": [1]}})
    (point,) = docs.get([3], with_vectors=True)
    assert point.payload == {"n": -1, "even": False, "tags": ["a"], "extra": {"deep": [1]}}
    assert point.vectors is not None
    assert point.vectors["v"] == pytest.approx(unit(X[3]), abs=1e-6)
    docs.update(3, vectors={"v": X[250]})
    assert docs.search(X[250], limit=2).scores == pytest.approx([1, 1], abs=1e-6)
    with pytest.raises(vsearch.NotFound):
        docs.update("nobody", payload={})


def test_delete_by_ids_and_by_filter(docs: vsearch.Collection) -> None:
    assert docs.delete(ids=[0, 1, 1, 9999]) == 2
    assert docs.delete(filter=F("n") >= 290) == 10
    assert docs.count() == 288
    assert docs.get([0, 295]) == []
    assert 0 not in docs.search(X[0], limit=288).point_ids


def test_ids_keep_their_type_and_order(docs: vsearch.Collection) -> None:
    big = 2**64 - 1
    docs.upsert(["1", big, "ü", ""], vectors={"v": X[:4]})
    assert [p.id for p in docs.get([1, "1", big, "ü", ""])] == [1, "1", big, "ü", ""]
    tail = docs.scroll(cursor=299, limit=10)
    assert [p.id for p in tail] == [299, big, "", "1", "ü"]
    assert tail.cursor is None
    assert docs.delete(ids=["1"]) == 1
    assert [p.id for p in docs.get([1, "1"])] == [1]


@pytest.mark.parametrize("sort_limit", [10_000, 10])
def test_scroll_meets_every_point_once(
    docs: vsearch.Collection, monkeypatch: pytest.MonkeyPatch, sort_limit: int
) -> None:
    monkeypatch.setattr(reading, "SORT_LIMIT", sort_limit)
    for condition, wanted in ((None, list(range(300))), (F("n") < 50, list(range(50)))):
        seen, cursor = [], None
        while True:
            page = docs.scroll(filter=condition, limit=7, cursor=cursor)
            seen += [p.id for p in page]
            cursor = page.cursor
            if cursor is None:
                break
            docs.update(int(str(cursor)), payload={"touched": True})
        assert seen == wanted


def test_generated_ids_are_unique_and_sorted(docs: vsearch.Collection) -> None:
    ids = docs.upsert(None, vectors={"v": X[:5]})
    assert len(set(ids)) == 5
    assert [p.id for p in docs.get(ids)] == ids
    assert docs.upsert(vectors={"v": np.empty((0, 8))}) == []


def test_several_fields_and_points_that_lack_some(db: vsearch.Database) -> None:
    fields = {"a": vsearch.Dense(4, metric="l2"), "b": vsearch.Dense(2, metric="dot", dtype="float16")}
    docs = db.create_collection("docs", fields=fields)
    docs.upsert([0, 1], vectors={"a": np.eye(4)[:2], "b": [[1, 0], None]})
    docs.upsert([2], vectors={"b": [[0, 1]]})
    docs.upsert([3], payloads=[{"bare": True}])
    for _ in range(2):
        assert docs.search([1, 0, 0, 0], using="a").point_ids == [0, 1]
        assert docs.search([0, 1], using="b").point_ids == [2, 0]
        assert docs.count() == 4
        (point,) = docs.get([1], with_vectors=True)
        assert point.vectors is not None
        assert list(point.vectors) == ["a"]
        assert docs.get([3], with_vectors=True)[0].vectors == {}
        docs.optimize()


def test_payloads_come_back_as_json(docs: vsearch.Collection) -> None:
    when = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
    body = {"s": "é\n", "i": -(2**63), "f": 0.1, "b": False, "z": None, "l": [1, [2, {}]], "o": {"k": {}}}
    docs.upsert(["p"], vectors={"v": X[:1]}, payloads=[{**body, "t": (1, 2), "np": np.float32(2.5), "when": when}])
    assert docs.get("p")[0].payload == {**body, "t": [1, 2], "np": 2.5, "when": when.isoformat()}


def test_the_caller_may_change_its_arrays_afterwards(docs: vsearch.Collection) -> None:
    row, body = X[:1].copy(), {"list": [1]}
    docs.upsert(["mine"], vectors={"v": row}, payloads=[body])
    row[:] = 7
    body["list"].append(2)
    (point,) = docs.get(["mine"], with_vectors=True)
    assert point.payload == {"list": [1]}
    assert point.vectors is not None
    assert point.vectors["v"] == pytest.approx(unit(X[0]), abs=1e-6)


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_everything_is_there_after_reopening(tmp_path: Path, durability: str) -> None:
    with vsearch.open(tmp_path / "db", durability=durability) as db:
        docs = db.create_collection("docs", fields={"v": vsearch.Dense(8, index="hnsw")})
        docs.upsert(range(280), vectors={"v": X[:280]}, payloads=[{"n": i} for i in range(280)])
        docs.optimize()
        docs.upsert(range(280, 300), vectors={"v": X[280:]})
        docs.delete(ids=[4, 290])
        docs.update(6, payload={"n": 600})
        before = docs.search(X[6], limit=30)
        docs.flush()
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("docs")
        assert docs.schema == {"v": vsearch.Dense(8, index="hnsw")}
        assert docs.count() == 298
        after = docs.search(X[6], limit=30)
        assert after.point_ids == before.point_ids
        assert after.payloads == before.payloads
        assert db.check() == []


def test_many_collections_live_apart(db: vsearch.Database) -> None:
    for name in ("b", "a", "ü"):
        db.create_collection(name, fields={"v": vsearch.Dense(8)}).upsert([name], vectors={"v": X[:1]})
    assert db.collections() == ["a", "b", "ü"]
    old = db.collection("a")
    db.delete_collection("a")
    assert db.collections() == ["b", "ü"]
    for call in (lambda: old.count(), lambda: db.collection("a"), lambda: old.upsert([1], vectors={"v": X[:1]})):
        with pytest.raises(vsearch.NotFound):
            call()
    again = db.create_collection("a", fields={"v": vsearch.Dense(8)})
    assert again.count() == 0
    assert db.collection("b").search(X[0]).point_ids == ["b"]


def test_recall_of_the_default_search(db: vsearch.Database) -> None:
    centres = RNG.normal(size=(50, 32))
    vectors = (centres[RNG.integers(50, size=6_000)] + 0.5 * RNG.normal(size=(6_000, 32))).astype(np.float32)
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(32)})
    docs.upsert(range(5_800), vectors={"v": vectors[:5_800]})
    docs.optimize()
    found = docs.search_batch(vectors[5_800:], with_payload=False)
    exact = docs.search_batch(vectors[5_800:], params=SearchParams(exact=True), with_payload=False)
    assert docs.stats()["segments"][0]["indexes"] == {"v": "hnsw"}
    overlap = [len(set(f.point_ids) & set(e.point_ids)) for f, e in zip(found, exact, strict=True)]
    assert np.mean(overlap) / 10 >= 0.95
