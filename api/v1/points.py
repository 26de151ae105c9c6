"""Points written, changed and read: one route for each method of Collection."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from vsearch import wire
from vsearch.collection import Collection
from vsearch.errors import InvalidArgument
from vsearch.types import PointId, Sparse, SparseRows

from ..endpoint import Call, Routes
from . import bodies
from .arrow import ArrowTable

routes: Final = Routes("v1 points", envelope=False)
COLLECTION: Final = "/v1/collections/{collection}"
WRITE: Final[dict[str, Any]] = {"access": "write"}


class Written(BaseModel):
    ids: list[int | str]


class Deleted(BaseModel):
    deleted: int


class Changed(BaseModel):
    changed: int


class Counted(BaseModel):
    count: int


class SparseVector(BaseModel):
    indices: list[int]
    values: list[float]


Vectors = dict[str, list[float] | SparseVector | str]  # of dense, sparse and text fields


class Point(BaseModel):
    id: int | str
    payload: dict[str, Any] | None
    vectors: Vectors | None
    expires_at: float | None


class Points(BaseModel):
    points: list[Point]


class Page(Points):
    cursor: int | str | None


class FacetValue(BaseModel):
    value: bool | int | str
    count: int


class Facets(BaseModel):
    values: list[FacetValue]


class Done(BaseModel):
    """Nothing more to say."""


@routes.add("POST", f"{COLLECTION}/upsert", Written, body=bodies.Upsert, arrow=ArrowTable.read, **WRITE)
def v1_upsert(call: Call[bodies.Upsert | ArrowTable, None]) -> Any:
    """Write points; with `insert` only if none of the ids exists."""
    body = call.body
    if isinstance(body, ArrowTable):
        return {"ids": call.docs.upsert(*body.points(call.docs))}
    write = call.docs.insert if body.insert else call.docs.upsert
    ids: list[PointId] = write(body.ids, _given(call.docs, body.vectors), body.payloads, body.expires_at)
    return {"ids": ids}


@routes.add("POST", f"{COLLECTION}/update", Done, body=bodies.Update, **WRITE)
def v1_update(call: Call[bodies.Update, None]) -> Any:
    """Change one point: merge keys into its payload, replace vectors, set its end."""
    body = call.body
    call.docs.update(body.id, body.payload, _given(call.docs, body.vectors), body.expires_at)
    return {}


@routes.add("POST", f"{COLLECTION}/delete", Deleted, body=bodies.Select, **WRITE)
def v1_delete(call: Call[bodies.Select, None]) -> Any:
    """Delete points by id or filter."""
    return {"deleted": call.docs.delete(call.body.ids, call.body.filter)}


@routes.add("POST", f"{COLLECTION}/get", Points, body=bodies.Get)
def v1_get(call: Call[bodies.Get, None]) -> Any:
    """Read the points that exist, in the order of the ids."""
    body = call.body
    points = call.docs.get(body.ids, body.with_payload, body.with_vectors)
    return {"points": [wire.point_out(point, call.binary) for point in points]}


@routes.add("POST", f"{COLLECTION}/count", Counted, body=bodies.Count)
def v1_count(call: Call[bodies.Count, None]) -> Any:
    """Count points, exactly."""
    return {"count": call.docs.count(call.body.filter)}


@routes.add("POST", f"{COLLECTION}/scroll", Page, body=bodies.Scroll)
def v1_scroll(call: Call[bodies.Scroll, None]) -> Any:
    """Read a page of points in the order of their ids."""
    body = call.body
    page = call.docs.scroll(body.filter, body.limit, body.cursor, body.with_payload, body.with_vectors)
    return wire.page_out(page, call.binary)


@routes.add("POST", f"{COLLECTION}/set_payload", Changed, body=bodies.SetPayload, **WRITE)
def v1_set_payload(call: Call[bodies.SetPayload, None]) -> Any:
    """Merge keys into payloads, or into the object at a path."""
    body = call.body
    return {"changed": call.docs.set_payload(body.payload, body.ids, body.filter, body.path)}


@routes.add("POST", f"{COLLECTION}/overwrite_payload", Changed, body=bodies.OverwritePayload, **WRITE)
def v1_overwrite_payload(call: Call[bodies.OverwritePayload, None]) -> Any:
    """Replace payloads."""
    return {"changed": call.docs.overwrite_payload(call.body.payload, call.body.ids, call.body.filter)}


@routes.add("POST", f"{COLLECTION}/delete_payload", Changed, body=bodies.DeletePayload, **WRITE)
def v1_delete_payload(call: Call[bodies.DeletePayload, None]) -> Any:
    """Remove keys from payloads."""
    return {"changed": call.docs.delete_payload(call.body.keys, call.body.ids, call.body.filter)}


@routes.add("POST", f"{COLLECTION}/clear_payload", Changed, body=bodies.Select, **WRITE)
def v1_clear_payload(call: Call[bodies.Select, None]) -> Any:
    """Remove payloads."""
    return {"changed": call.docs.clear_payload(call.body.ids, call.body.filter)}


@routes.add("POST", f"{COLLECTION}/update_vectors", Changed, body=bodies.UpdateVectors, **WRITE)
def v1_update_vectors(call: Call[bodies.UpdateVectors, None]) -> Any:
    """Replace vectors of points that exist."""
    return {"changed": call.docs.update_vectors(call.body.ids, _given(call.docs, call.body.vectors))}


@routes.add("POST", f"{COLLECTION}/delete_vectors", Changed, body=bodies.DeleteVectors, **WRITE)
def v1_delete_vectors(call: Call[bodies.DeleteVectors, None]) -> Any:
    """Remove fields from points."""
    return {"changed": call.docs.delete_vectors(call.body.fields, call.body.ids, call.body.filter)}


@routes.add("POST", f"{COLLECTION}/facet", Facets, body=bodies.Facet)
def v1_facet(call: Call[bodies.Facet, None]) -> Any:
    """Count points by the values at a payload path."""
    values = call.docs.facet(call.body.path, call.body.filter, call.body.limit)
    return {"values": [{"value": one.value, "count": one.count} for one in values]}


def rows_of(docs: Collection, field: str | None, values: Any) -> Any:
    """Vectors or queries of a body, for calls of the collection. Raises InvalidArgument for what no field takes."""
    rows = wire.from_wire(values)
    if isinstance(rows, SparseRows):  # which other kinds of fields might take for a sequence
        wrong = [name for name, spec in docs.schema.items() if field in (None, name) and not isinstance(spec, Sparse)]
        if wrong:
            raise InvalidArgument(f"sparse vectors for field {wrong[0]!r}, which is of another kind", wire.FORMS)
    return rows


def _given(docs: Collection, vectors: dict[str, Any]) -> dict[str, Any]:
    return {name: rows_of(docs, name, rows) for name, rows in vectors.items()}
