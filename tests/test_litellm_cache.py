"""LiteLLM's cache: hits by the last turn's text alone, and never across conversations or users."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vsearch
from vsearch.embedders import CallableEmbedder
from vsearch.errors import InvalidArgument
from vsearch.integrations.litellm import LiteLLMCache

DIM = 64
SYSTEM = {"role": "system", "content": "Be brief"}
ASKED = "what is the capital city of France"
SIMILAR = "what is the capital city of France please"
OTHER = "how do I bake bread"


def embedded(texts: list[str]) -> np.ndarray[Any, Any]:
    """Bags of words: texts of nearly the same words are similar."""
    vectors = np.zeros((len(texts), DIM), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for word in text.lower().split():
            np.add.at(row, [sum(map(ord, word)) % DIM], 1.0)
    return vectors + np.float32(1e-3)


def answer(text: str = "Paris", reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    """As LiteLLM keeps a chat completion."""
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}
    return {"timestamp": 1.0, "response": json.dumps({"model": "m", "choices": [choice]})}


def ask(text: str, *before: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    return {"messages": [SYSTEM, *before, {"role": "user", "content": text}], **kwargs}


@pytest.fixture
def cache(db: vsearch.Database) -> Any:
    db.create_cache("answers", DIM, default=vsearch.CachePolicy(threshold=0.7, guards=False))
    return db.cache("answers", embedder=CallableEmbedder(embedded, "words", DIM))


@pytest.fixture
def exact(db: vsearch.Database) -> Any:
    return db.create_cache("exact", 0)


def test_a_similar_last_turn_hits(cache: Any) -> None:
    litellm = LiteLLMCache(cache)
    litellm.set_cache("key", answer(), **ask(ASKED))
    assert litellm.get_cache("key", **ask(ASKED)) == answer()
    assert litellm.get_cache("key", **ask(SIMILAR)) == answer()
    assert litellm.get_cache("key", **ask(OTHER)) is None


def test_awaited_it_does_the_same(cache: Any) -> None:
    async def use() -> None:
        litellm = LiteLLMCache(cache)
        await litellm.async_set_cache("key", answer(), **ask(ASKED))
        assert await litellm.async_get_cache("key", **ask(SIMILAR)) == answer()
        assert await litellm.async_get_cache("key", **ask(OTHER)) is None
        await litellm.batch_cache_write("key", answer("Flour"), **ask(OTHER))
        assert await litellm.async_get_cache("key", **ask(OTHER)) == answer("Flour")
        assert (await litellm.test_connection())["status"] == "success"
        assert await litellm.ping()
        await litellm.disconnect()

    asyncio.run(use())
    assert len(cache) == 2


@pytest.mark.parametrize(
    ("key", "request_"),
    [
        ("another key", ask(SIMILAR)),
        ("key", {"messages": [{"role": "user", "content": SIMILAR}]}),
        ("key", ask(SIMILAR, {"role": "user", "content": "Hello"})),
        ("key", {"messages": [*ask(SIMILAR)["messages"], {"role": "tool", "content": "x"}]}),
        ("key", ask(SIMILAR, metadata={"user_api_key": "a"})),
        ("key", ask(SIMILAR, litellm_params={"metadata": {"user_api_key_team_id": "a"}})),
        ("key", ask(SIMILAR, litellm_metadata={"user_api_key_end_user_id": "a"})),
    ],
    ids=str,
)
def test_another_conversation_or_user_never_hits(cache: Any, key: str, request_: dict[str, Any]) -> None:
    litellm = LiteLLMCache(cache)
    litellm.set_cache("key", answer(), **ask(ASKED))
    assert litellm.get_cache(key, **request_) is None
    litellm.set_cache(key, answer("own"), **request_)
    assert litellm.get_cache(key, **request_) == answer("own")
    assert litellm.get_cache("key", **ask(ASKED)) == answer()


def test_users_with_the_same_metadata_share(cache: Any) -> None:
    litellm = LiteLLMCache(cache)
    litellm.set_cache("key", answer(), **ask(ASKED, metadata={"user_api_key": "a", "trace": 1}, model="m", ttl="60"))
    assert litellm.get_cache("key", **ask(SIMILAR, metadata={"user_api_key": "a", "trace": 2})) == answer()


def test_instances_of_other_scopes_are_kept_apart(cache: Any) -> None:
    LiteLLMCache(cache, scope="a").set_cache("key", answer(), **ask(ASKED))
    assert LiteLLMCache(cache, scope="b").get_cache("key", **ask(ASKED)) is None


def test_the_similarity_is_noted_where_litellm_looks(cache: Any) -> None:
    litellm = LiteLLMCache(cache)
    litellm.set_cache("key", answer(), **ask(ASKED))
    metadata: dict[str, Any] = {}
    for text, least, most in ((ASKED, 1.0, 1.0), (SIMILAR, 0.7, 0.999), (OTHER, 0.0, 0.7)):
        litellm.get_cache("key", **ask(text, metadata=metadata))
        assert least <= metadata["semantic-similarity"] <= most


@pytest.mark.parametrize(
    "value",
    [
        answer("", "tool_calls"),
        answer("", tool_calls=[{"id": "1"}]),
        answer("", function_call={"name": "f"}),
        {"timestamp": 1.0, "response": {"type": "message", "stop_reason": "tool_use", "content": []}},
    ],
    ids=str,
)
def test_what_calls_tools_is_kept_only_if_told(cache: Any, value: dict[str, Any]) -> None:
    LiteLLMCache(cache).set_cache("key", value, **ask(ASKED))
    assert len(cache) == 0
    LiteLLMCache(cache, tool_calls=True).set_cache("key", value, **ask(ASKED))
    assert LiteLLMCache(cache).get_cache("key", **ask(ASKED)) == value


@pytest.mark.parametrize(
    "value",
    [
        answer("Par", "length"),
        answer("", "content_filter"),
        answer("", refusal="I cannot"),
        {"timestamp": 1.0, "response": {"type": "message", "stop_reason": "max_tokens", "content": []}},
    ],
    ids=str,
)
def test_what_is_no_whole_answer_is_not_kept(cache: Any, value: dict[str, Any]) -> None:
    LiteLLMCache(cache, tool_calls=True).set_cache("key", value, **ask(ASKED))
    assert len(cache) == 0


@pytest.mark.parametrize(
    "value",
    [
        {"timestamp": 1.0, "response": {"type": "message", "stop_reason": "end_turn", "content": []}},
        {"timestamp": 1.0, "response": "no JSON"},
        {"timestamp": 1.0, "response": "[1]"},
        {"timestamp": 1.0, "response": {"choices": None}},
        "text",
        [1],
    ],
    ids=str,
)
def test_what_is_of_another_interface_is_kept(cache: Any, value: Any) -> None:
    LiteLLMCache(cache).set_cache("key", value, **ask(ASKED))
    assert LiteLLMCache(cache).get_cache("key", **ask(ASKED)) == value


def test_what_was_streamed_is_kept_only_if_told(cache: Any) -> None:
    LiteLLMCache(cache).set_cache("key", answer(), **ask(ASKED, stream=True))
    assert len(cache) == 0
    LiteLLMCache(cache, streamed=True).set_cache("key", answer(), **ask(ASKED, stream=True))
    assert LiteLLMCache(cache).get_cache("key", **ask(ASKED, stream=True)) == answer()


def test_what_is_no_chat_is_found_by_its_key(cache: Any, exact: Any) -> None:
    async def use() -> None:
        litellm = LiteLLMCache(cache, exact)
        values = [("key 1", {"embedding": [1.0]}), ("key 2", {"embedding": [2.0]})]
        await litellm.async_set_cache_pipeline(values, input=["a", "b"], metadata={"user_api_key": "a"})
        assert await litellm.async_get_cache("key 1", cache_key="key 1") == {"embedding": [1.0]}
        assert await litellm.async_get_cache("key 2", input="b") == {"embedding": [2.0]}
        assert await litellm.async_get_cache("key 3") is None

    asyncio.run(use())
    assert (len(cache), len(exact)) == (0, 2)


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"input": "a"}, {"messages": None}, {"messages": []}, {"messages": [SYSTEM]}, {"messages": [3]}],
    ids=str,
)
def test_what_is_no_chat_is_not_cached_without_a_place(cache: Any, kwargs: dict[str, Any]) -> None:
    litellm = LiteLLMCache(cache)
    litellm.set_cache("key", answer(), **kwargs)
    assert litellm.get_cache("key", **kwargs) is None
    assert len(cache) == 0


def test_messages_may_be_models(cache: Any) -> None:
    before = SimpleNamespace(model_dump=lambda: {"role": "assistant", "content": "Hi"})
    request = {"messages": [SYSTEM, before, {"role": "user", "content": ASKED}]}
    LiteLLMCache(cache).set_cache("key", answer(), **request)
    assert LiteLLMCache(cache).get_cache("key", **ask(SIMILAR, before.model_dump())) == answer()


def test_lives_end(cache: Any) -> None:
    litellm = LiteLLMCache(cache)
    litellm.set_cache("key", answer(), **ask(ASKED, ttl=0.001))
    time.sleep(0.01)
    assert litellm.get_cache("key", **ask(ASKED)) is None
    for ttl in ("soon", -1, [1]):
        with pytest.raises(InvalidArgument):
            litellm.set_cache("key", answer(), **ask(ASKED, ttl=ttl))


def test_keys_are_deleted(cache: Any, exact: Any) -> None:
    litellm = LiteLLMCache(cache, exact)
    for key in ("a", "b"):
        litellm.set_cache(key, answer(), **ask(ASKED))
        litellm.set_cache(key, 1, input="x")
    asyncio.run(litellm.delete_cache_keys(["a"]))
    assert (len(cache), len(exact)) == (1, 1)
    assert litellm.get_cache("b", **ask(ASKED)) == answer()


def test_wrong_settings_are_refused(cache: Any) -> None:
    with pytest.raises(InvalidArgument, match="category"):
        LiteLLMCache(cache, category="unheard")
    with pytest.raises(InvalidArgument, match="dimension 64"):
        LiteLLMCache(cache, exact=cache)


class Front:
    """As litellm.Cache makes its keys and asks its cache when it does not wait: with next to nothing but the key."""

    cache: Any = None

    def get_cache_key(self, **kwargs: Any) -> str:
        said = "".join(
            f"{name}: {kwargs[name]}" for name in ("model", "messages", "temperature", "input") if name in kwargs
        )
        return hashlib.sha256(said.encode()).hexdigest()

    def get(self, **kwargs: Any) -> Any:
        safe = {name: kwargs[name] for name in ("messages", "input", "metadata") if name in kwargs}
        return self.cache.get_cache(self.get_cache_key(**kwargs), **safe)

    def add(self, value: Any, **kwargs: Any) -> None:
        self.cache.set_cache(self.get_cache_key(**kwargs), value, **kwargs)


def test_attached_keys_are_of_all_but_the_prompt(cache: Any, exact: Any) -> None:
    front = LiteLLMCache(cache, exact).attach(Front())
    request = ask(ASKED, model="m", temperature=0.5, metadata={"user_api_key": "a"})
    similar = ask(SIMILAR, model="m", temperature=0.5, metadata={"user_api_key": "a"})
    front.add(answer(), **request)
    assert front.get(**similar) == answer()
    for other in ({"model": "n"}, {"temperature": 0.6}, {"metadata": {"user_api_key": "b"}}, {"metadata": {}}):
        assert front.get(**{**similar, **other}) is None
    front.add(1, input="x", metadata={"user_api_key": "a"})
    assert front.get(input="x", metadata={"user_api_key": "a"}) == 1
    assert front.get(input="x", metadata={"user_api_key": "b"}) is None


def test_unattached_keys_find_the_same_request_alone(cache: Any) -> None:
    front = Front()
    front.cache = LiteLLMCache(cache)
    front.add(answer(), **ask(ASKED, model="m"))
    assert front.get(**ask(ASKED, model="m")) == answer()
    assert front.get(**ask(SIMILAR, model="m")) is None


@pytest.mark.filterwarnings("ignore")  # its own
def test_litellm_asks_it(cache: Any, exact: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    monkeypatch.setattr(litellm, "cache", LiteLLMCache(cache, exact).attach(litellm.Cache()))

    def said(text: str, mock: str, **kwargs: Any) -> Any:
        return litellm.completion(model="gpt-4o", mock_response=mock, **ask(text, **kwargs)).choices[0].message.content

    async def asaid(text: str, mock: str) -> Any:
        answered = await litellm.acompletion(model="gpt-4o", mock_response=mock, **ask(text))
        await asyncio.sleep(0.5)  # it is kept in the background
        return answered.choices[0].message.content

    assert said(ASKED, "Paris") == "Paris"
    assert said(SIMILAR, "another") == "Paris"
    assert said(SIMILAR, "warmer", temperature=0.9) == "warmer"
    assert said(SIMILAR, "bob's", metadata={"user_api_key": "bob"}) == "bob's"
    assert said(ASKED, "bob's other", metadata={"user_api_key": "bob"}) == "bob's"
    assert asyncio.run(asaid(SIMILAR, "another")) == "Paris"
    assert asyncio.run(asaid(OTHER, "Flour")) == "Flour"
    assert said(OTHER, "another") == "Flour"
