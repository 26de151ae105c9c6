"""The OpenAI-compatible front: embeddings, similar prompts, load, keys, models, and how it starts."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

import vsearch
from tests.fake_upstream import DIM, FakeUpstream, vector_of
from tests.fronting import Asking, ask, client_of, idle, new, options, text_of
from tests.serving import Server, serving
from vsearch.api.memory import MemoryBudget
from vsearch.api.openai.caches import read_policies
from vsearch.api.openai.service import OpenAIService
from vsearch.api.openai.settings import UpstreamSettings
from vsearch.api.request import Request
from vsearch.api.workers import Workers
from vsearch.embedders import CallableEmbedder
from vsearch.errors import InvalidArgument

KEY = "a-key-for-everything"
SCOPE = {"method": "POST", "raw_path": b"/", "query_string": b"", "headers": []}  # of a request


pytestmark = pytest.mark.usefixtures("fresh_upstream")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: FakeUpstream) -> Iterator[Server]:
    """Finds similar prompts, by a model of the upstream."""
    path = tmp_path_factory.mktemp("semantic") / "db"
    with serving(path, *options(upstream, "--embedding-model", "words")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


def embed(client: openai.OpenAI, given: Any, model: str = "m", **more: Any) -> tuple[Any, Any]:
    raw = client.embeddings.with_raw_response.create(model=model, input=given, **more)
    return raw.headers, raw.parse()


def vectors(answer: Any) -> Any:
    return np.array([item.embedding for item in answer.data], np.float32)


def expected(given: list[Any]) -> Any:
    return np.array([vector_of(one) for one in given], np.float32)


# Embeddings.


def test_only_what_is_missing_is_embedded(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    texts = [new("text") for _ in range(4)]
    headers, answer = embed(client, [texts[0], texts[2]])
    assert (headers["x-cache"], headers["x-cache-reason"]) == ("MISS", "0 of 2 cached")
    assert headers["x-from-upstream"] == "yes"
    np.testing.assert_array_equal(vectors(answer), expected([texts[0], texts[2]]))
    headers, answer = embed(client, texts)
    assert (headers["x-cache"], headers["x-cache-reason"]) == ("MISS", "2 of 4 cached")
    assert upstream.embedded()[-1].body["input"] == [texts[1], texts[3]]
    np.testing.assert_array_equal(vectors(answer), expected(texts))
    assert [item.index for item in answer.data] == [0, 1, 2, 3]
    assert (answer.model, answer.usage.total_tokens) == ("m-v2", 10)
    headers, answer = embed(client, [texts[3], texts[0], texts[3]])
    assert headers["x-cache"] == "HIT-EXACT"
    np.testing.assert_array_equal(vectors(answer), expected([texts[3], texts[0], texts[3]]))
    assert (answer.model, answer.usage.total_tokens) == ("m-v2", 0)
    assert len(upstream.embedded()) == 2


def test_both_encodings_are_answered_from_either(server: Server, upstream: FakeUpstream) -> None:
    for first, second in (("float", "base64"), ("base64", "float")):
        text = new()
        with httpx.Client(base_url=f"{server.url}/v1") as client:
            raw = [
                client.post("/embeddings", json={"model": "m", "input": text, "encoding_format": encoding})
                for encoding in (first, second)
            ]
            usual = client.post("/embeddings", json={"model": "m", "input": [text]}).json()
        assert [one.headers["x-cache"] for one in raw] == ["MISS", "HIT-EXACT"]
        both = {first: raw[0].json(), second: raw[1].json()}
        coded, plain = both["base64"]["data"][0]["embedding"], both["float"]["data"][0]["embedding"]
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(coded), "<f4"), np.array(plain, np.float32))
        assert usual["data"][0]["embedding"] == pytest.approx(plain)
        assert both[second].keys() == both[first].keys()
    assert len(upstream.embedded()) == 2


def test_tokens_and_texts_that_are_nearly_the_same(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    number = new()
    spaces = [number, f" {number}", f"{number}\n", f"{number}\r\n"]
    texts = [*spaces, number.upper(), f"{number} e\u0301", f"{number} \u00e9"]
    for text in texts:
        assert embed(client, text)[0]["x-cache"] == "MISS", text
    tokens = [[17, 4, 99], [17, 4]]
    np.testing.assert_array_equal(vectors(embed(client, tokens)[1]), expected(tokens))
    headers, answer = embed(client, tokens[1])
    assert headers["x-cache"] == "HIT-EXACT"
    np.testing.assert_array_equal(vectors(answer), expected([tokens[1]]))
    assert embed(client, "[17,4]")[0]["x-cache"] == "MISS"
    assert len(upstream.embedded()) == len(texts) + 2


def test_who_asks_and_parameters_must_be_equal(server: Server, client: openai.OpenAI, upstream: FakeUpstream) -> None:
    text = new()
    embed(client, text)
    assert embed(client, text, "other")[0]["x-cache"] == "MISS"
    assert embed(client, text, dimensions=8)[0]["x-cache"] == "MISS"
    assert embed(client, text, user="u")[0]["x-cache"] == "MISS"
    assert embed(client, text, extra_headers={"x-vsearch-scope": "s"})[0]["x-cache"] == "MISS"
    with client_of(server, "sk-two") as two:
        assert embed(two, text)[0]["x-cache"] == "MISS"
    assert embed(client, text)[0]["x-cache"] == "HIT-EXACT"


def test_controls_of_embeddings(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    text = new()

    def state(**headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return str(embed(client, text, extra_headers=named)[0]["x-cache"])

    assert [state(cache_control="no-store") for _ in range(2)] == ["MISS", "MISS"]
    assert state(x_vsearch_ttl="0.4") == "MISS"
    assert state() == "HIT-EXACT"
    assert state(cache_control="no-cache, no-store") == "BYPASS"
    time.sleep(0.5)
    assert state() == "MISS"
    assert state(cache_control="no-cache") == "BYPASS"
    with pytest.raises(openai.BadRequestError):
        state(x_vsearch_ttl="soon")


def test_failures_of_embeddings(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    known = new()
    embed(client, known)
    upstream.embeddings = "error"
    for given in (new(), [known, new()]):
        with pytest.raises(openai.InternalServerError) as raised:
            embed(client, given)
        assert raised.value.code == "from_upstream"
    assert embed(client, known)[0]["x-cache"] == "HIT-EXACT"
    upstream.embeddings = "garbage"  # one vector is missing
    texts = [new(), new()]
    assert len(embed(client, texts)[1].data) == 1  # as the upstream says it
    headers, answer = embed(client, [known, *texts])
    assert (headers["x-cache"], len(answer.data)) == ("MISS", 2)
    upstream.embeddings = "good"
    assert embed(client, texts)[0]["x-cache-reason"] == "0 of 2 cached"
    upstream.embeddings = "hang"
    with pytest.raises(openai.InternalServerError) as raised:
        embed(client, new())
    assert raised.value.status_code == 504
    idle(upstream)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"model": "m"}', b'{"model": "m", "input": []}', b'{"model": "m", "input": ["a", 1]}',
     b'{"model": "m", "input": "a", "encoding_format": "hex"}',
     b'{"model": "m", "input": "a", "deep": ' + b"[" * 1000 + b"]" * 1000 + b"}"],
)  # fmt: skip
def test_what_is_wrong_with_a_body_is_for_the_upstream_to_say(
    server: Server, upstream: FakeUpstream, body: bytes
) -> None:
    upstream.embeddings = "error"
    answer = httpx.post(f"{server.url}/v1/embeddings", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "from_upstream")
    assert (answer.headers["x-cache"], answer.headers["x-cache-reason"]) == ("BYPASS", "not understood")
    assert upstream.embedded()[-1].raw == body


# Similar prompts.


def test_a_similar_prompt_is_answered(server: Server, upstream: FakeUpstream) -> None:
    asking = Asking(server.url, awaitable=False)
    words = "please tell me how tall the old tower in the middle of the town really is today"
    _, first = asking(f"{words} thanks")
    headers, second = asking(f"{words} friend")
    assert headers["x-cache"] == "HIT-SEMANTIC"
    assert 0.9 <= float(headers["x-cache-similarity"]) < 1.0
    assert second.choices[0].message.content == first.choices[0].message.content
    headers, chunks = asking(f"{words} mate", stream=True)
    assert headers["x-cache"] == "HIT-SEMANTIC"
    assert text_of(chunks) == first.choices[0].message.content
    headers, _ = asking("what is the airspeed of a swallow")
    assert (headers["x-cache"], headers["x-cache-reason"]) == ("MISS", "below threshold")
    assert float(headers["x-cache-similarity"]) < 0.9
    assert len(upstream.chats()) == 2
    headers, _ = asking(f"{words} friend", temperature=1)
    assert headers["x-cache"] == "MISS"
    assert len(upstream.embedded()) == 4  # the last one was known


def test_similar_prompts_at_once_make_one_request(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    words = "could you explain why the sky above the desert looks so very blue at noon"
    ends = ["please", "thanks", "friend", "buddy", "mate", "pal"]
    with ThreadPoolExecutor(len(ends)) as pool:
        asked = [pool.submit(ask, client, f"{words} {end}", "slow") for end in ends]
        states = sorted(one.result()[0]["x-cache"] for one in asked)
    assert states == ["HIT-SEMANTIC"] * 5 + ["MISS"]
    assert len(upstream.chats()) == 1


@pytest.mark.parametrize("fault", ["error", "hang"])
def test_an_embedder_that_fails_is_a_miss(tmp_path: Path, upstream: FakeUpstream, fault: str) -> None:
    more = ("--embedding-model", "words")
    with serving(tmp_path / "db", *options(upstream, *more)) as server, client_of(server) as client:
        ask(client, new())  # tells the dimension
        upstream.embeddings = fault
        prompt = new()
        start = time.monotonic()
        assert ask(client, prompt)[0]["x-cache"] == "MISS"
        assert time.monotonic() - start < 2.9  # the embedding's timeout is 2 s
        asked = len(upstream.embedded())
        assert ask(client, prompt)[0]["x-cache"] == "HIT-EXACT"
        assert ask(client, new())[0]["x-cache"] == "MISS"
        assert len(upstream.embedded()) == asked  # the failing model is left alone for a while
        assert "no embedding" in "".join(server.log)


@pytest.mark.parametrize("vector", [np.zeros(DIM), np.ones(DIM + 1), np.full(DIM, np.nan)])
def test_vectors_that_cannot_be_compared_are_misses(client: openai.OpenAI, upstream: FakeUpstream, vector: Any) -> None:
    ask(client, new())
    upstream.embed = lambda given: vector
    prompt = new()
    assert [ask(client, prompt)[0]["x-cache"] for _ in range(2)] == ["MISS", "HIT-EXACT"]


def test_a_model_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def function(texts: list[str]) -> Any:
        asked.append(texts)
        if texts == ["broken"]:
            raise ValueError("no")
        return [vector_of(text) for text in texts]

    model = CallableEmbedder(function, "mine", DIM)
    monkeypatch.setattr("vsearch.api.openai.vectors.SentenceTransformerEmbedder", lambda path: model)

    async def run(service: OpenAIService) -> None:
        vectors, request = service._chat._vectors, Request(SCOPE)
        for _ in range(2):
            vector = await vectors.of("some words", request, {})
            np.testing.assert_array_equal(vector, vector_of("some words").astype(np.float32))
        assert await vectors.of("broken", request, {}) is None
        assert await vectors.of("left alone for a while", request, {}) is None
        assert asked == [["some words"], ["broken"]]
        await service.close()

    workers, settings = Workers(), UpstreamSettings("http://127.0.0.1:1", embedding_path=tmp_path)
    with vsearch.open(tmp_path / "db") as db:
        service = OpenAIService(db, settings, workers, MemoryBudget(None), own_key=False)
        assert (db.cache("openai").dim, db.cache("openai").model) == (DIM, "mine")
        asyncio.run(run(service))
        workers.close()


def test_without_a_dimension_nothing_is_kept(tmp_path: Path, upstream: FakeUpstream) -> None:
    upstream.embeddings = "error"
    with (
        serving(tmp_path / "db", *options(upstream, "--embedding-model", "words")) as server,
        client_of(server) as client,
    ):
        prompt = new()
        for _ in range(2):
            headers, _ = ask(client, prompt)
            assert (headers["x-cache"], headers["x-cache-reason"]) == ("MISS", "no embedding")


# Load, restart, keys, models, starting.


def test_load_relaxes_thresholds(tmp_path: Path, upstream: FakeUpstream) -> None:
    policies = tmp_path / "policies.json"
    policies.write_text(json.dumps({"default": {"threshold": 0.99, "min_threshold": 0.5, "guards": False}}))
    more = ("--embedding-model", "words", "--upstream-capacity", "2", "--cache-policies", str(policies))
    with serving(tmp_path / "db", *options(upstream, *more)) as server, client_of(server) as client:
        words = "one two three four five six seven"
        ask(client, f"{words} eight")
        assert ask(client, f"{words} nine", extra_headers={"cache-control": "no-store"})[0]["x-cache"] == "MISS"
        upstream.slow_s = 60.0
        with ThreadPoolExecutor(6) as pool:
            waiting = [pool.submit(ask, client, new(), "slow") for _ in range(6)]
            deadline, state = time.monotonic() + 20, ""
            while state != "HIT-SEMANTIC" and time.monotonic() < deadline:
                state = ask(client, f"{words} ten", extra_headers={"cache-control": "no-store"})[0]["x-cache"]
                time.sleep(0.1)
                if all(one.done() for one in waiting):
                    waiting = [pool.submit(ask, client, new(), "slow") for _ in range(6)]
            stats = httpx.get(f"{server.url}/v1/cache/openai/stats").json()
    assert state == "HIT-SEMANTIC", stats


def test_answers_outlive_a_restart_and_policies_follow_their_file(tmp_path: Path, upstream: FakeUpstream) -> None:
    policies = tmp_path / "policies.json"
    policies.write_text(json.dumps({"default": {"threshold": 0.9}, "other": {}}))
    prompt, more = new("a long enough prompt of some words that is asked again"), ("--cache-policies", str(policies))
    with serving(tmp_path / "db", *options(upstream, *more)) as server, client_of(server) as client:
        ask(client, prompt)
        embed(client, prompt)
    policies.write_text(json.dumps({"default": {"threshold": 0.8}, "third": {}}))
    with serving(tmp_path / "db", *options(upstream, *more)) as server, client_of(server) as client:
        assert ask(client, prompt)[0]["x-cache"] == "HIT-EXACT"
        assert embed(client, prompt)[0]["x-cache"] == "HIT-EXACT"
        assert ask(client, new(), extra_headers={"x-vsearch-category": "third"})[0]["x-cache"] == "MISS"
        categories = httpx.get(f"{server.url}/v1/cache/openai").json()
    assert json.dumps(categories).count("0.8") >= 1
    assert len(upstream.chats()) == 2


def test_keys_of_the_server_and_of_the_upstream(tmp_path: Path, upstream: FakeUpstream) -> None:
    environment = {"VSEARCH_API_KEY": KEY, "VSEARCH_READ_ONLY_API_KEY": "a-key-for-reading"}
    with serving(tmp_path / "db", *options(upstream), environment=environment) as server:
        with client_of(server, "sk-mine", default_headers={"api-key": KEY}) as client:
            assert ask(client, new())[0]["x-cache"] == "MISS"
            client.models.list()
        for came in upstream.received:
            assert came.headers["authorization"] == "Bearer sk-mine"
            assert KEY not in json.dumps(came.headers)
        n = len(upstream.received)
        for key, headers in (("sk-mine", {}), (KEY, {}), ("sk-mine", {"api-key": "wrong-key"})):
            with (
                client_of(server, key, default_headers=headers) as client,
                pytest.raises(openai.AuthenticationError) as raised,
            ):
                ask(client, new())
            assert raised.value.type == "authentication_error"
        with client_of(server, "sk-mine", default_headers={"api-key": "a-key-for-reading"}) as client:
            with pytest.raises(openai.PermissionDeniedError):
                ask(client, new())
            assert client.models.list().data[0].id == "plain"
        assert len(upstream.received) == n + 1


def test_a_key_for_the_upstream(tmp_path: Path, upstream: FakeUpstream) -> None:
    environment = {"VSEARCH_API_KEY": KEY, "VSEARCH_UPSTREAM_KEY": "sk-secret"}
    more = options(upstream, "--embedding-model", "words")
    with serving(tmp_path / "db", *more, environment=environment) as server:
        with client_of(server, KEY) as client:
            ask(client, new())
            embed(client, new())
            client.models.list()
        assert len(upstream.received) >= 4
        for came in upstream.received:
            assert came.headers["authorization"] == "Bearer sk-secret"
            assert KEY not in json.dumps(came.headers)
        assert "sk-secret" not in "".join(server.log)


def test_models_are_passed_on(client: openai.OpenAI, server: Server, upstream: FakeUpstream) -> None:
    assert [model.id for model in client.models.list()] == ["plain"]
    assert client.models.retrieve("plain").id == "plain"
    assert httpx.get(f"{server.url}/v1/models/owner/name").json()["id"] == "owner/name"
    assert httpx.get(f"{server.url}/v1/models/a%20b").json()["id"] == "a%20b"
    assert httpx.head(f"{server.url}/v1/models").content == b""
    assert httpx.get(f"{server.url}/v1/chat/completions").status_code == 405


def test_the_document_has_the_front(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["responses"]["400"]["content"]["application/json"]["schema"]["$ref"].endswith("ProblemAnswer")
    assert "messages" in json.dumps(document["components"]["schemas"]["ChatBody"])


def test_without_an_upstream_there_is_no_front(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as server:
        assert httpx.post(f"{server.url}/v1/chat/completions", json={}).status_code == 404
        assert httpx.get(f"{server.url}/v1/models").status_code == 404
        assert "/v1/chat/completions" not in httpx.get(f"{server.url}/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.org"}, {"url": "example.org"}, {"url": "http://me:secret@example.org/v1"}, {"url": ""},
        {"url": "http://example.org/v1?a=b"}, {"timeout_s": 0.0}, {"timeout_s": float("nan")}, {"timeout_s": 1e9},
        {"capacity": 0}, {"policies": Path("no-such-file.json")}, {"key": ""}, {"key": "a\nb"},
        {"key": "sk-secret "}, {"key": "\tsk-secret"}, {"key": "sk-secret\x7f"}, {"key": "sk-secrét"},
        {"url": "http://[::1/v1"},
        {"embedding_model": "m", "embedding_path": Path()},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as raised:
        UpstreamSettings(**{"url": "http://127.0.0.1:1", **wrong})
    assert "secret" not in str(raised.value)


def test_the_url_is_taken_as_clients_take_it() -> None:
    for given, used in (
        ("http://a:1", "http://a:1/v1"),
        ("http://a/", "http://a/v1"),
        ("https://a/x/v1/", "https://a/x/v1"),
    ):
        assert UpstreamSettings(given).url == used
    assert "sk-secret" not in repr(UpstreamSettings("http://a", key="sk-secret"))


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"a": 1}', '{"default": {"threshold": 2}}', '{"a": {"unheard": 1}}', '{"a": {"ttl": -1}}']
)
def test_wrong_policies_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policies.json"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=r"policies\.json"):
        read_policies(path)


@pytest.mark.parametrize("wrong", [("--embedding-path", "no-such-folder"), ("--openai-cache", "a/b")])
def test_wrong_options_stop_it_at_once(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    start = [sys.executable, "-m", "vsearch", "serve", "db", "--port", "0", "--openai-upstream", "http://127.0.0.1:1"]
    ended = subprocess.run([*start, *wrong], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip()


def test_a_cache_of_another_model_is_not_used(tmp_path: Path, upstream: FakeUpstream) -> None:
    more = ("--embedding-model", "words")
    with serving(tmp_path / "db", *options(upstream, *more)) as server, client_of(server) as client:
        ask(client, new())
    start = [sys.executable, "-m", "vsearch", "serve", str(tmp_path / "db"), "--port", "0"]
    others = options(upstream, "--embedding-model", "others")
    ended = subprocess.run([*start, *others], capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "words" in ended.stderr
    with serving(tmp_path / "db", *options(upstream)) as server, client_of(server) as client:  # exact only
        prompt = new()
        assert [ask(client, prompt)[0]["x-cache"] for _ in range(2)] == ["MISS", "HIT-EXACT"]
