"""An OpenAI-compatible server on a real socket whose answers the model's name chooses; see MODES."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DIM = 32
TOOL_CALLS = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}]
USAGE = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}
# Models of chats. Any other name: a good answer at once.
MODES = {
    "slow": "answers after `slow_s`; a stream pauses as long in its middle",
    "hang": "never answers",
    "slow-tools": "calls a tool after `slow_s`",
    "error-429, error-500, error-401": "answers with that status",
    "flaky": "500 to the first request, then good answers",
    "length, filter, tools, refusal": "is cut short, filtered, calls a tool, refuses",
    "empty": "has no content",
    "garbage": "is no JSON, with status 200",
    "gzip": "says that it is compressed",
    "huge": "of 2 MiB",
    "drop": "closes the connection in the middle of the answer",
    "error-in-stream": "tells of an error in the middle of a stream",
    "endless-line": "has a line of 3 MiB in its stream",
    "no-done": "ends its stream without [DONE]",
    "headers": "has 300 kB of headers",
    "logprobs": "tells log probabilities",
}
STATUS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    port: int  # the client's

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Gone(Exception):
    """The connection is to be closed without another word."""


@dataclass
class FakeUpstream:
    """`received`: all requests. `dropped`: those whose client left before the answer was whole. `embed`: the vector of
    a text. `embeddings`: how the embedding model behaves: "good", "hang", "error", "garbage"."""

    url: str = ""
    slow_s: float = 0.3
    embeddings: str = "good"
    received: list[Received] = field(default_factory=list)
    dropped: int = 0
    open: int = 0  # connections
    in_flight: int = 0
    most_in_flight: int = 0
    embed: Callable[[Any], Any] = lambda given: vector_of(given)

    def chats(self) -> list[Received]:
        return [one for one in self.received if one.path.endswith("/chat/completions")]

    def embedded(self) -> list[Received]:
        return [one for one in self.received if one.path.endswith("/embeddings")]

    def reset(self) -> None:
        self.received.clear()
        self.dropped = self.most_in_flight = 0
        self.slow_s, self.embeddings, self.embed = 0.3, "good", vector_of

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (Gone, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Received(method, path, headers, body, writer.get_extra_info("peername")[1])
        self.received.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        watch = asyncio.ensure_future(reader.read(1))  # nothing more comes before the answer: so it tells of the end
        work = asyncio.ensure_future(self._answer(request, writer))
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.dropped += 1
                return False
            work.result()
        finally:
            self.in_flight -= 1
            work.cancel()
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        return True

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        path = request.path.partition("?")[0]
        if path == "/v1/models":
            models = {"object": "list", "data": [{"id": "plain", "object": "model", "created": 1, "owned_by": "me"}]}
            await plain(writer, 200, models)
        elif path.startswith("/v1/models/"):
            name = path.removeprefix("/v1/models/")
            await plain(writer, 200, {"id": name, "object": "model", "created": 1, "owned_by": "me"})
        elif path == "/v1/chat/completions":
            await self._chat(request, writer)
        elif path == "/v1/embeddings":
            await self._embeddings(request, writer)
        else:
            await plain(writer, 404, problem("not found"))

    async def _chat(self, request: Received, writer: asyncio.StreamWriter) -> None:
        try:
            body = request.body
        except ValueError:
            await plain(writer, 400, problem("the body is not JSON"))
            return
        model = body["model"]
        if model == "hang":
            await asyncio.sleep(3600)
        if model.startswith("error-") and model != "error-in-stream":
            await plain(writer, int(model[6:]), problem(f"upstream says {model}"))
            return
        if model == "flaky" and len(self.chats()) == 1:
            await asyncio.sleep(self.slow_s)
            await plain(writer, 500, problem("the first time"))
            return
        if body.get("stream"):
            await self._stream(body, model, writer)
            return
        if model in ("slow", "flaky", "slow-tools"):
            await asyncio.sleep(self.slow_s)
        if model == "garbage":
            await plain(writer, 200, b"<html>surprise")
        elif model == "drop":
            await head(writer, 200, {"content-type": "application/json", "content-length": "1000"})
            writer.write(b'{"id": ')
            await writer.drain()
            raise Gone
        elif model == "gzip":
            await plain(writer, 200, b"\x1f\x8b not really", {"content-encoding": "gzip"})
        elif model == "headers":
            await plain(writer, 200, completion(body, 0), {f"x-{i}": "y" * 1000 for i in range(300)})
        else:
            await plain(writer, 200, completion(body, len(self.chats())), {"x-request-id": "req-upstream"})

    async def _stream(self, body: Any, model: str, writer: asyncio.StreamWriter) -> None:
        await head(writer, 200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        done = completion(body, len(self.chats()))
        chunks = list(chunks_of(done, (body.get("stream_options") or {}).get("include_usage", False)))
        for i, chunk in enumerate(chunks):
            await piece(writer, b"data: " + json.dumps(chunk).encode() + b"\n\n")
            if i == 1 and model == "slow":
                await asyncio.sleep(self.slow_s)
            if i == 1 and model == "drop":
                raise Gone
            if i == 1 and model == "error-in-stream":
                await piece(writer, b'data: {"error": {"message": "overloaded"}}\n\n')
            if i == 1 and model == "endless-line":
                await piece(writer, b": " + b"x" * (3 << 20) + b"\n\n")
            if i == 1 and model == "garbage":
                await piece(writer, b"data: {surprise\n\n")
        if model != "no-done":
            await piece(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _embeddings(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if self.embeddings == "hang":
            await asyncio.sleep(3600)
        if self.embeddings == "error":
            await plain(writer, 500, problem("no embeddings today"))
            return
        body = request.body
        given = body["input"]
        many = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        vectors = [np.asarray(self.embed(one), np.float32) for one in many]
        if self.embeddings == "garbage":
            vectors = vectors[:-1]
        coded: list[Any] = [vector.tolist() for vector in vectors]
        if body.get("encoding_format") == "base64":
            coded = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
        data = [{"object": "embedding", "index": i, "embedding": one} for i, one in enumerate(coded)]
        used = 5 * len(many)
        usage = {"prompt_tokens": used, "total_tokens": used}
        await plain(writer, 200, {"object": "list", "data": data, "model": body["model"] + "-v2", "usage": usage})


def vector_of(given: Any) -> Any:
    """Of a text or tokens: the words it has, so that texts with the same words are similar."""
    words = given.lower().split() if isinstance(given, str) else [str(token) for token in given]
    total = np.zeros(DIM)
    for word in words:
        total += np.random.default_rng(list(word.encode())).normal(size=DIM)
    return total


def completion(body: Any, count: int) -> dict[str, Any]:
    """The answer to a chat. It tells how many chats there were, so that a cached one can be told from a new one."""
    model = body["model"]
    message: dict[str, Any] = {"role": "assistant", "content": f"Answer {count} to: {asked(body)}. Ünïcode 🎈 too.\n"}
    reason = {"length": "length", "filter": "content_filter"}.get(model, "stop")
    if model in ("tools", "slow-tools"):
        reason = "tool_calls"
        message |= {"content": None, "tool_calls": TOOL_CALLS}
    if model == "refusal":
        message |= {"content": None, "refusal": "I will not."}
    if model == "empty":
        message["content"] = ""
    if model == "huge":
        message["content"] = "x" * (2 << 20)
    choice: dict[str, Any] = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    if model == "logprobs":
        choice["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
    choices = [{**choice, "index": i} for i in range(body.get("n") or 1)]
    return {
        "id": f"chatcmpl-upstream-{count}",
        "object": "chat.completion",
        "created": int(time.time()) - 1_000,
        "model": f"{model}-2026-01-01",
        "choices": choices,
        "usage": USAGE,
        "system_fingerprint": "fp_1",
    }


def chunks_of(done: dict[str, Any], with_usage: bool) -> Iterator[dict[str, Any]]:
    """The same answer in pieces."""
    top = {**done, "object": "chat.completion.chunk"}
    usage, choice = top.pop("usage"), done["choices"][0]
    if with_usage:
        top["usage"] = None

    def chunk(delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
        part = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return {**top, "choices": [part]}

    message = choice["message"]
    yield chunk({"role": "assistant", "content": message["content"] and "", "refusal": None})
    content = message["content"] or ""
    size = max(5, len(content) // 100)
    for start in range(0, len(content), size):
        yield chunk({"content": content[start : start + size]}, logprobs=choice["logprobs"] if start == 0 else None)
    if message.get("refusal"):
        yield chunk({"refusal": message["refusal"]})
    for i, call in enumerate(message.get("tool_calls", ())):
        whole = call["function"]["arguments"]
        yield chunk({"tool_calls": [{"index": i, **call, "function": {**call["function"], "arguments": ""}}]})
        yield chunk({"tool_calls": [{"index": i, "function": {"arguments": whole[:5]}}]})
        yield chunk({"tool_calls": [{"index": i, "function": {"arguments": whole[5:]}}]})
    yield chunk({}, choice["finish_reason"])
    if with_usage:
        yield {**top, "choices": [], "usage": usage}


def asked(body: Any) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else json.dumps(content)


def problem(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "fake", "param": None, "code": "from_upstream"}}


async def head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    fields = [f"{name}: {value}" for name, value in headers.items()]
    lines = [f"HTTP/1.1 {status} {STATUS.get(status, 'Fine')}", *fields]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()


async def plain(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {"content-type": "application/json", "content-length": str(len(raw)), "x-from-upstream": "yes"}
    await head(writer, status, {**kind, **(headers or {})})
    writer.write(raw)
    await writer.drain()


async def piece(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


@contextmanager
def fake_upstream() -> Iterator[FakeUpstream]:
    """One that serves in a thread of its own."""
    fake, started, loop = FakeUpstream(), threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(fake.connected, "127.0.0.1", 0, limit=64 << 20)
        fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        await stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="fake-upstream")
    thread.start()
    started.wait()
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
