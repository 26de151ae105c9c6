"""The bodies of our own routes (`/v1`): what the server and our clients both read and write.

A body is one object, as MessagePack or as JSON, of the same shape. In JSON vectors are lists of numbers, sparse ones
`{"indices": [...], "values": [...]}`, and texts are strings. In MessagePack, where all bytes are little-endian, our
clients and a server that answers in MessagePack write instead

    {"shape": [n, d] or [d], "float32": bytes}             dense vectors, row after row, or one
    {"offsets": int64 bytes, "terms": uint32 bytes,        sparse vectors, row after row: row i has the terms
     "weights": float32 bytes, "present": uint8 bytes}     offsets[i]:offsets[i + 1]; 1 where a row is there (all are,
                                                           without "present")
    {"terms": uint32 bytes, "weights": float32 bytes}      one sparse vector

Errors are always JSON.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from vsearch.cache.answers import CacheEntry, CacheHit, Lookup
from vsearch.errors import InvalidArgument
from vsearch.fields.ragged import check_offsets
from vsearch.hits import Hits, Page, Point
from vsearch.planner import Measured, Plan, Step
from vsearch.types import Payload, SparseRows

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"
FLOAT32: Final = np.dtype("<f4")
INT64: Final = np.dtype("<i8")
UINT32: Final = np.dtype("<u4")
FORMS: Final = 'Send lists, {"indices": [...], "values": [...]}, strings, or the bytes that vsearch/wire.py describes'

pack: Any = msgpack.packb


def unpack(data: bytes) -> Any:
    """The value of a MessagePack body. Raises InvalidArgument for bytes that are not one."""
    try:
        return msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        what = str(error) or type(error).__name__
        raise InvalidArgument(f"the body is not MessagePack: {what}", "Send one object with string keys") from error


def array(values: NDArray[Any]) -> dict[str, Any]:
    """An array as its shape and its bytes."""
    return {"shape": list(values.shape), "float32": np.ascontiguousarray(values, FLOAT32).tobytes()}


def vectors(values: Any) -> Any:
    """What a caller gave as dense vectors or texts, to be sent: an array [n, d] or [d], or a list of rows or of strings
    in which some may be None.

    What is no array of numbers is sent as it is, for the server to refuse it as the embedded database would.
    """
    if isinstance(values, list | tuple):
        if isinstance(next((row for row in values if row is not None), None), str):
            return list(values)
        if any(row is None for row in values):
            return [None if row is None else vectors(row) for row in values]
    try:
        given = np.asarray(values)
    except ValueError:  # rows of different lengths
        return [vectors(row) for row in values]
    if given.dtype.kind not in "fiu" or given.ndim not in (1, 2):
        return given.tolist()
    if given.dtype == FLOAT32:
        return array(given)
    with np.errstate(over="ignore"):  # too large a number becomes infinity, which the server refuses
        return array(given)


def sparse(rows: SparseRows, present: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Sparse vectors that have been checked, with the terms themselves. `present`: bool [n], which rows are there."""
    packed = {
        "offsets": np.ascontiguousarray(rows.offsets, INT64).tobytes(),
        "terms": np.ascontiguousarray(rows.numbers, UINT32).tobytes(),
        "weights": np.ascontiguousarray(rows.weights, FLOAT32).tobytes(),
    }
    return packed if present is None or present.all() else {**packed, "present": present.astype(np.uint8).tobytes()}


def sparse_row(rows: SparseRows) -> dict[str, Any]:
    """The one sparse vector that these rows hold."""
    packed = sparse(rows)
    return {name: packed[name] for name in ("terms", "weights")}


def from_wire(value: Any) -> Any:
    """Vectors of a body as calls of a collection take them: dense ones as arrays or lists, sparse ones as SparseRows,
    or as pairs (indices, values) and None, texts as strings.

    Raises InvalidArgument for an object of another shape, and for a wrong number of bytes.
    """
    if isinstance(value, list):
        return [from_wire(row) for row in value] if any(isinstance(row, dict) for row in value) else value
    if not isinstance(value, dict):
        return value
    keys = value.keys()
    if keys == {"shape", "float32"}:
        return _dense_in(value["shape"], value["float32"])
    if keys == {"indices", "values"} and all(isinstance(part, list) for part in value.values()):
        return value["indices"], value["values"]
    if keys == {"terms", "weights"}:
        return _numbers(value, "terms", UINT32), _numbers(value, "weights", FLOAT32)
    if keys - {"present"} == {"offsets", "terms", "weights"}:
        return _sparse_in(value)
    raise InvalidArgument(f"vectors are an object of {', '.join(map(str, keys))[:100] or 'nothing'}", FORMS)


def _dense_in(shape: Any, data: Any) -> NDArray[Any]:
    sizes = shape if isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape) else []
    if not isinstance(data, bytes) or len(sizes) not in (1, 2):
        raise InvalidArgument("vectors have a shape and float32 of wrong types", FORMS)
    if len(data) != FLOAT32.itemsize * sizes[0] * (sizes[1] if len(sizes) == 2 else 1):
        raise InvalidArgument(f"{len(data)} bytes for vectors of shape {sizes}", "Send 4 bytes for each component")
    return np.frombuffer(data, FLOAT32).reshape(sizes)


def _sparse_in(value: dict[str, Any]) -> SparseRows | list[Any]:
    """Rows that fit together; with None where one is not there, as a list."""
    offsets, terms = _numbers(value, "offsets", INT64), _numbers(value, "terms", UINT32)
    weights = _numbers(value, "weights", FLOAT32)
    try:
        check_offsets(offsets, len(terms))
    except ValueError as error:
        raise InvalidArgument(
            f"sparse vectors: {error}", "Send n + 1 offsets, from 0 to the number of terms"
        ) from error
    if len(weights) != len(terms):
        raise InvalidArgument(f"{len(terms)} terms and {len(weights)} weights", "Send a weight for each term")
    rows = SparseRows(offsets, terms, weights)
    if "present" not in value:
        return rows
    present = _numbers(value, "present", np.dtype(np.uint8))
    if len(present) != len(rows):
        raise InvalidArgument(f"{len(present)} bytes of present for {len(rows)} rows", "Send one for each row")
    ends = offsets.tolist()
    return [
        (terms[ends[row] : ends[row + 1]], weights[ends[row] : ends[row + 1]]) if there else None
        for row, there in enumerate(present.tolist())
    ]


def _numbers(value: dict[str, Any], name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    data = value[name]
    if not isinstance(data, bytes) or len(data) % dtype.itemsize:
        raise InvalidArgument(f"{name} of sparse vectors are not bytes of {dtype.name}", FORMS)
    return np.frombuffer(data, dtype)


def hits_out(hits: Hits, binary: bool) -> dict[str, Any]:
    """The hits of one query, column by column."""
    return {
        "ids": hits.point_ids,
        "scores": array(hits.scores) if binary else hits.scores.tolist(),
        "payloads": hits.payloads,
        "vectors": None if hits.vectors is None else [_vectors_out(row, binary) for row in hits.vectors],
    }


def hits_in(value: dict[str, Any]) -> Hits:
    """The hits that `hits_out` wrote."""
    rows = value["vectors"]
    scores = np.array(from_wire(value["scores"]), np.float32)  # a copy, which may be written to
    return Hits(value["ids"], scores, value["payloads"], None if rows is None else [_vectors_in(row) for row in rows])


def point_out(point: Point, binary: bool) -> dict[str, Any]:
    """A stored point."""
    return {
        "id": point.id,
        "payload": point.payload,
        "vectors": None if point.vectors is None else _vectors_out(point.vectors, binary),
        "expires_at": point.expires_at,
    }


def point_in(value: dict[str, Any]) -> Point:
    """The point that `point_out` wrote."""
    stored = value["vectors"]
    payload: Payload | None = value["payload"]
    return Point(value["id"], payload, None if stored is None else _vectors_in(stored), value["expires_at"])


def page_out(page: Page, binary: bool) -> dict[str, Any]:
    """A page of a scroll."""
    return {"points": [point_out(point, binary) for point in page], "cursor": page.cursor}


def page_in(value: dict[str, Any]) -> Page:
    """The page that `page_out` wrote."""
    return Page([point_in(point) for point in value["points"]], value["cursor"])


def plan_in(value: dict[str, Any]) -> Plan:
    """The plan whose `to_dict` was sent."""
    return Plan(**{**value, "steps": tuple(_step_in(step) for step in value["steps"])})


def _step_in(value: dict[str, Any]) -> Step:
    measured = value["measured"]
    return Step(**{**value, "measured": None if measured is None else Measured(**measured)})


def lookup_out(lookup: Lookup) -> dict[str, Any]:
    """What was found in a cache. The response in it is as it was stored: a JSON value, or bytes."""
    return {**_attributes(lookup), "hit": None if lookup.hit is None else _attributes(lookup.hit)}


def lookup_in(value: dict[str, Any]) -> Lookup:
    """What `lookup_out` wrote."""
    hit = value["hit"]
    return Lookup(**{**value, "hit": None if hit is None else cache_hit_in(hit)})


def cache_hit_in(value: dict[str, Any]) -> CacheHit:
    """The hit in what `lookup_out` wrote."""
    return CacheHit(**{**value, "tags": tuple(value["tags"])})


def cache_entry_out(entry: CacheEntry) -> dict[str, Any]:
    """What is known of an entry."""
    return _attributes(entry)


def cache_entry_in(value: dict[str, Any]) -> CacheEntry:
    """The entry that `cache_entry_out` wrote."""
    sources = tuple((collection, point_id) for collection, point_id in value["sources"])
    return CacheEntry(**{**value, "tags": tuple(value["tags"]), "sources": sources})


def vector_out(vector: Any, binary: bool) -> Any:
    """One vector as reads return it: float32 [d], {term: weight}, or a text."""
    if isinstance(vector, np.ndarray):
        return array(vector) if binary else vector.tolist()
    if not isinstance(vector, dict):
        return vector
    if not binary:
        return {"indices": list(vector), "values": list(vector.values())}
    terms, weights = np.fromiter(vector, UINT32, len(vector)), np.fromiter(vector.values(), FLOAT32, len(vector))
    return {"terms": terms.tobytes(), "weights": weights.tobytes()}


def _vector_in(value: Any) -> Any:
    if isinstance(value, str):
        return value
    vector = from_wire(value)
    if isinstance(vector, tuple):
        terms, weights = (np.asarray(part).tolist() for part in vector)
        return dict(zip(terms, weights, strict=True))
    return np.array(vector, np.float32)  # a copy, which may be written to


def _vectors_out(row: dict[str, Any], binary: bool) -> dict[str, Any]:
    return {name: vector_out(vector, binary) for name, vector in row.items()}


def _vectors_in(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _vector_in(vector) for name, vector in row.items()}


def _attributes(value: CacheHit | Lookup | CacheEntry) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
