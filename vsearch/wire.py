"""The bodies of our own routes (`/v1`): what the server and our clients both read and write.

A body is one object, as MessagePack or as JSON, of the same shape. Vectors are lists of numbers in JSON. In MessagePack
they may also be `{"shape": [n, d], "float32": bytes}`, little-endian, row after row, which is what our clients and a
server that answers in MessagePack write. Errors are always JSON.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.hits import Hits, Page, Point
from vsearch.planner import Measured, Plan, Step
from vsearch.types import Payload

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"
FLOAT32: Final = np.dtype("<f4")

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
    """What a caller gave as vectors, an array [n, d] or [d] or a list of rows that may be None, to be sent.

    What is no array of numbers is sent as it is, for the server to refuse it as the embedded database would.
    """
    if isinstance(values, list | tuple) and any(row is None for row in values):
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


def from_wire(value: Any) -> Any:
    """What `vectors` sends, or plain lists, as arrays and lists. Raises InvalidArgument for a wrong number of bytes."""
    if isinstance(value, list) and any(isinstance(row, dict) for row in value):
        return [from_wire(row) for row in value]
    if not isinstance(value, dict):
        return value
    shape, data = value.get("shape"), value.get("float32")
    sizes = shape if isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape) else []
    if len(value) != 2 or not isinstance(data, bytes) or len(sizes) not in (1, 2):
        raise InvalidArgument(
            "vectors are an object of unknown keys", 'Send {"shape": [n, d], "float32": bytes} or lists'
        )
    if len(data) != FLOAT32.itemsize * sizes[0] * (sizes[1] if len(sizes) == 2 else 1):
        raise InvalidArgument(f"{len(data)} bytes for vectors of shape {sizes}", "Send 4 bytes for each component")
    return np.frombuffer(data, FLOAT32).reshape(sizes)


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


def _vectors_out(row: dict[str, NDArray[Any]], binary: bool) -> dict[str, Any]:
    return {name: array(vector) if binary else vector.tolist() for name, vector in row.items()}


def _vectors_in(row: dict[str, Any]) -> dict[str, NDArray[Any]]:
    return {name: np.array(from_wire(vector), np.float32) for name, vector in row.items()}
