"""The OpenAI-compatible front, driven by OpenAI's own client, over a fake upstream on a real socket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.fake_upstream import TOOL_CALLS, USAGE, FakeUpstream
from tests.fronting import TIMEOUT_S, Asking, ask, ask_with, client_of, idle, new, numbers, options, text_of, until
from tests.serving import Server, serving

POLICIES = {
    "default": {"threshold": 0.9},
    "brief": {"ttl": 0.4},
    "stale": {"ttl": 0.3, "stale": 60.0},
    "never": {"enabled": False},
}


pytestmark = pytest.mark.usefixtures("fresh_upstream")


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "policies.json"
    path.write_text(json.dumps(POLICIES))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: FakeUpstream, policies: Path) -> Iterator[Server]:
    """Finds the same prompts only."""
    path = tmp_path_factory.mktemp("front") / "db"
    with serving(path, *options(upstream, "--cache-policies", str(policies))) as server:
        with httpx.Client(base_url=server.url) as client:
            client.put("/collections/docs", json={"vectors": {"size": 2, "distance": "Cosine"}}).raise_for_status()
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


@pytest.fixture(params=["blocking", "awaitable"])
def asking(request: pytest.FixtureRequest, server: Server) -> Asking:
    return Asking(server.url, request.param == "awaitable")


# Hits and misses.


def test_a_miss_is_passed_on_and_a_hit_is_the_same_answer(asking: Asking, upstream: FakeUpstream) -> None:
    prompt = new("Where is Paris?")
    headers, first = asking(prompt)
    assert (headers["x-cache"], headers["x-cache-reason"], headers["x-cache-category"]) == (
        "MISS", "no vector", "default",
    )  # fmt: skip
    assert (headers["x-from-upstream"], headers["x-request-id"]) == ("yes", "req-upstream")
    assert first.id == "chatcmpl-upstream-1"
    headers, second = asking(prompt)
    assert len(upstream.chats()) == 1
    assert (headers["x-cache"], headers["x-cache-similarity"]) == ("HIT-EXACT", "1.0000")
    assert 0.0 <= float(headers["x-cache-age"]) < 10.0
    assert int(headers["x-cache-entry"]) > 0
    assert second.id.startswith("chatcmpl-")
    assert second.id != first.id
    assert abs(second.created - time.time()) < 10
    assert second.object == "chat.completion"
    assert second.model_dump(exclude={"id", "created"}) == first.model_dump(exclude={"id", "created"})
    assert second.usage.total_tokens == USAGE["total_tokens"]


def test_streams_and_plain_answers_serve_each_other(asking: Asking, upstream: FakeUpstream) -> None:
    told, streamed = new("first plain"), new("first a stream")
    _, plain = asking(told)
    headers, chunks = asking(told, stream=True)
    assert headers["x-cache"] == "HIT-EXACT"
    assert headers["content-type"].startswith("text/event-stream")
    assert text_of(chunks) == plain.choices[0].message.content
    headers, chunks = asking(streamed, stream=True)
    assert headers["x-cache"] == "MISS"
    headers, plain = asking(streamed)
    assert headers["x-cache"] == "HIT-EXACT"
    assert plain.choices[0].message.content == text_of(chunks)
    assert (plain.choices[0].finish_reason, plain.model) == ("stop", "plain-2026-01-01")
    assert len(upstream.chats()) == 2


def test_a_replayed_stream_has_the_shape_of_the_upstreams(asking: Asking) -> None:
    prompt = new()
    more = {"stream": True, "stream_options": {"include_usage": True}}
    _, live = asking(prompt, **more)
    headers, replayed = asking(prompt, **more)
    assert headers["x-cache"] == "HIT-EXACT"
    assert text_of(replayed) == text_of(live)
    first, last, usage = replayed[0], replayed[-2], replayed[-1]
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert len([chunk for chunk in replayed if chunk.choices and chunk.choices[0].delta.content]) > 1
    assert (last.choices[0].finish_reason, last.choices[0].delta.content) == ("stop", None)
    assert (usage.choices, usage.usage) == ([], live[-1].usage)
    assert {chunk.object for chunk in replayed} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in replayed}) == 1
    assert [chunk.usage for chunk in replayed[:-1]] == [None] * (len(replayed) - 1)
    _, without = asking(prompt, stream=True)
    assert without[-1].choices[0].finish_reason == "stop"


def test_what_a_stream_is_on_the_wire(server: Server) -> None:
    asked = {"model": "plain", "messages": [{"role": "user", "content": new()}], "stream": True}
    with httpx.Client(base_url=server.url) as client:
        client.post("/v1/chat/completions", json=asked)
        text = client.post("/v1/chat/completions", json=asked).text
    assert text.endswith("data: [DONE]\n\n")
    assert all(event.startswith("data: ") for event in text.removesuffix("\n\n").split("\n\n"))


def test_the_client_helper_that_accumulates_a_stream(client: openai.OpenAI) -> None:
    prompt = new()
    asked: Any = {"model": "plain", "messages": [{"role": "user", "content": prompt}]}
    ask(client, prompt)
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == ask(client, prompt)[1].choices[0].message.content


def test_log_probabilities_are_replayed(client: openai.OpenAI) -> None:
    prompt = new()
    _, plain = ask(client, prompt, "logprobs", logprobs=True)
    headers, chunks = ask(client, prompt, "logprobs", logprobs=True, stream=True)
    assert headers["x-cache"] == "HIT-EXACT"
    told = [chunk.choices[0].logprobs.model_dump() for chunk in chunks if chunk.choices[0].logprobs]
    assert told == [plain.choices[0].logprobs.model_dump()]
    streamed = new()
    ask(client, streamed, "logprobs", logprobs=True, stream=True)
    assert ask(client, streamed, "logprobs", logprobs=True)[1].choices[0].logprobs == plain.choices[0].logprobs


def test_everything_but_the_last_turn_must_be_equal(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    prompt = new()
    ask(client, prompt)
    others: list[dict[str, Any]] = [
        {"model": "other"},
        {"temperature": 0.5},
        {"seed": 7},
        {"max_tokens": 9},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"user": "somebody"},
        {"extra_body": {"unheard_of": 1}},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]},
        {"extra_headers": {"x-vsearch-scope": "tenant"}},
    ]
    for other in others:
        asked = {"model": "plain", "messages": [{"role": "user", "content": prompt}], **other}
        assert ask_with(client, asked)[0]["x-cache"] == "MISS", other
        assert ask_with(client, asked)[0]["x-cache"] == "HIT-EXACT", other
    assert ask(client, f"  {prompt}\n", metadata={"a": "b"}, store=False)[0]["x-cache"] == "HIT-EXACT"
    assert len(upstream.chats()) == 1 + len(others)


def test_requests_are_passed_on_unchanged(server: Server, upstream: FakeUpstream) -> None:
    body = b'{ "messages": [{"content": "\\u00e9 %d", "role":"user"}],   "model" : "plain" }' % next(numbers)
    headers = {
        "authorization": "Bearer sk-mine", "content-type": "application/json", "x-mine": "1", "user-agent": "me",
        "x-vsearch-tags": "a", "connection": "keep-alive, x-hop", "x-hop": "1", "te": "trailers",
    }  # fmt: skip
    answer = httpx.post(f"{server.url}/v1/chat/completions?a=b&c=%2F", content=body, headers=headers)
    assert answer.status_code == 200
    came = upstream.received[-1]
    assert (came.path, came.raw) == ("/v1/chat/completions?a=b&c=%2F", body)
    assert came.headers["host"] == upstream.url.split("/")[2]
    assert (came.headers["authorization"], came.headers["x-mine"], came.headers["user-agent"]) == (
        "Bearer sk-mine", "1", "me",
    )  # fmt: skip
    assert not {"x-vsearch-tags", "x-hop", "te"} & came.headers.keys()
    assert came.headers["accept-encoding"] == "identity"


def test_clients_with_different_keys_never_share(server: Server, upstream: FakeUpstream) -> None:
    prompt = new()
    for key in ("sk-one", "sk-two"):
        with client_of(server, key) as client:
            assert ask(client, prompt)[0]["x-cache"] == "MISS"
            assert ask(client, prompt)[0]["x-cache"] == "HIT-EXACT"
    for organization in ("one", "two"):
        with client_of(server, organization=organization) as client:
            assert ask(client, prompt)[0]["x-cache"] == "MISS"
    assert len(upstream.chats()) == 4


def test_clients_share_when_told_to(tmp_path: Path, upstream: FakeUpstream) -> None:
    prompt = new()
    with (
        serving(tmp_path / "db", *options(upstream, "--openai-shared")) as server,
        client_of(server, "sk-one") as one,
        client_of(server, "sk-two") as two,
    ):
        assert ask(one, prompt)[0]["x-cache"] == "MISS"
        assert ask(two, prompt)[0]["x-cache"] == "HIT-EXACT"
        assert ask(two, prompt, user="u")[0]["x-cache"] == "MISS"
        assert ask(two, prompt, extra_headers={"x-vsearch-scope": "s"})[0]["x-cache"] == "MISS"


# What is never kept.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["length", "filter", "tools", "refusal", "empty"])
def test_answers_that_are_not_whole_are_not_kept(
    client: openai.OpenAI, upstream: FakeUpstream, model: str, stream: bool
) -> None:
    prompt = new()
    for count in (1, 2):
        headers, _ = ask(client, prompt, model, stream=stream)
        assert headers["x-cache"] == "MISS"
        assert len(upstream.chats()) == count


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_kept_when_told_to(client: openai.OpenAI, upstream: FakeUpstream, stream: bool) -> None:
    prompt, told = new(), {"x-vsearch-cache-tools": "true"}
    ask(client, prompt, "tools", stream=stream, extra_headers=told)
    headers, plain = ask(client, prompt, "tools", extra_headers=told)
    assert headers["x-cache"] == "HIT-EXACT"
    assert [call.model_dump() for call in plain.choices[0].message.tool_calls] == TOOL_CALLS
    assert (plain.choices[0].finish_reason, plain.choices[0].message.content) == ("tool_calls", None)
    headers, chunks = ask(client, prompt, "tools", stream=True, extra_headers=told)
    assert headers["x-cache"] == "HIT-EXACT"
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.id, call.function.arguments) for call in calls] == [(0, "call_1", '{"city": "Paris"}')]
    assert ask(client, prompt, "tools")[0]["x-cache"] == "MISS"  # who does not want cached calls gets none
    assert len(upstream.chats()) == 2


@pytest.mark.parametrize(
    ("model", "stream"),
    [
        ("garbage", False), ("huge", False), ("gzip", False),
        ("garbage", True), ("huge", True), ("endless-line", True), ("error-in-stream", True),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_kept_are_passed_on(
    server: Server, upstream: FakeUpstream, model: str, stream: bool
) -> None:
    asked = {"model": model, "messages": [{"role": "user", "content": new()}], "stream": stream}
    sizes = []
    for url in (f"{server.url}/v1", f"{server.url}/v1", upstream.url):
        with httpx.stream("POST", f"{url}/chat/completions", json=asked) as answer:
            sizes.append(len(b"".join(answer.iter_raw())))
            assert answer.status_code == 200
            assert answer.headers.get("x-cache") == ("MISS" if url != upstream.url else None)
            assert answer.headers.get("content-encoding") == ("gzip" if model == "gzip" else None)
    assert sizes == [sizes[-1]] * 3
    assert len(upstream.chats()) == 3


def test_a_stream_without_its_end_mark_is_kept_if_it_is_whole(client: openai.OpenAI) -> None:
    prompt = new()
    _, chunks = ask(client, prompt, "no-done", stream=True)
    headers, plain = ask(client, prompt, "no-done")
    assert headers["x-cache"] == "HIT-EXACT"
    assert plain.choices[0].message.content == text_of(chunks)


def test_several_choices_and_what_is_not_understood_bypass_the_cache(
    client: openai.OpenAI, server: Server, upstream: FakeUpstream
) -> None:
    prompt = new()
    for _ in range(2):
        headers, answer = ask(client, prompt, n=2)
        assert (headers["x-cache"], headers["x-cache-reason"], len(answer.choices)) == ("BYPASS", "n", 2)
    bad = httpx.post(f"{server.url}/v1/chat/completions", content=b"{")
    assert (bad.status_code, bad.json()["error"]["code"], bad.headers["x-cache"]) == (400, "from_upstream", "BYPASS")
    no_user = [{"role": "system", "content": "Hello."}]
    asked: Any = {"model": "plain", "messages": no_user}
    assert ask_with(client, asked)[0]["x-cache-reason"] == "not understood"
    assert len(upstream.chats()) == 4


# Controls.


def test_no_store_no_cache_and_max_age(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    prompt = new()

    def state(control: str) -> tuple[str, str | None]:
        headers, _ = ask(client, prompt, extra_headers={"cache-control": control})
        return headers["x-cache"], headers.get("x-cache-reason")

    assert state("no-store") == ("MISS", "no vector")
    assert state("no-store, max-age=60") == ("MISS", "no vector")
    assert state("No-Cache") == ("BYPASS", "no-cache")
    assert state("no-store")[0] == "HIT-EXACT"
    assert state("no-cache, no-store")[0] == "BYPASS"
    assert state("max-age=100")[0] == "HIT-EXACT"
    _, before = ask(client, prompt)
    assert state("max-age=0") == ("BYPASS", "no-cache")
    _, after = ask(client, prompt)
    assert after.choices[0].message.content != before.choices[0].message.content
    time.sleep(1.1)
    assert state("max-age=1")[0] == "MISS"
    assert state("max-age=1")[0] == "HIT-EXACT"
    assert state("private, must-understand")[0] == "HIT-EXACT"
    assert len(upstream.chats()) == 6


def test_ttl_category_and_tags(client: openai.OpenAI, server: Server, upstream: FakeUpstream) -> None:
    for control in ({"x-vsearch-ttl": "0.4"}, {"x-vsearch-category": "brief"}):
        prompt = new()
        headers, _ = ask(client, prompt, extra_headers=control)
        assert headers["x-cache-category"] == control.get("x-vsearch-category", "default")
        assert ask(client, prompt, extra_headers=control)[0]["x-cache"] == "HIT-EXACT"
        time.sleep(0.5)
        assert ask(client, prompt, extra_headers=control)[0]["x-cache"] == "MISS"
    prompt, never = new(), {"x-vsearch-category": "never"}
    assert [ask(client, prompt, extra_headers=never)[0]["x-cache-reason"] for _ in range(2)] == ["disabled"] * 2
    prompt = new()
    ask(client, prompt, extra_headers={"x-vsearch-tags": "red, green"})
    with httpx.Client(base_url=server.url) as raw:
        raw.post("/v1/cache/openai/invalidate", json={"tag": "green"}).raise_for_status()
    assert ask(client, prompt)[0]["x-cache"] == "MISS"


def test_an_answer_goes_with_its_sources(client: openai.OpenAI, server: Server, upstream: FakeUpstream) -> None:
    def write(point: int | str) -> None:
        points = {"points": [{"id": point, "vector": [1.0, float(next(numbers))]}]}
        httpx.put(f"{server.url}/collections/docs/points", json=points).raise_for_status()

    write(4711)
    for point, spelled in ((17, "17"), ("17", '"17"'), ("a, b/c", "a%2C%20b/c")):
        write(point)
        prompt, sources = new(), {"x-vsearch-depends-on": f"docs/4711, docs/{spelled}"}
        ask(client, prompt, extra_headers=sources)
        assert ask(client, prompt)[0]["x-cache"] == "HIT-EXACT"
        write(point)
        assert ask(client, prompt)[0]["x-cache"] == "MISS", spelled


def test_an_answer_is_not_kept_if_a_source_changed_while_it_was_made(
    client: openai.OpenAI, server: Server, upstream: FakeUpstream
) -> None:
    prompt, sources = new(), {"x-vsearch-depends-on": "docs/99"}
    points = {"points": [{"id": 99, "vector": [1.0, 0.0]}]}
    httpx.put(f"{server.url}/collections/docs/points", json=points).raise_for_status()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, client, prompt, "slow", extra_headers=sources)
        until(lambda: upstream.in_flight == 1)
        httpx.put(f"{server.url}/collections/docs/points", json=points).raise_for_status()
        asking.result()
    assert ask(client, prompt, "slow", extra_headers=sources)[0]["x-cache"] == "MISS"
    assert ask(client, prompt, "slow")[0]["x-cache"] == "HIT-EXACT"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache-control", "max-age=soon"), ("cache-control", "max-age=-1"), ("x-vsearch-category", "unheard"),
        ("x-vsearch-ttl", "0"), ("x-vsearch-ttl", "-1"), ("x-vsearch-ttl", "nan"), ("x-vsearch-ttl", "1e300"),
        ("x-vsearch-depends-on", "docs"), ("x-vsearch-depends-on", "docs/"), ("x-vsearch-depends-on", "nothing/1"),
        ("x-vsearch-tags", "x" * 300), ("x-vsearch-tags", ",".join(f"t{i}" for i in range(100))),
        ("x-vsearch-cache-tools", "perhaps"), ("x-vsearch-scope", b"\xff"), ("x-vsearch-depends-on", "docs/%ff"),
    ],
)  # fmt: skip
def test_wrong_controls_are_refused_in_the_shape_of_openai(
    server: Server, upstream: FakeUpstream, name: str, value: str | bytes
) -> None:
    asked = {"model": "plain", "messages": [{"role": "user", "content": new()}]}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=asked, headers={name: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", None)
    assert name in error["message"] or "tags" in error["message"]
    assert upstream.received == []
    with client_of(server) as client, pytest.raises(openai.BadRequestError):
        ask(client, "x", extra_headers={"x-vsearch-ttl": "soon"})


def test_a_stale_answer_is_given_while_it_is_made_anew(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    prompt, stale = new(), {"x-vsearch-category": "stale"}
    _, first = ask(client, prompt, extra_headers=stale)
    time.sleep(0.4)
    headers, second = ask(client, prompt, extra_headers=stale)
    assert headers["x-cache"] == "HIT-EXACT"
    assert second.choices[0].message.content == first.choices[0].message.content
    until(lambda: len(upstream.chats()) == 2)
    old = second.choices[0].message.content
    until(lambda: ask(client, prompt, extra_headers=stale)[1].choices[0].message.content != old)
    idle(upstream)


# Failures of the upstream, and of clients.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("error-429", openai.RateLimitError),
        ("error-500", openai.InternalServerError),
        ("error-401", openai.AuthenticationError),
    ],
)
def test_errors_of_the_upstream_are_passed_on_and_not_kept(
    client: openai.OpenAI, upstream: FakeUpstream, model: str, kind: type[openai.APIStatusError], stream: bool
) -> None:
    prompt = new()
    for _ in range(2):
        with pytest.raises(kind) as raised:
            ask(client, prompt, model, stream=stream)
        assert raised.value.code == "from_upstream"
        assert raised.value.response.headers["x-from-upstream"] == "yes"
    assert len(upstream.chats()) == 2


def test_an_upstream_that_hangs(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    start = time.monotonic()
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, new(), "hang")
    assert TIMEOUT_S * 0.9 < time.monotonic() - start < TIMEOUT_S + 2
    assert raised.value.status_code == 504
    assert raised.value.type == "server_error"
    idle(upstream)


def test_an_upstream_that_is_not_there(tmp_path: Path) -> None:
    nowhere = FakeUpstream(url="http://127.0.0.1:1/v1")
    with serving(tmp_path / "db", *options(nowhere)) as server, client_of(server) as client:
        for call in (lambda: ask(client, new()), lambda: ask(client, new(), stream=True), client.models.list):
            with pytest.raises(openai.InternalServerError) as raised:
                call()
            assert (raised.value.status_code, raised.value.code) == (502, "unavailable")


def test_headers_without_end_are_not_taken(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, new(), "headers")
    assert raised.value.status_code == 502


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_breaks_off(client: openai.OpenAI, upstream: FakeUpstream, stream: bool) -> None:
    prompt = new()
    for _ in range(2):
        with pytest.raises((openai.APIError, httpx.RemoteProtocolError)) as raised:
            ask(client, prompt, "drop", stream=stream)
        assert stream or raised.value.status_code == 502  # type: ignore[union-attr]
    assert len(upstream.chats()) == 2


def test_pieces_are_passed_on_at_once(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    upstream.slow_s = 1.0
    asked: Any = {"model": "slow", "messages": [{"role": "user", "content": new()}], "stream": True}
    start = time.monotonic()
    with client.chat.completions.create(**asked) as stream:
        next(iter(stream))
        first_s = time.monotonic() - start
        list(stream)
    assert first_s < 0.5 < 1.0 < time.monotonic() - start


@pytest.mark.parametrize("model", ["slow", "hang"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves(server: Server, upstream: FakeUpstream, model: str, stream: bool) -> None:
    upstream.slow_s = 30.0
    prompt = new()
    asked = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}
    with httpx.Client(timeout=0.3) as raw, pytest.raises(httpx.ReadTimeout):
        raw.post(f"{server.url}/v1/chat/completions", json=asked)
    until(lambda: upstream.dropped == 1, TIMEOUT_S - 1)  # before the timeout
    upstream.slow_s = 0.0
    with client_of(server) as client:
        assert ask(client, prompt, "slow" if model == "hang" else model)[0]["x-cache"] == "MISS"
    in_flight = httpx.get(f"{server.url}/metrics").text
    assert "vsearch_requests_in_flight 1.0" in in_flight  # this one


def test_a_body_above_the_limit(server: Server, upstream: FakeUpstream) -> None:
    answer = httpx.post(f"{server.url}/v1/chat/completions", content=b" " * (33 << 20))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "limit_exceeded")
    assert upstream.received == []


# One computation for many.


def test_many_who_ask_at_once_make_one_request(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    prompt = new()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, client, prompt, "slow", stream=i % 2 == 1) for i in range(20)]
        states = [one.result()[0]["x-cache"] for one in asked]
    assert sorted(states) == ["HIT-EXACT"] * 19 + ["MISS"]
    assert len(upstream.chats()) == 1
    with ThreadPoolExecutor(5) as pool:
        others = [pool.submit(ask, client, new(), "slow") for _ in range(5)]
        assert [one.result()[0]["x-cache"] for one in others] == ["MISS"] * 5
    assert len(upstream.chats()) == 6


def test_an_error_is_for_its_own_request_only(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    prompt = new()

    def one() -> str:
        try:
            return str(ask(client, prompt, "flaky")[0]["x-cache"])
        except openai.InternalServerError:
            return "500"

    with ThreadPoolExecutor(8) as pool:
        states = sorted(pool.map(lambda _: one(), range(8)))
    assert states == ["500"] + ["MISS"] * 7
    assert len(upstream.chats()) == 8
    assert upstream.most_in_flight > 3  # after the error nobody waits for another
    assert ask(client, prompt, "flaky")[0]["x-cache"] == "HIT-EXACT"


def test_nobody_waits_long_for_what_is_not_kept(client: openai.OpenAI, upstream: FakeUpstream) -> None:
    prompt = new()
    upstream.slow_s = 0.5
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, client, prompt, "slow-tools") for _ in range(8)]
        assert [one.result()[0]["x-cache"] for one in asked] == ["MISS"] * 8
    assert upstream.most_in_flight > 3  # after the first, all at once


def test_when_the_first_leaves_another_takes_over(server: Server, upstream: FakeUpstream) -> None:
    upstream.slow_s = 1.0
    prompt = new()
    asked = {"model": "slow", "messages": [{"role": "user", "content": prompt}]}
    leaving = httpx.Client(timeout=0.4, headers={"authorization": "Bearer sk-one"})
    with ThreadPoolExecutor(4) as pool, leaving, client_of(server) as client:
        first = pool.submit(leaving.post, f"{server.url}/v1/chat/completions", json=asked)
        until(lambda: upstream.in_flight == 1)
        others = [pool.submit(ask, client, prompt, "slow") for _ in range(3)]
        assert isinstance(first.exception(), httpx.ReadTimeout)
        states = sorted(one.result()[0]["x-cache"] for one in others)
    assert states == ["HIT-EXACT", "HIT-EXACT", "MISS"]
    assert (len(upstream.chats()), upstream.dropped) == (2, 1)
