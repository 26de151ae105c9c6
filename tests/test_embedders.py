"""Embedders: right vectors, or an error of ours, in time and without the key; from threads and event loops."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vsearch.embedders import CallableEmbedder, Embedder, OpenAIEmbedder, SentenceTransformerEmbedder
from vsearch.errors import (
    Closed,
    DimensionMismatch,
    InvalidArgument,
    MissingExtra,
    PermissionDenied,
    Timeout,
    Unavailable,
    VSearchError,
)

DIM = 4
KEY = "sk-very-secret"
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


def vector(text: str) -> list[float]:
    """What the endpoint makes of a text."""
    return [float(len(text)), float(sum(map(ord, text)) % 97), 1.0, -0.5]


def item(i: int, text: str) -> dict[str, Any]:
    return {"object": "embedding", "index": i, "embedding": vector(text)}


def good(request: dict[str, Any]) -> Answer:
    """A right answer, its vectors in reversed order."""
    items = [item(i, text) for i, text in enumerate(request["input"])]
    if request["encoding_format"] == "base64":
        for one in items:
            one["embedding"] = base64.b64encode(np.array(one["embedding"], "<f4").tobytes()).decode()
    return 200, {"object": "list", "model": request["model"], "data": items[::-1]}


class Endpoint:
    """A server on a real socket. `answer`: what it does next. `asked`: the requests so far; `headers`: theirs."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], Answer | None] = good
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.connections: set[Any] = set()
        self.free = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.asked.append({**request, "path": self.path})
                endpoint.headers.append(self.headers)
                endpoint.connections.add(self.client_address)
                answer = endpoint.answer(request)
                if answer is None:  # end without a word
                    self.close_connection = True
                    return
                status, body, *more = answer
                if callable(body):
                    body(self)
                    return
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **(more[0] if more else {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:  # clients go away; that is what is tested
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def script(self, *answers: Answer | None) -> None:
        """These answers one after the other, then good ones."""
        rest = list(answers)
        self.answer = lambda request: rest.pop(0) if rest else good(request)

    def stop(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.stop()


@pytest.fixture
def embedder(endpoint: Endpoint) -> Iterator[OpenAIEmbedder]:
    with OpenAIEmbedder(endpoint.url, "m", KEY, timeout_s=5.0, batch=3) as one:
        yield one


def test_vectors_are_in_the_order_of_the_texts(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    texts = ["one", "three", "Zürich", "", "five", "one"]
    vectors = embedder.embed(texts)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [vector(text) for text in texts]
    assert [len(request["input"]) for request in endpoint.asked] == [3, 3]
    assert endpoint.asked[0]["path"] == "/v1/embeddings"
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"
    assert embedder.dim == DIM
    assert embedder.model == "m"


def test_vectors_in_base64_are_understood(endpoint: Endpoint) -> None:
    with OpenAIEmbedder(endpoint.url, "m", encoding="base64", timeout_s=5.0) as embedder:
        assert embedder.embed(["one", "three"]).tolist() == [vector("one"), vector("three")]
        assert "authorization" not in endpoint.headers[0]


def test_no_texts_ask_nobody(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 0)
    embedder.embed(["a"])
    assert embedder.embed([]).shape == (0, DIM)
    assert len(endpoint.asked) == 1


def test_an_answer_without_indexes_is_taken_in_its_order(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    endpoint.script((200, {"data": [{"embedding": [1, 2]}, {"embedding": [3, 4]}]}))
    assert embedder.embed(["a", "b"]).tolist() == [[1, 2], [3, 4]]


def test_connections_are_kept(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    for _ in range(5):
        embedder.embed(["a"])
    assert len(endpoint.connections) == 1


def test_shorter_vectors_are_asked_for(endpoint: Endpoint) -> None:
    with OpenAIEmbedder(endpoint.url, "m", dimensions=DIM, timeout_s=5.0) as embedder:
        embedder.embed(["a"])
        assert endpoint.asked[0]["dimensions"] == DIM
        assert embedder.dim == DIM


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(endpoint: Endpoint, embedder: OpenAIEmbedder, status: int) -> None:
    endpoint.script((status, b"busy"), None)
    assert embedder.embed(["a"]).tolist() == [vector("a")]
    assert len(endpoint.asked) == 3


def test_retries_end(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    endpoint.answer = lambda _: (503, {"error": {"message": "overloaded"}})
    with pytest.raises(Unavailable, match=r"503.*overloaded"):
        embedder.embed(["a"])
    assert len(endpoint.asked) == 3


def test_a_pause_that_the_server_asks_for_is_made(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    endpoint.script((429, b"", {"retry-after": "1"}))
    started = time.monotonic()
    embedder.embed(["a"])
    assert time.monotonic() - started >= 1.0


def test_a_pause_that_is_too_long_is_not_begun(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    endpoint.script((429, b"", {"retry-after": "60"}))
    started = time.monotonic()
    with pytest.raises(Unavailable, match="429"):
        embedder.embed(["a"])
    assert time.monotonic() - started < 30.0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidArgument),
        (404, InvalidArgument),
        (301, InvalidArgument),
        (401, PermissionDenied),
        (403, PermissionDenied),
    ],
)
def test_a_refusal_is_final(
    endpoint: Endpoint, embedder: OpenAIEmbedder, status: int, error: type[VSearchError]
) -> None:
    endpoint.script((status, {"error": {"message": f"not with {KEY}"}}, {"location": "/elsewhere"}))
    with pytest.raises(error, match=rf"\({status}\): not with \*\*\*") as caught:
        embedder.embed(["a"])
    assert not isinstance(caught.value, Unavailable)
    assert len(endpoint.asked) == 1


def drip(endpoint: Endpoint) -> Callable[[Any], None]:
    """An answer of one byte at a time, without end."""

    def body(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not endpoint.free.wait(0.05):
            handler.wfile.write(b" ")

    return body


def silence(endpoint: Endpoint) -> Callable[[Any], None]:
    return lambda _: endpoint.free.wait() and None


@pytest.mark.parametrize("way", [drip, silence])
@pytest.mark.parametrize("awaited", [False, True])
def test_a_server_that_hangs_is_waited_for_no_longer_than_said(endpoint: Endpoint, way: Any, awaited: bool) -> None:
    endpoint.answer = lambda _: (200, way(endpoint))
    with OpenAIEmbedder(endpoint.url, "m", timeout_s=0.3) as embedder:
        started = time.monotonic()
        with pytest.raises(Timeout, match=r"within 0.3 s"):
            asyncio.run(embedder.aembed(["a"])) if awaited else embedder.embed(["a"])
        assert 0.2 < time.monotonic() - started < 5.0
        endpoint.answer = good
        embedder.embed(["a"])


def test_the_deadline_holds_for_all_batches_and_retries(endpoint: Endpoint) -> None:
    def slow(request: dict[str, Any]) -> Answer:
        time.sleep(0.15)
        return good(request)

    endpoint.answer = slow
    with OpenAIEmbedder(endpoint.url, "m", timeout_s=0.5, batch=1) as embedder:
        started = time.monotonic()
        with pytest.raises(Timeout):
            embedder.embed(["a"] * 20)
        assert time.monotonic() - started < 2.5


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"{}",
        b"[" * 100_000,
        {"data": None},
        {"data": [1]},
        {"data": [{"index": 0}, item(1, "b")]},
        {"data": [item(0, "a")]},
        {"data": [item(0, "a"), item(0, "b")]},
        {"data": [item(0, "a"), item(1, "b"), item(2, "c")]},
        {"data": [item(1, "a"), item(2, "b")]},
        {"data": [item([], "a"), item(1, "b")]},  # type: ignore[arg-type]
        {"data": [item(0, "a"), {"index": 1, "embedding": [1.0]}]},
        {"data": [item(0, "a"), {"index": 1, "embedding": None}]},
        {"data": [item(0, "a"), {"index": 1, "embedding": ["1", "2", "3", "4"]}]},
        {"data": [item(0, "a"), {"index": 1, "embedding": [[1], [2], [3], [4]]}]},
        {"data": [item(0, "a"), {"index": 1, "embedding": [1.0, 2.0, 3.0, float("nan")]}]},
        {"data": [item(0, "a"), {"index": 1, "embedding": [1.0, 2.0, 3.0, 1e300]}]},
        {"data": [item(0, "a"), {"index": 1, "embedding": [1.0, 2.0, 3.0, 10**400]}]},
        {"data": [item(0, "a"), {"index": 1, "embedding": "not base64!"}]},
        {"data": [item(0, "a"), {"index": 1, "embedding": "AAAA"}]},  # three bytes
        b" " * 10_000_000,
    ],
    ids=lambda answer: str(answer)[:60],
)
def test_an_answer_that_is_none_is_an_error(endpoint: Endpoint, embedder: OpenAIEmbedder, answer: Any) -> None:
    endpoint.script((200, answer))
    with pytest.raises(Unavailable, match=r"embeddings"):
        embedder.embed(["a", "b"])
    assert embedder.dim is None
    assert embedder.embed(["a"]).tolist() == [vector("a")]


def test_an_answer_that_is_no_gzip_is_an_error(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    endpoint.script((200, b"plain", {"content-encoding": "gzip"}))
    with pytest.raises(Unavailable):
        embedder.embed(["a"])


@pytest.mark.parametrize("wanted", [None, DIM])
def test_another_dimension_is_an_error(endpoint: Endpoint, wanted: int | None) -> None:
    with OpenAIEmbedder(endpoint.url, "m", dim=wanted, timeout_s=5.0) as embedder:
        embedder.embed(["a"])
        endpoint.script((200, {"data": [{"index": 0, "embedding": [1.0, 2.0]}]}))
        with pytest.raises(DimensionMismatch, match="dimension 2, not 4"):
            embedder.embed(["a"])


def test_nobody_there_is_an_error() -> None:
    with OpenAIEmbedder("http://127.0.0.1:9/v1", "m", timeout_s=5.0, retries=1) as embedder:
        with pytest.raises(Unavailable, match=r"127.0.0.1") as caught:
            embedder.embed(["a"])
        assert not isinstance(caught.value, Timeout)


def test_the_key_is_nowhere(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    with OpenAIEmbedder(endpoint.url, "m", KEY, timeout_s=5.0, retries=0) as embedder:
        endpoint.script((401, {"error": f"wrong key {KEY}"}), (500, f"oh {KEY}".encode()), None, (200, KEY.encode()))
        for _ in range(4):
            with pytest.raises(VSearchError) as caught:
                embedder.embed(["a"])
            told.append("".join(traceback.format_exception(caught.value)))
        told += [repr(embedder), str(embedder), caplog.text]
    assert all(KEY not in text for text in told)


def test_many_threads_and_loops_share_one_embedder(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    wrong: list[Any] = []

    def ask(name: str) -> None:
        texts = [f"{name}{i}" for i in range(5)]
        wrong.extend(text for text in texts if embedder.embed([text]).tolist() != [vector(text)])

    async def await_many(name: str) -> None:
        found = await asyncio.gather(*(embedder.aembed([f"{name}{i}"]) for i in range(5)))
        if [one.tolist() for one in found] != [[vector(f"{name}{i}")] for i in range(5)]:
            wrong.append(name)

    threads = [threading.Thread(target=ask, args=(f"thread {i}",)) for i in range(4)]
    threads += [threading.Thread(target=lambda: asyncio.run(await_many("loop"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(endpoint.asked) == 30


def test_cancelling_ends_the_request(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    endpoint.answer = lambda _: (200, silence(endpoint))

    async def cancel() -> None:
        task = asyncio.create_task(embedder.aembed(["a"]))
        while not endpoint.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    endpoint.answer = good
    embedder.embed(["a"])


def test_closing_ends_what_is_under_way(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    endpoint.answer = lambda _: (200, silence(endpoint))
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            embedder.embed(["a"])
        except VSearchError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not endpoint.asked:
        time.sleep(0.01)
    embedder.close()
    thread.join()
    assert isinstance(caught[0], Closed)
    with pytest.raises(Closed):
        embedder.embed(["a"])
    embedder.close()


def test_an_embedder_that_is_dropped_leaves_no_thread(endpoint: Endpoint) -> None:
    def mine() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "vsearch-embedder"]

    before = len(mine())
    embedder = OpenAIEmbedder(endpoint.url, "m", timeout_s=5.0)
    embedder.embed(["a"])
    assert len(mine()) == before + 1
    del embedder
    gc.collect()
    assert len(mine()) == before


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_process_has_connections_of_its_own(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    embedder.embed(["a"])
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if embedder.embed(["b"]).tolist() == [vector("b")] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    embedder.embed(["c"])
    assert len(endpoint.connections) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": 3},
        {"url": "api.openai.com"},
        {"url": "ftp://host"},
        {"url": "https://user:secret@host/v1"},
        {"url": "https://host/v1?key=secret"},
        {"model": ""},
        {"model": None},
        {"api_key": "two\nlines"},
        {"api_key": "schlüssel"},
        {"dim": 0},
        {"dim": 65_537},
        {"dim": 3.0},
        {"dimensions": -1},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"timeout_s": "2"},
        {"retries": -1},
        {"batch": 0},
        {"encoding": "hex"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        OpenAIEmbedder(**wrong)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("texts", ["text", None, 3, [3], [None], ["a", b"b"], ["\ud800"], {"a"}], ids=repr)
def test_wrong_texts_are_refused(embedder: OpenAIEmbedder, texts: Any) -> None:
    for one in (embedder, CallableEmbedder(lambda some: [vector(text) for text in some], "m", DIM)):
        with pytest.raises(InvalidArgument):
            one.embed(texts)
        with pytest.raises(InvalidArgument):
            asyncio.run(one.aembed(texts))


def test_an_embedder_of_a_function() -> None:
    embedder: Embedder = CallableEmbedder(lambda texts: [vector(text) for text in texts], "mine", DIM)
    assert (embedder.model, embedder.dim) == ("mine", DIM)
    assert embedder.embed(("a", "bc")).tolist() == [vector("a"), vector("bc")]
    assert embedder.embed([]).shape == (0, DIM)
    assert asyncio.run(embedder.aembed(["a"])).tolist() == [vector("a")]


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (None, Unavailable),
        ([[1.0] * DIM], Unavailable),  # of two texts
        ([1.0, 2.0], Unavailable),
        ([[1.0] * DIM, [1.0]], Unavailable),
        ([["a"] * DIM] * 2, Unavailable),
        ([[float("inf")] * DIM] * 2, Unavailable),
        (np.ones((2, DIM + 1)), DimensionMismatch),
        (np.ones((2, DIM, 1)), Unavailable),
        (RuntimeError("no"), Unavailable),
        (Timeout("late"), Timeout),
    ],
    ids=str,
)
def test_what_a_function_makes_is_checked(made: Any, error: type[VSearchError]) -> None:
    def function(_: list[str]) -> Any:
        if isinstance(made, Exception):
            raise made
        return made

    with pytest.raises(error):
        CallableEmbedder(function, "m", DIM).embed(["a", "b"])


@pytest.mark.parametrize(("function", "model", "dim"), [(3, "m", 4), (len, "", 4), (len, "m", 0), (len, "m", True)])
def test_a_wrong_function_is_refused(function: Any, model: str, dim: int) -> None:
    with pytest.raises(InvalidArgument):
        CallableEmbedder(function, model, dim)


class Encoder:
    """As SentenceTransformer is called."""

    def __init__(self, path: str, device: str | None, local_files_only: bool) -> None:
        assert local_files_only
        if not (Path(path) / "modules.json").exists():
            raise OSError("no modules.json")

    def encode(self, texts: list[str], **options: Any) -> Any:
        assert options == {"batch_size": 64, "convert_to_numpy": True, "show_progress_bar": False}
        if "fail" in texts:
            raise RuntimeError("out of memory")
        return np.array([vector(text) for text in texts], np.float32)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model, and a package that loads it."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Encoder))
    folder = tmp_path / "mini"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_local_model(model: Path) -> None:
    embedder: Embedder = SentenceTransformerEmbedder(model)
    assert embedder.dim == DIM
    assert embedder.embed(["a", "bc"]).tolist() == [vector("a"), vector("bc")]
    assert embedder.embed([]).shape == (0, DIM)
    assert asyncio.run(embedder.aembed(["a"])).tolist() == [vector("a")]
    with pytest.raises(Unavailable, match="out of memory"):
        embedder.embed(["fail"])


def test_the_id_of_a_local_model_tells_models_apart(model: Path) -> None:
    first = SentenceTransformerEmbedder(str(model)).model
    assert first.startswith("mini@")
    assert SentenceTransformerEmbedder(model).model == first
    (model / "model.safetensors").write_bytes(b"Weights")
    second = SentenceTransformerEmbedder(model).model
    (model / "modules.json").write_text("[1]")
    assert len({first, second, SentenceTransformerEmbedder(model).model}) == 3


def test_what_is_no_local_model_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no folder"):
        SentenceTransformerEmbedder(tmp_path / "nowhere")
    with pytest.raises(InvalidArgument, match="cannot be loaded"):
        SentenceTransformerEmbedder(tmp_path)
    with pytest.raises(InvalidArgument, match="batch"):
        SentenceTransformerEmbedder(model, batch=0)


def test_a_local_model_needs_its_package(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match="pip install"):
        SentenceTransformerEmbedder(model)
