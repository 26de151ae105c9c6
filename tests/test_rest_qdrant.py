"""qdrant-client against a served database, unchanged: every answer is compared with that of its own in-memory mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on import it warns of protobuf, of pydantic ...
    from qdrant_client import QdrantClient
    from qdrant_client import models as m
    from qdrant_client.http.exceptions import UnexpectedResponse

from tests.serving import Server, serving

X = np.random.default_rng(7).normal(size=(120, 8)).astype(np.float32)
DISTANCES = (m.Distance.COSINE, m.Distance.DOT, m.Distance.EUCLID)
ODD = m.Filter(
    must=[m.FieldCondition(key="tag", match=m.MatchValue(value="odd"))],
    must_not=[m.FieldCondition(key="n", range=m.Range(lt=30))],
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("rest") / "db", "--no-access-log") as server:
        yield server


@pytest.fixture(scope="module")
def ours(server: Server) -> Iterator[QdrantClient]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it would warn if our version were not one that it knows
        client = QdrantClient(url=server.url, timeout=60)  # kernels may have to be compiled
    yield client
    client.close()


class Pair:
    """The same calls on both; they must agree."""

    def __init__(self, ours: QdrantClient, name: str) -> None:
        self.name = name
        self.clients = (ours, QdrantClient(":memory:"))
        for client in self.clients:
            client.delete_collection(name)

    def __call__(self, ask: Callable[[QdrantClient], Any], what: Callable[[Any], Any] = lambda answer: answer) -> Any:
        got, wanted = (what(ask(client)) for client in self.clients)
        assert got == wanted
        return got


def points() -> list[m.PointStruct]:
    return [m.PointStruct(id=i, vector=X[i].tolist(), payload=payload(i)) for i in range(100)]


def payload(i: int) -> dict[str, Any] | None:
    if i % 10 == 0:
        return None
    return {"n": i, "tag": ["even", "odd"][i % 2], "o": {"a": i % 5, "b": [i, {"c": i}]}, "ok": i % 3 == 0}


@pytest.fixture(params=DISTANCES, ids=lambda distance: distance.value)
def pair(ours: QdrantClient, request: pytest.FixtureRequest) -> Pair:
    pair = Pair(ours, f"c-{request.param.value}")
    config = m.VectorParams(size=8, distance=request.param)
    pair(lambda c: c.create_collection(pair.name, vectors_config=config))
    pair(lambda c: c.upsert(pair.name, points()).status)
    return pair


def scored(answer: Any) -> list[Any]:
    return [(p.id, round(p.score, 4), p.payload) for p in answer.points]


def with_vectors(found: Any) -> list[Any]:
    return [(p.id, p.payload, None if p.vector is None else np.round(p.vector, 4).tolist()) for p in found]


def test_searches(pair: Pair) -> None:
    name, query = pair.name, X[110].tolist()
    pair(lambda c: c.query_points(name, query=query, limit=7), scored)
    pair(
        lambda c: c.query_points(name, query=query, limit=7, offset=3, with_vectors=True),
        lambda a: with_vectors(a.points),
    )
    pair(lambda c: c.query_points(name, query=m.NearestQuery(nearest=query), limit=3), scored)
    pair(lambda c: c.query_points(name, query=5, limit=5), scored)
    pair(lambda c: c.query_points(name, limit=5), scored)
    pair(
        lambda c: c.query_points(name, query=query, query_filter=ODD, limit=5, with_payload=["tag", "o.b[].c"]), scored
    )
    without = m.PayloadSelectorExclude(exclude=["o.a", "tag"])
    pair(lambda c: c.query_points(name, query=query, query_filter=ODD, limit=5, with_payload=without), scored)
    exact = m.SearchParams(exact=True, hnsw_ef=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its local mode is always exact, and says so
        pair(lambda c: c.query_points(name, query=query, search_params=exact, with_payload=False), scored)
    found = pair.clients[0].query_points(name, query=query, limit=20).points
    threshold = (found[9].score + found[10].score) / 2
    assert len(pair(lambda c: c.query_points(name, query=query, limit=50, score_threshold=threshold), scored)) == 10
    requests = [m.QueryRequest(query=X[1].tolist(), limit=2), m.QueryRequest(query=X[2].tolist(), filter=ODD, limit=3)]
    pair(lambda c: c.query_batch_points(name, requests), lambda answers: [scored(one) for one in answers])


def test_recommendations(pair: Pair) -> None:
    for given in ({"positive": [1, 2], "negative": [3]}, {"positive": [X[5].tolist(), 4]}):
        recommend = m.RecommendQuery(recommend=m.RecommendInput(**given))
        pair(lambda c, query=recommend: c.query_points(pair.name, query=query, limit=6), scored)


def test_reads(pair: Pair) -> None:
    name = pair.name
    pair(lambda c: c.retrieve(name, ids=[3, 1, 999, 10], with_vectors=True), with_vectors)
    pair(lambda c: c.count(name, count_filter=ODD))
    pair(lambda c: c.count(name))
    pair(lambda c: c.scroll(name, scroll_filter=ODD, limit=7))
    pair(lambda c: c.scroll(name, limit=7, offset=13, with_payload=False))
    pair(lambda c: c.facet(name, key="tag"))
    pair(lambda c: c.facet(name, key="o.a", facet_filter=ODD, limit=3))
    pair(lambda c: c.facet(name, key="ok"))


def test_writes(pair: Pair) -> None:
    name = pair.name
    pair(lambda c: c.set_payload(name, payload={"z": 1}, points=[1, 2]).status)
    pair(lambda c: c.set_payload(name, payload={"z": 2}, points=[1, 2], key="o").status)
    pair(lambda c: c.set_payload(name, payload={"y": [1]}, points=ODD).status)
    pair(lambda c: c.overwrite_payload(name, payload={"new": None}, points=[4]).status)
    pair(lambda c: c.delete_payload(name, keys=["z", "o.a"], points=[1]).status)
    pair(lambda c: c.clear_payload(name, points_selector=[7]).status)
    pair(lambda c: c.update_vectors(name, points=[m.PointVectors(id=9, vector=X[105].tolist())]).status)
    pair(lambda c: c.delete(name, points_selector=[20, 21, 999]).status)
    pair(lambda c: c.delete(name, points_selector=m.Filter(must=[m.HasIdCondition(has_id=[30, 31])])).status)
    batch = m.Batch(ids=[200, 201], vectors=X[100:102].tolist(), payloads=[{"a": 1}, {"b": 2}])
    pair(lambda c: c.upsert(name, points=batch).status)
    operations = [
        m.UpsertOperation(upsert=m.PointsList(points=[m.PointStruct(id=500, vector=X[102].tolist())])),
        m.SetPayloadOperation(set_payload=m.SetPayload(payload={"late": True}, points=[500, 1])),
        m.DeleteOperation(delete=m.PointIdsList(points=[2])),
        m.UpdateVectorsOperation(update_vectors=m.UpdateVectors(points=[m.PointVectors(id=3, vector=X[103].tolist())])),
    ]
    pair(lambda c: [one.status for one in c.batch_update_points(name, operations)])
    pair(lambda c: c.scroll(name, limit=500, with_vectors=True), lambda page: with_vectors(page[0]))
    pair(lambda c: c.query_points(name, query=X[103].tolist(), limit=5), scored)
    pair(lambda c: c.delete(name, points_selector=m.Filter()).status)
    assert pair(lambda c: c.count(name).count) == 0


def test_uploads(pair: Pair) -> None:
    name = pair.name
    for client in pair.clients:
        client.upload_collection(name, vectors=X[:60], ids=range(1000, 1060), wait=True)
        client.upload_points(name, points()[:50], wait=True, batch_size=7, parallel=1)
    pair(lambda c: c.count(name))
    pair(lambda c: c.query_points(name, query=X[110].tolist(), query_filter=ODD, limit=4), scored)


def test_named_vectors(ours: QdrantClient) -> None:
    pair = Pair(ours, "named")
    config = {
        "a": m.VectorParams(size=8, distance=m.Distance.COSINE),
        "b": m.VectorParams(size=3, distance=m.Distance.EUCLID),
    }
    pair(lambda c: c.create_collection(pair.name, vectors_config=config))
    some = [
        m.PointStruct(
            id=i, vector={"a": X[i].tolist(), **({"b": X[i, :3].tolist()} if i % 2 else {})}, payload={"i": i}
        )
        for i in range(40)
    ]
    pair(lambda c: c.upsert(pair.name, some).status)
    pair(lambda c: c.query_points(pair.name, query=X[50].tolist(), using="a", limit=5), scored)
    pair(lambda c: c.query_points(pair.name, query=X[50, :3].tolist(), using="b", limit=50), scored)
    pair(lambda c: c.query_points(pair.name, query=1, using="b", limit=5), scored)
    pair(lambda c: c.retrieve(pair.name, [1, 2], with_vectors=["b"]), lambda r: [sorted(p.vector or {}) for p in r])
    pair(lambda c: c.delete_vectors(pair.name, vectors=["b"], points=[1, 3]).status)
    vectors = [m.PointVectors(id=0, vector={"b": [1.0, 2.0, 3.0]})]
    pair(lambda c: c.update_vectors(pair.name, points=vectors).status)

    def by_name(page: Any) -> list[Any]:
        return [(p.id, {k: np.round(v, 4).tolist() for k, v in p.vector.items()}) for p in page[0]]

    pair(lambda c: c.scroll(pair.name, limit=100, with_vectors=True), by_name)
    with pytest.raises(UnexpectedResponse, match="400"):
        ours.query_points(pair.name, query=X[0].tolist())


def test_collections_aliases_and_indexes(pair: Pair, ours: QdrantClient) -> None:
    name = pair.name
    pair(lambda c: c.collection_exists(name))
    pair(lambda c: c.collection_exists("nothing"))
    assert name in [one.name for one in ours.get_collections().collections]
    info = ours.get_collection(name)
    assert (info.points_count, info.status, info.config.params.vectors.size) == (100, m.CollectionStatus.GREEN, 8)
    assert ours.update_collection(name, optimizers_config=m.OptimizersConfigDiff(indexing_threshold=10))
    ours.create_payload_index(name, "n", field_schema=m.PayloadSchemaType.INTEGER)
    ours.create_payload_index(name, "tag", field_schema=m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD))
    schema = {path: one.data_type.value for path, one in ours.get_collection(name).payload_schema.items()}
    assert schema == {"n": "integer", "tag": "keyword"}
    ours.delete_payload_index(name, "n")
    assert list(ours.get_collection(name).payload_schema) == ["tag"]
    create = m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name=name, alias_name="al"))
    pair(lambda c: c.update_collection_aliases([create]))
    pair(lambda c: c.get_aliases())
    pair(lambda c: c.get_collection_aliases(name))
    pair(lambda c: c.query_points("al", query=X[3].tolist(), limit=2), scored)
    rename = m.RenameAliasOperation(rename_alias=m.RenameAlias(old_alias_name="al", new_alias_name="al2"))
    pair(lambda c: c.update_collection_aliases([rename]))
    pair(lambda c: c.get_aliases())
    remove = m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name="al2"))
    pair(lambda c: c.update_collection_aliases([remove]))
    pair(lambda c: c.get_aliases())
    pair(lambda c: c.delete_collection(name))
    pair(lambda c: c.collection_exists(name))


def test_string_ids_beyond_qdrants(ours: QdrantClient) -> None:
    ours.delete_collection("strings")
    ours.create_collection("strings", vectors_config=m.VectorParams(size=8, distance=m.Distance.COSINE))
    ours.upsert(
        "strings", [m.PointStruct(id="chapter 1/é", vector=X[0].tolist()), m.PointStruct(id=1, vector=X[1].tolist())]
    )
    assert [p.id for p in ours.query_points("strings", query=X[0].tolist(), limit=1).points] == ["chapter 1/é"]
    assert [p.id for p in ours.scroll("strings")[0]] == [1, "chapter 1/é"]


def test_snapshots(pair: Pair, ours: QdrantClient, server: Server) -> None:
    import httpx

    name = pair.name
    made = ours.create_snapshot(name)
    assert made is not None
    assert [one.name for one in ours.list_snapshots(name)] == [made.name]
    before = ours.scroll(name, limit=500, with_vectors=True)
    url = f"{server.url}/collections/{name}/snapshots"
    saved = httpx.get(f"{url}/{made.name}")
    assert len(saved.content) == made.size
    ours.delete(name, points_selector=[1, 2, 3])
    assert ours.recover_snapshot(name, location=f"file:///qdrant/snapshots/{name}/{made.name}", checksum=made.checksum)
    assert ours.scroll(name, limit=500, with_vectors=True) == before
    for upload in ({"files": {"snapshot": ("x.snapshot", saved.content)}}, {"content": saved.content}):
        copy = f"{name}-copy"
        sent = httpx.post(
            f"{server.url}/collections/{copy}/snapshots/upload", params={"priority": "snapshot"}, **upload
        )
        assert sent.json()["result"] is True
        assert ours.scroll(copy, limit=500, with_vectors=True) == before
        ours.delete_collection(copy)
    full = ours.create_full_snapshot()
    assert full is not None
    assert full.name in [one.name for one in ours.list_full_snapshots()]
    assert ours.delete_full_snapshot(full.name)
    for wrong in ("http://127.0.0.1:9/x.snapshot", "file:///etc/passwd", "nothing.snapshot"):
        with pytest.raises(UnexpectedResponse):
            ours.recover_snapshot(name, location=wrong)


SMALLEST = m.SparseVectorParams(index=m.SparseIndexParams(datatype=m.Datatype.UINT8))
MANHATTAN = m.VectorParams(size=2, distance=m.Distance.MANHATTAN)
FUSION = {"query": m.FusionQuery(fusion=m.Fusion.RRF), "prefetch": [m.Prefetch(query=[1.0])]}
DISCOVER = m.DiscoverQuery(discover=m.DiscoverInput(target=1, context=[]))
MISSING: dict[str, Callable[[QdrantClient], Any]] = {
    "fusion": lambda c: c.query_points("some", **FUSION),
    "groups": lambda c: c.query_points_groups("some", query=[1.0] * 8, group_by="tag"),
    "discover": lambda c: c.query_points("some", query=DISCOVER),
    "order_by": lambda c: c.scroll("some", order_by="n"),
    "Manhattan": lambda c: c.create_collection("x", vectors_config=MANHATTAN),
    "uint8": lambda c: c.create_collection("x", sparse_vectors_config={"s": SMALLEST}),
}


@pytest.mark.parametrize("missing", MISSING)
def test_what_is_missing_is_named(ours: QdrantClient, missing: str) -> None:
    if not ours.collection_exists("some"):
        ours.create_collection("some", vectors_config=m.VectorParams(size=8, distance=m.Distance.COSINE))
    with pytest.raises(UnexpectedResponse) as caught:
        MISSING[missing](ours)
    assert caught.value.status_code == 501
    assert missing.encode() in caught.value.content


def test_binary_quantization_is_an_index_of_one_bit_codes(ours: QdrantClient) -> None:
    rows = np.random.default_rng(3).normal(size=(3_000, 16)).astype(np.float32)
    binary = m.BinaryQuantization(binary=m.BinaryQuantizationConfig(always_ram=True))
    ours.create_collection(
        "binary",
        vectors_config=m.VectorParams(size=16, distance=m.Distance.COSINE),
        quantization_config=binary,
        hnsw_config=m.HnswConfigDiff(m=0),
    )
    ours.upload_collection("binary", vectors=rows, ids=range(3_000))
    assert ours.get_collection("binary").config.quantization_config == binary
    exact = ours.query_points("binary", query=rows[5], search_params=m.SearchParams(exact=True))
    for params in (None, m.SearchParams(quantization=m.QuantizationSearchParams(rescore=True, oversampling=8.0))):
        found = ours.query_points("binary", query=rows[5], search_params=params)
        assert [p.id for p in found.points] == [p.id for p in exact.points]
        assert [p.score for p in found.points] == [p.score for p in exact.points]
    ours.delete_collection("binary")
