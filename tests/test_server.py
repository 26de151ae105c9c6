"""The server as a process: keys, limits, logs; signals, kill -9, a full disk, clients that vanish or crawl."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import vsearch
from tests.serving import Server, serving, start

DIM = 8
X = np.random.default_rng(3).normal(size=(400, DIM)).astype(np.float32)
CREATE = {"vectors": {"size": DIM, "distance": "Cosine"}}
KEY, READ_KEY = "a-key-for-everything", "a-key-for-reading"


def point(i: int, version: int = 0) -> dict[str, Any]:
    return {"id": i, "vector": X[i % len(X)].tolist(), "payload": {"version": version}}


def fill(client: httpx.Client, n: int = 50) -> None:
    client.put("/collections/docs", json=CREATE).raise_for_status()
    client.put("/collections/docs/points", json={"points": [point(i) for i in range(n)]}).raise_for_status()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "db") as server:
        with httpx.Client(base_url=server.url) as client:
            fill(client)
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def assert_error(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == status, body
    assert answer.headers["content-type"] == "application/json"
    assert body["status"]["error"].startswith(body["message"])
    assert body["hint"]
    assert code is None or body["code"] == code
    assert "Traceback" not in answer.text
    return body


def test_service_routes(client: httpx.Client) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        assert client.get(path).status_code == 200
    assert client.get("/").json()["vsearch"] == vsearch.__version__
    text = client.get("/metrics").text
    assert 'vsearch_points{collection="docs"} 50.0' in text
    assert re.search(
        r'vsearch_requests_total\{method="PUT",route="/collections/\{collection\}",status="200"\} 1.0', text
    )
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert "/collections/{collection}/points/query" in document["paths"]
    head = client.head("/collections")
    assert (head.status_code, head.content) == (200, b"")
    assert (
        int(head.headers["content-length"]) == len(client.get("/collections").content) or head.headers["content-length"]
    )


def test_request_ids(client: httpx.Client, server: Server) -> None:
    assert client.get("/", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    forged = client.get("/", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", forged)
    client.get("/collections/%0a%0dforged%20line")
    until(lambda: any("%0a%0dforged%20line" in line for line in server.log))
    assert any(" /  200".replace("  ", " ") in line and "mine-1" in line for line in server.log)


def until(condition: Any, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    assert_error(client.get("/nothing"), 404, "not_found")
    assert_error(client.get("/collections/docs/points/count"), 405)
    assert client.request("DELETE", "/collections").headers["allow"] == "GET"
    for path in ("/../etc/passwd", "/collections//points", "/collections/" + "x" * 5000, "/a" * 3000):
        assert client.get(path).status_code in (400, 404, 405)
    for name in ("..", "a%2Fb", "%00", "con:", "x" * 256, "%F0%9F", "a%0Ab"):
        assert client.put(f"/collections/{name}", json=CREATE).status_code in (400, 404, 405), name
    assert [one["name"] for one in client.get("/collections").json()["result"]["collections"]] == ["docs"]


def test_a_large_body_is_refused_before_it_is_read(client: httpx.Client, server: Server) -> None:
    assert_error(client.post("/collections/docs/points/query", content=b" " * (33 << 20)), 413, "limit_exceeded")

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 20)

    answer = None
    with suppress(httpx.HTTPError):  # cut off while it was sending
        answer = client.post("/collections/docs/points/query", content=pieces())
    assert answer is None or answer.status_code == 413
    assert client.get("/healthz").status_code == 200


def test_clients_that_vanish_or_crawl(client: httpx.Client, server: Server) -> None:
    body = json.dumps({"points": [point(i) for i in range(300, 350)]}).encode()
    head = b"PUT /collections/docs/points HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\n\r\n".encode()
    for cut in (10, len(head), len(head) + 100, len(head) + len(body)):
        with socket.create_connection(("127.0.0.1", server.port)) as one:
            one.sendall((head + body)[:cut])
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        one.sendall(b"\x00\xff garbage \r\n\r\n")
        assert b"400" in one.recv(1000)
    crawling = socket.create_connection(("127.0.0.1", server.port))
    crawling.sendall(head + body[:10])
    for _ in range(5):
        start_s = time.monotonic()
        assert client.get("/collections").status_code == 200
        assert time.monotonic() - start_s < 5
    crawling.sendall(body[10:])
    assert b"200 OK" in crawling.recv(1000)
    crawling.close()
    until(lambda: client.post("/collections/docs/points/count", json={}).json()["result"]["count"] == 100)


def test_five_hundred_connections(client: httpx.Client, server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    body = json.dumps({"query": X[0].tolist(), "limit": 3}).encode()
    message = b"POST /collections/docs/points/query HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    message += f"content-length: {len(body)}\r\n\r\n".encode() + body
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(500)]
    try:
        for connection in connections:
            connection.sendall(message)
        answers = []
        for connection in connections:
            connection.settimeout(30)
            answers.append(connection.recv(100_000))
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    finally:
        for connection in connections:
            connection.close()
    assert client.get("/healthz").status_code == 200


def test_keys(tmp_path: Path) -> None:
    environment = {"VSEARCH_API_KEY": KEY, "VSEARCH_READ_ONLY_API_KEY": READ_KEY}
    with serving(tmp_path / "db", "--host", "0.0.0.0", environment=environment) as server:
        url = f"http://127.0.0.1:{server.port}"
        with httpx.Client(base_url=url, headers={"api-key": KEY}) as writer:
            fill(writer)
        with httpx.Client(base_url=url) as nobody:
            assert nobody.get("/healthz").status_code == 200
            for answer in (nobody.get("/collections"), nobody.get("/metrics"), nobody.get("/openapi.json")):
                assert_error(answer, 401, "permission_denied")
                assert answer.headers["www-authenticate"] == "Bearer"
            for headers in (
                {"api-key": KEY[:-1]},
                {"api-key": KEY + "x"},
                {"authorization": f"Basic {KEY}"},
                {"api-key": ""},
            ):
                assert_error(nobody.get("/collections", headers=headers), 401)
            assert nobody.get("/collections", headers={"authorization": f"bearer {KEY}"}).status_code == 200
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {READ_KEY}"}) as reader:
            query = {"query": X[0].tolist()}
            assert reader.post("/collections/docs/points/query", json=query).status_code == 200
            writes = [
                reader.put("/collections/other", json=CREATE),
                reader.put("/collections/docs/points", json={"points": [point(1)]}),
                reader.post("/collections/docs/points/delete", json={"points": [1]}),
                reader.post("/collections/docs/points/payload", json={"payload": {}, "points": [1]}),
                reader.post("/v1/collections/docs/upsert", json={"ids": [1]}),
                reader.post("/v1/collections/docs/import", content=b"{}"),
                reader.post("/collections/docs/snapshots"),
                reader.delete("/collections/docs"),
                reader.post("/collections/aliases", json={"actions": []}),
            ]
            for answer in writes:
                assert_error(answer, 403, "permission_denied")
            assert reader.post("/collections/docs/points/count", json={}).json()["result"]["count"] == 50
        assert server.stop() == 0
        assert not any(KEY in line or READ_KEY in line for line in server.log)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--host", "0.0.0.0"], "API key"),
        (["--host", "::"], "API key"),
        (["--host", "example.org"], "API key"),
        (["--api-key", "short"], "8 ASCII"),
        (["--read-only-api-key", "long-enough"], "read-only key"),
        (["--api-key", "the-same-key", "--read-only-api-key", "the-same-key"], "same"),
        (["--tls-cert", "cert.pem"], "TLS"),
        (["--port", "99999"], "port"),
        (["--memory", "lots"], "size"),
        (["--log-format", "xml"], "log format"),
        (["--durability", "maybe"], "durability"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: list[str], complaint: str) -> None:
    command = [sys.executable, "-m", "vsearch", "serve", str(tmp_path / "db"), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert complaint in run.stderr
    assert "Traceback" not in run.stderr


def test_a_port_or_a_directory_in_use(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vsearch", "serve", str(tmp_path / "db"), "--port", str(server.port)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, "cannot listen" in run.stderr) == (2, True)
    other = start(tmp_path / "db2")
    try:
        command = [sys.executable, "-m", "vsearch", "serve", str(tmp_path / "db2"), "--port", "0"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (run.returncode, f"process {other.process.pid}" in run.stderr) == (2, True)
    finally:
        other.stop()


def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(make, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    with serving(tmp_path / "db", "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=certificate)
        assert httpx.get(f"{server.url}/healthz", verify=context).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(server.url.replace("https", "http"))


def test_json_logs_and_slow_requests(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--log-format", "json", "--slow-ms", "0") as server:
        with httpx.Client(base_url=server.url) as client:
            fill(client, 3)
            body = {"query": X[0].tolist(), "filter": {"must": [{"key": "version", "match": {"value": 0}}]}}
            client.post("/collections/docs/points/query", json=body, headers={"x-request-id": "slow-one"})
        server.stop()
        lines = [json.loads(line) for line in server.log]
        mine = sorted((one for one in lines if one.get("request_id") == "slow-one"), key=lambda one: one["log"])
        assert [line["log"] for line in mine] == ["vsearch.access", "vsearch.slow"]
        assert mine[0]["status"] == 200
        assert "'version'" in mine[1]["asked"]
        assert str(float(X[0, 0]))[:6] not in mine[1]["asked"]


def test_the_memory_budget_refuses_writes_only(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as server, httpx.Client(base_url=server.url) as client:
        fill(client)
    with serving(tmp_path / "db", "--memory", "1M") as server, httpx.Client(base_url=server.url) as client:
        answer = client.put("/collections/docs/points", json={"points": [point(1)]})
        assert_error(answer, 429, "resource_exhausted")
        assert answer.headers["retry-after"]
        assert client.post("/collections/docs/points/query", json={"query": X[0].tolist()}).status_code == 200


def test_a_full_disk(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as server, httpx.Client(base_url=server.url) as client:
        fill(client)
    environment = {"VSEARCH_FAILPOINTS": "commit.written=enospc"}
    server = start(tmp_path / "db", environment=environment)
    with httpx.Client(base_url=server.url) as client:
        for _ in range(2):
            answer = client.put("/collections/docs/points", json={"points": [point(99)]})
            assert_error(answer, 507, "durability_error")
        assert client.post("/collections/docs/points/query", json={"query": X[0].tolist()}).status_code == 200
        assert client.post("/collections/docs/points/count", json={}).json()["result"]["count"] == 50
        assert client.get("/readyz").status_code == 200
        assert "vsearch_writable 0.0" in client.get("/metrics").text
    server.stop()


def write_until_refused(url: str, worker: int, acknowledged: list[int], stop: threading.Event) -> None:
    """One point after another; the ids that were acknowledged."""
    with httpx.Client(base_url=url, timeout=30) as client:
        i = worker
        while not stop.is_set():
            try:
                answer = client.put("/collections/docs/points", json={"points": [point(i)]})
            except httpx.HTTPError:
                return
            if answer.status_code != 200:
                assert answer.status_code == 503
                return
            acknowledged.append(i)
            i += 10


def under_load(server: Server) -> tuple[list[int], threading.Event, list[threading.Thread]]:
    acknowledged: list[int] = []
    stop = threading.Event()
    arguments = [(server.url, worker, acknowledged, stop) for worker in range(1000, 1006)]
    threads = [threading.Thread(target=write_until_refused, args=one) for one in arguments]
    for thread in threads:
        thread.start()
    until(lambda: len(acknowledged) > 60)
    return acknowledged, stop, threads


def stored_ids(path: Path) -> set[Any]:
    with vsearch.open(path) as db:
        assert db.check() == []
        return {p.id for p in db.collection("docs").scroll(limit=10_000)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load(tmp_path: Path, number: int) -> None:
    server = start(tmp_path / "db")
    with httpx.Client(base_url=server.url) as client:
        fill(client)
    acknowledged, _, threads = under_load(server)
    started_s = time.monotonic()
    assert server.stop(number, timeout_s=10) == 0, "".join(server.log)
    assert time.monotonic() - started_s < 10
    for thread in threads:
        thread.join(10)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert set(acknowledged) <= stored_ids(tmp_path / "db")


def test_kill_9_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    for _ in range(3):
        server = start(tmp_path / "db")
        with httpx.Client(base_url=server.url) as client:
            if client.get("/collections/docs/exists").json()["result"]["exists"]:
                client.delete("/collections/docs")
            fill(client)
        acknowledged, _, threads = under_load(server)
        server.stop(signal.SIGKILL)
        for thread in threads:
            thread.join(10)
        assert set(acknowledged) <= stored_ids(tmp_path / "db")


def test_leftovers_of_a_killed_upload_are_removed(tmp_path: Path) -> None:
    with serving(tmp_path / "db"):
        pass
    leftover = tmp_path / "db" / ".tmp-spool-x"
    leftover.write_bytes(b"x")
    with serving(tmp_path / "db"):
        assert not leftover.exists()


def test_traces(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    import asyncio

    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from vsearch.api.app import create_app
    from vsearch.api.settings import Settings

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    with vsearch.open(tmp_path / "db") as db:
        app = create_app(db, Settings(tmp_path / "db", traces=True))

        async def ask() -> list[httpx.Response]:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
                return [
                    await client.get("/collections"),
                    await client.get("/collections/nope/exists"),
                    await client.get("/x"),
                ]

        assert [answer.status_code for answer in asyncio.run(ask())] == [200, 200, 404]
        app.workers.close()
    names = [span.name for span in spans.get_finished_spans()]
    assert names == ["GET /collections", "GET /collections/{collection}/exists", "GET unknown"]


def test_nothing_listens_or_connects_elsewhere(server: Server) -> None:
    """Telemetry is off, there is none: the process has no connection but those of its clients."""
    pid = server.process.pid
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue
        if match := re.match(r"socket:\[(\d+)\]", target):
            inodes.add(match[1])
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    remote = {row[2].split(":")[0] for row in rows if row[9] in inodes}
    assert remote <= {"00000000", "0100007F"}
