"""What a request says about its caching, in headers.

    cache-control           no-store: do not keep the answer; no-cache: do not look for one; max-age=N: in seconds
    x-vsearch-category      of the cache's policies
    x-vsearch-scope         who asks, where one key serves several tenants: an answer never leaves its scope
    x-vsearch-tags          a, b: by which entries can be invalidated
    x-vsearch-ttl           seconds that the answer lives
    x-vsearch-depends-on    collection/id, ...: points the answer is made from; it ends when one of them changes
    x-vsearch-cache-tools   true: answers that call tools are cached too

Names and ids in x-vsearch-depends-on may be percent-encoded. An id of digits is an integer; "17" in quotes is a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from vsearch.cache.policy import MAX_TTL_S
from vsearch.cache.records import check_tags
from vsearch.errors import InvalidArgument
from vsearch.points import integer_id

PREFIX: Final = b"x-vsearch-"  # of headers that are not passed on
MAX_AGE: Final = re.compile(r"max-age\s*=\s*\"?(\d{1,10})\"?")
Source = tuple[str, int | str]  # collection, id


@dataclass(frozen=True, slots=True)
class Controls:
    """`look`, `keep`: whether an answer may come from the cache, and go into it. Times are seconds."""

    look: bool = True
    keep: bool = True
    max_age: float | None = None
    category: str | None = None
    scope: str | None = None
    tags: tuple[str, ...] = ()
    ttl: float | None = None
    depends_on: tuple[Source, ...] = ()
    tools: bool = False


USUAL: Final = Controls()


def controls_of(headers: Mapping[bytes, bytes]) -> Controls:
    """Raises InvalidArgument for a value that means nothing, LimitExceeded for too many tags."""
    if b"cache-control" not in headers and not any(name.startswith(PREFIX) for name in headers):
        return USUAL
    look, keep, max_age = _cache_control(_text(headers, "cache-control") or "")
    return Controls(
        look=look,
        keep=keep,
        max_age=max_age,
        category=_text(headers, "x-vsearch-category"),
        scope=_text(headers, "x-vsearch-scope"),
        tags=check_tags(_list(_text(headers, "x-vsearch-tags") or "")),
        ttl=_ttl(_text(headers, "x-vsearch-ttl")),
        depends_on=tuple(_source(text) for text in _list(_text(headers, "x-vsearch-depends-on") or "")),
        tools=_flag(_text(headers, "x-vsearch-cache-tools")),
    )


def _text(headers: Mapping[bytes, bytes], name: str) -> str | None:
    value = headers.get(name.encode())
    if value is None:
        return None
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        raise InvalidArgument(f"the header {name} is not UTF-8", "Send UTF-8") from None


def _cache_control(text: str) -> tuple[bool, bool, float | None]:
    look, keep, max_age = True, True, None
    for directive in _list(text.lower()):
        if directive == "no-store":
            keep = False
        elif directive == "no-cache":
            look = False
        elif directive.startswith("max-age"):
            found = MAX_AGE.fullmatch(directive)
            if found is None:
                raise InvalidArgument(f"cache-control has {directive[:60]!r}", "Write max-age=SECONDS")
            max_age = min(float(found[1]), MAX_TTL_S)
            look = look and max_age > 0.0
    return look, keep, max_age  # other directives are for caches of other kinds


def _ttl(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        ttl = float(text)
    except ValueError:
        ttl = math.nan
    if not 0.0 < ttl <= MAX_TTL_S:
        raise InvalidArgument(f"x-vsearch-ttl is {text[:60]!r}", f"Send seconds above 0, at most {MAX_TTL_S:g}")
    return ttl


def _flag(text: str | None) -> bool:
    if text is None or text.lower() in ("false", "0"):
        return False
    if text.lower() in ("true", "1"):
        return True
    raise InvalidArgument(f"x-vsearch-cache-tools is {text[:60]!r}", "Send true or false")


def _source(text: str) -> Source:
    collection, slash, rest = text.partition("/")
    try:
        name, point = unquote(collection, errors="strict"), unquote(rest, errors="strict")
    except UnicodeDecodeError:
        name = point = ""
    if not (slash and name and point):
        raise InvalidArgument(f"x-vsearch-depends-on has {text[:60]!r}", "Write collection/id, with commas between")
    if len(point) > 2 and point[0] == point[-1] == '"':
        return name, point[1:-1]
    number = integer_id(point)
    return name, point if number is None else number


def _list(text: str) -> list[str]:
    return [item for item in (item.strip() for item in text.split(",")) if item]
