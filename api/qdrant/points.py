"""Points written, changed and read, as Qdrant's clients do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from vsearch.collection import Collection
from vsearch.errors import InvalidArgument, NotFound
from vsearch.points import integer_id

from ..endpoint import Call, Routes
from . import bodies
from .answers import UPDATED, Counted, Facets, Record, Records, Updated, records
from .requests import columns, field_of, filter_of, given, ids_of, refuse_missing, selected

routes: Final = Routes("points")
WRITE: Final[dict[str, Any]] = {"params": bodies.WriteParams, "access": "write"}
READ: Final[dict[str, Any]] = {"params": bodies.ReadParams}
POINTS: Final = "/collections/{collection}/points"


@routes.add("PUT", POINTS, Updated, body=bodies.Upsert, **WRITE)
def upsert_points(call: Call[bodies.Upsert, Any]) -> Any:
    """Write points, replacing those whose id exists."""
    return upsert(call.docs, call.body)


@routes.add("POST", f"{POINTS}/delete", Updated, body=bodies.Select, **WRITE)
def delete_points(call: Call[bodies.Select, Any]) -> Any:
    """Delete points by id or filter."""
    return delete(call.docs, call.body)


@routes.add("POST", f"{POINTS}/payload", Updated, body=bodies.SetPayload, **WRITE)
def set_payload(call: Call[bodies.SetPayload, Any]) -> Any:
    """Merge keys into payloads."""
    return set_(call.docs, call.body)


@routes.add("PUT", f"{POINTS}/payload", Updated, body=bodies.SetPayload, **WRITE)
def overwrite_payload(call: Call[bodies.SetPayload, Any]) -> Any:
    """Replace payloads."""
    return overwrite(call.docs, call.body)


@routes.add("POST", f"{POINTS}/payload/delete", Updated, body=bodies.DeletePayload, **WRITE)
def delete_payload(call: Call[bodies.DeletePayload, Any]) -> Any:
    """Remove keys from payloads."""
    return remove(call.docs, call.body)


@routes.add("POST", f"{POINTS}/payload/clear", Updated, body=bodies.Select, **WRITE)
def clear_payload(call: Call[bodies.Select, Any]) -> Any:
    """Remove payloads."""
    return clear(call.docs, call.body)


@routes.add("PUT", f"{POINTS}/vectors", Updated, body=bodies.UpdateVectors, **WRITE)
def update_vectors(call: Call[bodies.UpdateVectors, Any]) -> Any:
    """Replace vectors of points that exist."""
    return revector(call.docs, call.body)


@routes.add("POST", f"{POINTS}/vectors/delete", Updated, body=bodies.DeleteVectors, **WRITE)
def delete_vectors(call: Call[bodies.DeleteVectors, Any]) -> Any:
    """Remove vectors from points."""
    return unvector(call.docs, call.body)


@routes.add("POST", f"{POINTS}/batch", list[Updated], body=bodies.Operations, **WRITE)
def batch_update(call: Call[bodies.Operations, Any]) -> Any:
    """Make several changes, one after the other: each whole, all those before a failing one stay."""
    docs, todo = call.docs, []
    for operation in call.body.operations:
        given = [name for name in OPERATIONS if getattr(operation, name) is not None]
        if len(given) != 1:
            raise InvalidArgument(f"an operation has {len(given)} parts", f"Give one of {', '.join(OPERATIONS)}")
        todo.append((OPERATIONS[given[0]], getattr(operation, given[0])))
    return [change(docs, body) for change, body in todo]


@routes.add("POST", POINTS, list[Record], body=bodies.Retrieve, **READ)
def get_points(call: Call[bodies.Retrieve, Any]) -> Any:
    """Read points by id; those that do not exist are left out."""
    body, docs = call.body, call.docs
    refuse_missing(body, "a request")
    points = docs.get(body.ids, with_payload=wants(body.with_payload), with_vectors=wants(body.with_vector))
    return records(points, docs, body.with_payload, body.with_vector)


@routes.add("GET", f"{POINTS}/{{id}}", Record, **READ)
def get_point(call: Call[None, Any]) -> Any:
    """Read one point."""
    text, docs = call.names["id"], call.docs
    number = integer_id(text)
    points = docs.get([text if number is None else number], with_vectors=True)
    if not points:
        raise NotFound(f"there is no point {text!r}", "Upsert it")
    return records(points, docs, True, True)[0]


@routes.add("POST", f"{POINTS}/scroll", Records, body=bodies.Scroll, **READ)
def scroll_points(call: Call[bodies.Scroll, Any]) -> Any:
    """Read a page of points in the order of their ids."""
    body, docs = call.body, call.docs
    refuse_missing(body, "a scroll")
    page = docs.scroll(
        filter_of(body.filter), body.limit or 10, body.offset, wants(body.with_payload), wants(body.with_vector)
    )
    points = records(page.points, docs, body.with_payload, body.with_vector)
    return {"points": points, "next_page_offset": page.cursor}


@routes.add("POST", f"{POINTS}/count", Counted, body=bodies.Count, **READ)
def count_points(call: Call[bodies.Count, Any]) -> Any:
    """Count points, exactly."""
    refuse_missing(call.body, "a count")
    return {"count": call.docs.count(filter_of(call.body.filter))}


@routes.add("POST", "/collections/{collection}/facet", Facets, body=bodies.Facet, **READ)
def facet(call: Call[bodies.Facet, Any]) -> Any:
    """Count points by the values at a payload path, exactly."""
    body = call.body
    refuse_missing(body, "a facet")
    values = call.docs.facet(body.key, filter_of(body.filter), body.limit or 10)
    return {"hits": [{"value": one.value, "count": one.count} for one in values]}


# The changes, which come alone or in a batch.


def upsert(docs: Collection, body: bodies.Upsert) -> Any:
    refuse_missing(body, "an upsert")
    if (body.points is None) == (body.batch is None):
        raise InvalidArgument("an upsert has points or a batch, one of them", 'Send {"points": [...]}')
    if body.points is not None:
        rows = [point.vector for point in body.points]
        docs.upsert(ids_of(body.points), columns(docs, rows), [point.payload for point in body.points])
    elif body.batch is not None:
        batch = body.batch.vectors
        if isinstance(batch, dict):
            fields = {name: docs.schema[field_of(docs, name)] for name in batch}
            vectors = {name: [given(fields[name], row) for row in rows] for name, rows in batch.items()}
        else:
            vectors = columns(docs, batch)
        docs.upsert(body.batch.ids, vectors, body.batch.payloads)
    return UPDATED


def delete(docs: Collection, body: bodies.Select) -> Any:
    docs.delete(**selected(body))
    return UPDATED


def set_(docs: Collection, body: bodies.SetPayload) -> Any:
    docs.set_payload(body.payload, **selected(body), path=body.key)
    return UPDATED


def overwrite(docs: Collection, body: bodies.SetPayload) -> Any:
    if body.key is not None:
        return set_(docs, body)
    docs.overwrite_payload(body.payload, **selected(body))
    return UPDATED


def remove(docs: Collection, body: bodies.DeletePayload) -> Any:
    docs.delete_payload(body.keys, **selected(body))
    return UPDATED


def clear(docs: Collection, body: bodies.Select) -> Any:
    docs.clear_payload(**selected(body))
    return UPDATED


def revector(docs: Collection, body: bodies.UpdateVectors) -> Any:
    refuse_missing(body, "an update")
    docs.update_vectors(ids_of(body.points), columns(docs, [point.vector for point in body.points]))
    return UPDATED


def unvector(docs: Collection, body: bodies.DeleteVectors) -> Any:
    docs.delete_vectors([field_of(docs, name) for name in body.vector], **selected(body))
    return UPDATED


OPERATIONS: Final[dict[str, Callable[[Collection, Any], Any]]] = {
    "upsert": upsert,
    "delete": delete,
    "set_payload": set_,
    "overwrite_payload": overwrite,
    "delete_payload": remove,
    "clear_payload": clear,
    "update_vectors": revector,
    "delete_vectors": unvector,
}


def wants(selector: Any) -> bool:
    """Whether a selector of payloads or vectors selects anything."""
    return selector is not None and selector is not False
