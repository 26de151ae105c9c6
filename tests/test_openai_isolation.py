"""The OpenAI-compatible front: nobody gets what is another's, nothing leads elsewhere, others may use its caches."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import vsearch
from tests.fake_upstream import DIM, FakeUpstream, vector_of
from tests.fronting import new, options
from tests.serving import Server, serving
from vsearch.api.memory import MemoryBudget
from vsearch.api.openai.caches import Caches
from vsearch.api.openai.embedded import wanted_of
from vsearch.api.openai.keeping import versions_of
from vsearch.api.openai.service import OpenAIService
from vsearch.api.openai.settings import UpstreamSettings
from vsearch.api.openai.upstream import Upstream
from vsearch.api.openai.vectors import UpstreamModel, Vectors
from vsearch.api.request import Request
from vsearch.api.workers import Workers
from vsearch.errors import InvalidArgument, Unavailable
from vsearch.integrations.chat import chat_key

KEY = "a-key-for-everything"
READING = "a-key-for-reading"
Headers = list[tuple[str, str]]


pytestmark = pytest.mark.usefixtures("fresh_upstream")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: FakeUpstream) -> Iterator[Server]:
    """Has a key for the upstream, and keys of its own."""
    path = tmp_path_factory.mktemp("isolation") / "db"
    environment = {
        "VSEARCH_API_KEY": KEY,
        "VSEARCH_READ_ONLY_API_KEY": READING,
        "VSEARCH_UPSTREAM_KEY": "sk-secret",
    }
    with serving(path, *options(upstream), environment=environment) as server:
        yield server


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "plain", "messages": [{"role": "user", "content": prompt}], **more}


def post(server: Server, path: str, body: Any, headers: Headers = []) -> tuple[str | None, str | None]:  # noqa: B006
    """What the answer says of the cache."""
    with httpx.Client(headers=[("api-key", KEY), *headers]) as client:
        answer = client.post(f"{server.url}/v1{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-cache"), answer.headers.get("x-cache-reason")


def raw(server: Server, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and answer of a request that no client would send so."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body)
        told = b""
        while piece := connection.recv(1 << 16):
            told += piece
    return int(told.split(b" ")[1]), told


def request_of(headers: list[tuple[bytes, bytes]], query: bytes = b"") -> Request:
    return Request({"method": "POST", "raw_path": b"/", "query_string": query, "headers": headers})


# Who asks, and for what.


@pytest.mark.parametrize(
    ("path", "body"), [("/chat/completions", chat), ("/embeddings", lambda prompt: {"model": "m", "input": prompt})]
)
def test_whatever_goes_upstream_tells_requests_apart(
    server: Server, upstream: FakeUpstream, path: str, body: Callable[[str], Any]
) -> None:
    asked = body(new())
    others: list[tuple[str, Headers]] = [
        ("", []), ("?tenant=one", []), ("?tenant=two", []), ("", [("x-tenant", "one")]), ("", [("x-tenant", "two")]),
        ("", [("x-goog-api-key", "one")]), ("", [("x-portkey-config", "c")]), ("", [("accept-language", "fr")]),
    ]  # fmt: skip
    for query, headers in others:
        assert post(server, path + query, asked, headers)[0] == "MISS", (query, headers)
        assert post(server, path + query, asked, headers)[0] == "HIT-EXACT", (query, headers)
    assert len(upstream.received) == len(others)
    alike: list[Headers] = [
        [("user-agent", "me")], [("x-stainless-lang", "node")], [("x-request-id", "r1")], [("accept", "text/plain")],
        [("traceparent", "00-1-2-01")], [("tracestate", "a=b")], [("cache-control", "max-age=60")],
        [("connection", "x-hop"), ("x-hop", "1")], [("x-vsearch-ttl", "60")],
    ]  # fmt: skip
    for headers in alike:
        assert post(server, path, asked, headers)[0] == "HIT-EXACT", headers


def test_the_order_and_the_bounds_of_headers() -> None:
    upstream = Upstream(UpstreamSettings("http://a"), own_key=False)

    def identity(*headers: tuple[bytes, bytes], query: bytes = b"") -> str:
        return upstream.identity(request_of(list(headers), query))

    assert identity((b"x-a", b"1"), (b"x-b", b"2")) == identity((b"x-b", b"2"), (b"x-a", b"1"))
    seen = {
        identity(), identity(query=b"a=1"), identity((b"a", b"1")), identity((b"x-a", b"1")), identity((b"x-a", b"2")),
        identity((b"x-a", b"1;4:x-b2:22")), identity((b"x-a", b"1"), (b"x-b", b"22")), identity((b"x-a", b"")),
    }  # fmt: skip
    assert len(seen) == 8


def test_who_shares_shares_answers_to_the_same_request_only() -> None:
    upstream = Upstream(UpstreamSettings("http://a", shared=True), own_key=False)
    usual = upstream.identity(request_of([]))
    for name in (b"authorization", b"api-key", b"x-goog-api-key", b"cookie", b"openai-project"):
        assert upstream.identity(request_of([(name, b"secret")])) == usual
    assert upstream.identity(request_of([(b"x-tenant", b"one")])) != usual
    assert upstream.identity(request_of([], b"api-version=1")) != usual


# Headers that come in parts.


def test_repeated_headers_are_one_list() -> None:
    given = [
        (b"accept", b"a"),
        (b"x-a", b"1"),
        (b"cookie", b"c=1"),
        (b"accept", b"b"),
        (b"cookie", b"d=2"),
        (b"accept", b"c"),
    ]
    assert request_of(given).headers == {b"accept": b"a, b, c", b"x-a": b"1", b"cookie": b"c=1; d=2"}
    assert request_of(given[:3]).headers == dict(given[:3])


@pytest.mark.parametrize("controls", [["no-store", "max-age=60"], ["max-age=60", "no-store"]])
def test_no_store_holds_wherever_it_stands(server: Server, controls: list[str]) -> None:
    asked = chat(new())
    assert post(server, "/chat/completions", asked, [("cache-control", control) for control in controls])[0] == "MISS"
    assert post(server, "/chat/completions", asked)[0] == "MISS"


def test_no_source_and_no_tag_is_lost(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers={"api-key": KEY}) as client:
        client.put("/collections/docs", json={"vectors": {"size": 2, "distance": "Cosine"}}).raise_for_status()
        points = [{"id": i, "vector": [1.0, 0.0]} for i in (1, 2)]
        client.put("/collections/docs/points", json={"points": points}).raise_for_status()
        asked = chat(new())
        sources = [("x-vsearch-depends-on", "docs/1"), ("x-vsearch-depends-on", "docs/2")]
        for i in (1, 2):
            post(server, "/chat/completions", asked, sources)
            assert post(server, "/chat/completions", asked)[0] == "HIT-EXACT"
            client.put("/collections/docs/points", json={"points": [points[i - 1]]}).raise_for_status()
            assert post(server, "/chat/completions", asked)[0] == "MISS"
            asked = chat(new())
        for tag in ("red", "green"):
            post(server, "/chat/completions", asked, [("x-vsearch-tags", "red"), ("x-vsearch-tags", "green")])
            client.post("/v1/cache/openai/invalidate", json={"tag": tag}).raise_for_status()
            assert post(server, "/chat/completions", asked)[0] == "MISS"
            asked = chat(new())


# What is passed on, and what is not.


@pytest.mark.parametrize(
    "path",
    [
        "../files", "..", ".", "../../admin", "%2e%2e", ".%2E/files", "%2e%2e%2ffiles", "a%2f..%2f..%2ffiles", "a/..",
        "..%5cfiles", "%252e%252e%252ffiles", "a%2f%2fb", "a%00", "a%0d%0ab",
    ],
)  # fmt: skip
def test_a_model_is_no_way_to_elsewhere(server: Server, upstream: FakeUpstream, path: str) -> None:
    status, answer = raw(server, f"GET /v1/models/{path} HTTP/1.1\nHost: x\napi-key: {READING}\nConnection: close\n")
    assert status in (400, 404), answer
    assert upstream.received == []


@pytest.mark.parametrize("name", ["plain", "owner/name", "owner%2Fname", "ft:gpt-4o:me::1", "a%20b", "v1.5", "@cf/x~y"])
def test_models_are_asked_for_by_their_names(server: Server, upstream: FakeUpstream, name: str) -> None:
    answer = httpx.get(f"{server.url}/v1/models/{name}?a=b", headers={"api-key": READING})
    assert answer.status_code == 200
    assert upstream.received[-1].path == f"/v1/models/{name}?a=b"


@pytest.mark.parametrize("query", [b"a=\x7f", b"a=" + b"b" * 66_000])
def test_a_query_that_cannot_be_passed_on_is_the_clients_fault(upstream: FakeUpstream, query: bytes) -> None:
    async def run() -> None:
        passing = Upstream(UpstreamSettings(upstream.url), own_key=False)
        with pytest.raises(InvalidArgument):
            async with passing.open(request_of([], query), "/models", None):
                pass
        await passing.close()

    asyncio.run(run())
    assert upstream.received == []


def test_headers_that_cannot_be_sent_are_not_quoted(
    tmp_path: Path, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    settings, workers = UpstreamSettings(upstream.url, embedding_model="words"), Workers()
    request = request_of([(b"authorization", b"Bearer sk-secret ")])

    async def run(db: vsearch.Database) -> None:
        passing = Upstream(settings, own_key=False)
        with pytest.raises(Unavailable) as raised:
            async with passing.open(request, "/models", None):
                pass
        assert "LocalProtocolError" in str(raised.value)
        assert "secret" not in str(raised.value)
        assert raised.value.__cause__ is None
        vectors = Vectors(UpstreamModel("words", passing), Caches(db, settings, workers), workers)
        assert await vectors.of("a text", request, {}) is None
        await passing.close()

    with vsearch.open(tmp_path / "db") as db, caplog.at_level(logging.DEBUG, "vsearch"):
        asyncio.run(run(db))
    workers.close()
    assert "no embedding" in caplog.text
    assert "secret" not in caplog.text


# Caches that others delete, make and fill.


def test_a_cache_that_is_deleted_is_there_again(server: Server) -> None:
    prompt = new()
    calls = [
        ("/chat/completions", chat(prompt), "openai"),
        ("/embeddings", {"model": "m", "input": prompt}, "openai-embeddings"),
    ]
    with httpx.Client(base_url=server.url, headers={"api-key": KEY}) as client:
        for path, body, name in calls:
            for made_by_hand in (True, False):
                client.delete(f"/v1/cache/{name}").raise_for_status()
                if made_by_hand:
                    client.put(f"/v1/cache/{name}", json={"dim": 0}).raise_for_status()
                states = [post(server, path, body)[0] for _ in range(2)]
                assert states == ["MISS", "HIT-EXACT"], (path, made_by_hand)
                assert name in client.get("/v1/cache").json()["caches"]


def test_similar_prompts_are_found_in_a_new_cache(tmp_path: Path, upstream: FakeUpstream) -> None:
    with (
        serving(tmp_path / "db", *options(upstream, "--embedding-model", "words")) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        words = "please tell me how tall the old tower in the middle of the town really is today"
        for deleted in ("", "openai", "openai-embeddings"):
            if deleted:
                client.delete(f"/v1/cache/{deleted}").raise_for_status()
            post(server, "/chat/completions", chat(f"{words} thanks"))
            assert post(server, "/chat/completions", chat(f"{words} friend"))[0] in ("HIT-SEMANTIC", "HIT-EXACT")
        client.delete("/v1/cache/openai").raise_for_status()
        client.put("/v1/cache/openai", json={"dim": DIM + 1}).raise_for_status()  # whose vectors are of another length
        assert [post(server, "/chat/completions", chat(words))[0] for _ in range(2)] == ["MISS", "HIT-EXACT"]


def test_making_the_cache_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, workers = UpstreamSettings("http://127.0.0.1:1", embedding_model="words"), Workers()
    with vsearch.open(tmp_path / "db") as db:
        caches = Caches(db, settings, workers)
        opened = db.cache

        def failing(*args: Any, **kwargs: Any) -> Any:
            raise Unavailable("not now")

        monkeypatch.setattr(db, "cache", failing)
        with pytest.raises(Unavailable):
            caches.create(DIM, "words")
        assert caches.answers is None
        monkeypatch.setattr(db, "cache", opened)
        with pytest.raises(InvalidArgument, match="not of 'others'"):
            caches.create(DIM, "others")
        assert caches.answers is None  # and is not used by the next either
        assert caches.create(DIM, "words").dim == DIM
    workers.close()


class Collecting:
    """A client in this process: what it was answered."""

    def __init__(self) -> None:
        self.request = request_of([])
        self.status, self.headers, self.body = 0, {}, b""

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status, self.headers = status, dict(headers)

    async def send(self, piece: bytes, more: bool = False) -> None:
        self.body += piece


def with_service(
    path: Path, upstream: FakeUpstream, run: Callable[[Any, OpenAIService], Coroutine[Any, Any, None]]
) -> None:
    workers = Workers()
    with vsearch.open(path) as db:
        service = OpenAIService(db, UpstreamSettings(upstream.url), workers, MemoryBudget(None), own_key=False)

        async def all_of_it() -> None:
            await run(db, service)
            await service.close()

        asyncio.run(all_of_it())
        workers.close()


def test_what_others_have_stored_is_a_miss_if_it_is_no_answer(tmp_path: Path, upstream: FakeUpstream) -> None:
    call = {"choices": [{"finish_reason": "tool_calls", "message": {"content": None, "tool_calls": ["x"]}}]}
    content = {"choices": [{"finish_reason": "tool_calls", "message": {"content": {"a": 1}, "tool_calls": [{}]}}]}
    foreign: list[Any] = ["text", 7, None, [], {}, b"bytes", {"choices": [7]}, call, content]

    async def run(db: vsearch.Database, service: OpenAIService) -> None:
        for value in foreign:
            for stream in (False, True):
                client, body = Collecting(), chat(new(), stream=stream)
                client.request = request_of([(b"x-vsearch-cache-tools", b"true")])
                prompt, scope = chat_key(body, {"key": service._upstream.identity(client.request), "scope": None})
                db.cache("openai").store(prompt, value, scope=scope)
                assert db.cache("openai").check(prompt, scope=scope) is not None
                for state in (b"MISS", b"HIT-EXACT"):
                    await service._chat.chat_completions(client, json.dumps(body).encode())
                    assert (client.status, client.headers[b"x-cache"]) == (200, state), value

    with_service(tmp_path / "db", upstream, run)


def test_what_others_have_stored_is_a_miss_if_it_is_no_vector(tmp_path: Path, upstream: FakeUpstream) -> None:
    async def run(db: vsearch.Database, service: OpenAIService) -> None:
        cache, identity = db.cache("openai-embeddings"), service._upstream.identity(request_of([]))
        for value in ("text", b"", b"123", {"a": 1}):
            body = {"model": "m", "input": new()}
            wanted = wanted_of(body, {"key": identity, "scope": None})
            assert wanted is not None
            prompt = json.dumps(body["input"])
            cache.store(prompt, value, scope=wanted.scope)
            assert cache.check(prompt, scope=wanted.scope) is not None
            for state in (b"MISS", b"HIT-EXACT"):
                client = Collecting()
                await service._embeddings.embeddings(client, json.dumps(body).encode())
                assert (client.status, client.headers[b"x-cache"]) == (200, state), value
                vector = json.loads(client.body)["data"][0]["embedding"]
                assert vector == pytest.approx(vector_of(body["input"]), rel=1e-6)

    with_service(tmp_path / "db", upstream, run)


def test_collections_are_opened_in_a_worker_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers()
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", {"dense": vsearch.Dense(2)})
        asked_in: list[int] = []
        collection = db.collection

        def asked(name: str) -> Any:
            asked_in.append(threading.get_ident())
            return collection(name)

        monkeypatch.setattr(db, "collection", asked)
        sources = (("docs", 1), ("docs", "a"))
        versions = asyncio.run(versions_of(db, workers, sources))
        assert versions == (("docs", 1, docs.version), ("docs", "a", docs.version))
        assert len(asked_in) == 2
        assert threading.get_ident() not in asked_in
        with pytest.raises(InvalidArgument, match="x-vsearch-depends-on"):
            asyncio.run(versions_of(db, workers, (("nothing", 1),)))
    workers.close()
