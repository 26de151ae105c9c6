"""What Qdrant's requests have in common: which field, which points, which filter; and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from vsearch.collection import Collection
from vsearch.errors import InvalidArgument, NotSupported
from vsearch.filters import F, Node
from vsearch.filters.qdrant import parse
from vsearch.filters.tree import And
from vsearch.types import PointId

from . import bodies

UNNAMED: Final = ""  # the field of a collection that was made with one unnamed vector
EVERYTHING: Final = ~F.ids([])  # what an empty filter selects, said so that our own calls believe it
_MISSING: Final = bodies.CreateCollection.model_fields["metadata"].description


def refuse_missing(body: BaseModel, what: str) -> None:
    """Raises NotSupported for an entry that is given and not supported."""
    for name in _missing(type(body)):
        if getattr(body, name) not in (None, {}, [], False):
            raise NotSupported(f"{what} with {name} is not supported", f"Leave {name} out")


@cache
def _missing(kind: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name, info in kind.model_fields.items() if info.description == _MISSING)


def field_of(docs: Collection, using: str | None) -> str:
    """The field that a request means: the one named, the unnamed one, or the only one. Raises InvalidArgument."""
    schema = docs.schema
    if using is None:
        if UNNAMED not in schema and len(schema) > 1:
            raise InvalidArgument("the collection has several vectors", f"Name one of: {', '.join(schema)}")
        return UNNAMED if UNNAMED in schema else next(iter(schema))
    if using not in schema:
        raise InvalidArgument(f"unknown vector {using!r}", f"There are: {', '.join(schema)}")
    return using


def filter_of(spec: Mapping[str, Any] | None) -> Node | None:
    """The tree of a filter in Qdrant's JSON. Raises InvalidFilter."""
    return None if spec is None else parse(spec)


def selected(body: bodies.Select) -> dict[str, Any]:
    """The points that a write means, as our arguments ids or filter."""
    refuse_missing(body, "a request")
    node = filter_of(body.filter)
    return {"ids": body.points, "filter": EVERYTHING if node == And(()) else node}


def single(vector: Any) -> Any:
    """A vector that must be dense. Raises NotSupported for the other kinds."""
    if isinstance(vector, bodies.SparseVector):
        raise NotSupported("sparse vectors are not supported yet", "Send a dense vector")
    if isinstance(vector, dict):
        raise NotSupported("this server makes no vectors of texts or images", "Send the vector itself")
    if vector and isinstance(vector[0], list):
        raise NotSupported("several vectors in one field are not supported", "Send one vector")
    return vector


def columns(docs: Collection, rows: Sequence[Any]) -> dict[str, list[Any]]:
    """The vectors of points, row by row in Qdrant's shapes, as our columns: field -> rows, None where absent."""
    if all(isinstance(row, list) for row in rows):
        return {field_of(docs, None): [single(row) for row in rows]} if rows else {}
    fields: dict[str, list[Any]] = {}
    for at, row in enumerate(rows):
        named = row if isinstance(row, dict) else {field_of(docs, None): row}
        for name, vector in named.items():
            fields.setdefault(field_of(docs, name), [None] * len(rows))[at] = single(vector)
    return fields


def ids_of(points: Sequence[Any]) -> list[PointId]:
    return [point.id for point in points]
