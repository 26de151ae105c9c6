"""Clients with sparse vectors and texts: what they return is what the embedded database returns, to the bit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as scipy_sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import vsearch
from tests.awaited import Awaited
from tests.serving import Server, serving
from tests.strategies import sparse_vectors, texts
from vsearch import F, SearchParams, wire
from vsearch.fields.sparse_input import stored_sparse
from vsearch.types import SparseRows

FIELDS = {
    "s": vsearch.Sparse(modifier="idf"),
    "h": vsearch.Sparse(dtype="float16"),
    "t": vsearch.Text(),
    "d": vsearch.Dense(3),
}
RNG = np.random.default_rng(4)
MATRIX = scipy_sparse.random(300, 80, density=0.08, format="csr", random_state=1, dtype=np.float32)
TEXTS = [" ".join(f"word{i}" for i in RNG.integers(0, 30, 8)) for _ in range(300)]
DENSE = RNG.normal(size=(300, 3)).astype(np.float32)
PAYLOADS = [{"n": i} for i in range(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "db", "--no-access-log", "--durability", "os") as server:
        yield server


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vsearch.Collection]:
    with vsearch.open(Path(tmp_path_factory.mktemp("embedded")) / "db") as db:
        docs = db.create_collection("docs", fields=FIELDS)
        fill(docs)
        yield docs


@pytest.fixture(scope="module", params=["http", "asyncio"])
def remote(server: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    with vsearch.connect(server.url) as client, asyncio.Runner() as runner:
        db: Any = client if request.param == "http" else Awaited(runner, vsearch.connect_async(server.url))
        docs = db.create_collection("docs", fields=FIELDS)
        fill(docs)
        yield docs
        client.delete_collection("docs")
        if request.param == "asyncio":
            db.close()


def fill(docs: Any) -> None:
    half = scipy_sparse.csr_array(MATRIX[:150])
    docs.upsert(range(150), {"s": MATRIX[:150], "h": half, "t": TEXTS[:150], "d": DENSE[:150]}, PAYLOADS[:150])
    docs.optimize()
    rows = [None if i % 9 == 0 else MATRIX[[i]] for i in range(150, 300)]
    some = [None if i % 7 == 0 else text for i, text in enumerate(TEXTS[150:])]
    docs.upsert(range(150, 300), {"s": rows, "t": some, "d": DENSE[150:]}, PAYLOADS[150:])


def same(ours: vsearch.Hits, theirs: vsearch.Hits) -> None:
    assert ours.point_ids == theirs.point_ids
    assert ours.scores.dtype == theirs.scores.dtype == np.float32
    assert ours.scores.tolist() == theirs.scores.tolist()
    assert ours.payloads == theirs.payloads
    for mine, other in zip(ours.vectors or [], theirs.vectors or [], strict=True):
        assert_same_vectors(mine, other)


def assert_same_vectors(mine: Any, other: Any) -> None:
    assert mine.keys() == other.keys()
    for name, vector in mine.items():
        assert type(vector) is type(other[name])
        if isinstance(vector, np.ndarray):
            assert vector.dtype == other[name].dtype == np.float32
            assert vector.tolist() == other[name].tolist()
        else:
            assert vector == other[name]


QUERIES: list[tuple[str, Any]] = [
    ("s", MATRIX[3]),
    ("s", MATRIX[[4]]),
    ("s", {5: 0.5, 70: 1.0, 4_000_000_000: 2.0}),
    ("s", ([5, 7], [1.0, 0.25])),
    ("s", (np.array([5, 7], np.uint32), np.array([1.0, 0.25], np.float16))),
    ("s", {5: -1.0, 6: 2.0}),
    ("s", {}),
    ("h", {5: 0.5, 6: 0.1}),
    ("t", "word3 word5 words"),
    ("t", ""),
    ("d", [1.0, 2.0, 3.0]),
]


@pytest.mark.parametrize(("using", "query"), QUERIES, ids=range(len(QUERIES)))
def test_hits_are_those_of_the_embedded_database(
    remote: Any, embedded: vsearch.Collection, using: str, query: Any
) -> None:
    for options in (
        {"limit": 300, "with_vectors": True},
        {"limit": 7, "offset": 3, "with_payload": False},
        {"filter": F("n") < 40, "params": SearchParams(exact=True)},
        {"score_threshold": 0.5},
    ):
        same(remote.search(query, using=using, **options), embedded.search(query, using=using, **options))
    plan, expected = (docs.explain(query, using=using) for docs in (remote, embedded))
    assert (plan.metric, plan.field, plan.exact) == (expected.metric, expected.field, expected.exact)


BATCHES: list[tuple[str, Any]] = [
    ("s", MATRIX[:20]),
    ("s", scipy_sparse.csr_array(MATRIX[20:40])),
    ("s", [{5: 1.0}, ([6, 7], [1.0, 2.0]), MATRIX[[8]], {}]),
    ("s", [([6, 7], [1.0, 2.0]), ([1, 2], [1.0, 2.0])]),
    ("s", []),
    ("t", TEXTS[:20]),
    ("t", np.array(TEXTS[20:30])),
    ("t", []),
    ("d", DENSE[:20]),
]


@pytest.mark.parametrize(("using", "queries"), BATCHES, ids=range(len(BATCHES)))
def test_batches_too(remote: Any, embedded: vsearch.Collection, using: str, queries: Any) -> None:
    found = remote.search_batch(queries, using=using, limit=5, with_vectors=True)
    expected = embedded.search_batch(queries, using=using, limit=5, with_vectors=True)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        same(ours, theirs)


def test_points_come_back_as_they_are_embedded(remote: Any, embedded: vsearch.Collection) -> None:
    assert remote.schema == embedded.schema == FIELDS
    ours, theirs = (docs.scroll(limit=300, with_vectors=True).points for docs in (remote, embedded))
    assert [point.id for point in ours] == [point.id for point in theirs] == list(range(300))
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.payload, mine.expires_at) == (other.payload, other.expires_at)
        assert_same_vectors(mine.vectors, other.vectors)
    (point,) = remote.get(1, with_vectors=True)
    assert all(type(term) is int and type(weight) is float for term, weight in point.vectors["s"].items())


def test_a_vector_for_a_field_of_another_kind_is_refused(remote: Any, embedded: vsearch.Collection) -> None:
    vectors = {"s": {1: 1.0}, "t": "a text", "d": [1.0, 2.0, 3.0]}
    for docs in (remote, embedded):
        for field in vectors:
            for other, vector in vectors.items():
                if field == other:
                    continue
                for call in (
                    lambda f=field, v=vector, d=docs: d.upsert([0], {f: [v]}),
                    lambda f=field, v=vector, d=docs: d.upsert([0, 1], {f: [v, None]}),
                    lambda f=field, v=vector, d=docs: d.upsert(None, {f: [v]}),
                    lambda f=field, v=vector, d=docs: d.update(0, vectors={f: v}),
                    lambda f=field, v=vector, d=docs: d.update_vectors([0], {f: [v]}),
                    lambda f=field, v=vector, d=docs: d.search(v, using=f),
                    lambda f=field, v=vector, d=docs: d.search_batch([v, v], using=f),
                    lambda f=field, v=vector, d=docs: d.explain(v, using=f),
                ):
                    with pytest.raises(vsearch.InvalidArgument):
                        call()
        assert docs.count() == 300


# The bodies themselves


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | sparse_vectors(), max_size=8))
def test_rows_survive_the_wire(vectors: list[dict[int, float] | None]) -> None:
    rows, present = stored_sparse("rows", vectors, len(vectors), "float32")
    read = wire.from_wire(wire.unpack(wire.pack(wire.sparse(rows, present))))
    assert isinstance(read, SparseRows) == bool(present.all())
    again, present_again = stored_sparse("rows", read, len(vectors), "float32")
    assert present_again.tolist() == present.tolist()
    for name in ("offsets", "numbers", "weights"):
        assert getattr(again, name).tolist() == getattr(rows, name).tolist()


@settings(max_examples=200, deadline=None)
@given(sparse_vectors(), texts(), st.booleans())
def test_hits_survive_the_wire(vector: dict[int, float], text: str, binary: bool) -> None:
    stored = {term: float(np.float32(weight)) for term, weight in vector.items()}
    dense = np.array([0.1, 2.0], np.float32)
    hits = vsearch.Hits([1], np.array([0.5], np.float32), None, [{"s": stored, "t": text, "d": dense}])
    sent: Any = wire.hits_out(hits, binary)
    read = wire.hits_in(wire.unpack(wire.pack(sent)))
    assert read.vectors is not None
    assert_same_vectors(read.vectors[0], {"s": stored, "t": text, "d": dense})
