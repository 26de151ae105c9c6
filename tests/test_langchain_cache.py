"""LangChain's cache: its own suites, and that no chat is answered from another conversation."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch
from vsearch.embedders import CallableEmbedder
from vsearch.errors import InvalidArgument, Unavailable

pytest.importorskip("langchain_core")
package = Path(pytest.importorskip("langchain_tests").__file__).parent
# By its file: the other suites of its package want plug-ins of pytest.
spec = importlib.util.spec_from_file_location("cache_suites", package / "integration_tests" / "cache.py")
assert spec is not None
suites: Any = importlib.util.module_from_spec(spec)
assert spec.loader is not None
spec.loader.exec_module(suites)

from langchain_core.caches import BaseCache  # noqa: E402
from langchain_core.language_models import GenericFakeChatModel  # noqa: E402
from langchain_core.load import dumps  # noqa: E402
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage  # noqa: E402
from langchain_core.outputs import ChatGeneration, Generation  # noqa: E402

from vsearch.integrations.langchain import VSearchCache  # noqa: E402

DIM = 64
MODEL = "a model and its parameters"


def embedded(texts: list[str]) -> np.ndarray[Any, Any]:
    """Bags of words: texts of nearly the same words are similar."""
    vectors = np.zeros((len(texts), DIM), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for word in text.lower().split():
            np.add.at(row, [sum(map(ord, word)) % DIM], 1.0)
    return vectors + np.float32(1e-3)


@pytest.fixture
def cache(db: vsearch.Database) -> Any:
    """Opened with an embedder, so that similar prompts hit."""
    db.create_cache("answers", DIM, default=vsearch.CachePolicy(threshold=0.7, guards=False))
    return db.cache("answers", embedder=CallableEmbedder(embedded, "words", DIM))


class TestExactly(suites.SyncCacheTestSuite):  # type: ignore[misc]
    @pytest.fixture
    def cache(self, db: vsearch.Database) -> BaseCache:
        return VSearchCache(db.create_cache("exact", 0))


class TestBySimilarity(suites.SyncCacheTestSuite):  # type: ignore[misc]
    @pytest.fixture
    def cache(self, cache: Any) -> BaseCache:
        return VSearchCache(cache)


@pytest.mark.anyio
class TestExactlyAwaited(suites.AsyncCacheTestSuite):  # type: ignore[misc]
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def cache(self, db: vsearch.Database) -> BaseCache:
        return VSearchCache(db.create_cache("exact", 0))


@pytest.mark.anyio
class TestBySimilarityAwaited(suites.AsyncCacheTestSuite):  # type: ignore[misc]
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def cache(self, cache: Any) -> BaseCache:
        return VSearchCache(cache)


def chat(*messages: BaseMessage) -> str:
    """As a chat model of LangChain asks."""
    return dumps(list(messages))


def answer(text: str = "Paris", reason: str = "stop", **kwargs: Any) -> list[Generation]:
    return [ChatGeneration(message=AIMessage(text, response_metadata={"finish_reason": reason}, **kwargs))]


ASKED = HumanMessage("what is the capital city of France")
SIMILAR = HumanMessage("what is the capital city of France please")
OTHER = HumanMessage("how do I bake bread")


def test_a_similar_prompt_hits_and_another_does_not(cache: Any) -> None:
    langchain = VSearchCache(cache)
    langchain.update(str(ASKED.content), MODEL, [Generation(text="Paris")])
    assert langchain.lookup(str(SIMILAR.content), MODEL) == [Generation(text="Paris")]
    assert langchain.lookup(str(OTHER.content), MODEL) is None
    assert langchain.lookup(str(ASKED.content), "another model") is None


def test_a_similar_last_turn_hits(cache: Any) -> None:
    langchain = VSearchCache(cache)
    langchain.update(chat(SystemMessage("Be brief"), ASKED), MODEL, answer())
    assert langchain.lookup(chat(SystemMessage("Be brief"), SIMILAR), MODEL) == answer()
    assert langchain.lookup(chat(SystemMessage("Be brief"), OTHER), MODEL) is None


@pytest.mark.parametrize(
    "messages",
    [
        [SIMILAR],
        [SystemMessage("Be long"), SIMILAR],
        [SystemMessage("Be brief"), HumanMessage("Hello"), SIMILAR],
        [SystemMessage("Be brief"), SIMILAR, AIMessage("Well")],
        [SystemMessage("Be brief"), HumanMessage(str(SIMILAR.content), name="ann")],
        [SystemMessage("Be brief"), HumanMessage([str(SIMILAR.content), {"type": "image_url", "image_url": "a"}])],
    ],
    ids=str,
)
def test_another_conversation_never_hits(cache: Any, messages: list[BaseMessage]) -> None:
    langchain = VSearchCache(cache)
    langchain.update(chat(SystemMessage("Be brief"), ASKED), MODEL, answer())
    assert langchain.lookup(chat(*messages), MODEL) is None


def test_text_in_parts_is_the_same_text(cache: Any) -> None:
    langchain = VSearchCache(cache)
    langchain.update(chat(ASKED), MODEL, answer())
    assert langchain.lookup(chat(HumanMessage([str(ASKED.content)])), MODEL) == answer()
    assert langchain.lookup(chat(HumanMessage([{"type": "text", "text": str(SIMILAR.content)}])), MODEL) == answer()


def test_a_chat_without_a_user_is_found_by_itself_alone(cache: Any) -> None:
    langchain = VSearchCache(cache)
    langchain.update(chat(SystemMessage("what is the capital city of France")), MODEL, answer())
    assert langchain.lookup(chat(SystemMessage("what is the capital city of France")), MODEL) == answer()
    assert langchain.lookup(chat(SystemMessage("what is the capital city of France please")), MODEL) is None


@pytest.mark.parametrize("prompt", ['[{"lc"', '[{"lc": 1}]', '[{"lc": 1, "kwargs": 3}]', '[{"lc"' * 50_000])
def test_a_text_that_only_begins_as_a_chat_is_a_text(cache: Any, prompt: str) -> None:
    langchain = VSearchCache(cache)
    langchain.update(prompt, MODEL, answer())
    assert langchain.lookup(prompt, MODEL) == answer()


def test_scopes_are_kept_apart_and_cleared_apart(cache: Any) -> None:
    ann, bob = VSearchCache(cache, scope={"user": "ann"}), VSearchCache(cache, scope={"user": "bob"})
    ann.update("a", MODEL, answer("for ann"))
    assert bob.lookup("a", MODEL) is None
    bob.update("a", MODEL, answer("for bob"))
    cache.store("mine", "kept without LangChain", vector=embedded(["mine"])[0])
    ann.clear()
    assert ann.lookup("a", MODEL) is None
    assert bob.lookup("a", MODEL) == answer("for bob")
    assert len(cache) == 2
    with pytest.raises(InvalidArgument):
        bob.clear(everything=True)
    assert len(cache) == 2


def test_what_calls_tools_is_kept_only_if_told(cache: Any) -> None:
    call = {"name": "f", "args": {}, "id": "1", "type": "tool_call"}
    for made in (
        answer("", tool_calls=[call]),
        answer("", invalid_tool_calls=[{**call, "args": "{", "error": None}]),
        answer("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
    ):
        VSearchCache(cache).update("a", MODEL, made)
        assert VSearchCache(cache).lookup("a", MODEL) is None
    told = VSearchCache(cache, tool_calls=True)
    told.update("a", MODEL, answer("", tool_calls=[call]))
    assert told.lookup("a", MODEL) == answer("", tool_calls=[call])


@pytest.mark.parametrize("reason", ["length", "content_filter", "max_tokens"])
def test_what_was_cut_short_is_not_kept(cache: Any, reason: str) -> None:
    langchain = VSearchCache(cache)
    langchain.update("a", MODEL, answer(reason=reason))
    langchain.update("a", MODEL, [*answer(), Generation(text="b", generation_info={"finish_reason": reason})])
    assert langchain.lookup("a", MODEL) is None


def test_only_generations_are_made_of_what_is_stored(cache: Any) -> None:
    langchain = VSearchCache(cache)
    prompt, scope = langchain._key("a", MODEL)
    for stored in (
        chat(ASKED),
        dumps(answer()[0]),
        json.dumps([{"lc": 1, "type": "constructor", "id": ["langchain", "prompts", "PromptTemplate"], "kwargs": {}}]),
        json.dumps([{"lc": 1, "type": "secret", "id": ["HOME"]}]),
        "no JSON",
        {"not": "text"},
    ):
        cache.store(prompt, stored, scope=scope)
        assert langchain.lookup("a", MODEL) is None


def test_what_cannot_be_read_back_is_not_kept(cache: Any) -> None:
    langchain = VSearchCache(cache)
    langchain.update("a", MODEL, [Generation(text="a", generation_info={"made by": object()})])
    assert len(cache) == 0


def test_what_goes_wrong_is_a_miss(db: vsearch.Database, cache: Any) -> None:
    def fails(_: list[str]) -> Any:
        raise Unavailable("no embedding now")

    cache = db.cache("answers", embedder=CallableEmbedder(fails, "words", DIM))
    langchain = VSearchCache(cache)
    too_long = "a" * (2 << 20)
    for prompt in ("a", too_long):
        assert langchain.lookup(prompt, MODEL) is None
        assert asyncio.run(langchain.alookup(prompt, MODEL)) is None
    langchain.update(too_long, MODEL, answer())
    asyncio.run(langchain.aupdate(too_long, MODEL, answer()))
    assert len(cache) == 0


def test_a_stale_answer_is_made_anew(db: vsearch.Database) -> None:
    cache = db.create_cache("stale", 0, default=vsearch.CachePolicy(ttl=0.001, stale=60.0))
    langchain = VSearchCache(cache)
    langchain.update("a", MODEL, answer())
    time.sleep(0.01)
    prompt, scope = langchain._key("a", MODEL)
    assert cache.check(prompt, scope=scope).stale
    assert langchain.lookup("a", MODEL) is None


def test_an_unknown_category_is_refused(cache: Any) -> None:
    with pytest.raises(InvalidArgument, match="category"):
        VSearchCache(cache, category="unheard")


def test_a_chat_model_asks_it(cache: Any) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("Paris"), AIMessage("Flour")]), cache=VSearchCache(cache))
    assert model.invoke([SystemMessage("Be brief"), ASKED]).content == "Paris"
    assert model.invoke([SystemMessage("Be brief"), SIMILAR]).content == "Paris"
    assert asyncio.run(model.ainvoke([SystemMessage("Be brief"), ASKED])).content == "Paris"
    assert asyncio.run(model.ainvoke([SystemMessage("Be brief"), OTHER])).content == "Flour"
    assert model.invoke([SystemMessage("Be brief"), OTHER]).content == "Flour"


def test_it_needs_its_package() -> None:
    code = "import sys; sys.modules['langchain_core'] = None\nimport vsearch.integrations.langchain"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtra: langchain-core is not installed" in ended.stderr
