"""Points as columns of Arrow tables, both ways: what exported files and the server's Arrow bodies have in common.

1. Ids are uint64 where all are integers, text where all are strings, else JSON text (`5`, `"5"`): the kind of the ids.
2. A payload is JSON text, null where a point has none.
3. The vectors of a field are lists of float32, null where a point lacks the field; of fixed size except in Parquet,
   since not every release of Arrow takes those with nulls there. The column has the name of the field; where that is
   empty or the name of another column, "vector:" and the name (no field has a colon in it).
4. Sparse vectors are structs {indices: list of uint32, values: list of float32}; texts are strings.
5. The schema's metadata has `vsearch`: a JSON object that says what the table is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from vsearch.errors import InvalidArgument
from vsearch.types import FloatArray, Payload, PointId

if TYPE_CHECKING:
    import pyarrow as pa

IdKind = Literal["integer", "string", "json"]

ID: Final = "id"
PAYLOAD: Final = "payload"
EXPIRES_AT: Final = "expires_at"  # Unix time in seconds
SCORE: Final = "score"
QUERY: Final = "query"
_TAKEN: Final = ("", ID, PAYLOAD, EXPIRES_AT, SCORE, QUERY)
_DESCRIPTION: Final = b"vsearch"
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def vector_column(field: str) -> str:
    """The name of a field's column."""
    return f"vector:{field}" if field in _TAKEN else field


def id_kind(ids: Iterable[PointId]) -> IdKind:
    """How these ids are stored together."""
    strings = {isinstance(point_id, str) for point_id in ids}
    return "json" if len(strings) == 2 else "integer" if False in strings else "string"


def id_type(kind: IdKind) -> pa.DataType:
    import pyarrow as pa

    return pa.uint64() if kind == "integer" else pa.string()


def encode_ids(ids: Sequence[PointId], kind: IdKind) -> pa.Array:
    import pyarrow as pa

    return pa.array([to_json(point_id) for point_id in ids] if kind == "json" else ids, id_type(kind))


def decode_ids(values: list[Any], kind: IdKind) -> list[Any]:
    """Ids of the values of such a column. Raises InvalidArgument for text that is not JSON."""
    return _from_json(values, "id") if kind == "json" else values


def decode_payloads(values: list[Any]) -> list[Payload | None]:
    """Payloads of the values of such a column. Raises InvalidArgument for text that is not JSON."""
    return _from_json(values, "payload")


def vector_type(dim: int | None) -> pa.DataType:
    """Of a column of vectors: lists of that length, or (None) of any."""
    import pyarrow as pa

    return pa.list_(pa.float32(), -1 if dim is None else dim)


def encode_vectors(vectors: Sequence[FloatArray | None], kind: pa.DataType) -> pa.Array:
    """float32 [d] for each row, or None, as an array of a `vector_type`."""
    import pyarrow as pa

    absent = np.array([vector is None for vector in vectors], np.bool_)
    mask = pa.array(absent) if absent.any() else None
    there = [vector for vector in vectors if vector is not None]
    matrix = np.stack(there).astype(np.float32, copy=False) if there else np.empty((0, 0), np.float32)
    if not pa.types.is_fixed_size_list(kind):
        offsets = np.concatenate([[0], np.cumsum(~absent)]) * matrix.shape[1]
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(matrix.reshape(-1)), kind, mask=mask)
    if mask is not None:  # rows without a vector take as much room
        full = np.zeros((len(vectors), kind.list_size), np.float32)
        full[~absent] = matrix if there else 0
        matrix = full
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), type=kind, mask=mask)


def sparse_type() -> pa.DataType:
    """Of a column of sparse vectors."""
    import pyarrow as pa

    return pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])


def encode_sparse(vectors: Sequence[Mapping[int, float] | None]) -> pa.Array:
    """{term: weight} for each row, or None, as an array of the `sparse_type`."""
    import pyarrow as pa

    given = [vector or {} for vector in vectors]
    offsets = pa.array(np.cumsum([0, *map(len, given)]), pa.int32())
    terms = pa.array([term for vector in given for term in vector], pa.uint32())
    weights = pa.array(np.array([weight for vector in given for weight in vector.values()], np.float32))
    parts = [pa.ListArray.from_arrays(offsets, terms), pa.ListArray.from_arrays(offsets, weights)]
    absent = np.array([vector is None for vector in vectors], np.bool_)
    return pa.StructArray.from_arrays(parts, fields=list(sparse_type()), mask=pa.array(absent))


def to_json(value: Any) -> str:
    """JSON text without spaces, which `json.loads` makes the same value of: floats stay floats, to the last bit."""
    return _ENCODER.encode(value)


def write_description(description: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The metadata of a schema with this description."""
    return {_DESCRIPTION: to_json(description).encode()}


def read_description(metadata: Mapping[bytes, bytes] | None, name: str) -> dict[str, Any]:
    """The description in a schema's metadata, {} when there is none. Raises InvalidArgument, naming the table."""
    text = (metadata or {}).get(_DESCRIPTION)
    if text is None:
        return {}
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{name} has metadata 'vsearch' that is not JSON: {error}") from error
    if not isinstance(description, dict):
        raise InvalidArgument(f"{name} has metadata 'vsearch' that is not a JSON object")
    return description


def _from_json(texts: list[Any], what: str) -> list[Any]:
    values = []
    for row, text in enumerate(texts):
        try:
            values.append(None if text is None else json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidArgument(f"the {what} in row {row} is not JSON: {error}") from error
    return values
