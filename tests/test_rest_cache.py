"""Caches over HTTP as others than our clients see them: JSON, keys, wrong bodies, leases, metrics."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import msgpack
import pytest

import vsearch
from tests.serving import Server, serving
from vsearch import CachePolicy, wire
from vsearch.api.v1.cache_bodies import Policy

KEY, READING_KEY = "a-key-for-everything", "a-key-for-reading"
C = "/v1/cache/c"
V = [1.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("cache") / "db"
    options = ("--no-access-log", "--api-key", KEY, "--read-only-api-key", READING_KEY)
    with serving(path, *options) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """With an empty cache `c` of dimension 3, which has the categories `default` and `code`."""
    with httpx.Client(base_url=server.url, headers={"api-key": KEY}, timeout=300) as client:
        client.put(C, json={"dim": 3, "policies": {"code": {"threshold": 0.5}}}).raise_for_status()
        yield client
        client.delete(C).raise_for_status()


@pytest.fixture
def reader(server: Server, client: httpx.Client) -> Iterator[httpx.Client]:
    """With the key that may only read."""
    with httpx.Client(base_url=server.url, headers={"api-key": READING_KEY}) as reader:
        yield reader


def done(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_policy_has_the_settings_and_defaults_of_cache_policy() -> None:
    assert Policy().model_dump().keys() == {field.name for field in fields(CachePolicy)}
    assert Policy().made() == CachePolicy()


def test_answers_in_json(client: httpx.Client) -> None:
    assert done(client.get("/v1/cache")) == {"caches": ["c"]}
    about = done(client.get(C))
    assert (about["name"], about["dim"], about["entries"]) == ("c", 3, 0)
    assert about["policies"]["code"] == {**CachePolicy().to_dict(), "threshold": 0.5}
    response = {"choices": [{"text": "é"}], "n": 2**64 - 1}
    stored = done(client.post(f"{C}/store", json={"prompt": "q", "response": response, "vector": V, "tags": ["t"]}))
    hit = done(client.post(f"{C}/check", json={"prompt": "q?", "vector": [2.0, 0.0, 0.0]}))["hit"]
    assert (hit["id"], hit["response"], hit["response_base64"]) == (stored["id"], response, None)
    assert (hit["kind"], hit["tags"], hit["metadata"], hit["ttl"]) == ("semantic", ["t"], {}, None)
    assert done(client.post(f"{C}/check", json={"prompt": "q", "scope": {"user": 1}})) == {"hit": None}
    missed = done(client.post(f"{C}/lookup", json={"prompt": "z", "vector": [0.0, 1.0, 0.0]}))
    assert (missed["hit"], missed["reason"], missed["nearest"]) == (None, "below threshold", stored["id"])
    many = {"prompts": ["a", "b"], "responses": [1, None], "vectors": [V, V], "category": "code", "scope": "s"}
    assert len(done(client.post(f"{C}/store_many", json=many))["ids"]) == 2
    entries = done(client.get(f"{C}/entries", params={"after": stored["id"], "limit": 1}))["entries"]
    assert [entry["category"] for entry in entries] == ["code"]
    assert done(client.post(f"{C}/report", json={"id": stored["id"], "correct": False})) == {}
    assert done(client.post(f"{C}/invalidate", json={"category": "code", "dry_run": True})) == {"removed": 2}
    assert done(client.post(f"{C}/invalidate", json={"scope": "s"})) == {"removed": 2}
    assert done(client.put(f"{C}/policies/new%20one", json={"ttl": 5})) == {}
    assert done(client.get(C))["policies"]["new one"]["ttl"] == 5
    assert done(client.put(f"{C}/load", json={"low": 1, "high": 2})) == {}
    assert done(client.post(f"{C}/load", json={"value": 1.5})) == {}
    assert done(client.get(f"{C}/stats"))["categories"]["default"]["wrong"] == 1
    assert done(client.delete(f"{C}/entries")) == {"removed": 0}


def test_bytes_in_json_are_base64(client: httpx.Client) -> None:
    given = base64.b64encode(b"\x00\xff").decode()
    done(client.post(f"{C}/store", json={"prompt": "q", "response_base64": given}))
    hit = done(client.post(f"{C}/check", json={"prompt": "q"}))["hit"]
    assert (hit["response"], hit["response_base64"]) == (None, given)
    packed = client.post(f"{C}/check", content=msgpack.packb({"prompt": "q"}), headers=MSGPACK)
    assert msgpack.unpackb(packed.content)["hit"]["response"] == b"\x00\xff"


MSGPACK = {"content-type": wire.MSGPACK, "accept": wire.MSGPACK}


def test_what_json_cannot_tell_is_said_to_be_so(client: httpx.Client) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    for response in ({"a": b"bytes in a list"}, deep, msgpack.ExtType(1, b"x"), msgpack.Timestamp(5)):
        body = msgpack.packb({"prompt": "q", "response": response})
        stored = client.post(f"{C}/store", content=body, headers=MSGPACK)
        assert stored.status_code in (200, 400), stored.text
        told = client.post(f"{C}/check", json={"prompt": "q"})
        assert told.status_code in (200, 501), told.text
        if told.status_code == 501:
            assert "application/msgpack" in told.json()["hint"]
        done(client.delete(f"{C}/entries"))


def test_a_key_for_reading_checks_and_changes_nothing(client: httpx.Client, reader: httpx.Client) -> None:
    number = done(client.post(f"{C}/store", json={"prompt": "q", "response": 1}))["id"]
    assert done(reader.post(f"{C}/check", json={"prompt": "q"}))["hit"]["id"] == number
    assert done(reader.post(f"{C}/lookup", json={"prompt": "q"}))["hit"]["id"] == number
    for path in ("/v1/cache", C, f"{C}/stats", f"{C}/entries", "/metrics"):
        assert reader.get(path).status_code == 200
    refused = [
        reader.put("/v1/cache/other", json={"dim": 3}),
        reader.delete(C),
        reader.post(f"{C}/store", json={"prompt": "q", "response": 2}),
        reader.post(f"{C}/store_many", json={"prompts": ["q"], "responses": [2]}),
        reader.post(f"{C}/lease", json={"prompt": "new"}),
        reader.post(f"{C}/release", json={"lease": "x"}),
        reader.post(f"{C}/report", json={"id": number, "correct": False}),
        reader.post(f"{C}/invalidate", json={"id": number}),
        reader.delete(f"{C}/entries"),
        reader.put(f"{C}/policies/code", json={}),
        reader.put(f"{C}/load", json={"low": 1, "high": 2}),
        reader.post(f"{C}/load", json={"value": 1}),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert done(reader.post(f"{C}/check", json={"prompt": "q"}))["hit"]["response"] == 1
    with httpx.Client(base_url=str(client.base_url)) as nobody:
        assert nobody.post(f"{C}/check", json={"prompt": "q"}).status_code == 401


Q = {"prompt": "q"}
# name -> (method, path, body, statuses)
BAD: dict[str, tuple[str, str, Any, tuple[int, ...]]] = {
    "not JSON": ("POST", "/check", b"{nope", (400,)),
    "a list": ("POST", "/check", b"[]", (422,)),
    "no prompt": ("POST", "/check", {}, (422,)),
    "prompt a number": ("POST", "/check", {"prompt": 7}, (422,)),
    "prompt not Unicode": ("POST", "/check", b'{"prompt": "\\ud800"}', (400, 422)),
    "unknown entry": ("POST", "/check", {**Q, "threshold": 0.1}, (422,)),
    "unknown category": ("POST", "/check", {**Q, "category": "nope"}, (400,)),
    "category a number": ("POST", "/check", {**Q, "category": 1}, (422,)),
    "vector of another dimension": ("POST", "/check", {**Q, "vector": [1.0]}, (400,)),
    "vector empty": ("POST", "/check", {**Q, "vector": []}, (400,)),
    "vector a text": ("POST", "/check", {**Q, "vector": "abc"}, (400,)),
    "vector a number": ("POST", "/check", {**Q, "vector": 1.0}, (400,)),
    "vector sparse": ("POST", "/check", {**Q, "vector": {"indices": [1], "values": [1.0]}}, (400,)),
    "vector an object": ("POST", "/check", {**Q, "vector": {"a": 1}}, (400,)),
    "vector of objects": ("POST", "/check", {**Q, "vector": [{"indices": [1], "values": [1.0]}] * 3}, (400,)),
    "vector of lists": ("POST", "/check", {**Q, "vector": [[1.0], [1.0], [1.0]]}, (400,)),
    "vector ragged": ("POST", "/check", {**Q, "vector": [[1.0], 1.0, 1.0]}, (400,)),
    "vector of texts": ("POST", "/check", {**Q, "vector": ["1", "0", "0"]}, (400,)),
    "vector of bools": ("POST", "/check", {**Q, "vector": [True, False, False]}, (400,)),
    "vector with null": ("POST", "/check", {**Q, "vector": [None, 1.0, 0.0]}, (400,)),
    "vector with NaN": ("POST", "/check", b'{"prompt": "q", "vector": [NaN, 0, 0]}', (400, 422)),
    "vector with infinity": ("POST", "/check", b'{"prompt": "q", "vector": [1e999, 0, 0]}', (400, 422)),
    "vector of huge numbers": ("POST", "/check", {**Q, "vector": [10**400, 0, 0]}, (400,)),
    "vector of zeros": ("POST", "/check", {**Q, "vector": [0, 0, 0]}, (400,)),
    "age negative": ("POST", "/check", {**Q, "max_age": -1}, (400,)),
    "age a text": ("POST", "/check", {**Q, "max_age": "1"}, (422,)),
    "age huge": ("POST", "/check", {**Q, "max_age": 10**400}, (400, 422)),
    "scope too deep": ("POST", "/check", {**Q, "scope": json.loads("[" * 70 + "]" * 70)}, (400,)),
    "prompt too long": ("POST", "/check", {"prompt": "x" * ((1 << 20) + 1)}, (400,)),
    "no response": ("POST", "/store", Q, (400,)),
    "two responses": ("POST", "/store", {**Q, "response": 1, "response_base64": "AA=="}, (400,)),
    "not base64": ("POST", "/store", {**Q, "response_base64": "é?"}, (400,)),
    "response too long": ("POST", "/store", {**Q, "response": "x" * ((4 << 20) + 1)}, (400,)),
    "response with a huge number": ("POST", "/store", {**Q, "response": 10**30}, (400,)),
    "metadata a list": ("POST", "/store", {**Q, "response": 1, "metadata": []}, (422,)),
    "metadata too long": ("POST", "/store", {**Q, "response": 1, "metadata": {"a": "x" * 100_000}}, (400,)),
    "tags a text": ("POST", "/store", {**Q, "response": 1, "tags": "t"}, (422,)),
    "tag empty": ("POST", "/store", {**Q, "response": 1, "tags": [""]}, (400,)),
    "tag too long": ("POST", "/store", {**Q, "response": 1, "tags": ["t" * 256]}, (400,)),
    "too many tags": ("POST", "/store", {**Q, "response": 1, "tags": [str(i) for i in range(65)]}, (400,)),
    "ttl negative": ("POST", "/store", {**Q, "response": 1, "ttl": -1}, (400,)),
    "cost negative": ("POST", "/store", {**Q, "response": 1, "cost": -1}, (400,)),
    "source of a missing collection": ("POST", "/store", {**Q, "response": 1, "depends_on": [["no", 1]]}, (404,)),
    "source without an id": ("POST", "/store", {**Q, "response": 1, "depends_on": [["no"]]}, (422,)),
    "source a text": ("POST", "/store", {**Q, "response": 1, "depends_on": ["no"]}, (422,)),
    "source of a number": ("POST", "/store", {**Q, "response": 1, "depends_on": [[1, 1]]}, (400, 404)),
    "source of a bad version": ("POST", "/store", {**Q, "response": 1, "depends_on": [["no", 1, "x"]]}, (400, 404)),
    "lengths of many": ("POST", "/store_many", {"prompts": ["a"], "responses": []}, (400,)),
    "vectors of many": ("POST", "/store_many", {"prompts": ["a"], "responses": [1], "vectors": "abc"}, (400,)),
    "too many": ("POST", "/store_many", {"prompts": ["a"] * 10_001, "responses": [1]}, (422,)),
    "lease of no time": ("POST", "/lease", {**Q, "lease_s": 0}, (422,)),
    "lease for ever": ("POST", "/lease", {**Q, "wait_s": 1e9}, (422,)),
    "lease a list": ("POST", "/release", {"lease": []}, (422,)),
    "report without an id": ("POST", "/report", {"correct": True}, (422,)),
    "report of a text": ("POST", "/report", {"id": "1", "correct": True}, (422,)),
    "report a number": ("POST", "/report", {"id": 1, "correct": 1}, (422,)),
    "similarity above 1": ("POST", "/report", {"id": 1, "correct": True, "similarity": 2}, (400,)),
    "invalidate nothing": ("POST", "/invalidate", {}, (400,)),
    "invalidate by a predicate": ("POST", "/invalidate", {"where": "True"}, (422,)),
    "invalidate a missing collection's": ("POST", "/invalidate", {"source": "nope"}, (200, 404)),
    "invalidate a missing point's": ("POST", "/invalidate", {"source": ["nope", 1]}, (200, 404)),
    "invalidate an odd source's": ("POST", "/invalidate", {"source": [1, 1]}, (400, 404)),
    "invalidate an unknown category": ("POST", "/invalidate", {"category": "nope"}, (400,)),
    "threshold above 1": ("PUT", "/policies/x", {"threshold": 1.01}, (400,)),
    "threshold a text": ("PUT", "/policies/x", {"threshold": "0.9"}, (422,)),
    "threshold huge": ("PUT", "/policies/x", {"threshold": 10**400}, (400, 422)),
    "policy ttl negative": ("PUT", "/policies/x", {"ttl": -1}, (400,)),
    "quota a fraction": ("PUT", "/policies/x", {"quota": 1.5}, (422,)),
    "unknown guard": ("PUT", "/policies/x", {"guards": ["nope"]}, (400,)),
    "guards a text": ("PUT", "/policies/x", {"guards": "numbers"}, (422,)),
    "unknown setting": ("PUT", "/policies/x", {"treshold": 0.9}, (422,)),
    "category with a slash": ("PUT", "/policies/a%2Fb", {}, (400,)),
    "loads that fall": ("PUT", "/load", {"low": 2, "high": 1}, (400,)),
    "load without loads": ("POST", "/load", {"value": 1}, (400,)),
    "fit to nothing": ("POST", "/fit", {}, (400,)),
    "fit to half": ("POST", "/fit", {"asked": [V], "cached": [V]}, (400,)),
    "fit to columns of other lengths": ("POST", "/fit", {"asked": [V], "cached": [V], "same": [True, False]}, (400,)),
    "fit to texts": ("POST", "/fit", {"asked": ["a"], "cached": ["b"], "same": [True]}, (400,)),
    "fit to numbers": ("POST", "/fit", {"asked": [1], "cached": [2], "same": [True]}, (400,)),
    "fit to objects": ("POST", "/fit", {"asked": {"a": 1}, "cached": {}, "same": [True]}, (400,)),
    "fit to another dimension": ("POST", "/fit", {"asked": [[1.0]], "cached": [[1.0]], "same": [True]}, (400,)),
    "categories of no examples": ("POST", "/fit_categories", {"examples": [], "labels": []}, (400,)),
    "categories of one example": ("POST", "/fit_categories", {"examples": [V], "labels": ["code"]}, (400,)),
    "categories of texts": ("POST", "/fit_categories", {"examples": ["a"], "labels": ["code"]}, (400,)),
    "categories that are unknown": ("POST", "/fit_categories", {"examples": [V], "labels": ["nope"]}, (400,)),
    "limit 0": ("GET", "/entries?limit=0", None, (400, 422)),
    "after a text": ("GET", "/entries?after=x", None, (400, 422)),
    "unknown parameter": ("GET", "/entries?cursor=1", None, (400, 422)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_a_4xx_and_changes_nothing(client: httpx.Client, name: str) -> None:
    method, path, body, statuses = BAD[name]
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    answer = client.request(method, f"{C}{path}", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in statuses, answer.text
    if answer.status_code != 200:
        told = answer.json()
        assert told["code"]
        assert told["message"]
    about = done(client.get(C))
    assert (about["entries"], set(about["policies"])) == (0, {"default", "code"})


@pytest.mark.parametrize(
    "settings",
    [{}, {"dim": -1}, {"dim": 10**9}, {"dim": "3"}, {"dim": 3, "policies": {"": {}}},
     {"dim": 3, "default": {"ttl": -1}}, {"dim": 3, "max_entries": 0}, {"dim": 3, "max_bytes": 10**30},
     {"dim": 3, "durability": "never"}, {"dim": 3, "model": ""}, {"dim": 3, "load": {"low": 1}},
     {"dim": 3, "load": {"low": 2, "high": 1}}],
    ids=str,
)  # fmt: skip
def test_wrong_settings_make_no_cache(client: httpx.Client, settings: dict[str, Any]) -> None:
    assert client.put("/v1/cache/new", json=settings).status_code in (400, 422)
    assert client.put("/v1/cache/a%2Fb", json={"dim": 3}).status_code == 400
    assert client.put(C, json={"dim": 3}).status_code == 409
    assert done(client.get("/v1/cache")) == {"caches": ["c"]}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/stats"), ("DELETE", "/entries")):
        assert client.request(method, f"/v1/cache/nope{path}").status_code == 404


# Leases


async def _asked(server: Server, count: int, wait_s: float) -> list[Any]:
    async with httpx.AsyncClient(
        base_url=server.url, headers={"api-key": KEY}, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as client:
        body = {"prompt": "q", "vector": V, "wait_s": wait_s}
        answers = await asyncio.gather(*(client.post(f"{C}/lease", json=body) for _ in range(count)))
        return [done(answer) for answer in answers]


def test_waiting_leaves_the_threads_to_others(server: Server, client: httpx.Client) -> None:
    lease = done(client.post(f"{C}/lease", json={**Q, "vector": V}))["lease"]
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(asyncio.run(_asked(server, 150, 20.0))))
    waiting.start()
    try:
        time.sleep(1.0)
        started = time.monotonic()
        assert done(client.post(f"{C}/check", json={**Q, "vector": V})) == {"hit": None}
        assert done(client.post(f"{C}/lease", json={"prompt": "else", "vector": [0, 1, 0]}))["lease"]
        assert time.monotonic() - started < 2.0
        assert not found
    finally:
        number = done(client.post(f"{C}/store", json={**Q, "response": "r", "vector": V, "lease": lease}))["id"]
        waiting.join()
    assert [one["hit"]["id"] for one in found] == [number] * 150
    assert [one["lease"] for one in found] == [None] * 150


def test_who_goes_away_gets_no_lease(server: Server, client: httpx.Client) -> None:
    lease = done(client.post(f"{C}/lease", json=Q))["lease"]
    body = json.dumps({**Q, "wait_s": 60, "lease_s": 60}).encode()
    head = f"POST {C}/lease HTTP/1.1\r\nhost: x\r\napi-key: {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as gone:
        gone.sendall(head.encode() + body)
        time.sleep(0.5)
    time.sleep(0.5)
    assert done(client.post(f"{C}/release", json={"lease": lease})) == {"released": True}
    time.sleep(0.2)
    assert done(client.post(f"{C}/lease", json={**Q, "wait_s": 0}))["lease"] is not None


def test_the_server_stops_without_those_who_wait(tmp_path: Path) -> None:
    errors: list[Exception] = []
    with serving(tmp_path / "db", "--no-access-log") as server, vsearch.connect(server.url) as db:
        cache = db.create_cache("c", 0)
        assert cache.lease("q").lease

        def wait() -> None:
            try:
                cache.lease("q", wait_s=60.0)
            except vsearch.Unavailable as error:
                errors.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.5)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert time.monotonic() - started < 5.0
        waiting.join()
    assert "stopping" in str(errors[0])


# What is told of it


def test_metrics_are_those_of_stats(client: httpx.Client) -> None:
    done(client.post(f"{C}/store", json={**Q, "response": 1, "vector": V, "cost": 2.0, "compute_s": 3.0}))
    done(client.post(f"{C}/check", json=Q))
    done(client.post(f"{C}/check", json={"prompt": "like q", "vector": V}))
    done(client.post(f"{C}/check", json={"prompt": "z", "vector": [0, 1, 0]}))
    lines = client.get("/metrics").text.splitlines()
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("vsearch_c")}
    of = 'cache="c",category="default"'
    expected = {
        f"vsearch_cache_lookups_total{{{of}}}": 3,
        f'vsearch_cache_hits_total{{{of},kind="exact"}}': 1,
        f'vsearch_cache_hits_total{{{of},kind="semantic"}}': 1,
        f'vsearch_cache_misses_total{{{of},reason="below threshold"}}': 1,
        f"vsearch_cache_saved_seconds_total{{{of}}}": 6,
        f"vsearch_cache_saved_cost_total{{{of}}}": 4,
        f"vsearch_cache_entries{{{of}}}": 1,
        f"vsearch_cache_threshold{{{of}}}": 0.9,
        'vsearch_cache_threshold{cache="c",category="code"}': 0.5,
        'vsearch_cache_stress{cache="c"}': 0,
    }
    assert expected.items() <= found.items()
    assert found[f"vsearch_cache_bytes{{{of}}}"] > 0
    assert not [line for line in lines if re.match(r'vsearch_cache_ttl_seconds\{.*category="default"', line)]


def test_the_document_has_every_route_of_caches(client: httpx.Client) -> None:
    document = done(client.get("/openapi.json"))
    operations = {
        f"{method.upper()} {path.removeprefix('/v1/cache')}"
        for path, methods in document["paths"].items()
        if path.startswith("/v1/cache")
        for method in methods
    }
    one = "/{cache}"
    assert operations == {
        *("GET ", f"PUT {one}", f"GET {one}", f"DELETE {one}", f"GET {one}/stats", f"GET {one}/entries"),
        *(f"DELETE {one}/entries", f"PUT {one}/policies/{{category}}", f"PUT {one}/load", f"POST {one}/load"),
        *(f"POST {one}/{name}" for name in ("check", "lookup", "lease", "release", "store", "store_many")),
        *(f"POST {one}/{name}" for name in ("report", "invalidate", "fit", "fit_categories")),
    }
