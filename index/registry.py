"""The index kinds by name. A kind's module is loaded when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from vsearch.errors import InvalidArgument

from .base import Build, Reader

# kind -> module:reader; `build` beside it
KINDS: Final[dict[str, str]] = {"flat": ".flat:Flat", "hnsw": ".hnsw:Hnsw", "binary": ".binary:Binary"}
# those whose vectors are SparseRows
SPARSE_KINDS: Final[dict[str, str]] = {
    "sparse_flat": ".sparse_flat:SparseFlat",
    "postings": ".postings:Postings",
    "bm25": ".bm25:Bm25",
    "inverted": ".inverted:Inverted",
}
_PLACES: Final = {**KINDS, **SPARSE_KINDS}


def reader(kind: str) -> type[Reader]:
    """The class of the kind's reader. Raises InvalidArgument for an unknown kind."""
    found: type[Reader] = getattr(_module(kind), _PLACES[kind].split(":")[1])
    return found


def builder(kind: str) -> Build:
    """The kind's build function. Raises InvalidArgument for an unknown kind."""
    found: Build = _module(kind).build
    return found


def _module(kind: str) -> Any:
    if kind not in _PLACES:
        raise InvalidArgument(f"unknown index kind {kind!r}", f"Use one of {', '.join(sorted(_PLACES))}")
    return import_module(_PLACES[kind].split(":")[0], __package__)
