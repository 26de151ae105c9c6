"""Arrow bodies: hits come back as they were, tables are read, and no bytes do harm."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import InvalidArgument
from vsearch.hits import Hits
from vsearch.storage.ipc import read_hits, read_table, write_hits

TABLE = pa.record_batch(
    {
        "id": pa.array([3, 2**64 - 1, 7], pa.uint64()),
        "name": pa.array(["a", None, "é" * 9]),
        "dense": pa.array([[1, 2, 3], None, [4, 5, 6]], pa.list_(pa.float32(), 3)),
        "rows": pa.array([[1.5], [2.5, 3.5], []]),
        "tree": pa.array([{"a": 1, "b": [{"c": "x"}]}, None, {"a": 2, "b": []}]),
        "price": pa.array([1, 2, None], pa.decimal128(9, 2)),
        "when": pa.array([0, 1, 2], pa.timestamp("ns", "UTC")),
        "good": pa.array([True, None, False]),
        "none": pa.nulls(3),
        "raw": pa.array([b"", b"\xff", None]),
    }
).replace_schema_metadata({"vsearch": '{"k": [1]}', "rows_scale": "2"})


def stream(*batches: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@contextmanager
def pool_of_its_own() -> Iterator[pa.MemoryPool]:
    """A memory pool from which Arrow allocates meanwhile."""
    usual, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(usual)


def read_all(data: bytes) -> None:
    """Every way in which values of a body are used. Refusals are all that may be raised."""
    batches, _ = read_table(data)
    for batch in batches:
        batch.likely_vectors()
        for read in (batch.python, batch.vectors, batch.optional_vectors, lambda name, b=batch: b.records([name])):
            for name in batch.column_names:
                try:
                    read(name)
                except InvalidArgument:
                    continue


# Hits


ids = st.one_of(
    st.lists(st.integers(0, 2**64 - 1)),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    st.lists(st.sampled_from([0, 5, 2**64 - 1, "", "5", '"', "é"])),
)
floats = st.floats(width=32, allow_nan=False)
DIMS = {"": 2, "id": 1, "score": 3, "dense": 2}
payloads = st.none() | st.dictionaries(st.sampled_from(["id", "", "é\0"]), st.sampled_from([None, 1, 1.0, -0.0, [{}]]))


@st.composite
def hits_of_queries(draw: st.DrawFn) -> list[Hits]:
    """What one batch of searches finds: all with payloads or none, all with vectors or none."""
    with_payload, with_vectors = draw(st.booleans()), draw(st.booleans())
    found = []
    for point_ids in draw(st.lists(ids, max_size=4)):
        rows = range(len(point_ids))
        scores = np.array([draw(floats) for _ in rows], np.float32)
        stored = [
            {name: np.array(draw(st.lists(floats, min_size=d, max_size=d)), np.float32) for name, d in fields.items()}
            for fields in [draw(st.sampled_from([{}, {"": 2}, {"id": 1, "dense": 2}, DIMS])) for _ in rows]
        ]
        texts = [draw(payloads) for _ in rows]
        found.append(Hits(point_ids, scores, texts if with_payload else None, stored if with_vectors else None))
    return found


def plain(found: list[Hits]) -> str:
    """Hits as text, in which 1, 1.0, "1" and True are different, and 0.0 and -0.0."""
    rows = [[h.point_ids, h.scores.tolist(), h.payloads, h.vectors] for h in found]
    return json.dumps(rows, default=lambda array: array.tolist(), sort_keys=True)


@given(hits_of_queries())
def test_hits_come_back_as_they_were(found: list[Hits]) -> None:
    again = [Hits(*rows) for rows in read_hits(write_hits(found))]
    assert plain(again) == plain(found)
    assert all(h.scores.dtype == np.float32 for h in again)
    assert all(v.dtype == np.float32 for h in again for row in h.vectors or () for v in row.values())


def test_other_arrow_tools_read_hits() -> None:
    scores, vectors = np.array([0.5, 0.25], np.float32), [{"id": np.ones(2, np.float32)}, {}]
    data = write_hits([Hits([], np.empty(0, np.float32)), Hits([5, 6], scores, [{"a": 1}, None], vectors)])
    table = pa.ipc.open_stream(data).read_all()
    assert table.to_pydict() == {
        "query": [1, 1],
        "id": [5, 6],
        "score": [0.5, 0.25],
        "payload": ['{"a":1}', None],
        "vector:id": [[1.0, 1.0], None],
    }
    assert [str(field.type) for field in table.schema][:3] == ["int32", "uint64", "float"]


@pytest.mark.parametrize(
    ("description", "columns"),
    [
        ({}, {}),
        ({"hits": 2}, {}),
        ({"queries": 1 << 40}, {}),
        ({"queries": -1}, {}),
        ({"queries": "2"}, {}),
        ({"queries": 2}, {}),
        ({"id": "json"}, {}),
        ({"fields": ["dense"]}, {}),
        ({"fields": 5}, {}),
        ({"payloads": True}, {}),
        ({"payloads": True}, {"payload": ["{", None, None]}),
        ({}, {"query": [1, 0, 2]}),
        ({}, {"query": [-1, 0, 2]}),
        ({}, {"query": [None, 0, 2]}),
        ({}, {"query": ["a", "b", "c"]}),
        ({}, {"score": ["a", "b", "c"]}),
    ],
)
def test_other_tables_are_no_hits(description: dict[str, Any], columns: dict[str, Any]) -> None:
    good = {"hits": 1, "queries": 3, "id": "integer", "payloads": False, "fields": None}
    table = {"query": [0, 1, 2], "id": [1, 2, 3], "score": [0.5, 0.5, 0.5]}

    def body(description: Any, columns: Any) -> bytes:
        return stream(pa.record_batch(columns).replace_schema_metadata({"vsearch": json.dumps(description)}))

    assert len(read_hits(body(good, table))) == 3
    with pytest.raises(InvalidArgument, match=r"does not hold hits|is not JSON|holds string|has no column|'payload'"):
        read_hits(body({**good, **description} if description or columns else {}, {**table, **columns}))


# Tables


def test_tables_are_read() -> None:
    batches, description = read_table(stream(TABLE, TABLE.slice(0, 0), TABLE.slice(1)))
    assert description == {"k": [1]}
    assert [(batch.rows, batch.position) for batch in batches] == [(3, 3), (2, 5)]
    assert batches[0].python("id") == [3, 2**64 - 1, 7]
    assert [row if row is None else row.tolist() for row in batches[0].optional_vectors("dense")] == [
        [1, 2, 3],
        None,
        [4, 5, 6],
    ]
    assert batches[1].records(["name", "tree", "price"]) == [
        {"price": 2.0},
        {"name": "é" * 9, "tree": {"a": 2, "b": []}},
    ]
    assert read_table(stream(pa.record_batch({"id": [1]})))[1] == {}
    with pytest.raises(InvalidArgument, match="the body row 1: column 'dense' has no vector"):
        batches[0].vectors("dense")


@pytest.mark.parametrize(
    "column",
    [pa.array([1], pa.timestamp("s", "No/Where")), pa.array([2**60], pa.timestamp("s"))],
    ids=["time zone", "year"],
)
def test_times_that_python_cannot_hold_are_refused(column: pa.Array) -> None:
    ((batch,), _) = read_table(stream(pa.record_batch({"when": column})))
    with pytest.raises(InvalidArgument, match="the body: column 'when'"):
        batch.records(["when"])


def test_metadata_must_be_an_object() -> None:
    for text in ("{", "[]", "\xff" * 3, "[" * 100_000):
        data = stream(TABLE.replace_schema_metadata({"vsearch": text}))
        with pytest.raises(InvalidArgument, match="the body has metadata 'vsearch' that is not"):
            read_table(data)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(["a" * 20, "b"], pa.string_view()),
        pa.array([b"a" * 20, b"b"], pa.binary_view()),
        pa.array([[1], [2]], pa.list_view(pa.int64())),
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"])),
        pa.UnionArray.from_dense(pa.array([0, 0], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array(["a"])]),
    ],
    ids=lambda column: str(column.type.id),
)
def test_columns_that_refer_to_a_value_many_times_are_refused(column: pa.Array) -> None:
    inside = pa.StructArray.from_arrays([column], ["x"])
    for one in (column, inside, pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)):
        with pytest.raises(InvalidArgument, match=r"column 'x' is of type|a message of type 'dictionary'"):
            read_table(stream(pa.record_batch({"x": one})))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_streams_are_refused_unread(compression: str) -> None:
    bomb = stream(pa.record_batch({"id": pa.array(np.zeros(10_000_000, np.int64))}), compression=compression)
    assert len(bomb) < 1_000_000
    with pool_of_its_own() as pool:
        with pytest.raises(InvalidArgument, match="compressed"):
            read_table(bomb)
        assert pool.max_memory() < 1_000_000


@pytest.mark.parametrize(
    "batch",
    [
        pa.record_batch({"x": pa.nulls(100_000)}),
        pa.record_batch({"x": pa.array([b""] * 100_000, pa.binary(0))}),
        pa.record_batch({"x": pa.array([{}] * 100_000, pa.struct([]))}).slice(0, 100_000),
        pa.record_batch({"x": pa.ListArray.from_arrays(pa.array([0, 1 << 30], pa.int32()), pa.nulls(1 << 30))}),
        pa.RecordBatch.from_struct_array(pa.array([{}] * 100_000, pa.struct([]))),
    ],
    ids=["null", "empty bytes", "empty objects", "list of nulls", "no columns"],
)
def test_values_without_bytes_are_counted(batch: pa.RecordBatch) -> None:
    with pytest.raises(InvalidArgument, match="describes more than it holds"):
        read_table(stream(batch))


def test_buffers_that_overlap_are_counted() -> None:
    """Ten columns in one buffer: as Arrow sees it a good stream of a tenth of the bytes."""
    rows, columns = 1_000, 10
    batch = pa.record_batch({str(i): pa.array(np.full(rows, i)) for i in range(columns)})
    data = stream(batch)
    nbytes = 8 * rows
    body = data.index(struct.pack("<q", 1) * rows) - nbytes
    data = data[: body + nbytes] + data[body + columns * nbytes :]
    for i in range(columns):
        data = data.replace(
            struct.pack("<qqqq", nbytes * i, 0, nbytes * i, nbytes), struct.pack("<qqqq", 0, 0, 0, nbytes)
        )
    data = data.replace(struct.pack("<q", columns * nbytes), struct.pack("<q", nbytes))
    assert pa.ipc.open_stream(data).read_all().num_rows == rows
    with pytest.raises(InvalidArgument, match="describes more than it holds"):
        read_table(data)


# Damage


def test_no_part_of_a_stream_is_a_stream() -> None:
    data = stream(TABLE.select(["id", "name"]), TABLE.select(["id", "name"]))
    for stop in range(len(data)):
        with pytest.raises(InvalidArgument, match="the body is not"):
            read_table(data[:stop])
    with pytest.raises(InvalidArgument, match="the body is not"):
        read_table(data + b"\0" * 8)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xff\xff\xff", stream(TABLE)[:300]]))
def test_any_bytes_are_refused(data: bytes, head: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read_table(head + data)
    with pytest.raises(InvalidArgument):
        read_hits(head + data)


BODIES = [
    stream(TABLE, TABLE),
    stream(TABLE.select(["id", "dense"])),
    write_hits([Hits([1, "a"], np.ones(2, np.float32))]),
]
WORDS = [
    b"\xff" * 4,
    b"\xff" * 8,
    b"\0" * 8,
    b"\xff" * 7 + b"\x7f",
    struct.pack("<i", -(2**31)),
    struct.pack("<i", 2**30),
]


@given(st.sampled_from(BODIES), st.randoms(use_true_random=True))
def test_damage_is_refused_or_harmless(body: bytes, rng: random.Random) -> None:
    """Ten damaged bodies an example. Flipped bits of a vector are just another vector."""
    with pool_of_its_own() as pool:
        for _ in range(10):
            data = bytearray(body)
            for _ in range(rng.choice([1, 1, 2, 5])):
                at = rng.randrange(len(data))
                if rng.random() < 0.6:
                    data[at] ^= 1 << rng.randrange(8)
                else:
                    word = rng.choice(WORDS)
                    data[at & ~3 : (at & ~3) + len(word)] = word
            for read in (read_all, read_hits):
                with suppress(InvalidArgument):
                    read(bytes(data))
        assert pool.max_memory() < 1_000_000
