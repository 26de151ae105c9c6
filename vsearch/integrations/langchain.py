"""A cache for LangChain: `langchain_core.globals.set_llm_cache(VSearchCache(db.cache("answers")))`.

1. The model and its parameters, which LangChain gives as one string, are scope: no answer of another model is given.
2. Of a chat, which LangChain gives as JSON, only the text of the user's last turn is compared by similarity; the turns
   before it and the system's are scope too. A text that is no chat is the prompt as it is.
3. Answers are kept as LangChain's JSON, and only the classes of generations and messages are made of it again.

A cache must not make a call fail: what goes wrong here is logged, and is a miss.
"""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from vsearch.errors import InvalidArgument, MissingExtra, VSearchError
from vsearch.integrations.chat import fingerprint, split

try:
    from langchain_core.caches import BaseCache
    from langchain_core.load import Serializable, dumps, loads
    from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, ChatMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk
except ImportError as error:
    raise MissingExtra("langchain-core is not installed", 'Run: pip install "vsearch-db[langchain]"') from error

if TYPE_CHECKING:
    from vsearch.cache.answers import CacheHit
    from vsearch.cache.cache import Cache

log = logging.getLogger(__name__)

ALLOWED: Final[list[type[Serializable]]] = [
    *(Generation, GenerationChunk, ChatGeneration, ChatGenerationChunk),
    *(AIMessage, AIMessageChunk, ChatMessage, ChatMessageChunk),
]
CUT_SHORT: Final = frozenset({"length", "max_tokens", "MAX_TOKENS", "content_filter", "SAFETY"})
TAG_LENGTH: Final = 16


class VSearchCache(BaseCache):
    """LangChain's cache over a cache of vsearch; by similarity if that was opened with an embedder.

    `scope`: who asks, as the cache takes it. `category`, `ttl`: of the entries, as for `Cache.store`. `tool_calls`:
    whether answers that call tools are kept. Answers that were cut short are not. Raises InvalidArgument.
    """

    def __init__(
        self,
        cache: Cache,
        scope: Any = (),
        category: str | None = None,
        ttl: float | None = None,
        tool_calls: bool = False,
    ) -> None:
        if category is not None and category not in cache.policies:
            raise InvalidArgument(f"unknown category {category!r:.80}", "Add it with set_policy")
        self._cache, self._scope, self._category, self._ttl = cache, scope, category, ttl
        self._tool_calls = tool_calls
        self._tag = f"langchain:{fingerprint(scope)[:TAG_LENGTH]}"
        with warnings.catch_warnings():  # at its first use `loads` warns that it is in beta
            warnings.simplefilter("ignore")
            loads("[]", allowed_objects=ALLOWED)

    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """The generations kept for this prompt or a similar one, else None."""
        try:
            text, scope = self._key(prompt, llm_string)
            return _generations(self._cache.check(text, category=self._category, scope=scope))
        except VSearchError as error:
            log.warning("not looked up: %s", error)
            return None

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Keep generations."""
        try:
            stored = self._stored(return_val)
            if stored is not None:
                text, scope = self._key(prompt, llm_string)
                self._cache.store(text, stored, scope=scope, **self._options())
        except VSearchError as error:
            log.warning("not kept: %s", error)

    def clear(self, **kwargs: Any) -> None:
        """Remove what was kept through a cache of the same scope. Raises InvalidArgument: there are no options."""
        if kwargs:
            raise InvalidArgument(f"clear has no options {sorted(kwargs)}", "Use Cache.invalidate")
        self._cache.invalidate(tag=self._tag)

    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """As `lookup`."""
        try:
            text, scope = self._key(prompt, llm_string)
            return _generations(await self._cache.acheck(text, category=self._category, scope=scope))
        except VSearchError as error:
            log.warning("not looked up: %s", error)
            return None

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """As `update`."""
        try:
            stored = self._stored(return_val)
            if stored is not None:
                text, scope = self._key(prompt, llm_string)
                await self._cache.astore(text, stored, scope=scope, **self._options())
        except VSearchError as error:
            log.warning("not kept: %s", error)

    async def aclear(self, **kwargs: Any) -> None:
        """As `clear`."""
        await asyncio.to_thread(self.clear, **kwargs)

    def _key(self, prompt: str, llm_string: str) -> tuple[str, Any]:
        text, conversation = _split(prompt)
        return text, ("langchain", self._scope, llm_string, conversation)

    def _options(self) -> dict[str, Any]:
        return {"category": self._category, "ttl": self._ttl, "tags": [self._tag]}

    def _stored(self, generations: Sequence[Generation]) -> str | None:
        """As it is kept; None for what is not."""
        if not all(_whole(one) and (self._tool_calls or not _calls_tools(one)) for one in generations):
            return None
        stored = dumps(list(generations))
        return stored if _loaded(stored) is not None else None


def _split(prompt: str) -> tuple[str, str]:
    """The text to compare, and a fingerprint of the rest of a chat, or "" for a text that is no chat."""
    try:
        messages = json.loads(prompt) if prompt.startswith('[{"lc"') else None
        turns = [_turn(message["kwargs"]) for message in messages] if messages is not None else None
    except (ValueError, LookupError, TypeError, RecursionError):
        turns = None
    if turns is None:
        return prompt, ""
    try:
        text, conversation = split(turns)
    except InvalidArgument:  # no text of a user in it: the same chat finds it, no similar one
        return prompt, fingerprint(prompt)
    return text, fingerprint(conversation)


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    """A message of LangChain's JSON as one of OpenAI's."""
    content = message["content"]
    if isinstance(content, list):
        content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    kind = message["type"]
    return {**message, "role": "user" if kind == "human" else kind, "content": content}


def _generations(hit: CacheHit | None) -> list[Generation] | None:
    """Of a hit; stale ones are made anew, which nobody else here would do."""
    return None if hit is None or hit.stale else _loaded(hit.response)


def _loaded(stored: Any) -> list[Generation] | None:
    """None for what does not become generations, of another release perhaps."""
    try:
        generations = loads(stored, allowed_objects=ALLOWED)
    except Exception as error:  # of whatever class, since classes of LangChain are made
        log.warning("no generations: %s", error)
        return None
    good = isinstance(generations, list) and all(isinstance(one, Generation) for one in generations)
    return generations if good else None


def _whole(generation: Generation) -> bool:
    """Whether the answer was not cut short, as far as the model says."""
    message = getattr(generation, "message", None)
    told = {**(generation.generation_info or {}), **(getattr(message, "response_metadata", None) or {})}
    reasons = (told.get(name) for name in ("finish_reason", "stop_reason", "done_reason"))
    return not any(reason in CUT_SHORT for reason in reasons if isinstance(reason, str))


def _calls_tools(generation: Generation) -> bool:
    message = getattr(generation, "message", None)
    if message is None:
        return False
    calls = getattr(message, "tool_calls", None) or getattr(message, "invalid_tool_calls", None)
    return bool(calls) or "function_call" in message.additional_kwargs
