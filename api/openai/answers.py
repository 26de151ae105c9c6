"""The answer of a chat: what is kept of it, whether it may be kept, and how it is given again.

Kept is the body of a `chat.completion` without what belongs to one request (id, time), as a JSON value.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

import orjson

from .settings import MAX_ANSWER_BYTES

Answer = dict[str, Any]
OF_ONE_REQUEST: Final = ("id", "object", "created")
CALLS: Final = ("tool_calls", "function_call")


def answer_of(body: bytes) -> Answer | None:
    """What to keep of the body of a plain answer; None when it is none."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(given, dict):
        return None
    return {name: value for name, value in given.items() if name not in OF_ONE_REQUEST}


def may_keep(answer: Any, tools: bool) -> bool:
    """Whether an answer is whole, of one choice, neither refused nor filtered, and (without `tools`) calls no tools.

    What may be kept can be given again. `answer`: any JSON value, also what others have stored in the cache.
    """
    if not isinstance(answer, dict):
        return False
    choices = answer.get("choices")
    if "error" in answer or not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return False
    message, reason = choices[0].get("message"), choices[0].get("finish_reason")
    if not isinstance(message, dict) or message.get("refusal") or not isinstance(message.get("content"), str | None):
        return False
    listed = message.get("tool_calls") or []
    if not isinstance(listed, list) or not all(isinstance(call, dict) for call in listed):
        return False
    calls = any(message.get(name) for name in CALLS)
    if calls:
        good = tools and reason in ("stop", *CALLS)
    else:
        good = reason == "stop" and bool(message.get("content"))
    try:
        return good and len(orjson.dumps(answer)) <= MAX_ANSWER_BYTES
    except orjson.JSONEncodeError:  # nested too deeply
        return False


def same(one: Any, other: Any) -> bool:
    """Whether two kept answers say the same, whatever they cost."""
    try:
        messages = [kept["choices"][0]["message"] for kept in (one, other)]
        texts = [(message.get("content") or "").strip() for message in messages]
        return texts[0] == texts[1] and all(messages[0].get(name) == messages[1].get(name) for name in CALLS)
    except (KeyError, IndexError, TypeError, AttributeError):
        return False


def completion(answer: Answer) -> bytes:
    """The body of a plain answer."""
    return orjson.dumps({**fresh("chat.completion"), **answer})


def fresh(kind: str) -> dict[str, Any]:
    """What belongs to one request."""
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time())}
