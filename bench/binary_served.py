"""A served binary field and 1 to 16 clients: requests a second, and whether all get the same answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import vsearch
from bench.data import Wordnet, recall
from bench.http_load import answers, request, throughput
from bench.report import Report
from bench.server import served
from vsearch import wire

CLIENTS = (1, 2, 4, 8, 16)
QUERIES = 1_000
ROUNDS = 3
SECONDS = 1.0
SEARCH = "/v1/collections/docs/search"


def measure(data: Wordnet, report: Report) -> None:
    """Serve the data, and report."""
    queries = data.queries[:QUERIES]
    messages = [_request(query) for query in queries]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        _load(path, data)
        with served(path) as (port, _):
            answered = {clients: _ids(answers(port, messages, clients)) for clients in CLIENTS}
            rates = dict.fromkeys(CLIENTS, 0.0)
            for _ in range(ROUNDS):
                for clients in CLIENTS:
                    rates[clients] = max(rates[clients], throughput(port, messages, clients, SECONDS))
    for clients, ids in answered.items():
        note = f"recall {recall(ids, data.truth[: len(ids)]):.4f}"
        report.row(f"clients_{clients}_s", f"over HTTP, {clients} at once, requests/s", rates[clients], None, note)
    report.row("clients_ratio", "requests/s of 16 clients x those of 2", rates[16] / rates[2], (">=", 0.95))
    same = all(np.array_equal(ids, answered[1]) for ids in answered.values())
    report.row("clients_same", "whether 1 to 16 clients get the same ids", float(same), (">=", 1))


def _load(path: Path, data: Wordnet) -> None:
    with vsearch.open(path) as db:
        docs = db.create_collection("docs", fields={"dense": vsearch.Dense(data.docs.shape[1], index="binary")})
        for at in range(0, len(data.docs), 2000):
            stop = min(at + 2000, len(data.docs))
            docs.upsert(range(at, stop), vectors={"dense": data.docs[at:stop]}, payloads=data.payloads[at:stop])
        docs.optimize()
        strategies = {(step.index, step.strategy) for step in docs.explain(data.queries[0]).steps}
        assert strategies == {("binary", "index")}, f"bug: planned {strategies}"


def _request(query: NDArray[np.float32]) -> bytes:
    return request(SEARCH, wire.pack({"queries": wire.array(query[None])}), wire.MSGPACK, wire.MSGPACK)


def _ids(bodies: list[bytes]) -> NDArray[np.int64]:
    return np.array([wire.unpack(body)["hits"][0]["ids"] for body in bodies])
