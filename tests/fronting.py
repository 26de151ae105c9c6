"""What the tests of the OpenAI-compatible front share: a server over a fake upstream, and OpenAI's clients."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import openai

from tests.fake_upstream import FakeUpstream
from tests.serving import Server

TIMEOUT_S = 3.0
numbers = itertools.count()


def options(upstream: FakeUpstream, *more: str) -> tuple[str, ...]:
    return ("--openai-upstream", upstream.url, "--upstream-timeout", str(TIMEOUT_S), "--no-access-log", *more)


def client_of(server: Server, key: str = "sk-one", **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, **more)


class Asking:
    """Asks by the blocking or the awaitable client; gives headers and answer, or headers and chunks."""

    def __init__(self, url: str, awaitable: bool) -> None:
        self.url, self.awaitable = url, awaitable

    def __call__(self, prompt: str, model: str = "plain", **more: Any) -> tuple[Any, Any]:
        asked = {"model": model, "messages": [{"role": "user", "content": prompt}], **more}
        if self.awaitable:
            return asyncio.run(self._awaited(asked))
        with openai.OpenAI(base_url=f"{self.url}/v1", api_key="sk-one", max_retries=0) as client:
            return ask_with(client, asked)

    async def _awaited(self, asked: dict[str, Any]) -> tuple[Any, Any]:
        async with openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="sk-one", max_retries=0) as client:
            raw = await client.chat.completions.with_raw_response.create(**asked)
            answer = raw.parse()
            return raw.headers, [chunk async for chunk in answer] if asked.get("stream") else answer


def ask_with(client: openai.OpenAI, asked: dict[str, Any]) -> tuple[Any, Any]:
    raw = client.chat.completions.with_raw_response.create(**asked)
    answer = raw.parse()
    return raw.headers, list(answer) if asked.get("stream") else answer


def ask(client: openai.OpenAI, prompt: str, model: str = "plain", **more: Any) -> tuple[Any, Any]:
    return ask_with(client, {"model": model, "messages": [{"role": "user", "content": prompt}], **more})


def new(text: str = "question") -> str:
    """A prompt that nothing is similar to."""
    return f"{text} {next(numbers)} {next(numbers)}"


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def until(condition: Any, timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def idle(upstream: FakeUpstream) -> None:
    until(lambda: upstream.in_flight == 0)
