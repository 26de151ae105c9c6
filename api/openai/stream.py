"""Answers in pieces: server-sent events with a `chat.completion.chunk` each.

An answer that passes through is assembled beside, to what a plain request would have got. A kept one is replayed as
such a stream. What passes is never changed, and passes as it comes but for its last piece, which waits until the answer
is kept (chat.py). An answer that cannot be assembled is just not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from .answers import OF_ONE_REQUEST, Answer, fresh
from .settings import MAX_ANSWER_BYTES, MAX_LINE_BYTES

MEDIA_TYPE: Final = b"text/event-stream; charset=utf-8"
DONE: Final = b"[DONE]"
MAX_STREAM_BYTES: Final = 64 * MAX_ANSWER_BYTES  # a piece of some letters comes in some hundred bytes
LEAST_PIECE: Final = 24  # characters of a replayed piece
MAX_PIECES: Final = 64


class Assembler:
    """Told of a stream's bytes as they come. `done`: the upstream has said that this was all."""

    def __init__(self) -> None:
        self.done = False
        self._broken = False
        self._nbytes = 0
        self._line = bytearray()  # begun
        self._data: list[bytes] = []  # of the event begun
        self._top: Answer = {}
        self._choice: dict[str, Any] = {"index": 0, "finish_reason": None}
        self._message: dict[str, Any] = {"role": "assistant"}
        self._texts: dict[str, list[str]] = {}  # entries of the message, in pieces

    def feed(self, piece: bytes) -> None:
        """More of the stream."""
        self._nbytes += len(piece)
        if self._broken or self.done:
            return
        start = 0
        while (end := piece.find(b"\n", start)) >= 0 and not self._broken:
            self._line += piece[start:end]
            self._take(bytes(self._line).removesuffix(b"\r"))
            self._line.clear()
            start = end + 1
        self._line += piece[start:]
        if len(self._line) > MAX_LINE_BYTES or self._nbytes > MAX_STREAM_BYTES:
            self._broken = True
            self._line.clear()

    def end(self) -> Answer | None:
        """The answer, after the last piece; None when it cannot be told."""
        if not self.done and self._line:
            self._take(bytes(self._line))
            self._line.clear()
        if self._data:
            self._take(b"")
        if self._broken or self._choice["finish_reason"] is None:
            return None
        texts = {name: "".join(parts) for name, parts in self._texts.items()}
        message = {**self._message, **texts}
        message.setdefault("content", None)
        return {**self._top, "choices": [{**self._choice, "message": message}]}

    def _take(self, line: bytes) -> None:
        """A line without its end."""
        if line.startswith(b"data:"):
            data = line[5:].removeprefix(b" ")
            self._data.append(data)
            self.done = data == DONE  # some upstreams end without the empty line
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            if data != DONE:
                try:
                    self._chunk(orjson.loads(data))
                except Exception:  # of whatever shape it is: it has been passed on already
                    self._broken = True
        if self.done:
            self._data = []

    def _chunk(self, chunk: dict[str, Any]) -> None:
        if chunk.get("error") is not None:
            raise TypeError
        for name, value in chunk.items():
            if name not in (*OF_ONE_REQUEST, "choices", "obfuscation") and value is not None:
                self._top[name] = value
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) != 0:
                raise TypeError
            self._choice["finish_reason"] = choice.get("finish_reason") or self._choice["finish_reason"]
            if choice.get("logprobs") is not None:
                _merge(self._choice.setdefault("logprobs", {}), choice["logprobs"])
            for name, value in (choice.get("delta") or {}).items():
                if isinstance(value, str) and name != "role":
                    self._texts.setdefault(name, []).append(value)
                else:
                    _merge(self._message, {name: value})


def _merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    """What a delta says of a message or a call of a tool: texts, lists and calls go on, other values are set."""
    for name, value in delta.items():
        known = into.get(name)
        if name == "tool_calls" and isinstance(value, list):
            calls = into.setdefault(name, []) if known is None else known
            for call in value:
                at = call.get("index", 0)
                if not 0 <= at <= len(calls):
                    raise TypeError
                if at == len(calls):
                    calls.append({})
                _merge(calls[at], {key: part for key, part in call.items() if key != "index"})
        elif isinstance(value, dict):
            _merge(into.setdefault(name, {}) if known is None else known, value)
        elif isinstance(value, str) and isinstance(known, str) and name not in ("role", "id", "type"):
            into[name] = known + value
        elif isinstance(value, list) and isinstance(known, list):
            known.extend(value)
        elif value is not None or known is None:
            into[name] = value


def replay(answer: Answer, with_usage: bool) -> Iterator[bytes]:
    """The events of a kept answer. `with_usage`: the client wants a last chunk that tells the tokens used."""
    head = fresh("chat.completion.chunk")
    head |= {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    usage = answer.get("usage")
    if with_usage:
        head["usage"] = None
    choice = answer["choices"][0]
    for delta, logprobs, reason in _deltas(choice):
        part = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        yield _event({**head, "choices": [part]})
    if with_usage and usage is not None:
        yield _event({**head, "choices": [], "usage": usage})
    yield b"data: " + DONE + b"\n\n"


def _deltas(choice: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Any, str | None]]:
    """Delta, log probabilities and finish reason of each chunk."""
    message = dict(choice["message"])
    content, calls = message.pop("content", None), message.pop("tool_calls", None)
    first = {"role": message.pop("role", "assistant"), "content": "" if content is not None else None}
    yield first, None, None
    rest = {name: value for name, value in message.items() if value is not None}
    if rest:
        yield rest, None, None
    logprobs = choice.get("logprobs")
    if content:
        whole = len(content) if logprobs is not None else 0  # they are of its tokens, so they come in one piece
        size = max(whole, LEAST_PIECE, -(-len(content) // MAX_PIECES))
        for start in range(0, len(content), size):
            yield {"content": content[start : start + size]}, logprobs, None
    if calls:
        yield {"tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]}, None, None
    yield {}, None, choice["finish_reason"]


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
