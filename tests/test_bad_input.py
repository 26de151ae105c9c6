"""Bad input: a typed error that says what to do, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vsearch
from vsearch import F, SearchParams
from vsearch.types import MAX_BATCH_POINTS, MAX_ID_BYTES, MAX_LIMIT, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH

X = np.eye(4, dtype=np.float32)


@pytest.fixture
def docs(db: vsearch.Database) -> vsearch.Collection:
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(4), "w": vsearch.Dense(2, metric="l2")})
    docs.upsert([0, 1], vectors={"v": X[:2], "w": [[0, 0], [1, 1]]}, payloads=[{"n": 0}, {"n": 1}])
    return docs


def nested(depth: int) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for _ in range(depth):
        body = {"k": body}
    return body


def changed(row: int, value: float) -> np.ndarray:
    rows = X.copy()
    rows[row, 1] = value
    return rows


BAD_WRITES: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "wrong dimension": (vsearch.DimensionMismatch, "5.*dimension 4", {"vectors": {"v": np.ones((3, 5))}}),
    "ragged": (vsearch.DimensionMismatch, "different lengths", {"vectors": {"v": [[1, 2, 3, 4], [1, 2], [1]]}}),
    "NaN": (vsearch.InvalidArgument, "row 2 holds NaN", {"vectors": {"v": changed(2, np.nan)[:3]}}),
    "infinity": (vsearch.InvalidArgument, "row 1 holds NaN or inf", {"vectors": {"v": changed(1, np.inf)[:3]}}),
    "zero under cosine": (vsearch.InvalidArgument, "row 1 is zero", {"vectors": {"v": [X[0], 0 * X[0], X[1]]}}),
    "huge under l2": (vsearch.InvalidArgument, "component above", {"vectors": {"w": np.full((3, 2), 1e30)}}),
    "wrong number of vectors": (vsearch.InvalidArgument, "for 3 ids", {"vectors": {"v": X[:2]}}),
    "vectors of text": (vsearch.InvalidArgument, "of type", {"vectors": {"v": [["a"] * 4] * 3}}),
    "one vector": (vsearch.InvalidArgument, "shape", {"vectors": {"v": X[0]}}),
    "unknown field": (vsearch.InvalidArgument, "unknown field 'x'.*v, w", {"vectors": {"x": X[:3]}}),
    "id too long": (vsearch.InvalidArgument, "1025 bytes", {"ids": ["a", "é" * 512 + "x", "b"]}),
    "negative id": (vsearch.InvalidArgument, "-1", {"ids": [1, -1, 2]}),
    "id above 64 bits": (vsearch.InvalidArgument, "id", {"ids": [1, 2**64, 2]}),
    "id a float": (vsearch.InvalidArgument, "float", {"ids": [1, 2.5, 2]}),
    "id a bool": (vsearch.InvalidArgument, "bool", {"ids": [1, True, 2]}),
    "id None": (vsearch.InvalidArgument, "None", {"ids": [1, None, 2]}),
    "id with a surrogate": (vsearch.InvalidArgument, "surrogate", {"ids": ["a", "\ud800", "b"]}),
    "ids a string": (vsearch.InvalidArgument, "list of ids", {"ids": "abc"}),
    "payload a list": (vsearch.InvalidArgument, "row 1.*list", {"payloads": [None, [1], None]}),
    "payload with NaN": (vsearch.InvalidArgument, "row 2.*nan", {"payloads": [{}, {}, {"a": float("nan")}]}),
    "payload with bytes": (vsearch.InvalidArgument, "bytes", {"payloads": [{"a": b"x"}, {}, {}]}),
    "payload with an object": (vsearch.InvalidArgument, "object", {"payloads": [{"a": object()}, {}, {}]}),
    "payload with int keys": (vsearch.InvalidArgument, "key 1", {"payloads": [{"a": {1: 2}}, {}, {}]}),
    "payload with a large int": (vsearch.InvalidArgument, "64 bits", {"payloads": [{"a": 2**63}, {}, {}]}),
    "payload too deep": (vsearch.InvalidArgument, "deeper", {"payloads": [nested(MAX_PAYLOAD_DEPTH + 1), {}, {}]}),
    "payload too large": (
        vsearch.LimitExceeded,
        "bytes",
        {"payloads": [{"a": "x" * (MAX_PAYLOAD_BYTES + 2000)}, {}, {}]},
    ),
    "payload with a surrogate": (vsearch.InvalidArgument, "Unicode", {"payloads": [{"a": "\udfff"}, {}, {}]}),
    "too few payloads": (vsearch.InvalidArgument, "2 payloads for 3", {"payloads": [{}, {}]}),
}


@pytest.mark.parametrize("case", BAD_WRITES)
def test_a_batch_with_one_bad_row_changes_nothing(docs: vsearch.Collection, case: str) -> None:
    error, message, changes = BAD_WRITES[case]
    good: dict[str, Any] = {"ids": [0, 1, 2], "vectors": {"v": X[:3]}, "payloads": [{"n": 9}] * 3}
    before = docs.scroll(with_vectors=True)
    for write in (docs.upsert, docs.insert):
        with pytest.raises(error, match=message) as caught:
            write(**{**good, **changes})
        assert isinstance(caught.value, vsearch.VSearchError)
        assert caught.value.hint
    after = docs.scroll(with_vectors=True)
    assert [(p.id, p.payload) for p in after] == [(p.id, p.payload) for p in before]
    assert docs.count() == 2
    docs.upsert(**good)
    assert docs.count() == 3


def test_an_id_of_the_largest_size_is_taken(docs: vsearch.Collection) -> None:
    docs.upsert(["x" * MAX_ID_BYTES], vectors={"v": X[:1]})
    assert docs.get(["x" * MAX_ID_BYTES])[0].id == "x" * MAX_ID_BYTES


def test_a_batch_above_the_limit_is_refused(docs: vsearch.Collection) -> None:
    n = MAX_BATCH_POINTS + 1
    with pytest.raises(vsearch.LimitExceeded, match="100,001"):
        docs.upsert(range(n))
    assert docs.count() == 2


BAD_SEARCHES: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "k of 0": (vsearch.InvalidArgument, "limit is 0", {"limit": 0}),
    "k negative": (vsearch.InvalidArgument, "limit is -3", {"limit": -3}),
    "k a float": (vsearch.InvalidArgument, "limit is 1.5", {"limit": 1.5}),
    "k above the limit": (vsearch.LimitExceeded, "10,001", {"limit": MAX_LIMIT + 1}),
    "offset above the limit": (vsearch.LimitExceeded, "scroll", {"offset": MAX_LIMIT}),
    "offset negative": (vsearch.InvalidArgument, "offset", {"offset": -1}),
    "wrong dimension": (vsearch.DimensionMismatch, "dimension 3", {"query": [1, 2, 3]}),
    "NaN": (vsearch.InvalidArgument, "NaN", {"query": [1, np.nan, 0, 0]}),
    "zero under cosine": (vsearch.InvalidArgument, "zero", {"query": [0, 0, 0, 0]}),
    "text": (vsearch.InvalidArgument, "type", {"query": ["a", "b", "c", "d"]}),
    "ragged": (vsearch.DimensionMismatch, "different lengths", {"query": [[1], [2, 3]]}),
    "two queries": (vsearch.InvalidArgument, "search_batch", {"query": X[:2]}),
    "no query": (vsearch.InvalidArgument, "0 dimensions", {"query": None}),
    "unknown field": (vsearch.InvalidArgument, "'x'.*v, w", {"using": "x"}),
    "field not named": (vsearch.InvalidArgument, "several fields", {"using": None}),
    "threshold a string": (vsearch.InvalidArgument, "score_threshold", {"score_threshold": "high"}),
    "params a dict": (vsearch.InvalidArgument, "SearchParams", {"params": {"ef": 10}}),
    "filter a string": (vsearch.InvalidFilter, "filter", {"filter": "n = 1"}),
    "filter with an unknown operator": (vsearch.InvalidFilter, r"\$near", {"filter": {"n": {"$near": 1}}}),
    "filter of the wrong type": (
        vsearch.InvalidFilter,
        "no order",
        {"filter": {"must": [{"key": "n", "range": {"gte": []}}]}},
    ),
}


@pytest.mark.parametrize("case", BAD_SEARCHES)
def test_a_bad_search_says_what_is_wrong(docs: vsearch.Collection, case: str) -> None:
    error, message, changes = BAD_SEARCHES[case]
    with pytest.raises(error, match=message) as caught:
        docs.search(**{"query": X[0], "using": "v", **changes})
    assert isinstance(caught.value, vsearch.VSearchError)


def test_a_deep_filter_is_refused(docs: vsearch.Collection) -> None:
    spec: dict[str, Any] = {"key": "n", "match": {"value": 1}}
    for _ in range(40):
        spec = {"must_not": [spec]}
        spec = {"should": [spec, spec]}
    with pytest.raises(vsearch.InvalidFilter):
        docs.count(spec)


@pytest.mark.parametrize(
    "bad", [{"recall": 0}, {"recall": 1.5}, {"ef": 0}, {"ef": 10**6}, {"oversampling": 0.5}, {"oversampling": 1e9}]
)
def test_bad_search_parameters(bad: dict[str, Any]) -> None:
    with pytest.raises(vsearch.InvalidArgument):
        SearchParams(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"dim": 0},
        {"dim": True},
        {"dim": 1 << 20},
        {"metric": "hamming"},
        {"index": "tree"},
        {"dtype": "int8"},
        {"m": 1},
    ],
)
def test_bad_fields(bad: dict[str, Any]) -> None:
    with pytest.raises(vsearch.InvalidArgument):
        vsearch.Dense(**{"dim": 4, **bad})


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", ".", "a\\b", "x\0", "a\nb", " a", "x" * 256, "\ud800", None, 7, "c:d"]
)
def test_bad_collection_names(db: vsearch.Database, name: Any) -> None:
    with pytest.raises(vsearch.InvalidArgument):
        db.create_collection(name, fields={"v": vsearch.Dense(4)})
    assert db.collections() == []


def test_bad_schemas(db: vsearch.Database) -> None:
    bad: list[Any] = [{}, None, {"v": 4}, {"a/b": vsearch.Dense(4)}]
    for fields in bad:
        with pytest.raises(vsearch.InvalidArgument):
            db.create_collection("docs", fields=fields)
    with pytest.raises(vsearch.LimitExceeded):
        db.create_collection("docs", fields={f"f{i}": vsearch.Dense(2) for i in range(65)})
    db.create_collection("docs", fields={"v": vsearch.Dense(4)})
    with pytest.raises(vsearch.AlreadyExists):
        db.create_collection("docs", fields={"v": vsearch.Dense(4)})
    with pytest.raises(vsearch.NotFound, match="docs"):
        db.collection("other")


def test_other_calls_with_bad_input(docs: vsearch.Collection) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: docs.delete(),
        lambda: docs.delete(ids=[1], filter=F("n") == 1),
        lambda: docs.delete(filter={}),
        lambda: docs.scroll(limit=0),
        lambda: docs.scroll(cursor=1.5),  # type: ignore[arg-type]
        lambda: docs.get([None]),  # type: ignore[list-item]
        lambda: docs.update(0, payload=[1]),  # type: ignore[arg-type]
        lambda: docs.update(0, vectors={"v": [1, 2]}),
        lambda: docs.search_batch(X[0], using="v"),
        lambda: docs.search_batch([[1], [2, 3]], using="v"),
        lambda: docs.update(0, vectors={"v": [[1], [2, 3]]}),
        lambda: docs.explain(X[0], using="nope"),
        lambda: docs.count("n > 1"),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(vsearch.InvalidArgument):
            call()
    with pytest.raises(vsearch.LimitExceeded):
        docs.scroll(limit=MAX_LIMIT + 1)
    assert docs.count() == 2


def test_a_closed_database_says_so(tmp_path: Any) -> None:
    db = vsearch.open(tmp_path / "db")
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(4)})
    db.close()
    db.close()
    calls: list[Callable[[], Any]] = [
        lambda: docs.search(X[0]),
        lambda: docs.upsert([1], vectors={"v": X[:1]}),
        lambda: docs.count(),
        lambda: db.collections(),
        lambda: db.collection("docs"),
        lambda: db.create_collection("x", fields={"v": vsearch.Dense(4)}),
    ]
    for call in calls:
        with pytest.raises(vsearch.Closed):
            call()
    with pytest.raises(vsearch.InvalidArgument):
        vsearch.open(tmp_path / "x", durability="maybe")  # type: ignore[arg-type]
