"""The database against a dict: random operations with sealing, compaction and reopening in between.

20,000 operations in all, and 2,400 on sparse vectors and texts. A failure prints the shortest sequence that shows it,
and the blob to replay it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import vsearch
from tests.naive_fields import bm25_scores, check_hits, dot_scores, weighed_by_idf
from tests.naive_knn import naive_knn
from tests.strategies import sparse_vectors, texts
from vsearch import F, compaction, growing

EXAMPLES, STEPS = 200, 100  # 20,000 operations
WORDY_EXAMPLES, WORDY_STEPS = 60, 40
DIM = 4

ids = st.one_of(st.integers(0, 12), st.sampled_from(["a", "b", "0", "é", "long " * 20]))
vectors = st.lists(st.integers(-3, 3), min_size=DIM, max_size=DIM)
payloads = st.fixed_dictionaries(
    {"n": st.integers(0, 5)}, optional={"tags": st.lists(st.sampled_from("xyz"), max_size=3)}
)


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "MIN_ROWS", 2)
    monkeypatch.setattr(growing, "MAX_ROWS", 6)
    monkeypatch.setattr(compaction, "MIN_INDEX_ROWS", 4)


class DatabaseAgainstDict(RuleBasedStateMachine):
    """`self.model`: id -> (vector or None, payload)."""

    def __init__(self) -> None:
        super().__init__()
        # Memory where there is some: this is about what is stored, not about when, and disks are slow to sync.
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.operations = 0
        self.model: dict[Any, tuple[list[int] | None, dict[str, Any]]] = {}

    @initialize(kind=st.sampled_from(["flat", "hnsw"]))
    def create(self, kind: Any) -> None:
        self.db = vsearch.open(self.folder.name, durability="os")
        self.docs = self.db.create_collection("docs", fields={"v": vsearch.Dense(DIM, metric="l2", index=kind, m=4)})

    @rule(points=st.lists(st.tuples(ids, vectors, payloads), min_size=1, max_size=8))
    def upsert(self, points: list[Any]) -> None:
        names, rows, bodies = zip(*points, strict=True)
        self.docs.upsert(list(names), vectors={"v": np.array(rows)}, payloads=list(bodies))
        self.model.update({name: (row, body) for name, row, body in points})

    @rule(point=st.tuples(ids, vectors, payloads))
    def insert(self, point: Any) -> None:
        name, row, body = point
        if name in self.model:
            with pytest.raises(vsearch.AlreadyExists):
                self.docs.insert([name], vectors={"v": [row]}, payloads=[body])
        else:
            self.docs.insert([name], vectors={"v": [row]}, payloads=[body])
            self.model[name] = (row, body)

    @rule(name=ids, body=payloads)
    def update_payload(self, name: Any, body: dict[str, Any]) -> None:
        if name not in self.model:
            with pytest.raises(vsearch.NotFound):
                self.docs.update(name, payload=body)
        else:
            self.docs.update(name, payload=body)
            row, old = self.model[name]
            self.model[name] = (row, {**old, **body})

    @rule(name=ids, row=vectors)
    def update_vector(self, name: Any, row: list[int]) -> None:
        if name in self.model:
            self.docs.update(name, vectors={"v": row})
            self.model[name] = (row, self.model[name][1])

    @rule(names=st.lists(ids, min_size=1, max_size=6))
    def delete(self, names: list[Any]) -> None:
        there = {name for name in names if name in self.model}
        assert self.docs.delete(ids=names) == len(there)
        for name in there:
            del self.model[name]

    @rule(n=st.integers(0, 5))
    def delete_matching(self, n: int) -> None:
        gone = self.named(n)
        assert self.docs.delete(filter=F("n") == n) == len(gone)
        for name in gone:
            del self.model[name]

    @rule(names=st.lists(ids, min_size=1, max_size=4), body=payloads, whole=st.booleans())
    def edit_payloads(self, names: list[Any], body: dict[str, Any], whole: bool) -> None:
        edit = self.docs.overwrite_payload if whole else self.docs.set_payload
        if not all(name in self.model for name in names):
            with pytest.raises(vsearch.NotFound):
                edit(body, ids=names)
            return
        assert edit(body, ids=names) == len(set(names))
        for name in set(names):
            row, old = self.model[name]
            self.model[name] = (row, body if whole else {**old, **body})

    @rule(n=st.integers(0, 5), key=st.sampled_from(["n", "tags"]))
    def delete_key(self, n: int, key: str) -> None:
        edited = self.named(n)
        assert self.docs.delete_payload([key], filter=F("n") == n) == len(edited)
        for name in edited:
            row, old = self.model[name]
            self.model[name] = (row, {k: value for k, value in old.items() if k != key})

    @rule(n=st.integers(0, 5))
    def delete_vectors(self, n: int) -> None:
        edited = self.named(n)
        assert self.docs.delete_vectors(["v"], filter=F("n") == n) == len(edited)
        for name in edited:
            self.model[name] = (None, self.model[name][1])

    @rule()
    def optimize(self) -> None:
        self.docs.optimize()

    @rule()
    def seal(self) -> None:
        keep = self.docs._maintenance
        assert keep is not None
        keep.seal_all()

    @precondition(lambda self: self.operations % 8 == 7)
    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.db = vsearch.open(self.folder.name, durability="os")
        self.docs = self.db.collection("docs")

    @rule(query=vectors, limit=st.integers(1, 30), n=st.none() | st.integers(0, 5), exact=st.booleans())
    def search(self, query: list[int], limit: int, n: int | None, exact: bool) -> None:
        condition = None if n is None else F("n") <= n
        names = [
            name for name, (row, body) in self.model.items() if row is not None and (n is None or body.get("n", 9) <= n)
        ]
        hits = self.docs.search(query, limit=limit, filter=condition, params=vsearch.SearchParams(exact=exact, ef=64))
        assert len(hits) == min(limit, len(names))
        assert len(set(hits.point_ids)) == len(hits)
        assert set(hits.point_ids) <= set(names)
        for hit in hits:
            row, body = self.model[hit.id]
            assert row is not None
            assert hit.score == pytest.approx(-float(np.linalg.norm(np.subtract(row, query))), abs=1e-5)
            assert hit.payload == body
        if exact and names:
            rows = np.array([self.model[name][0] for name in names], np.float32)
            _, distances = naive_knn(rows, np.array([query], np.float32), min(limit, len(names)), "l2")
            assert hits.scores == pytest.approx(-np.sqrt(distances[0]), abs=1e-5)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "docs"):
            return
        self.operations += 1
        assert self.docs.count() == len(self.model)
        assert self.docs.count(F("tags").any(["x"])) == sum(
            "x" in body.get("tags", ()) for _, body in self.model.values()
        )
        page = self.docs.scroll(limit=1000, with_vectors=True)
        assert {point.id: point.payload for point in page} == {name: body for name, (_, body) in self.model.items()}
        for point in page:
            assert point.vectors is not None
            row = self.model[point.id][0]
            assert {name: vector.tolist() for name, vector in point.vectors.items()} == ({"v": row} if row else {})

    def named(self, n: int) -> list[Any]:
        return [name for name, (_, body) in self.model.items() if body.get("n") == n]

    def teardown(self) -> None:
        if hasattr(self, "db"):
            assert self.db.check() == []
            self.db.close()
        self.folder.cleanup()


TestDatabaseAgainstDict = DatabaseAgainstDict.TestCase
TestDatabaseAgainstDict.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


class WordsAgainstDict(RuleBasedStateMachine):
    """Sparse vectors and texts beside dense ones. `self.model`: id -> the point's vectors by field."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.model: dict[Any, dict[str, Any]] = {}

    @initialize(index=st.sampled_from(["flat", "auto", "inverted"]), modifier=st.sampled_from([None, "idf"]))
    def create(self, index: Any, modifier: Any) -> None:
        self.modifier = modifier
        self.db = vsearch.open(self.folder.name, durability="os")
        fields: Any = {
            "s": vsearch.Sparse(index=index, modifier=modifier),
            "t": vsearch.Text(language=None),
            "v": vsearch.Dense(2),
        }
        self.docs = self.db.create_collection("docs", fields=fields)

    @rule(points=st.dictionaries(ids, st.tuples(st.none() | sparse_vectors(), st.none() | texts()), min_size=1))
    def upsert(self, points: dict[Any, Any]) -> None:
        sparse_rows, text_rows = (list(column) for column in zip(*points.values(), strict=True))
        self.docs.upsert(list(points), {"s": sparse_rows, "t": text_rows, "v": [[1, 0]] * len(points)})
        for name, (sparse, text) in points.items():
            given = {"s": sparse, "t": text, "v": [1.0, 0.0]}
            self.model[name] = {field: value for field, value in given.items() if value is not None}

    @rule(name=ids, sparse=st.none() | sparse_vectors(), text=st.none() | texts())
    def update(self, name: Any, sparse: Any, text: Any) -> None:
        given = {field: value for field, value in {"s": sparse, "t": text}.items() if value is not None}
        if name in self.model:
            self.docs.update(name, vectors=given)
            self.model[name] = {**self.model[name], **given}

    @rule(names=st.sets(ids, min_size=1, max_size=5))
    def delete(self, names: set[Any]) -> None:
        assert self.docs.delete(ids=list(names)) == len(names & self.model.keys())
        self.model = {name: point for name, point in self.model.items() if name not in names}

    @rule(names=st.sets(ids, min_size=1, max_size=3), field=st.sampled_from(["s", "t"]))
    def delete_vectors(self, names: set[Any], field: str) -> None:
        if names <= self.model.keys():
            self.docs.delete_vectors([field], ids=list(names))
            for name in names:
                self.model[name] = {f: value for f, value in self.model[name].items() if f != field}

    @rule()
    def optimize(self) -> None:
        self.docs.optimize()

    @rule()
    def seal(self) -> None:
        assert self.docs._maintenance is not None
        self.docs._maintenance.seal_all()

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.db = vsearch.open(self.folder.name, durability="os")
        self.docs = self.db.collection("docs")

    @rule(query=sparse_vectors(), limit=st.integers(1, 30), below=st.booleans(), exact=st.booleans())
    def search_sparse(self, query: dict[int, float], limit: int, below: bool, exact: bool) -> None:
        if below:
            query = {term: -weight if term % 2 else weight for term, weight in query.items()}
        rows = {name: point["s"] for name, point in self.model.items() if "s" in point}
        weighed = query if self.modifier is None else weighed_by_idf(query, rows.values())
        scores = dot_scores(weighed, rows)
        hits = self.docs.search(query, using="s", limit=limit, params=vsearch.SearchParams(exact=exact))
        if exact or below:
            check_hits(hits, scores, limit)
        else:
            assert len(hits) == min(limit, len(scores))
            assert hits.scores == pytest.approx([scores[name] for name in hits.point_ids], rel=1e-5)

    @rule(query=texts(), limit=st.integers(1, 30))
    def search_text(self, query: str, limit: int) -> None:
        words = {name: point["t"].lower().split() for name, point in self.model.items() if "t" in point}
        check_hits(self.docs.search(query, using="t", limit=limit), bm25_scores(query.lower().split(), words), limit)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "docs"):
            return
        stored = {point.id: point.vectors or {} for point in self.docs.scroll(limit=1000, with_vectors=True)}
        shown = {name: {**p, **({"v": p["v"].tolist()} if "v" in p else {})} for name, p in stored.items()}
        assert shown == self.model

    def teardown(self) -> None:
        if hasattr(self, "db"):
            assert self.db.check() == []
            self.db.close()
        self.folder.cleanup()


TestWordsAgainstDict = WordsAgainstDict.TestCase
TestWordsAgainstDict.settings = settings(
    TestDatabaseAgainstDict.settings, max_examples=WORDY_EXAMPLES, stateful_step_count=WORDY_STEPS
)
