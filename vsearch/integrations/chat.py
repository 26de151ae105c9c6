"""The key of a chat request: what of it is compared by similarity, and what must be equal.

1. The prompt is the text of the last turn of the user: this alone may be answered by an entry of a similar prompt.
2. All else that an answer depends on is the scope: who asks, the model, the other turns (of the system and developer
   too, and what tools said after the user's last turn), what is no text in that turn, tools, the wanted format,
   parameters. A parameter that is not known here counts.
3. Only how an answer is sent and what upstream does with it besides are left out (IGNORED).

Prompt and scope together determine the request, but for IGNORED: two requests that differ have different keys.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from vsearch.errors import InvalidArgument

IGNORED: Final = frozenset({"stream", "stream_options", "metadata", "store"})
FINGERPRINT_BYTES: Final = 32


class ChatKey(NamedTuple):
    """`scope`: ("chat", identity, the body's `user`, hex digest of the rest), as the cache takes it."""

    prompt: str
    scope: tuple[Any, ...]


def chat_key(
    body: Mapping[str, Any], identity: Mapping[str, Any] | tuple[Any, ...] = (), ignore: Collection[str] = ()
) -> ChatKey:
    """The key of the body of POST /v1/chat/completions.

    `identity`: who asks (tenant, credentials), as the cache takes scopes. `ignore`: further parameters that no answer
    depends on. Raises InvalidArgument for a body that is no chat request, or has no turn of the user.
    """
    if not isinstance(body, Mapping):
        raise InvalidArgument(f"the request is a {type(body).__name__}", "Send a JSON object")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidArgument(f"model is {model!r:.60}", "Name the model")
    user = body.get("user")
    if user is not None and not isinstance(user, str):
        raise InvalidArgument(f"user is {user!r:.60}", "Use a string")
    prompt, conversation = split(body.get("messages"))
    left_out = {*IGNORED, *ignore, "user", "messages"}
    rest = {name: value for name, value in body.items() if name not in left_out}
    identity = dict(identity) if isinstance(identity, Mapping) else identity
    return ChatKey(prompt, ("chat", identity, user, fingerprint([conversation, rest])))


def split(messages: Any) -> tuple[str, list[Any]]:
    """The text of the user's last turn, and all else of a conversation. Raises InvalidArgument for what is none."""
    turns, last = _turns(messages)
    prompt, turns[last] = _asked(turns[last], last)
    return prompt, [turns, last]


def fingerprint(value: Any) -> str:
    """Digest of a JSON value, the order of its names aside, in hex. Raises InvalidArgument for what is none."""
    try:
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the request is not JSON: {error}", "Use plain values, not too deeply nested") from None
    return blake2b(canonical.encode(), digest_size=FINGERPRINT_BYTES).hexdigest()


def _turns(messages: Any) -> tuple[list[Mapping[str, Any]], int]:
    """The messages, and the position of the user's last one."""
    if not isinstance(messages, list | tuple):
        raise InvalidArgument("messages is no list", "Send a list of messages, each with role and content")
    last = -1
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidArgument(f"messages[{i}] is no message", "Use an object with role and content")
        if message["role"] == "user":
            last = i
    if last < 0:
        raise InvalidArgument("no message is of the user", "Add one with role 'user'")
    return list(messages), last


def _asked(turn: Mapping[str, Any], i: int) -> tuple[str, dict[str, Any]]:
    """The text of a turn, and the turn without it.

    Texts are joined by line ends. What is left of each but the last is the number of its line ends, which tells where
    it ended: so nothing is lost, and texts of as many lines may still be similar.
    """
    content = turn.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list | tuple):
        raise InvalidArgument(f"messages[{i}].content is {content!r:.60}", "Use a string or a list of parts")
    texts: list[str] = []
    rest: list[Mapping[str, Any]] = []
    of_text: list[int] = []
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise InvalidArgument(f"messages[{i}].content has a part without a type", "Use {'type': ..., ...}")
        if part["type"] == "text":
            text = part.get("text")
            if not isinstance(text, str):
                raise InvalidArgument(f"messages[{i}].content has a text that is {text!r:.60}", "Use a string")
            of_text.append(len(rest))
            texts.append(text)
            part = {**part, "text": text.count("\n")}
        rest.append(part)
    if of_text:
        rest[of_text[-1]] = {**rest[of_text[-1]], "text": None}
    return "\n".join(texts), {**turn, "content": rest}
