"""Tables out: points as one Parquet file or one Arrow stream, in pieces of bytes and in constant memory.

1. Points are gathered, their payloads as text, until they are many enough or take `BATCH_BYTES`.
2. What was gathered becomes one record batch of the stream, or one row group of the file.
3. What the writer has written since is the next piece.

Memory: a few times `BATCH_BYTES`, and of a Parquet file what its footer says of each row group.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from vsearch.types import Dense, Field, Payload, PointId, Sparse

from .pointcolumns import (
    EXPIRES_AT,
    ID,
    PAYLOAD,
    IdKind,
    encode_ids,
    encode_sparse,
    encode_vectors,
    id_type,
    sparse_type,
    to_json,
    vector_column,
    vector_type,
    write_description,
)

if TYPE_CHECKING:
    import pyarrow as pa

ExportFormat = Literal["parquet", "arrow"]

VERSION: Final = 1
BATCH_BYTES: Final = 8 << 20


class PointLike(Protocol):
    """A point as reads return it."""

    @property
    def id(self) -> PointId: ...
    @property
    def payload(self) -> Payload | None: ...
    @property
    def vectors(self) -> Mapping[str, Any] | None: ...
    @property
    def expires_at(self) -> float | None: ...


def write(
    points: Iterable[PointLike], format: ExportFormat, kind: IdKind, fields: Mapping[str, Field], batch_rows: int
) -> Generator[bytes, None, None]:
    """The bytes of a table with a row for each point. `kind`: of their ids. Closing the generator ends the writer."""
    schema = _schema(kind, fields, format)
    sink = _Pieces()
    with _writer(sink, format, schema) as writer:
        batch = _Batch(kind, fields)
        for point in points:
            batch.add(point)
            if len(batch.ids) == batch_rows or batch.nbytes >= BATCH_BYTES:
                writer.write_batch(batch.to_arrow(schema))
                batch = _Batch(kind, fields)
                yield sink.take()
        if batch.ids:
            writer.write_batch(batch.to_arrow(schema))
    yield sink.take()  # with what closing the writer wrote


def _writer(sink: _Pieces, format: ExportFormat, schema: pa.Schema) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    file = pa.PythonFile(sink, mode="w")
    if format == "arrow":
        return pa.ipc.new_stream(file, schema)
    # Vectors are hardly made smaller by compression, nor payloads by dictionaries.
    compression = dict.fromkeys((ID, PAYLOAD, EXPIRES_AT), "zstd")
    return parquet.ParquetWriter(file, schema, compression=compression, use_dictionary=False, write_statistics=[ID])


def _schema(kind: IdKind, fields: Mapping[str, Field], format: ExportFormat) -> pa.Schema:
    import pyarrow as pa

    specs = {name: field.to_dict() for name, field in fields.items()}
    columns = [
        pa.field(ID, id_type(kind), nullable=False),
        *(pa.field(vector_column(name), _column_type(field, format)) for name, field in fields.items()),
        pa.field(PAYLOAD, pa.string()),
        pa.field(EXPIRES_AT, pa.float64()),
    ]
    return pa.schema(columns, write_description({"export": VERSION, "id": kind, "fields": specs}))


def _column_type(field: Field, format: ExportFormat) -> pa.DataType:
    import pyarrow as pa

    if isinstance(field, Dense):
        return vector_type(field.dim if format == "arrow" else None)
    return sparse_type() if isinstance(field, Sparse) else pa.string()


def _bytes(field: Field, vector: Any) -> int:
    """About what a point's vector takes."""
    if isinstance(field, Dense):
        return 4 * field.dim
    return (8 if isinstance(field, Sparse) else 1) * len(vector or "")


class _Batch:
    """Points gathered for one record batch. `nbytes`: about what they take."""

    def __init__(self, kind: IdKind, fields: Mapping[str, Field]) -> None:
        self.ids: list[PointId] = []
        self.nbytes = 0
        self._kind = kind
        self._fields = fields
        self._vectors: dict[str, list[Any]] = {name: [] for name in fields}
        self._payloads: list[str | None] = []
        self._expires_at: list[float | None] = []

    def add(self, point: PointLike) -> None:
        payload = None if point.payload is None else to_json(point.payload)
        vectors = point.vectors or {}
        for name, rows in self._vectors.items():
            rows.append(vectors.get(name))
            self.nbytes += _bytes(self._fields[name], rows[-1])
        self.ids.append(point.id)
        self._payloads.append(payload)
        self._expires_at.append(point.expires_at)
        self.nbytes += len(payload or "")

    def to_arrow(self, schema: pa.Schema) -> pa.RecordBatch:
        import pyarrow as pa

        arrays = [
            encode_ids(self.ids, self._kind),
            *(self._encoded(name, schema.field(vector_column(name)).type) for name in self._fields),
            pa.array(self._payloads, pa.string()),
            pa.array(self._expires_at, pa.float64()),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _encoded(self, name: str, kind: pa.DataType) -> pa.Array:
        import pyarrow as pa

        rows = self._vectors[name]
        if isinstance(self._fields[name], Dense):
            return encode_vectors(rows, kind)
        return encode_sparse(rows) if isinstance(self._fields[name], Sparse) else pa.array(rows, kind)


class _Pieces:
    """Where Arrow writes to: what it wrote, until it is taken."""

    closed = False

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._position = 0

    def take(self) -> bytes:
        """The bytes since the last call."""
        written, self._written = self._written, []
        return b"".join(written)

    def write(self, data: Any) -> int:
        piece = bytes(data)  # a copy: the writer goes on to use its buffer
        self._written.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """All is there as soon as it is written."""

    def close(self) -> None:
        """What was written can be taken still."""
