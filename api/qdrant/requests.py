"""What Qdrant's requests have in common: which field, which points, which filter; and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from vsearch.collection import Collection
from vsearch.errors import InvalidArgument, NotSupported
from vsearch.filters import F, Node
from vsearch.filters.qdrant import parse
from vsearch.filters.tree import And
from vsearch.types import Dense, Field, PointId, Sparse, Text

from ..errors import malformed
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


def given(field: Field, vector: Any) -> Any:
    """A vector of a request as our calls take it for a field: a list, a pair (indices, values), or a text.

    Raises InvalidArgument for one of another kind, NotSupported for those that no field has.
    """
    if isinstance(vector, bodies.SparseVector):
        if not isinstance(field, Sparse):
            raise InvalidArgument("a sparse vector for a field that is not sparse", f"The field is {_wanted(field)}")
        return vector.indices, vector.values
    if isinstance(vector, bodies.Document) and isinstance(field, Text):
        return vector.text
    if isinstance(vector, dict) and vector.keys() & bodies.SparseVector.model_fields.keys():
        raise _malformed_sparse(vector)
    if isinstance(vector, dict | bodies.Document | bodies.Inference):
        raise NotSupported("this server makes no vectors of texts or images", "Send the vector itself")
    if vector and isinstance(vector[0], list):
        raise NotSupported("several vectors in one field are not supported", "Send one vector")
    if not isinstance(field, Dense):
        raise InvalidArgument("a list of numbers for a field that is not dense", f"The field is {_wanted(field)}")
    return vector


def _wanted(field: Field) -> str:
    if isinstance(field, Sparse):
        return 'sparse: send {"indices": [...], "values": [...]}'
    return 'of texts: send {"text": "..."}' if isinstance(field, Text) else "dense: send a list of numbers"


def _malformed_sparse(vector: dict[str, Any]) -> InvalidArgument:
    """Why an object, which could be any query, is no sparse vector."""
    try:
        bodies.SparseVector.model_validate(vector)
    except ValidationError as error:
        return malformed(error, "sparse vector")
    raise AssertionError("bug: a sparse vector that was not read as one")


def columns(docs: Collection, rows: Sequence[Any]) -> dict[str, list[Any]]:
    """The vectors of points, row by row in Qdrant's shapes, as our columns: field -> rows, None where absent."""
    schema = docs.schema
    if all(isinstance(row, list) for row in rows):
        if not rows:
            return {}
        name = field_of(docs, None)
        return {name: [given(schema[name], row) for row in rows]}
    fields: dict[str, list[Any]] = {}
    for at, row in enumerate(rows):
        named = row if isinstance(row, dict) else {field_of(docs, None): row}
        for name, vector in named.items():
            if name not in fields:
                fields[field_of(docs, name)] = [None] * len(rows)
            fields[name][at] = given(schema[name], vector)
    return fields


def ids_of(points: Sequence[Any]) -> list[PointId]:
    return [point.id for point in points]
