"""The index kinds by name. A kind's module is loaded when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from vsearch.errors import InvalidArgument

from .base import Build, Reader

# kind -> module:reader; `build` beside it
KINDS: Final[dict[str, str]] = {"flat": ".flat:Flat", "hnsw": ".hnsw:Hnsw", "binary": ".binary:Binary"}


def reader(kind: str) -> type[Reader]:
    """The class of the kind's reader. Raises InvalidArgument for an unknown kind."""
    found: type[Reader] = getattr(_module(kind), KINDS[kind].split(":")[1])
    return found


def builder(kind: str) -> Build:
    """The kind's build function. Raises InvalidArgument for an unknown kind."""
    found: Build = _module(kind).build
    return found


def _module(kind: str) -> Any:
    if kind not in KINDS:
        raise InvalidArgument(f"unknown index kind {kind!r}", f"Use one of {', '.join(sorted(KINDS))}")
    return import_module(KINDS[kind].split(":")[0], __package__)
