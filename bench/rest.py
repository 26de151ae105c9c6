"""The server beside the embedded database, on WordNet: what the network costs, for one client and for sixteen; loading
through it, beside Qdrant's two embedded engines; its memory and its start.

The embedded figures are taken in this process before and after the server's, and the better counts. "raw" means ready
requests over a socket, so that the server is measured and not a client; what whole clients take has rows of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import vsearch
from bench.data import Wordnet, recall, wordnet
from bench.http_load import latencies_s, request, throughput
from bench.measure import BEAMS, WANTED_RECALL
from bench.report import Report
from bench.server import served
from vsearch import wire
from vsearch.cli.warmup import warm_up

CLIENTS = 16
BATCH = 16
SECONDS = 5.0
MB = 1 << 20
QUERY = "/collections/docs/points/query"
SEARCH = "/v1/collections/docs/search"


def run(options: argparse.Namespace) -> None:
    """Measure everything and print the report."""
    warnings.filterwarnings("ignore", module="qdrant_client")
    data = wordnet(options.data, 10_000 if options.quick else None)
    warm_up()
    report = Report("rest")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        ef = _load(path, data)
        before = _Embedded(path, data, ef)
        with served(path) as (port, ready_s):
            one = _one_client(port, data, ef)
            many = _many_clients(port, data, ef)
        after = _Embedded(path, data, ef)
        best = before.better(after)
        _report_searches(report, best, one, many)
        report.row("ready_s", "start to ready on the loaded database, s", ready_s, ("<=", 1.5))
        _empty(Path(folder) / "empty", report)
        _uploads(Path(folder), data, report)
    report.show()


def _load(path: Path, data: Wordnet) -> int:
    """A database with the vectors in Qdrant's unnamed field; returns the beam that reaches the wanted recall."""
    with vsearch.open(path) as db:
        docs = db.create_collection("docs", fields={"": vsearch.Dense(data.docs.shape[1], index="hnsw")})
        for at in range(0, len(data.docs), 2000):
            stop = min(at + 2000, len(data.docs))
            docs.upsert(range(at, stop), vectors={"": data.docs[at:stop]}, payloads=data.payloads[at:stop])
        docs.optimize()
        for ef in BEAMS:
            hits = docs.search_batch(data.queries, params=vsearch.SearchParams(ef=ef), with_payload=False)
            if recall(np.array([h.ids for h in hits]), data.truth) >= WANTED_RECALL:
                return ef
    return BEAMS[-1]


class _Embedded:
    """`p50_s` of one search; `threads2`: searches a second of two threads."""

    def __init__(self, path: Path, data: Wordnet, ef: int) -> None:
        params, some = vsearch.SearchParams(ef=ef), data.queries[:1000]
        with vsearch.open(path) as db:
            docs = db.collection("docs")
            for query in some[:200]:
                docs.search(query, params=params)
            self.p50_s = _p50(lambda query: docs.search(query, params=params), some)
            self.threads2 = _threads2(docs, some, params)

    def better(self, other: _Embedded) -> _Embedded:
        self.p50_s = min(self.p50_s, other.p50_s)
        self.threads2 = max(self.threads2, other.threads2)
        return self


def _threads2(docs: vsearch.Collection, queries: np.ndarray, params: vsearch.SearchParams) -> float:
    stop, counts = time.perf_counter() + SECONDS, [0, 0]

    def work(number: int) -> None:
        at = number * 500
        while time.perf_counter() < stop:
            docs.search(queries[at % len(queries)], params=params)
            counts[number] += 1
            at += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def _p50(ask: Callable[[Any], Any], queries: Sequence[Any]) -> float:
    times = []
    for query in queries:
        start = time.perf_counter()
        ask(query)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _json_body(query: np.ndarray, ef: int) -> dict[str, Any]:
    """The body that qdrant-client sends for `query_points`."""
    return {
        "shard_key": None,
        "prefetch": None,
        "query": query.tolist(),
        "using": None,
        "filter": None,
        "params": {"hnsw_ef": ef, "exact": None, "quantization": None, "indexed_only": None, "acorn": None},
        "score_threshold": None,
        "limit": 10,
        "offset": None,
        "with_vector": False,
        "with_payload": True,
        "lookup_from": None,
    }


def _json_requests(queries: np.ndarray, ef: int) -> list[bytes]:
    return [request(QUERY, json.dumps(_json_body(query, ef)).encode(), wire.JSON) for query in queries]


def _raw_requests(queries: np.ndarray, ef: int, batch: int) -> list[bytes]:
    bodies = [
        {"queries": wire.array(queries[at : at + batch]), "params": {"ef": ef}}
        for at in range(0, len(queries) - batch + 1, batch)
    ]
    return [request(SEARCH, wire.pack(body), wire.MSGPACK, wire.MSGPACK) for body in bodies]


def _one_client(port: int, data: Wordnet, ef: int) -> dict[str, float]:
    """p50 in seconds of each way to ask."""
    from qdrant_client import QdrantClient, models

    some = data.queries[:1000]
    json_requests, raw_requests = _json_requests(some, ef), _raw_requests(some, ef, 1)
    for messages in (json_requests, raw_requests):
        latencies_s(port, messages[:500])
    found = {
        "json": float(np.median(latencies_s(port, json_requests))),
        "raw": float(np.median(latencies_s(port, raw_requests))),
    }
    with vsearch.connect(f"http://127.0.0.1:{port}") as db:
        docs, params = db.collection("docs"), vsearch.SearchParams(ef=ef)
        for query in some[:300]:
            docs.search(query, params=params)
        found["sdk"] = _p50(lambda query: docs.search(query, params=params), some)
    client = QdrantClient(url=f"http://127.0.0.1:{port}")
    wanted = models.SearchParams(hnsw_ef=ef)
    found["qdrant_client"] = _p50(
        lambda query: client.query_points("docs", query=query, search_params=wanted, limit=10), some.tolist()
    )
    client.close()
    return found


def _many_clients(port: int, data: Wordnet, ef: int) -> dict[str, float]:
    """Queries a second of sixteen clients."""
    found = {}
    for name, messages, each in (
        ("json", _json_requests(data.queries[:2000], ef), 1),
        ("raw16", _raw_requests(data.queries[:2000], ef, BATCH), BATCH),
    ):
        throughput(port, messages, CLIENTS, 1.0)
        found[name] = throughput(port, messages, CLIENTS, SECONDS) * each
    return found


def _report_searches(report: Report, embedded: _Embedded, one: dict[str, float], many: dict[str, float]) -> None:
    def added(name: str) -> float:
        return (one[name] - embedded.p50_s) * 1000

    note = f"{one['json'] * 1000:.2f} ms; embedded {embedded.p50_s * 1000:.2f} ms"
    report.row("json_added_ms", "one client, JSON: added to the embedded p50, ms", added("json"), ("<=", 1.0), note)
    report.row("sdk_added_ms", "raw float32 through our SDK: added, ms", added("sdk"), ("<=", 0.4))
    report.row("raw_added_ms", "raw float32 over a bare socket: added, ms", added("raw"))
    report.row("qdrant_client_added_ms", "the whole of qdrant-client: added, ms", added("qdrant_client"))
    for name, key, wanted in (("JSON", "json", 0.5), ("raw, batches of 16", "raw16", 0.75)):
        note = f"{many[key]:,.0f} q/s; embedded {embedded.threads2:,.0f} q/s with two threads"
        ratio = many[key] / embedded.threads2
        report.row(f"{key}_16_ratio", f"16 clients, {name}: x embedded with two threads", ratio, (">=", wanted), note)


def _empty(path: Path, report: Report) -> None:
    with served(path) as (port, _):
        time.sleep(1.0)
        latencies_s(port, [b"GET /collections HTTP/1.1\r\nHost: x\r\n\r\n"])
        server = next(p for p in psutil.Process().children() if "serve" in p.cmdline())
        resident = server.memory_info().rss / MB
    report.row("empty_mb", "memory of a served, empty database, MB resident", resident, ("<=", 150))


def _uploads(folder: Path, data: Wordnet, report: Report) -> None:
    """Points a second into our server, durable, through both clients; and into Qdrant's embedded engines."""
    rows = data.docs[:100_000]
    payloads = data.payloads[: len(rows)]
    with served(folder / "uploads") as (port, _):
        url = f"http://127.0.0.1:{port}"
        with vsearch.connect(url) as db:
            docs = db.create_collection("sdk", fields={"dense": vsearch.Dense(rows.shape[1])})
            start = time.perf_counter()
            for at in range(0, len(rows), 1000):
                stop = min(at + 1000, len(rows))
                docs.upsert(range(at, stop), {"dense": rows[at:stop]}, payloads[at:stop])
            elapsed_s = time.perf_counter() - start
            assert docs.count() == len(rows)
            db.delete_collection("sdk")
        report.row("sdk_points_s", "durable upsert through our SDK, points/s", len(rows) / elapsed_s, (">=", 12_000))
        _qdrant_upload(report, "qdrant_client_points_s", "the same through qdrant-client", rows, payloads, {"url": url})
    some = 5_000  # these are slower
    where = {"path": str(folder / "local")}
    title = f'into QdrantClient(path=...), which syncs too, {some:,} points'
    _qdrant_upload(report, "qdrant_local_points_s", title, rows[:some], payloads[:some], where)
    _edge_upload(folder / "edge", rows, payloads, report)


def _qdrant_upload(
    report: Report, key: str, title: str, rows: np.ndarray, payloads: list[Any], where: dict[str, str]
) -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(**where)
    config = models.VectorParams(size=rows.shape[1], distance=models.Distance.COSINE)
    client.create_collection("q", vectors_config=config)
    points = (
        models.PointStruct(id=i, vector=row, payload=payload)
        for i, (row, payload) in enumerate(zip(rows.tolist(), payloads, strict=True))
    )
    start = time.perf_counter()
    client.upload_points("q", points, batch_size=256, wait=True)
    elapsed_s = time.perf_counter() - start
    assert client.count("q").count == len(rows)
    client.close()
    report.row(key, f"{title}, points/s", len(rows) / elapsed_s)


def _edge_upload(path: Path, rows: np.ndarray, payloads: list[Any], report: Report) -> None:
    import qdrant_edge as edge

    path.mkdir()
    config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=rows.shape[1], distance=edge.Distance.Cosine))
    shard = edge.EdgeShard.create(str(path), config)
    start = time.perf_counter()
    for at in range(0, len(rows), 1000):
        batch = [
            edge.Point(at + i, row.tolist(), payload)
            for i, (row, payload) in enumerate(zip(rows[at : at + 1000], payloads[at : at + 1000], strict=True))
        ]
        shard.update(edge.UpdateOperation.upsert_points(batch))
    elapsed_s = time.perf_counter() - start
    shard.close()
    report.row("edge_points_s", "into qdrant-edge-py, which syncs nothing, points/s", len(rows) / elapsed_s)
