"""A cache for LiteLLM: `litellm.cache = LiteLLMCache(db.cache("answers")).attach(litellm.Cache())`.

1. LiteLLM makes a key of a request and gives it to its cache. Attached, we have it make that key of all but the text of
   the user's last turn, and of who asks: the model, parameters, tools, earlier turns are in it.
2. The key is scope, and so are the earlier turns and who asks once more, for keys of another making: an answer is never
   given to another conversation, user, team or key. (With LiteLLM's own key, of a whole request, only the same request
   hits.)
3. The text of the last turn alone is compared by similarity.

What is no chat (embeddings, transcripts) is found by its key, in a cache of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from vsearch.errors import InvalidArgument
from vsearch.integrations.chat import fingerprint, split

if TYPE_CHECKING:
    from vsearch.cache.answers import Lookup
    from vsearch.cache.cache import Cache

IDENTITY: Final = (  # as LiteLLM's proxy names in a request's metadata who asks
    "user_api_key",
    "user_api_key_team_id",
    "user_api_key_org_id",
    "user_api_key_user_id",
    "user_api_key_end_user_id",
)
# Reasons of an answer's end, in the interfaces of OpenAI and Anthropic.
WHOLE: Final = frozenset({None, "stop", "eos", "end_turn", "stop_sequence"})
CALLING: Final = frozenset({"tool_calls", "function_call", "tool_use"})


Front = TypeVar("Front")


class Place(NamedTuple):
    """Where an answer is kept."""

    cache: Cache
    prompt: str
    how: dict[str, Any]  # scope and category
    chat: bool


class LiteLLMCache:
    """As LiteLLM calls its caches (its BaseCache, which is not needed to make one).

    `exact`: a cache of dimension 0 for what is no chat; None: that is not cached. `category`: of the entries, as for
    `Cache.store`. `scope`: who asks, besides what LiteLLM says. `streamed`: whether answers that were streamed are
    kept; `tool_calls`: whether those that call tools are. Answers that were cut short are not.

    Raises InvalidArgument.
    """

    def __init__(
        self,
        cache: Cache,
        exact: Cache | None = None,
        category: str | None = None,
        scope: Any = (),
        streamed: bool = False,
        tool_calls: bool = False,
    ) -> None:
        if category is not None and category not in cache.policies:
            raise InvalidArgument(f"unknown category {category!r:.80}", "Add it with set_policy")
        if exact is not None and exact.dim != 0:
            raise InvalidArgument(f"the exact cache has dimension {exact.dim}", "Make one of dimension 0")
        self._cache, self._exact, self._category, self._scope = cache, exact, category, scope
        self._streamed, self._tool_calls = streamed, tool_calls

    def get_cache(self, key: str, **kwargs: Any) -> Any:
        """What is kept for a request, or None. Notes the similarity in kwargs["metadata"], if it has that."""
        place = self._place(key, kwargs)
        return None if place is None else _given(place.cache.lookup(place.prompt, **place.how), kwargs)

    def set_cache(self, key: str, value: Any, **kwargs: Any) -> None:
        """Keep a JSON value, for kwargs["ttl"] seconds if that is there. Raises what Cache.store raises."""
        place = self._place(key, kwargs)
        if place is not None and (not place.chat or self._keeps(value, kwargs)):
            place.cache.store(place.prompt, value, ttl=_ttl(kwargs), tags=[_tag(key)], **place.how)

    async def async_get_cache(self, key: str, **kwargs: Any) -> Any:
        """As `get_cache`."""
        place = self._place(key, kwargs)
        return None if place is None else _given(await place.cache.alookup(place.prompt, **place.how), kwargs)

    async def async_set_cache(self, key: str, value: Any, **kwargs: Any) -> None:
        """As `set_cache`."""
        place = self._place(key, kwargs)
        if place is not None and (not place.chat or self._keeps(value, kwargs)):
            await place.cache.astore(place.prompt, value, ttl=_ttl(kwargs), tags=[_tag(key)], **place.how)

    async def async_set_cache_pipeline(self, cache_list: Iterable[tuple[str, Any]], **kwargs: Any) -> None:
        """Keep several (key, value), of one request."""
        await asyncio.gather(*(self.async_set_cache(key, value, **kwargs) for key, value in cache_list))

    async def batch_cache_write(self, key: str, value: Any, **kwargs: Any) -> None:
        """As `async_set_cache`: writes need no gathering here."""
        await self.async_set_cache(key, value, **kwargs)

    def attach(self, front: Front) -> Front:
        """The litellm.Cache, with this one in it, and with keys that leave the prompt out."""
        parts: Any = front
        parts.cache = self
        parts.get_cache_key = keyed(parts.get_cache_key)
        return front

    async def disconnect(self) -> None:
        """Nothing is to be closed: the database stays its owner's."""

    async def ping(self) -> bool:
        return True

    async def test_connection(self) -> dict[str, Any]:
        """As LiteLLM's proxy shows it."""
        return {"status": "success", "message": f"{len(self._cache):,} answers"}

    async def delete_cache_keys(self, keys: Iterable[str]) -> None:
        """Remove what is kept under keys, whatever its prompt."""
        for key in keys:
            for cache in (self._cache, self._exact):
                if cache is not None:
                    await asyncio.to_thread(cache.invalidate, tag=_tag(key))

    def _place(self, key: str, kwargs: Mapping[str, Any]) -> Place | None:
        found = conversation(kwargs)
        if found is not None:
            scope = ("litellm", self._scope, str(key), identity(kwargs), fingerprint(found[1]))
            return Place(self._cache, found[0], {"scope": scope, "category": self._category}, chat=True)
        if self._exact is None:
            return None
        return Place(self._exact, str(key), {"scope": ("litellm", self._scope)}, chat=False)

    def _keeps(self, value: Any, kwargs: Mapping[str, Any]) -> bool:
        if kwargs.get("stream") and not self._streamed:
            return False
        return all(self._keeps_choice(choice) for choice in _choices(value))

    def _keeps_choice(self, choice: Mapping[str, Any]) -> bool:
        message, reason = choice.get("message") or {}, choice.get("finish_reason")
        if reason in CALLING or message.get("tool_calls") or message.get("function_call"):
            return self._tool_calls
        return reason in WHOLE and not message.get("refusal")


def keyed(key_of: Callable[..., str]) -> Callable[..., str]:
    """LiteLLM's `get_cache_key`, asked with the rest of a conversation in place of its messages; and with who asks."""

    def get_cache_key(**kwargs: Any) -> str:
        found, who = conversation(kwargs), identity(kwargs)
        if found is not None:
            return key_of(**{**kwargs, "messages": [who, *found[1]]})
        key = key_of(**kwargs)
        return f"{key}:{fingerprint(who)}" if who else key

    return get_cache_key


def conversation(kwargs: Mapping[str, Any]) -> tuple[str, list[Any]] | None:
    """The text of the user's last turn and all else of the messages; None for what is no chat with a user."""
    messages = kwargs.get("messages")
    if not isinstance(messages, list | tuple):
        return None
    try:
        return split([message if isinstance(message, Mapping) else message.model_dump() for message in messages])
    except (InvalidArgument, AttributeError):
        return None


def identity(kwargs: Mapping[str, Any]) -> dict[str, str]:
    """Who asks, as far as the metadata of a request say."""
    sources = [source for source in (kwargs, kwargs.get("litellm_params")) if isinstance(source, Mapping)]
    given = [source.get(name) for source in sources for name in ("metadata", "litellm_metadata")]
    found: dict[str, str] = {}
    for metadata in reversed(given):  # the first has the last word
        if isinstance(metadata, Mapping):
            found |= {name: str(metadata[name]) for name in IDENTITY if metadata.get(name) is not None}
    return found


def _tag(key: str) -> str:
    return f"litellm:{fingerprint(str(key))[:32]}"


def _given(found: Lookup, kwargs: Mapping[str, Any]) -> Any:
    """The response of a hit; stale ones are made anew, which nobody else here would do."""
    metadata = kwargs.get("metadata")
    if isinstance(metadata, dict):
        metadata["semantic-similarity"] = found.similarity or 0.0
    return None if found.hit is None or found.hit.stale else found.hit.response


def _ttl(kwargs: Mapping[str, Any]) -> float | None:
    ttl = kwargs.get("ttl")
    try:
        return None if ttl is None else float(ttl)
    except (TypeError, ValueError):
        raise InvalidArgument(f"ttl is {ttl!r:.80}", "Use a number of seconds") from None


def _choices(value: Any) -> list[Mapping[str, Any]]:
    """Of a chat completion, as LiteLLM wraps it: {"timestamp", "response": JSON}; none of what is none.

    An answer of Anthropic's interface counts as one choice.
    """
    response = value.get("response") if isinstance(value, Mapping) else value
    if isinstance(response, str | bytes):
        try:
            response = json.loads(response)
        except (ValueError, RecursionError):
            return []
    if not isinstance(response, Mapping):
        return []
    choices = response.get("choices", [{"finish_reason": response.get("stop_reason")}])
    return [choice for choice in choices if isinstance(choice, Mapping)] if isinstance(choices, list) else []
