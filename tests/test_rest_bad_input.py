"""What a client can get wrong: a 4xx in JSON, with a code and what to do, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np
import pyarrow as pa
import pytest

from tests.serving import serving
from vsearch import wire
from vsearch.storage.ipc import read_hits

V = [1.0, 2.0, 3.0, 4.0]
POINTS = "/collections/docs/points"
V1 = "/v1/collections/docs"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    path = tmp_path_factory.mktemp("bad") / "db"
    options = ("--no-access-log", "--max-body", "1M")
    with serving(path, *options) as server, httpx.Client(base_url=server.url) as client:
        client.put("/collections/docs", json={"vectors": {"size": 4, "distance": "Cosine"}}).raise_for_status()
        points = [{"id": i, "vector": [1, i, 0, 0], "payload": {"n": i}} for i in range(3)]
        client.put(POINTS, json={"points": points}).raise_for_status()
        yield client


def deep(levels: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"key": "n", "match": {"value": 1}}
    for _ in range(levels):
        spec = {"must": [spec, {"must_not": [spec]}] if levels < 3 else [spec]}
        spec = {"should": [spec, {"key": "n", "match": {"value": 2}}]}
    return spec


def a_point(**changes: Any) -> dict[str, Any]:
    return {"points": [{"id": 9, "vector": V, **changes}]}


# name -> (method, path, body, statuses)
BAD: dict[str, tuple[str, str, Any, tuple[int, ...]]] = {
    "not JSON": ("POST", f"{POINTS}/query", b"{nope", (400,)),
    "half JSON": ("POST", f"{POINTS}/query", b'{"query": [1, 2', (400,)),
    "empty": ("POST", f"{POINTS}/query", b"", (400,)),
    "not UTF-8": ("POST", f"{POINTS}/query", b'{"using": "\xff\xfe"}', (400, 422)),
    "a list": ("POST", f"{POINTS}/query", b"[]", (422,)),
    "null": ("POST", f"{POINTS}/query", b"null", (422,)),
    "very deep JSON": ("POST", f"{POINTS}/query", b'{"filter":' + b'{"must":[' * 5000 + b"]}" * 5000 + b"}", (400,)),
    "too large": ("POST", f"{POINTS}/query", b" " * (1 << 20) + b"{}", (413,)),
    "unknown entry": ("POST", f"{POINTS}/query", {"query": V, "limmit": 3}, (422,)),
    "unknown collection": ("POST", "/collections/nope/points/query", {"query": V}, (404,)),
    "limit a string": ("POST", f"{POINTS}/query", {"query": V, "limit": "3"}, (422,)),
    "limit 0": ("POST", f"{POINTS}/query", {"query": V, "limit": 0}, (422,)),
    "limit too large": ("POST", f"{POINTS}/query", {"query": V, "limit": 10_001}, (422,)),
    "limit and offset too large": ("POST", f"{POINTS}/query", {"query": V, "limit": 9_000, "offset": 2_000}, (400,)),
    "limit beyond 64 bits": ("POST", f"{POINTS}/query", {"query": V, "limit": 10**30}, (422,)),
    "wrong dimension": ("POST", f"{POINTS}/query", {"query": [1.0]}, (400,)),
    "empty vector": ("POST", f"{POINTS}/query", {"query": []}, (400,)),
    "strings in the vector": ("POST", f"{POINTS}/query", {"query": ["1", "2", "3", "4"]}, (400, 422)),
    "bools in the vector": ("POST", f"{POINTS}/query", {"query": [True, 1.0, 2.0, 3.0]}, (400, 422)),
    "null in the vector": ("POST", f"{POINTS}/query", {"query": [None, 1.0, 2.0, 3.0]}, (400, 422)),
    "NaN in the vector": ("POST", f"{POINTS}/query", b'{"query": [NaN, 1, 2, 3]}', (400, 422)),
    "infinity in the vector": ("POST", f"{POINTS}/query", b'{"query": [1e999, 1, 2, 3]}', (400, 422)),
    "zero vector": ("POST", f"{POINTS}/query", {"query": [0, 0, 0, 0]}, (400,)),
    "query by a missing point": ("POST", f"{POINTS}/query", {"query": 999}, (404,)),
    "unknown vector name": ("POST", f"{POINTS}/query", {"query": V, "using": "x"}, (400,)),
    "unknown kind of query": ("POST", f"{POINTS}/query", {"query": {"magic": 1}}, (501,)),
    "filter a list": ("POST", f"{POINTS}/query", {"query": V, "filter": []}, (422,)),
    "filter with an unknown clause": ("POST", f"{POINTS}/query", {"query": V, "filter": {"musst": []}}, (400,)),
    "filter with a wrong range": (
        "POST",
        f"{POINTS}/query",
        {"query": V, "filter": {"must": [{"key": "n", "range": {"gt": []}}]}},
        (400,),
    ),
    "filter too deep": ("POST", f"{POINTS}/query", {"query": V, "filter": deep(40)}, (400,)),
    "ef a float": ("POST", f"{POINTS}/query", {"query": V, "params": {"hnsw_ef": 1.5}}, (422,)),
    "threshold a string": ("POST", f"{POINTS}/query", {"query": V, "score_threshold": "high"}, (422,)),
    "too many searches": ("POST", f"{POINTS}/query/batch", {"searches": [{"query": V}] * 1001}, (422,)),
    "payload selector": ("POST", f"{POINTS}/query", {"query": V, "with_payload": {"inclood": []}}, (422,)),
    "payload path": ("POST", f"{POINTS}/query", {"query": V, "with_payload": ["a..b"]}, (400,)),
    "scroll from a float": ("POST", f"{POINTS}/scroll", {"offset": 1.5}, (422,)),
    "points and batch": ("PUT", POINTS, {**a_point(), "batch": {"ids": [], "vectors": []}}, (400,)),
    "neither points nor batch": ("PUT", POINTS, {}, (400,)),
    "id negative": ("PUT", POINTS, a_point(id=-1), (422,)),
    "id beyond 64 bits": ("PUT", POINTS, a_point(id=2**64), (422,)),
    "id a float": ("PUT", POINTS, a_point(id=1.5), (422,)),
    "id a bool": ("PUT", POINTS, a_point(id=True), (422,)),
    "id null": ("PUT", POINTS, a_point(id=None), (422,)),
    "id a list": ("PUT", POINTS, a_point(id=[1]), (422,)),
    "id too long": ("PUT", POINTS, a_point(id="x" * 1025), (400,)),
    "id with a lone surrogate": ("PUT", POINTS, b'{"points":[{"id":"\\ud800","vector":[1,2,3,4]}]}', (400, 422)),
    "no vector": ("PUT", POINTS, {"points": [{"id": 9}]}, (422,)),
    "vector of another dimension": ("PUT", POINTS, a_point(vector=[1.0, 2.0]), (400,)),
    "vectors of several dimensions": (
        "PUT",
        POINTS,
        {"points": [{"id": 8, "vector": V}, {"id": 9, "vector": [1.0]}]},
        (400,),
    ),
    "unknown named vector": ("PUT", POINTS, a_point(vector={"x": V}), (400,)),
    "payload a list": ("PUT", POINTS, a_point(payload=[1]), (422,)),
    "payload with NaN": ("PUT", POINTS, b'{"points":[{"id":9,"vector":[1,2,3,4],"payload":{"a":NaN}}]}', (400, 422)),
    "payload with a huge integer": ("PUT", POINTS, a_point(payload={"a": 2**70}), (400,)),
    "payload too deep": ("PUT", POINTS, a_point(payload=json.loads('{"a":' * 40 + "1" + "}" * 40)), (400,)),
    "more vectors than ids": ("PUT", POINTS, {"batch": {"ids": [1], "vectors": [V, V]}}, (400,)),
    "delete nothing said": ("POST", f"{POINTS}/delete", {}, (400,)),
    "delete both": ("POST", f"{POINTS}/delete", {"points": [1], "filter": {"must": []}}, (400,)),
    "payload of missing points": ("POST", f"{POINTS}/payload", {"payload": {"a": 1}, "points": [1, 999]}, (404,)),
    "vectors of missing points": ("PUT", f"{POINTS}/vectors", {"points": [{"id": 999, "vector": V}]}, (404,)),
    "unknown operation": ("POST", f"{POINTS}/batch", {"operations": [{"explode": {}}]}, (422,)),
    "two operations in one": ("POST", f"{POINTS}/batch", {"operations": [{"delete": {}, "upsert": {}}]}, (400,)),
    "facet of nothing": ("POST", "/collections/docs/facet", {"key": ""}, (400,)),
    "size 0": ("PUT", "/collections/x", {"vectors": {"size": 0, "distance": "Dot"}}, (422,)),
    "size huge": ("PUT", "/collections/x", {"vectors": {"size": 10**9, "distance": "Dot"}}, (422,)),
    "unknown distance": ("PUT", "/collections/x", {"vectors": {"size": 4, "distance": "Far"}}, (422,)),
    "no vectors": ("PUT", "/collections/x", {}, (400,)),
    "sparse and dense of one name": (
        "PUT",
        "/collections/x",
        {"vectors": {"a": {"size": 4, "distance": "Dot"}}, "sparse_vectors": {"a": {}}},
        (400,),
    ),
    "sparse without a name": ("PUT", "/collections/x", {"sparse_vectors": {"": {}}}, (400,)),
    "unknown modifier": ("PUT", "/collections/x", {"sparse_vectors": {"s": {"modifier": "tf"}}}, (422,)),
    "unknown sparse option": ("PUT", "/collections/x", {"sparse_vectors": {"s": {"size": 4}}}, (422,)),
    "sparse query of a dense vector": ("POST", f"{POINTS}/query", {"query": {"indices": [1], "values": [1.0]}}, (400,)),
    "sparse query of unequal lengths": ("POST", f"{POINTS}/query", {"query": {"indices": [1], "values": []}}, (422,)),
    "sparse query with a term twice": (
        "POST",
        f"{POINTS}/query",
        {"query": {"nearest": {"indices": [1, 1], "values": [1, 2]}}},
        (422,),
    ),
    "half a sparse query": ("POST", f"{POINTS}/query", {"query": {"indices": [1]}}, (422,)),
    "sparse query with more": ("POST", f"{POINTS}/query", {"query": {"indices": [1], "values": [1.0], "x": 1}}, (422,)),
    "text of a dense vector": ("POST", f"{POINTS}/query", {"query": {"text": "a", "model": "b"}}, (501,)),
    "sparse point for a dense vector": ("PUT", POINTS, a_point(vector={"": {"indices": [1], "values": [1]}}), (400,)),
    "text as a dense vector": ("PUT", POINTS, a_point(vector={"text": "a", "model": "b"}), (501,)),
    "image as a vector": ("PUT", POINTS, a_point(vector={"": {"image": "x", "model": "y"}}), (501,)),
    "collection exists": ("PUT", "/collections/docs", {"vectors": {"size": 4, "distance": "Dot"}}, (409,)),
    "unknown index type": ("PUT", "/collections/docs/index", {"field_name": "n", "field_schema": "tree"}, (400,)),
    "bad index path": ("PUT", "/collections/docs/index", {"field_name": "a..b"}, (400,)),
    "no such index": ("DELETE", "/collections/docs/index/none", None, (404,)),
    "alias of nothing": (
        "POST",
        "/collections/aliases",
        {"actions": [{"create_alias": {"collection_name": "none", "alias_name": "a"}}]},
        (404,),
    ),
    "alias with a path": (
        "POST",
        "/collections/aliases",
        {"actions": [{"create_alias": {"collection_name": "docs", "alias_name": "../a"}}]},
        (400,),
    ),
    "unknown parameter": ("POST", f"{POINTS}/count?wiat=true", {}, (400,)),
    "parameter twice": ("PUT", f"{POINTS}?wait=true&wait=false", a_point(), (400,)),
    "parameter of a wrong type": ("PUT", f"{POINTS}?wait=perhaps", a_point(), (400,)),
    "snapshot with a path": ("GET", "/collections/docs/snapshots/..%2F..%2FCURRENT", None, (400, 404)),
    "a point of very many digits": ("GET", f"{POINTS}/{'9' * 5000}", None, (400, 404)),
    "snapshot unknown": ("GET", "/snapshots/none.snapshot", None, (400, 404)),
    "snapshot with dots": ("DELETE", "/snapshots/..", None, (400, 404, 405)),
    "upload that is no snapshot": ("POST", "/collections/new/snapshots/upload", b"not a tar", (400, 422)),
    "import of garbage": ("POST", f"{V1}/import", b"\x00\x01\x02", (400,)),
    "v1: unknown entry": ("POST", f"{V1}/search", {"queries": [V], "k": 1}, (422,)),
    "v1: one query": ("POST", f"{V1}/search", {"queries": V}, (400,)),
    "v1: ragged queries": ("POST", f"{V1}/search", {"queries": [[1.0], V]}, (400,)),
    "v1: ragged points": ("POST", f"{V1}/upsert", {"ids": [8, 9], "vectors": {"": [[1.0], V]}}, (400,)),
    "v1: numbers and lists": ("POST", f"{V1}/search", {"queries": [1.0, V]}, (400,)),
    "v1: recall 0": ("POST", f"{V1}/search", {"queries": [V], "params": {"recall": 0.0}}, (400,)),
    "v1: limit 0": ("POST", f"{V1}/search", {"queries": [V], "limit": 0}, (400,)),
    "v1: deep vectors": ("POST", f"{V1}/search", {"queries": [[[[V]]]]}, (400,)),
    "v1: objects as vectors": ("POST", f"{V1}/search", {"queries": [{"a": 1}]}, (400, 422)),
    "v1: bad field kind": (
        "POST",
        "/v1/collections",
        {"name": "x", "fields": {"a": {"kind": "fuzzy", "dim": 4}}},
        (400,),
    ),
    "v1: bad field option": ("POST", "/v1/collections", {"name": "x", "fields": {"a": {"dim": 4, "size": 3}}}, (400,)),
    "v1: bad name": ("POST", "/v1/collections", {"name": "../x", "fields": {"a": {"dim": 4}}}, (400,)),
    "v1: insert of what exists": ("POST", f"{V1}/upsert", {"ids": [1], "vectors": {"": [V]}, "insert": True}, (409,)),
    "v1: expiry in the past": ("POST", f"{V1}/upsert", {"ids": [9], "vectors": {"": [V]}, "expires_at": -1}, (422,)),
}


def contents(client: httpx.Client) -> Any:
    return client.post(f"{POINTS}/scroll", json={"limit": 100, "with_vector": True}).json()["result"]


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(client: httpx.Client, case: str) -> None:
    method, path, body, statuses = BAD[case]
    before = contents(client)
    sent: dict[str, Any] = {"content": body, "headers": {"content-type": "application/json"}}
    if "upload" in case or "import" in case:
        sent["headers"] = {"content-type": "application/octet-stream"}
    if body is None:
        sent = {}
    elif not isinstance(body, bytes):
        sent = {"json": body}
    answer = client.request(method, path, **sent)
    error = answer.json()
    assert answer.status_code in statuses, error
    assert error["code"] not in ("internal", "error")
    assert error["hint"]
    assert "Traceback" not in answer.text
    assert len(answer.text) < 3_000
    assert contents(client) == before
    assert len(client.get("/collections").json()["result"]["collections"]) == 1


BAD_PACKED: dict[str, bytes] = {
    "nothing": b"",
    "a reserved byte": b"\xc1",
    "half an object": wire.pack({"queries": [V]})[:-3],
    "two objects": wire.pack({}) + wire.pack({}),
    "a list": wire.pack([1]),
    "integer keys": wire.pack({1: 2}),
    "bytes as keys": msgpack.packb({b"queries": 1}),
    "wrong length": wire.pack({"queries": {"shape": [2, 4], "float32": b"\0" * 16}}),
    "negative shape": wire.pack({"queries": {"shape": [-1, 4], "float32": b""}}),
    "huge shape": wire.pack({"queries": {"shape": [2**40, 2**40], "float32": b""}}),
    "shape of bools": wire.pack({"queries": {"shape": [True, 4], "float32": b"\0" * 16}}),
    "three dimensions": wire.pack({"queries": {"shape": [1, 1, 4], "float32": b"\0" * 16}}),
    "NaN": wire.pack({"queries": wire.array(np.full((1, 4), np.nan))}),
    "deep": b"\x91" * 100_000,
    "an extension type": msgpack.packb({"queries": msgpack.ExtType(5, b"x")}),
}


@pytest.mark.parametrize("case", BAD_PACKED)
def test_bad_messagepack(client: httpx.Client, case: str) -> None:
    answer = client.post(f"{V1}/search", content=BAD_PACKED[case], headers={"content-type": wire.MSGPACK})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["hint"]


def test_media_types(client: httpx.Client) -> None:
    for media_type in ("text/xml", "application/x-www-form-urlencoded", wire.MSGPACK):
        answer = client.post(f"{POINTS}/count", content=b"{}", headers={"content-type": media_type})
        assert answer.status_code == 415
    assert client.post(f"{POINTS}/count", content=b"{}").status_code == 200
    json_type = {"content-type": "application/json; charset=utf-8"}
    assert client.post(f"{POINTS}/count", content=b"{}", headers=json_type).status_code == 200


def test_both_encodings_say_the_same(client: httpx.Client) -> None:
    body = {"queries": [V, [4.0, 3.0, 2.0, 1.0]], "limit": 2, "with_vectors": True}
    as_json = client.post(f"{V1}/search", json=body).json()
    packed = {**body, "queries": wire.array(np.array(body["queries"], np.float32))}
    headers = {"content-type": wire.MSGPACK, "accept": wire.MSGPACK}
    as_bytes = client.post(f"{V1}/search", content=wire.pack(packed), headers=headers)
    assert as_bytes.headers["content-type"] == wire.MSGPACK
    from_json = [wire.hits_in(hits) for hits in as_json["hits"]]
    from_bytes = [wire.hits_in(hits) for hits in wire.unpack(as_bytes.content)["hits"]]
    for one, other in zip(from_json, from_bytes, strict=True):
        assert one.point_ids == other.point_ids
        assert np.array_equal(one.scores, other.scores)
        assert one.payloads == other.payloads
        assert one.vectors is not None
        assert other.vectors is not None
        assert all(np.array_equal(a[""], b[""]) for a, b in zip(one.vectors, other.vectors, strict=True))


def test_every_kind_of_id_comes_back(client: httpx.Client, tmp_path: Path) -> None:
    odd = [
        "",
        " ",
        "a/b",
        "../..",
        "é",
        "日本",
        "\u0000",
        "\n",
        "0",
        "550e8400-e29b-41d4-a716-446655440000",
        "x" * 1024,
    ]
    ids: list[Any] = [0, 2**63, 2**64 - 1, *odd]
    client.put("/collections/ids", json={"vectors": {"size": 4, "distance": "Dot"}}).raise_for_status()
    try:
        points = [{"id": one, "vector": [i, 1, 1, 1]} for i, one in enumerate(ids)]
        client.put("/collections/ids/points", json={"points": points}).raise_for_status()
        found = client.post("/collections/ids/points", json={"ids": ids, "with_payload": False}).json()["result"]
        assert [one["id"] for one in found] == ids
        page = client.post("/collections/ids/points/scroll", json={"limit": 100}).json()["result"]["points"]
        assert sorted(map(str, (one["id"] for one in page))) == sorted(map(str, ids))
        query = {"query": [1, 0, 0, 0], "limit": 1}
        hit = client.post("/collections/ids/points/query", json=query).json()["result"]["points"][0]
        assert hit["id"] == ids[-1]
    finally:
        client.delete("/collections/ids")


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def test_arrow_streams_both_ways(client: httpx.Client) -> None:
    client.post(
        "/v1/collections", json={"name": "arrow", "fields": {"v": {"dim": 2, "metric": "l2"}}}
    ).raise_for_status()
    headers = {"content-type": wire.ARROW, "accept": wire.ARROW}
    try:
        vectors = pa.array([[float(i), 0.0] for i in range(10)], pa.list_(pa.float32(), 2))
        table = pa.table({"id": [f"p{i}" for i in range(10)], "v": vectors, "n": list(range(10))})
        written = client.post(
            "/v1/collections/arrow/upsert", content=stream(table), headers={"content-type": wire.ARROW}
        )
        assert written.json() == {"ids": [f"p{i}" for i in range(10)]}
        wanted = {"vsearch": json.dumps({"limit": 2, "filter": {"n": {"$gte": 3}}})}
        queries = pa.table({"q": vectors.slice(0, 4)}).replace_schema_metadata(wanted)
        answer = client.post("/v1/collections/arrow/search", content=stream(queries), headers=headers)
        assert answer.headers["content-type"] == wire.ARROW
        found = read_hits(answer.content)
        assert [one.point_ids for one in found] == [["p3", "p4"]] * 3 + [["p3", "p4"]]
        assert found[0].payloads == [{"n": 3}, {"n": 4}]
        for bad in (b"", stream(table)[:-20], b"\xff" * 200, stream(pa.table({"x": [1]}))):
            for operation in ("upsert", "search"):
                refused = client.post(f"/v1/collections/arrow/{operation}", content=bad, headers=headers)
                assert refused.status_code == 400, (operation, bad[:20])
        refused = client.post(
            "/v1/collections/arrow/search",
            content=stream(queries.replace_schema_metadata({"vsearch": '{"limmit": 1}'})),
            headers=headers,
        )
        assert refused.status_code == 422
    finally:
        client.delete("/v1/collections/arrow")
