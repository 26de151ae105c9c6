"""Arrow streams as bodies of requests and answers: tables in, hits of searches out and in.

A body comes from anyone, so it is distrusted. Before any of its values is used:

1. There are a schema and record batches, and none is compressed: nothing is allocated but by the size of the body.
2. Columns are of types whose values lie in the body one after the other; not of those that refer to a value many times
   (dictionaries, views, runs, unions).
3. Arrow has validated each batch in full: offsets, lengths, text.
4. Together the batches have no more bytes and values than the body can hold: buffers may overlap, and some types have
   values without buffers.
5. The stream ends with its end marker: a body that was cut between two batches is refused too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from vsearch.errors import InvalidArgument
from vsearch.types import FloatArray, Payload, PointId

from .batches import ArrowBatch
from .pointcolumns import (
    ID,
    PAYLOAD,
    QUERY,
    SCORE,
    decode_ids,
    decode_payloads,
    encode_ids,
    encode_sparse,
    encode_vectors,
    id_kind,
    read_description,
    to_json,
    vector_column,
    vector_type,
    write_description,
)
from .tables import TableBatch

if TYPE_CHECKING:
    import pyarrow as pa

BODY: Final = "the body"  # what errors call it
VERSION: Final = 1
END: Final = 8  # bytes of the end marker: a continuation marker, and a length of 0
MAX_QUERIES: Final = 1 << 20  # that hits are read for: a query without hits takes no bytes of the body


class HitColumns(Protocol):
    """The hits of one query, column by column."""

    @property
    def point_ids(self) -> list[PointId]: ...
    @property
    def scores(self) -> FloatArray: ...
    @property
    def payloads(self) -> list[Payload | None] | None: ...
    @property
    def vectors(self) -> list[dict[str, Any]] | None: ...


class HitRows(NamedTuple):
    """The hits of one query as they were read: the arguments of Hits."""

    point_ids: list[PointId]
    scores: FloatArray
    payloads: list[Payload | None] | None
    vectors: list[dict[str, Any]] | None


def read_table(data: bytes) -> tuple[list[TableBatch], dict[str, Any]]:
    """The batches of a stream, none of them empty, and the object under "vsearch" in its schema's metadata, or {}.

    Arrays refer to `data`. Raises InvalidArgument for bytes that are not a whole stream, or one not to be trusted.
    """
    import pyarrow as pa

    try:
        _check_messages(data)
        with pa.ipc.open_stream(data) as reader:
            for field in reader.schema:
                if not _lies_flat(field.type):
                    message = f"{BODY}: column {field.name!r} is of type {field.type}"
                    raise InvalidArgument(message, "Send columns as plain values")
            description = read_description(reader.schema.metadata, BODY)
            batches = [ArrowBatch(BODY, position, batch) for position, batch in _bounded(reader, len(data))]
    except InvalidArgument:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise InvalidArgument(f"{BODY} is not an Arrow stream: {error}", "Send one whole stream") from error
    return list(batches), description


def write_hits(hits: Sequence[HitColumns]) -> bytes:
    """A stream with a row for each hit: its query's number, id and score; payload and vectors where hits have them."""
    import pyarrow as pa

    ids = [point_id for one in hits for point_id in one.point_ids]
    kind = id_kind(ids)
    counts = [len(one.point_ids) for one in hits]
    query = np.repeat(np.arange(len(hits), dtype=np.int32), counts)
    scores = np.concatenate([np.empty(0, np.float32), *(one.scores for one in hits)])
    columns = {QUERY: pa.array(query), ID: encode_ids(ids, kind), SCORE: pa.array(scores)}
    with_payload = any(one.payloads is not None for one in hits)
    if with_payload:
        payloads = [payload for one in hits for payload in one.payloads or [None] * len(one.point_ids)]
        columns[PAYLOAD] = pa.array([None if p is None else to_json(p) for p in payloads], pa.string())
    fields: dict[str, str] | None = None
    if any(one.vectors is not None for one in hits):
        rows = [row for one in hits for row in one.vectors or [{}] * len(one.point_ids)]
        examples = {name: vector for row in rows for name, vector in row.items()}
        fields = {name: _kind(vector) for name, vector in examples.items()}
        for name, vector in examples.items():
            columns[vector_column(name)] = _encoded([row.get(name) for row in rows], vector)
    description = {"hits": VERSION, "queries": len(hits), "id": kind, "payloads": with_payload, "fields": fields}
    batch = pa.record_batch(list(columns.values()), list(columns))
    batch = batch.replace_schema_metadata(write_description(description))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def read_hits(data: bytes) -> list[HitRows]:
    """The hits that `write_hits` wrote, for each query: `[Hits(*rows) for rows in read_hits(data)]`.

    Raises InvalidArgument for anything else.
    """
    batches, description = read_table(data)
    try:
        return _hits_of(batches, description)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidArgument(f"{BODY} does not hold hits: {error}", "Read what write_hits wrote") from error


def _hits_of(batches: list[TableBatch], description: dict[str, Any]) -> list[HitRows]:
    if description["hits"] != VERSION or not 0 <= description["queries"] <= MAX_QUERIES:
        raise ValueError(f"it is described as {to_json(description)[:200]}")
    query = np.array([value for batch in batches for value in batch.python(QUERY)], np.int64)
    ids = decode_ids([value for batch in batches for value in batch.python(ID)], description["id"])
    scores = np.array([value for batch in batches for value in batch.python(SCORE)], np.float32)
    if len(query) and not (query[0] >= 0 and query[-1] < description["queries"] and np.all(np.diff(query) >= 0)):
        raise ValueError("the numbers of the queries are not in order")
    payloads = vectors = None
    if description["payloads"]:
        payloads = decode_payloads([text for batch in batches for text in batch.python(PAYLOAD)])
    if description["fields"] is not None:
        vectors = [row for batch in batches for row in _vector_rows(batch, description["fields"])]
    bounds = np.searchsorted(query, np.arange(description["queries"] + 1)).tolist()
    return [
        HitRows(
            ids[start:stop],
            scores[start:stop],
            None if payloads is None else payloads[start:stop],
            None if vectors is None else vectors[start:stop],
        )
        for start, stop in pairwise(bounds)
    ]


def _vector_rows(batch: TableBatch, fields: dict[str, str]) -> list[dict[str, Any]]:
    columns = {name: _decoded(batch, vector_column(name), kind) for name, kind in fields.items()}
    return [{n: v for n, rows in columns.items() if (v := rows[row]) is not None} for row in range(batch.rows)]


def _kind(vector: Any) -> str:
    """Of the field of a vector as reads return it."""
    return "text" if isinstance(vector, str) else "sparse" if isinstance(vector, dict) else "dense"


def _encoded(rows: list[Any], example: Any) -> pa.Array:
    import pyarrow as pa

    kind = _kind(example)
    if kind == "dense":
        return encode_vectors(rows, vector_type(len(example)))
    return encode_sparse(rows) if kind == "sparse" else pa.array(rows, pa.string())


def _decoded(batch: TableBatch, column: str, kind: str) -> Any:
    if kind == "sparse":
        pairs = batch.sparse(column, column)
        return [None if p is None else dict(zip(p[0].tolist(), p[1].tolist(), strict=True)) for p in pairs]
    return {"dense": batch.optional_vectors, "text": batch.python}[kind](column)


# What makes a body safe to read: see the numbers at the top.


def _check_messages(data: bytes) -> None:
    """Rules 1 and 5. Nothing of the data is copied."""
    import pyarrow as pa

    source = pa.BufferReader(data)
    messages = pa.ipc.MessageReader.open_stream(source)
    position = 0
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            break
        if message.type != ("record batch" if position else "schema"):
            raise InvalidArgument(f"{BODY} has a message of type {message.type!r}", "Send columns as plain values")
        if position and _is_compressed(message.metadata.to_pybytes()):
            raise InvalidArgument(f"{BODY} is compressed inside", "Write the stream without compression")
        position = source.tell()
    if source.tell() != position + END or position + END != len(data):
        raise InvalidArgument(f"{BODY} is not a whole Arrow stream", "Close the writer of the stream, then send it")


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch has `compression`, which Arrow does not tell before it has decompressed.

    The metadata is a flatbuffer, which Arrow has verified: a table Message with `header` as its field 2, here a table
    RecordBatch, with `compression` as its field 3.
    """

    def number(at: int, width: int) -> int:
        return int.from_bytes(metadata[at : at + width], "little")

    def field(table: int, which: int) -> int:
        """Where a field of a table lies; 0 when the table lacks it."""
        vtable = table - int.from_bytes(metadata[table : table + 4], "little", signed=True)
        slot = 4 + 2 * which
        offset = number(vtable + slot, 2) if slot < number(vtable, 2) else 0
        return table + offset if offset else 0

    header = field(number(0, 4), 2)
    return bool(field(header + number(header, 4), 3))


def _lies_flat(kind: pa.DataType) -> bool:
    """Rule 2."""
    import pyarrow as pa
    from pyarrow import types

    if isinstance(kind, pa.BaseExtensionType):
        return _lies_flat(kind.storage_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lies_flat(kind.value_type)
    if types.is_map(kind):
        return _lies_flat(kind.key_type) and _lies_flat(kind.item_type)
    if types.is_struct(kind):
        return all(_lies_flat(kind.field(i).type) for i in range(kind.num_fields))
    known = (types.is_primitive, types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(test(kind) for test in (*known, types.is_fixed_size_binary, types.is_decimal, types.is_null))


def _bounded(reader: pa.RecordBatchReader, nbytes: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Rules 3 and 4: the batches, each with the row that follows its last."""
    position, held, values = 0, 0, 0
    for batch in reader:
        batch.validate(full=True)
        held += batch.nbytes
        values += sum(_count_values(column) for column in batch.columns) or batch.num_rows  # of no columns at all
        if held > nbytes or values > 8 * nbytes:  # a bool takes one bit
            raise InvalidArgument(f"{BODY} describes more than it holds: {values:,} values in {nbytes:,} bytes")
        position += batch.num_rows
        if batch.num_rows:
            yield position, batch


def _count_values(array: Any) -> int:
    """Values of an array and of those within it."""
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        return _count_values(array.storage)
    if isinstance(array, pa.StructArray):
        return len(array) + sum(_count_values(array.field(i)) for i in range(array.type.num_fields))
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return len(array) + _count_values(array.values)
    return len(array)
