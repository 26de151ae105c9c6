"""Sparse vectors and texts over HTTP: qdrant-client against its own in-memory mode, and our own routes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on import it warns of protobuf, of pydantic ...
    from qdrant_client import QdrantClient
    from qdrant_client import models as m
    from qdrant_client.http.exceptions import UnexpectedResponse

from tests.naive_fields import bm25_scores, dot_scores
from tests.serving import Server, serving
from vsearch import wire
from vsearch.storage.ipc import read_hits
from vsearch.types import SparseRows

Vector = dict[int, float]
TEXTS = ["a red fox", "a blue bird", "red red wine", "the fox and the bird", "nothing of it"]
ODD = m.Filter(must=[m.FieldCondition(key="odd", match=m.MatchValue(value=True))])


def random_vectors(n: int, seed: int, terms: int = 60) -> list[Vector]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        chosen = np.unique((terms * rng.random(rng.integers(1, 12)) ** 2).astype(int))
        rows.append({int(term): float(np.float32(rng.random() + 0.01)) for term in chosen})
    return rows


ROWS = random_vectors(200, seed=1)
QUERIES = random_vectors(12, seed=2)


def sparse(vector: Vector) -> Any:
    return m.SparseVector(indices=list(vector), values=list(vector.values()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sparse") / "db", "--no-access-log", "--durability", "os") as server:
        yield server


@pytest.fixture(scope="module")
def ours(server: Server) -> Iterator[QdrantClient]:
    client = QdrantClient(url=server.url, cloud_inference=True, timeout=60)  # kernels may have to be compiled
    yield client
    client.close()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
        for name in client.get("/v1/collections").json()["collections"]:
            client.delete(f"/v1/collections/{name}")


class Pair:
    """The same calls on both; they must agree, on scores to within 1e-5 and on ids but for ties."""

    def __init__(self, ours: QdrantClient, modifier: Any, with_dense: bool) -> None:
        self.name = "pair"
        self.clients = (ours, QdrantClient(":memory:"))
        self.params = m.SparseVectorParams(index=m.SparseIndexParams(on_disk=False), modifier=modifier)
        dense = {"d": m.VectorParams(size=3, distance=m.Distance.DOT)} if with_dense else {}
        for client in self.clients:
            client.delete_collection(self.name)
            client.create_collection(
                self.name, vectors_config=dense, sparse_vectors_config={"s": self.params, "t": m.SparseVectorParams()}
            )
        points = []
        for i, row in enumerate(ROWS):
            vector: dict[str, Any] = {"d": [i, 1.0, 2.0]} if with_dense and i % 5 else {}
            if i % 4 != 1:
                vector["s"] = sparse(row)
            if i % 3 == 0:
                vector["t"] = sparse(ROWS[i - 1])
            points.append(m.PointStruct(id=i, vector=vector, payload={"n": i, "odd": i % 2 == 1}))
        self(lambda c: c.upsert(self.name, points[:150]).status)
        for client in self.clients:
            client.upload_points(self.name, points[150:], wait=True, batch_size=16)

    def __call__(self, ask: Callable[[QdrantClient], Any], what: Callable[[Any], Any] = lambda answer: answer) -> Any:
        got, wanted = (what(ask(client)) for client in self.clients)
        assert got == wanted
        return got

    def searched(self, query: Any, limit: int = 10, using: str | None = "s", **options: Any) -> list[Any]:
        def ask(client: QdrantClient) -> Any:
            return client.query_points(self.name, query=query, using=using, limit=limit, **options).points

        got, wanted = (ask(client) for client in self.clients)
        assert_alike(got, wanted, limit)
        return got  # type: ignore[no-any-return]


def assert_alike(got: list[Any], wanted: list[Any], limit: int) -> None:
    scores = [point.score for point in wanted]
    assert [point.score for point in got] == pytest.approx(scores, abs=1e-5, rel=1e-5)
    last = scores[-1] if len(scores) == limit else -np.inf  # of points that tie at the end either may be left out
    clear = {point.id: point.payload for point in wanted if point.score > last + 1e-4}
    found = {point.id: point.payload for point in got}
    assert len(found) == len(got)
    assert {one: found.get(one) for one in clear} == clear


@pytest.fixture(params=["none", "idf", "idf and dense"])
def pair(ours: QdrantClient, request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(ours, m.Modifier.NONE if request.param == "none" else m.Modifier.IDF, "dense" in request.param)
    yield made
    ours.delete_collection(made.name)


def test_searches_are_qdrants(pair: Pair) -> None:
    for vector in QUERIES:
        query = sparse(vector)
        found = pair.searched(query, 200)
        assert len(found) > 6
        pair.searched(query, 7, offset=4)
        pair.searched(m.NearestQuery(nearest=query), 9)
        pair.searched(query, 9, query_filter=ODD)
        pair.searched(query, 50, score_threshold=(found[4].score + found[5].score) / 2)
        pair.searched(query, 9, using="t")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its local mode is always exact, and says so
            pair.searched(query, 9, search_params=m.SearchParams(exact=True))
    pair.searched(sparse({1: -1.0, 2: 0.5, 3: -0.25}), 200)
    pair.searched(sparse({9_999: 1.0}))
    pair.searched(sparse({2**32 - 1: 1.0, 2: 0.5}))
    pair.searched(4, 12)
    pair.searched(3, 12, using="t")


def test_batches_and_the_routes_of_earlier_releases(pair: Pair, server: Server) -> None:
    requests = [m.QueryRequest(query=sparse(QUERIES[0]), using="s", limit=5, with_payload=True)]
    requests += [m.QueryRequest(query=sparse(QUERIES[i]), using="s", limit=8, filter=ODD) for i in range(6)]
    ours, theirs = (client.query_batch_points(pair.name, requests) for client in pair.clients)
    for got, wanted, request in zip(ours, theirs, requests, strict=True):
        assert_alike(got.points, wanted.points, request.limit or 0)
    url = f"{server.url}/collections/{pair.name}/points/search"
    body = {"vector": {"name": "s", "vector": sparse(QUERIES[1]).model_dump()}, "limit": 8, "with_payload": True}
    wanted = pair.clients[1].query_points(pair.name, query=sparse(QUERIES[1]), using="s", limit=8).points
    alone = httpx.post(url, json=body).json()["result"]
    assert_alike([m.ScoredPoint(**one) for one in alone], wanted, 8)
    both = httpx.post(f"{url}/batch", json={"searches": [body, body]}).json()["result"]
    assert both == [alone, alone]


def named(found: Any) -> list[Any]:
    """Points with their sparse vectors as dicts."""
    return [(point.id, point.payload, plain(point.vector)) for point in found]


def plain(vector: Any) -> Any:
    if not isinstance(vector, dict):
        return vector
    shown = {}
    for name, one in vector.items():
        sparse_one = isinstance(one, m.SparseVector)
        shown[name] = dict(zip(one.indices, map(np.float32, one.values), strict=True)) if sparse_one else list(one)
    return shown


def test_reads_show_vectors_as_qdrant_does(pair: Pair) -> None:
    name = pair.name
    pair(lambda c: c.retrieve(name, ids=[3, 1, 999, 9], with_vectors=True), named)
    pair(lambda c: c.retrieve(name, ids=[3, 1, 9], with_vectors=["t"]), named)
    pair(lambda c: c.scroll(name, limit=300, with_vectors=True), lambda page: named(page[0]))
    pair(lambda c: c.scroll(name, limit=7, offset=13, scroll_filter=ODD), lambda page: named(page[0]))
    pair(lambda c: c.query_points(name, limit=5, with_vectors=True), lambda a: named(a.points))
    found = pair.searched(sparse(QUERIES[0]), 3, with_vectors=["s"])
    assert [plain(point.vector) for point in found] == [
        {"s": {t: np.float32(w) for t, w in ROWS[p.id].items()}} for p in found
    ]
    info = pair.clients[0].get_collection(name)
    assert info.config.params.sparse_vectors["s"].modifier in (None, pair.params.modifier)
    assert set(info.config.params.sparse_vectors) == {"s", "t"}
    assert info.points_count == 200
    vectors = info.config.params.vectors
    assert (vectors or {}) == (pair.clients[1].get_collection(name).config.params.vectors or {})


def test_writes_are_qdrants(pair: Pair) -> None:
    name = pair.name

    def agree() -> None:
        pair(lambda c: c.scroll(name, limit=500, with_vectors=True), lambda page: named(page[0]))
        for query in QUERIES[:4]:  # inverse document frequencies follow every change
            pair.searched(sparse(query), 200)

    vectors = [m.PointVectors(id=i, vector={"s": sparse(ROWS[i + 50])}) for i in range(20)]
    pair(lambda c: c.update_vectors(name, points=vectors).status)
    agree()
    pair(lambda c: c.delete_vectors(name, vectors=["s"], points=list(range(5, 15))).status)
    pair(lambda c: c.delete(name, points_selector=[20, 21, 22, 999]).status)
    agree()
    batch = m.Batch(ids=[7, 500], vectors={"s": [sparse(ROWS[1]), sparse(ROWS[2])]}, payloads=[{"a": 1}, {"odd": True}])
    pair(lambda c: c.upsert(name, points=batch).status)
    operations = [
        m.UpsertOperation(upsert=m.PointsList(points=[m.PointStruct(id=600, vector={"t": sparse(ROWS[3])})])),
        m.UpdateVectorsOperation(
            update_vectors=m.UpdateVectors(points=[m.PointVectors(id=600, vector={"s": sparse({5: 1.0, 1: 2.0})})])
        ),
        m.DeleteVectorsOperation(delete_vectors=m.DeleteVectors(points=[1], vector=["t"])),
    ]
    pair(lambda c: [one.status for one in c.batch_update_points(name, operations)])
    agree()
    pair(lambda c: c.delete(name, points_selector=m.FilterSelector(filter=ODD)).status)
    agree()


def test_what_differs_from_qdrant_is_refused(ours: QdrantClient, http: httpx.Client) -> None:
    ours.create_collection("differs", sparse_vectors_config={"s": m.SparseVectorParams()})
    for vector, status in (
        (m.SparseVector(indices=[1, 1], values=[1.0, 2.0]), 422),
        (m.SparseVector(indices=[1, 2], values=[1.0]), 422),
        (m.SparseVector(indices=[2**32], values=[1.0]), 422),
        (m.SparseVector(indices=[1], values=[-1.0]), 400),  # Qdrant takes these
    ):
        with pytest.raises(UnexpectedResponse) as caught:
            ours.upsert("differs", [m.PointStruct(id=1, vector={"s": vector})])
        assert caught.value.status_code == status
        if status == 422:
            with pytest.raises(UnexpectedResponse) as caught:
                ours.query_points("differs", query=vector, using="s")
            assert caught.value.status_code == status
    assert ours.count("differs").count == 0
    ours.upsert("differs", [m.PointStruct(id=1, vector={"s": m.SparseVector(indices=[], values=[])})])
    assert ours.query_points("differs", query=m.SparseVector(indices=[], values=[]), using="s").points == []
    recommend = m.RecommendQuery(recommend=m.RecommendInput(positive=[1]))
    with pytest.raises(UnexpectedResponse, match="recommendations by sparse vectors"):
        ours.query_points("differs", query=recommend, using="s")


def test_texts_over_qdrants_interface(ours: QdrantClient, http: httpx.Client) -> None:
    fields = {"body": {"kind": "text", "language": None}, "d": {"dim": 2, "metric": "dot"}}
    http.post("/v1/collections", json={"name": "texts", "fields": fields}).raise_for_status()
    points = [
        m.PointStruct(id=i, vector={"body": m.Document(text=text, model="any"), "d": [i, 1.0]}, payload={"i": i})
        for i, text in enumerate(TEXTS)
    ]
    ours.upsert("texts", points)
    words = {i: text.split() for i, text in enumerate(TEXTS)}
    query = m.Document(text="red bird", model="any")
    found = ours.query_points("texts", query=query, using="body", with_vectors=True).points
    assert {p.id: p.score for p in found} == pytest.approx(bm25_scores(["red", "bird"], words), abs=1e-5)
    assert [p.vector for p in found] == [{"d": [p.id, 1.0]} for p in found]
    named_too = http.post("/collections/texts/points", json={"ids": [2], "with_vector": ["body"]}).json()["result"]
    assert named_too[0]["vector"] == {"body": {"text": TEXTS[2]}}
    like = ours.query_points("texts", query=2, using="body").points
    assert 2 not in [p.id for p in like]
    assert like[0].id == 0
    ours.update_vectors("texts", [m.PointVectors(id=4, vector={"body": m.Document(text="bird red", model="x")})])
    assert ours.query_points("texts", query=query, using="body", limit=1).points[0].id == 4
    assert list(ours.get_collection("texts").config.params.vectors) == ["d"]
    body = {"query": [1.0, 2.0], "using": "body"}
    assert http.post("/collections/texts/points/query", json=body).status_code == 400
    body = {"query": {"indices": [1], "values": [1.0]}, "using": "d"}
    assert http.post("/collections/texts/points/query", json=body).status_code == 400
    body = {"query": {"text": "red"}, "using": "d"}
    assert http.post("/collections/texts/points/query", json=body).status_code == 501


# Our own routes


FIELDS = {"s": {"kind": "sparse"}, "t": {"kind": "text", "language": None}, "d": {"dim": 2, "metric": "dot"}}


@pytest.fixture
def docs(http: httpx.Client) -> str:
    """The path of a collection, filled by JSON."""
    described = http.post("/v1/collections", json={"name": "docs", "fields": FIELDS}).json()
    assert described["fields"]["s"] == {
        "kind": "sparse", "index": "auto", "dtype": "float32", "modifier": None, "knn": 0,
    }  # fmt: skip
    assert described["fields"]["t"] == {"kind": "text", "language": None, "k1": 1.2, "b": 0.75}
    vectors = {
        "s": [{"indices": [1, 7], "values": [0.5, 2.0]}, None, {"indices": [7], "values": [1]}],
        "t": ["red fox", "blue bird", None],
        "d": [[1, 2], [3, 4], None],
    }
    http.post("/v1/collections/docs/upsert", json={"ids": [0, 1, 2], "vectors": vectors}).raise_for_status()
    return "/v1/collections/docs"


STORED = {
    0: {"s": {1: 0.5, 7: 2.0}, "t": "red fox", "d": [1, 2]},
    1: {"t": "blue bird", "d": [3, 4]},
    2: {"s": {7: 1.0}},
}


def ask(http: httpx.Client, path: str, body: Any, packed: bool) -> Any:
    """The answer of one of our routes, asked for in JSON or in MessagePack."""
    if not packed:
        answer = http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()
    headers = {"content-type": wire.MSGPACK, "accept": wire.MSGPACK}
    answer = http.post(path, content=wire.pack(body), headers=headers)
    assert answer.status_code == 200, answer.text
    return wire.unpack(answer.content)


def shown(points: list[Any]) -> dict[Any, Any]:
    found = {point.id: point.vectors for point in map(wire.point_in, points)}
    return {
        one: {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in vectors.items()}
        for one, vectors in found.items()
    }


@pytest.mark.parametrize("packed", [False, True])
def test_both_encodings_carry_every_kind(http: httpx.Client, docs: str, packed: bool) -> None:
    got = ask(http, f"{docs}/get", {"ids": [0, 1, 2], "with_vectors": True}, packed)
    assert shown(got["points"]) == STORED
    page = ask(http, f"{docs}/scroll", {"with_vectors": True}, packed)
    assert shown(page["points"]) == STORED
    column = {"indices": [7, 1], "values": [1.0, 1.0]}
    rows = SparseRows(np.array([0, 2, 3]), np.array([1, 7, 1], np.uint32), np.array([1, 1, 1], np.float32))
    queries = wire.sparse(rows) if packed else [column, {"indices": [1], "values": [1.0]}]
    body = {"queries": queries, "using": "s", "with_vectors": True}
    first, second = (wire.hits_in(hits) for hits in ask(http, f"{docs}/search", body, packed)["hits"])
    assert (first.point_ids, first.scores.tolist()) == ([0, 2], [2.5, 1.0])
    assert [vectors["s"] for vectors in first.vectors or []] == [{1: 0.5, 7: 2.0}, {7: 1.0}]
    assert second.point_ids == [0]
    found = ask(http, f"{docs}/search", {"queries": ["fox", "bird red", "none"], "using": "t"}, packed)["hits"]
    assert [sorted(one["ids"]) for one in found] == [[0], [0, 1], []]
    for query, using in ((column, "s"), ("fox", "t"), ([1, 2], "d")):
        plan = ask(http, f"{docs}/explain", {"query": query, "using": using, "analyze": True}, packed)["plan"]
        assert plan["field"] == using
    one = {"terms": rows.numbers[1:].tobytes(), "weights": rows.weights[1:].tobytes()} if packed else column
    ask(http, f"{docs}/update", {"id": 1, "vectors": {"s": one, "t": "green"}}, packed)
    some = wire.sparse(rows, np.array([True, False]))
    some = {
        **some,
        "offsets": np.array([0, 2, 2]).tobytes(),
        "terms": some["terms"][:8],
        "weights": some["weights"][:8],
    }
    changed = {"ids": [2, 0], "vectors": {"s": some if packed else [column, None]}}
    ask(http, f"{docs}/update_vectors", changed, packed)
    got = ask(http, f"{docs}/get", {"ids": [0, 1, 2], "with_vectors": True}, packed)
    changed_rows = {1: {**STORED[1], "s": {1: 1.0, 7: 1.0}, "t": "green"}, 2: {"s": {1: 1.0, 7: 1.0}}}
    assert shown(got["points"]) == {**STORED, **changed_rows}


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    data: bytes = sink.getvalue().to_pybytes()
    return data


STRUCT = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
SPARSE_COLUMNS = {
    "struct": pa.array([{"indices": list(r), "values": list(r.values())} for r in ROWS[:4]] + [None], STRUCT),
    "map": pa.array([list(r.items()) for r in ROWS[:4]] + [None], pa.map_(pa.uint32(), pa.float32())),
    "list of structs": pa.array(
        [[{"term": t, "weight": w} for t, w in r.items()] for r in ROWS[:4]] + [None],
        pa.list_(pa.struct([("term", pa.uint32()), ("weight", pa.float32())])),
    ),
}


@pytest.mark.parametrize("form", SPARSE_COLUMNS)
def test_arrow_streams_carry_every_kind(http: httpx.Client, docs: str, form: str) -> None:
    column = SPARSE_COLUMNS[form]
    ids = [f"p{i}" for i in range(5)]
    headers = {"content-type": wire.ARROW, "accept": wire.ARROW}
    table = pa.table({"id": ids, "s": column, "t": pa.array([*TEXTS[:4], None]), "n": list(range(5))})
    written = http.post(f"{docs}/upsert", content=stream(table), headers={"content-type": wire.ARROW})
    assert written.json() == {"ids": ids}
    got = ask(http, f"{docs}/get", {"ids": ids, "with_vectors": True}, True)
    rows = [{"s": dict(sorted(row.items())), "t": text} for row, text in zip(ROWS[:4], TEXTS, strict=False)]
    assert shown(got["points"]) == dict(zip(ids, [*rows, {}], strict=True))
    asked = {"vsearch": json.dumps({"using": "s", "limit": 4, "with_vectors": True})}
    queries = pa.table({"q": column.slice(0, 3)}).replace_schema_metadata(asked)
    answer = http.post(f"{docs}/search", content=stream(queries), headers=headers)
    assert answer.headers["content-type"] == wire.ARROW, answer.text
    vectors: dict[Any, Vector] = {**dict(zip(ids, ROWS[:4], strict=False)), 0: {1: 0.5, 7: 2.0}, 2: {7: 1.0}}
    for query, hits in zip(ROWS, read_hits(answer.content), strict=False):
        best = sorted(dot_scores(query, vectors).values(), reverse=True)[:4]
        assert hits.scores.tolist() == pytest.approx(best, abs=1e-5)
        shown_vectors = {one: v["s"] for one, v in zip(hits.point_ids, hits.vectors or [], strict=True)}
        assert shown_vectors == {one: vectors[one if isinstance(one, str) else int(one)] for one in hits.point_ids}
    asked = {"vsearch": json.dumps({"using": "t", "with_vectors": True})}
    queries = pa.table({"vector": ["wine", "x"], "other": [1, 2]}).replace_schema_metadata(asked)
    found = read_hits(http.post(f"{docs}/search", content=stream(queries), headers=headers).content)
    assert [one.point_ids for one in found] == [["p2"], []]
    assert (found[0].vectors or [])[0]["t"] == TEXTS[2]


def test_an_upload_is_imported_and_comes_out_again(http: httpx.Client, docs: str) -> None:
    headers = {"content-type": "application/octet-stream"}
    for kind in ("parquet", "arrow"):
        exported = http.get(f"{docs}/export", params={"format": kind}).content
        http.post("/v1/collections", json={"name": "copy", "fields": FIELDS}).raise_for_status()
        imported = http.post("/v1/collections/copy/import", content=exported, headers=headers)
        assert imported.json() == {"points": 3}
        page = ask(http, "/v1/collections/copy/scroll", {"with_vectors": True}, True)
        assert shown(page["points"]) == STORED
        http.delete("/v1/collections/copy")


LISTS = {"offsets": [0, 1], "terms": [1], "weights": [1.0]}
GOOD = wire.sparse(SparseRows(np.array([0, 1]), np.array([1], np.uint32), np.array([1], np.float32)))
BAD_QUERIES: dict[str, Any] = {
    "lists for bytes": LISTS,
    "an offset too many": {**GOOD, "offsets": np.array([0, 1, 2]).tobytes()},
    "offsets that descend": {**GOOD, "offsets": np.array([0, 2, 1]).tobytes()},
    "offsets beyond": {**GOOD, "offsets": np.array([0, 2**40]).tobytes()},
    "offsets below 0": {**GOOD, "offsets": np.array([0, -1, 1]).tobytes()},
    "offsets that begin late": {**GOOD, "offsets": np.array([1, 1]).tobytes()},
    "no offsets": {**GOOD, "offsets": b""},
    "half an offset": {**GOOD, "offsets": GOOD["offsets"][:-3]},
    "half a term": {**GOOD, "terms": GOOD["terms"][:-1]},
    "no weights": {**GOOD, "weights": b""},
    "NaN": {**GOOD, "weights": np.array([np.nan], np.float32).tobytes()},
    "too heavy": {**GOOD, "weights": np.array([1e20], np.float32).tobytes()},
    "present of other rows": {**GOOD, "present": b"\1\1"},
    "an absent query": {**GOOD, "present": b"\0"},
    "present as a list": {**GOOD, "present": [True]},
    "another entry": {**GOOD, "more": 1},
    "one without its batch": {"terms": GOOD["terms"], "weights": GOOD["weights"]},
    "nothing": {},
    "dense rows": {"shape": [1, 2], "float32": b"\0" * 8},
    "texts": ["a"],
    "one text": "a",
    "lists": [[1.0, 2.0]],
    "none": [None],
    "floats as indices": [{"indices": [1.0], "values": [1.0]}],
    "text as values": [{"indices": [1], "values": ["a"]}],
    "text as indices": [{"indices": "1", "values": [1.0]}],
    "one value too few": [{"indices": [1, 2], "values": [1.0]}],
    "a term too large": [{"indices": [2**32], "values": [1.0]}],
    "a term of many bits": [{"indices": [2**63], "values": [1.0]}],
    "a term below 0": [{"indices": [-1], "values": [1.0]}],
    "terms in terms": [{"indices": [[1]], "values": [1.0]}],
    "indices only": [{"indices": [1]}],
    "an object of weights": [{"1": 0.5}],
}


GOOD_ELSEWHERE = {("dense rows", "d"), ("lists", "d")}


def contents(http: httpx.Client, docs: str) -> Any:
    return ask(http, f"{docs}/scroll", {"with_vectors": True}, False)


@pytest.mark.parametrize("case", BAD_QUERIES)
@pytest.mark.parametrize("field", ["s", "d"])
def test_bad_sparse_bodies_are_refused(http: httpx.Client, docs: str, case: str, field: str) -> None:
    if (case, field) in GOOD_ELSEWHERE:
        return
    before = contents(http, docs)
    sent = BAD_QUERIES[case]
    bodies = [("search", {"queries": sent, "using": field})]
    if case not in ("an absent query", "none"):  # which make points that lack the field
        bodies.append(("upsert", {"ids": [0], "vectors": {field: sent}}))
        bodies.append(("upsert", {"vectors": {field: sent}}))
    for operation, body in bodies:
        answer = http.post(f"{docs}/{operation}", content=wire.pack(body), headers={"content-type": wire.MSGPACK})
        assert answer.status_code in (400, 422), (operation, answer.text)
        assert answer.json()["hint"]
    assert contents(http, docs) == before


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "sparse", "dim": 3},
        {"kind": "sparse", "index": "hnsw"},
        {"kind": "sparse", "index": []},
        {"kind": "sparse", "modifier": "tf"},
        {"kind": "text", "language": "klingon"},
        {"kind": "text", "language": ["english"]},
        {"kind": "text", "k1": float("1e9")},
        {"kind": "text", "b": "x"},
        {"kind": ["text"]},
        {"kind": None},
        {"kind": "sparse", "knn": 1e3},
    ],
    ids=str,
)
def test_bad_fields_are_refused(http: httpx.Client, spec: Any) -> None:
    answer = http.post("/v1/collections", json={"name": "bad", "fields": {"a": spec}})
    assert answer.status_code == 400, answer.text
    assert answer.json()["hint"]
    assert http.get("/v1/collections").json()["collections"] == []
